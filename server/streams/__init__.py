"""The port for thousands of subscribers: Binance's stream protocol, each frame encoded once."""
