"""The newest ticker of a symbol; used through ``Market``."""

__all__: list[str] = []
