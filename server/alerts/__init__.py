"""Alerts: signals carried to where their owners are, each once, however long that takes."""
