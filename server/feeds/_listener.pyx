"""The WebSocket callback: a frame goes to the market where it lies, without a Python object."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint64_t
from picows.picows cimport WSFrame, WSListener, WSMsgType, WSTransport

from klinecore.market cimport Market
from klinecore.parsers.binance cimport ERROR_REPLY, REPLY, SHUTDOWN

cdef enum:
    FRAGMENTS_MAX = 4 << 20     # bytes of one message in pieces; beyond it the pieces are dropped


cdef class FeedListener(WSListener):
    """Feeds one socket's messages to ``market``.

    ``on_change()`` is scheduled once per loop pass after the market has something to drain;
    ``on_control(kind, message)`` gets replies and the exchange's notice of shutdown as bytes.
    """

    cdef readonly uint64_t frames       # data messages
    cdef readonly uint64_t size         # their bytes
    cdef readonly uint64_t pings
    cdef readonly uint64_t dropped      # binary, or too long in pieces
    cdef readonly object transport      # None before the connection and after its end
    cdef readonly bint connected
    cdef Market _market
    cdef object _loop
    cdef object _on_change
    cdef object _on_control
    cdef object _on_closed
    cdef bytearray _pieces
    cdef bint _overlong

    def __init__(self, Market market not None, loop, on_change, on_control, on_closed):
        self._market = market
        self._loop = loop
        self._on_change = on_change
        self._on_control = on_control
        self._on_closed = on_closed
        self._pieces = bytearray()

    cpdef on_ws_connected(self, WSTransport transport):
        self.transport = transport
        self.connected = True

    cpdef on_ws_disconnected(self, WSTransport transport):
        self.connected = False
        self.transport = None
        self._on_closed()

    cpdef on_ws_frame(self, WSTransport transport, WSFrame frame):
        if frame.msg_type == WSMsgType.TEXT and frame.fin:
            self._take(frame.payload_ptr, frame.payload_size)
        elif frame.msg_type == WSMsgType.PING:
            self.pings += 1
            transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT or frame.msg_type == WSMsgType.CONTINUATION:
            self._piece(frame)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code())
            transport.disconnect()
        elif frame.msg_type == WSMsgType.BINARY:
            self.dropped += 1

    cdef _piece(self, WSFrame frame):
        """Put a message together that came in several frames."""
        cdef bytes message
        if frame.msg_type == WSMsgType.TEXT:
            self._pieces.clear()
            self._overlong = False
        if len(self._pieces) + frame.payload_size > FRAGMENTS_MAX:
            self._overlong = True
            self._pieces.clear()
        if not self._overlong:
            self._pieces += PyBytes_FromStringAndSize(frame.payload_ptr, frame.payload_size)
        if not frame.fin:
            return
        if self._overlong:
            self.dropped += 1
        else:
            message = bytes(self._pieces)
            self._take(message, len(message))
        self._pieces.clear()

    cdef _take(self, const char* data, Py_ssize_t size):
        cdef bint told = self._market.has_events
        cdef int kind = self._market.apply_bytes(data, size)
        self.frames += 1
        self.size += size
        if self._market.has_events and not told:
            self._loop.call_soon(self._on_change)
        if kind == REPLY or kind == ERROR_REPLY or kind == SHUTDOWN:
            self._on_control(kind, PyBytes_FromStringAndSize(data, size))
