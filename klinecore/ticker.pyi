"""The newest ticker of a symbol; used through ``Market``."""
