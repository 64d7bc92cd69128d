"""Signals: what happened in a market, carried to whoever subscribed."""
