"""klineserver: the process around klinecore - feeds, HTTP, streams, traders, stores."""
