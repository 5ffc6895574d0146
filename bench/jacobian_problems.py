"""Vector-valued functions whose Jacobians are known exactly, and what is asked about them.

All functions are analytic, and take complex numbers: ``imag(f(x + 1j h)) / h`` with h = 1e-200 has
no truncation error and no cancellation (W. Squire and G. Trapp, SIAM Rev. 40 (1998) 110), so that
it is the derivative to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import numpy as np

STEP = 1e-200  # its square vanishes

Blocks = dict[str, np.ndarray]


@dataclass(frozen=True)
class Problem:
    """A function of one array or a dict of arrays, at one point."""

    name: str
    f: Callable[[Any], Any]
    params: Any

    def jacobian(self, params: Any) -> Any:
        """The exact Jacobian: out.shape + leaf.shape, in the structure of the parameters."""
        if isinstance(params, dict):
            return {key: self._of(params, key) for key in params}
        return self._of({"": params}, "", lambda p: p[""])

    def _of(
        self, params: Blocks, key: str, as_argument: Callable[[Blocks], Any] = dict
    ) -> np.ndarray:
        columns = []
        for k in range(params[key].size):
            moved = {name: leaf.astype(complex) for name, leaf in params.items()}
            moved[key].reshape(-1)[k] += 1j * STEP
            columns.append(np.imag(self.f(as_argument(moved))) / STEP)
        matrix = np.stack(columns, axis=-1)
        return matrix.reshape(*matrix.shape[:-1], *params[key].shape)


@dataclass(frozen=True)
class Second:
    """A real function with its gradient and Hessian, of one vector.

    `gauss_newton` is what the Hessian of a sum of squares is without second derivatives, and `half`
    what is half of it where a matrix that is not symmetric stands for the one that is.
    """

    name: str
    f: Callable[[np.ndarray], float]
    grad: Callable[[np.ndarray], np.ndarray]
    hess: Callable[[np.ndarray], np.ndarray]
    params: np.ndarray
    slips: dict[str, Callable[[np.ndarray], np.ndarray]] = field(default_factory=dict)


def random_of(name: str) -> np.random.Generator:
    """Random numbers that depend on a name alone."""
    return np.random.default_rng(crc32(name.encode()))


def hessian_of(grad: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    """The exact Hessian, from a gradient that takes complex numbers."""

    def hess(x: np.ndarray) -> np.ndarray:
        columns = []
        for k in range(x.size):
            moved = x.astype(complex)
            moved[k] += 1j * STEP
            columns.append(np.imag(grad(moved)) / STEP)
        H = np.stack(columns, axis=-1)
        return (H + H.T) / 2

    return hess


def problems() -> Iterator[Problem]:
    """All vector-valued ones, each at two points."""
    import jacobian_kinematics
    import jacobian_least_squares
    import jacobian_models

    for module in (jacobian_least_squares, jacobian_kinematics, jacobian_models):
        for name, f, params in module.functions():
            yield Problem(name, f, params)
            yield Problem(f"{name}, elsewhere", f, _elsewhere(name, params))


def _elsewhere(name: str, params: Any) -> Any:
    """Another point, as far away as optimizers get from where they start."""
    rng = random_of(f"{name}, elsewhere")
    if isinstance(params, dict):
        return {key: _moved(leaf, rng) for key, leaf in params.items()}
    return _moved(params, rng)


def _moved(leaf: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return leaf * rng.uniform(0.8, 1.2, leaf.shape) + rng.uniform(-0.05, 0.05, leaf.shape)
