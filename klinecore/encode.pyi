"""JSON bytes of rows and tickers; used through ``Market``."""
