"""The whole server under virtual time, against a simulated exchange, judged against its truth.

The real server (feeds, market, hub, ASGI) runs in a ``VirtualLoop``: its timers take no time, its
connections go through a network in memory under the real WebSocket client and server, its REST
requests to the simulated exchange's own code. From one seed everything is the same, to the byte:
``Trace`` hashes it.

A named test of one fault::

    from simulation.scenario import scenario, simulated

    @simulated                                     # an async test under virtual time
    async def test_a_dropped_close_comes_by_rest() -> None:
        async with scenario(symbols=3) as world:   # exchange and server are up and ready
            world.exchange.faults.drop_closes = 1  # switches of server.exchange.faults
            await world.sleep(90)                  # virtual seconds
            await world.check("BTCUSDT", "1m")     # /klines against the truth, byte for byte
        # at the end: HEAL_S without faults, then everything served must be the truth

What a scenario can do:

- ``await world.inject("half_open")``: one of ``faults.FAULTS``, the classes the seeds draw from;
- ``world.exchange.faults``: switches of the exchange; ``world.exchange.counters``: its limits;
- ``world.mishaps.append(Mishap(429, (("retry-after", "60"),)))``: what befalls REST requests, in
  order; ``faults.REFUSALS`` and ``faults.USELESS`` are made up already;
- ``world.network.clients``: ends of open connections, each with ``sever``, ``deaf``, ``cut_after``;
  ``world.network.conditions``: latency, bandwidth, refusals, failures of name look-up and TLS;
- ``world.clock.step(ms)`` and ``slew(ms_per_s)``: the server's wall clock; ``world.now_ms`` is the
  exchange's, and true;
- ``world.troubled(seconds)``: rows may be missing until then, and ``HEAL_S`` more; a test that
  checks in the middle of a fault says so, ``inject`` does it by itself;
- ``await world.ask("/v1/status")``: any GET, as status, headers and body;
- ``world.server``: the ``Server``; ``await world.stop_server()``, ``start_server()``,
  ``until_ready()``: further lives;
- ``scenario(judged=False)`` ends without a verdict; ``scenario(ready=False)`` does not wait at the
  start; ``scenario(full_pace=True)`` thins nothing; other options are ``World``'s (``market``,
  ``intervals``, ``capacity``, ``settings``);
- ``world.market``, ``feed``, ``live``, ``connects`` of the server; ``await world.until(holds, s)``;
- ``records.Record(world)``: when what was asked and told.

Periods that only repeat are thinned, see ``thinning``. Seeds: ``python -m simulation --help``.
"""
