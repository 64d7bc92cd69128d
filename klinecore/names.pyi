"""The table that leads from a symbol's bytes to its index; used through ``Market``."""
