"""No C face: an attached market is read from Python."""
