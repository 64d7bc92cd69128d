"""Filters: conditions over klines, written by people, checked and run for every symbol."""
