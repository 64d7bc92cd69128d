"""From the exchange into the market: connections, backfill, budgets."""
