"""The HTTP and WebSocket door on one port: routes, keys, errors, the body cache and ``/ws``."""
