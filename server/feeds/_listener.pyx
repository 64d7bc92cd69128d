"""The WebSocket callback: a frame goes to the market where it lies, without a Python object."""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from picows.picows cimport WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport

from klinecore.market cimport Market
from klinecore.parsers.binance cimport ERROR_REPLY, REPLY, SHUTDOWN

import asyncio

__all__ = ["ChangeNotifier", "FeedListener"]


@cython.final
cdef class ChangeNotifier:
    """Calls ``on_change`` once in the next pass of the event loop, however often it is told.

    What can wait is gathered: a pass costs as much as storing many rows. The first of it is told
    like anything else, what follows within ``gather_s`` of a call together, or by the next call.
    All that writes into one market shares one: whether the market has something to drain says
    nothing about whether somebody was told.
    """

    cdef readonly bint scheduled
    cdef bint _gathered
    cdef double _gather_s
    cdef object _on_change
    cdef object _pause                  # a timer's handle while what can wait does so

    def __init__(self, on_change, double gather_s=0.0):
        self._on_change = on_change
        self._gather_s = gather_s

    cpdef notify(self):
        """Something does not wait. Call within a running event loop."""
        if not self.scheduled:
            asyncio.get_running_loop().call_soon(self._run)
            self.scheduled = True

    cpdef gather(self):
        """Likewise of something that can wait."""
        if self._pause is None:
            self.notify()
        else:
            self._gathered = True

    def stop(self):
        """Call nobody any more for what was gathered."""
        if self._pause is not None:
            self._pause.cancel()
            self._pause = None
        self._gathered = False

    def _run(self):
        self.scheduled = self._gathered = False
        if self._gather_s > 0 and self._pause is None:
            self._pause = asyncio.get_running_loop().call_later(self._gather_s, self._resume)
        self._on_change()

    def _resume(self):
        self._pause = None
        if self._gathered:
            self._run()


@cython.final
cdef class FeedListener(WSListener):
    """Feeds one socket's messages to ``market``; nothing an exchange sends makes it raise.

    ``on_control(kind, message)`` gets replies and the exchange's notice of shutdown as bytes.
    A message in pieces may have ``message_max`` bytes; whole frames are bounded by picows.
    """

    cdef readonly uint64_t frames       # text messages, control included
    cdef readonly uint64_t controls     # of these, replies and notices
    cdef readonly uint64_t size         # bytes of text messages
    cdef readonly uint64_t pings
    cdef readonly uint64_t dropped      # binary, compressed, or too long in pieces
    cdef readonly object transport      # None before the connection and after its end
    cdef public object tap              # told of each text message while it is not None
    cdef Market _market
    cdef ChangeNotifier _changes
    cdef object _on_control
    cdef object _on_closed
    cdef bytearray _pieces
    cdef Py_ssize_t _message_max
    cdef bint _within                   # a text message has begun and not ended
    cdef bint _closing

    def __init__(
        self, Market market not None, ChangeNotifier changes not None, on_control, on_closed,
        Py_ssize_t message_max
    ):
        self._market = market
        self._changes = changes
        self._on_control = on_control
        self._on_closed = on_closed
        self._message_max = message_max
        self._pieces = bytearray()

    def close(self, *, bint graceful=True):
        """End the connection, also one that is still to come; messages are no longer taken."""
        self._closing = True
        if self.transport is not None:
            if graceful:
                self.transport.send_close(WSCloseCode.OK)
            self.transport.disconnect(graceful)

    cpdef on_ws_connected(self, WSTransport transport):
        self.transport = transport
        if self._closing:
            transport.disconnect(False)

    cpdef on_ws_disconnected(self, WSTransport transport):
        self.transport = None
        self._on_closed()

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        if self._closing:
            return
        if frame.rsv1 | frame.rsv2 | frame.rsv3:
            # Extensions were not agreed on: whatever it is, it is no text to read as it stands.
            self._give_up()
        elif frame.msg_type == WSMsgType.TEXT and frame.fin:
            self._take(frame.payload_ptr, frame.payload_size)
        elif frame.msg_type == WSMsgType.PING:
            self.pings += 1
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT or frame.msg_type == WSMsgType.CONTINUATION:
            self._piece(frame)
        elif frame.msg_type == WSMsgType.CLOSE:
            # A close without a code must not be answered with the code 0.
            transport.send_close(frame.get_close_code() or WSCloseCode.OK)
            transport.disconnect()
        elif frame.msg_type == WSMsgType.BINARY:
            self.dropped += 1

    cdef _piece(self, WSFrame frame):
        """Put a message together that came in several frames."""
        cdef bytes message
        if frame.msg_type == WSMsgType.TEXT:
            self._pieces.clear()
            self._within = True
        if not self._within:
            return                      # the rest of a binary message, or of one given up
        if len(self._pieces) + frame.payload_size > self._message_max:
            self._give_up()
            return
        self._pieces += PyBytes_FromStringAndSize(frame.payload_ptr, frame.payload_size)
        if frame.fin:
            message = bytes(self._pieces)
            self._within = False
            self._pieces.clear()
            self._take(message, len(message))

    cdef _give_up(self):
        """Drop a message; pieces of it that follow are dropped with it."""
        self.dropped += 1
        self._within = False
        self._pieces.clear()

    cdef _take(self, const char* data, Py_ssize_t size):
        cdef int kind = self._market.apply_bytes(data, size)
        self.frames += 1
        self.size += size
        if self._market.has_events and not self._changes.scheduled:
            if self._market._events.urgent:
                self._changes.notify()
            else:
                self._changes.gather()
        if kind == REPLY or kind == ERROR_REPLY or kind == SHUTDOWN:
            self.controls += 1
            self._on_control(kind, PyBytes_FromStringAndSize(data, size))
        elif self.tap is not None:
            self.tap(PyBytes_FromStringAndSize(data, size))
