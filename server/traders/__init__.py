"""Traders: conditions that somebody wants to hear of."""
