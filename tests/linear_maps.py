"""Matrices as linear maps, for tests of adjoints."""

import numpy as np

_random = np.random.default_rng(7)
A = _random.normal(size=(7, 5))
C = A + 1j * _random.normal(size=(7, 5))
SQUARE = _random.normal(size=(6, 6))


def times(matrix):
    return lambda x: matrix @ x
