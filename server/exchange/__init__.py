"""A simulated exchange that speaks Binance's protocol on loopback: demo, tests, faults."""
