"""C face of images: what filters remember, as bytes."""

from klinecore.filters.runner cimport Runner

cdef bytes write_image(Runner runner, dict told)
cdef tuple read_image(Runner runner, bytes image, dict told)
