"""No C face: a snapshot is bytes, for Python to keep."""
