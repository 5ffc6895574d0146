"""The checkers of the automatic differentiation packages, with the tolerances that they ship.

Each sees a function of its own kind whose derivative is the claimed gradient; only values and first
derivatives in reverse mode are asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from recipes import RIGHT, WRONG, Answer, Checker, on_vector
from vectors import Flat


def torch_gradcheck(flat: Flat, fast: bool) -> Answer:
    import torch

    claimed = torch.from_numpy(flat.claimed.copy())

    class Claimed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return torch.tensor(flat.value(x.detach().numpy().copy()), dtype=torch.float64)

        @staticmethod
        def backward(ctx, factor):
            return factor * claimed

    x = torch.from_numpy(flat.x.copy()).requires_grad_()
    agrees = torch.autograd.gradcheck(Claimed.apply, (x,), fast_mode=fast, raise_exception=False)
    return Answer(RIGHT if agrees else WRONG)


@on_vector
def torch_slow(flat: Flat) -> Answer:
    return torch_gradcheck(flat, fast=False)


@on_vector
def torch_fast(flat: Flat) -> Answer:
    import torch

    torch.manual_seed(0)
    return torch_gradcheck(flat, fast=True)


@on_vector
def autograd(flat: Flat) -> Answer:
    from autograd.extend import defvjp, primitive
    from autograd.test_util import check_grads

    value = primitive(flat.value)
    defvjp(value, lambda answer, x: lambda factor: factor * flat.claimed)
    np.random.seed(0)  # from where autograd takes its direction
    return _unless_asserted(lambda: check_grads(value, modes=["rev"], order=1)(flat.x))


@on_vector
def jax(flat: Flat) -> Answer:
    import jax
    from jax.test_util import check_grads

    jax.config.update("jax_enable_x64", True)
    scalar = jax.ShapeDtypeStruct((), np.float64)

    @jax.custom_vjp
    def value(x):
        return jax.pure_callback(lambda x: np.float64(flat.value(np.asarray(x))), scalar, x)

    value.defvjp(lambda x: (value(x), None), lambda _, factor: (factor * flat.claimed,))
    return _unless_asserted(lambda: check_grads(value, (flat.x,), order=1, modes=["rev"]))


def _unless_asserted(check: Callable[[], None]) -> Answer:
    try:
        check()
    except AssertionError:
        return Answer(WRONG)
    return Answer(RIGHT)


FRAMEWORKS = [
    Checker(
        "torch gradcheck",
        "central, every entry, step 1e-6; atol 1e-5, rtol 1e-3",
        torch_slow,
        "torch",
    ),
    Checker(
        "torch gradcheck fast",
        "one random direction, step 1e-6; atol 1e-5, rtol 1e-3",
        torch_fast,
        "torch",
    ),
    Checker(
        "autograd check_grads",
        "one random direction, step 5e-7; 1e-6 absolute or relative",
        autograd,
        "autograd",
    ),
    Checker(
        "jax check_grads",
        "one random direction, step 1e-4; atol and rtol 1e-5 (float64)",
        jax,
        "jax",
    ),
]
