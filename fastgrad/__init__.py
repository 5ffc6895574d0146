"""Gradient checking and finite differences with an honest error bar."""

import typing as _typing
from importlib import import_module as _import_module

from fastgrad._backend import backend
from fastgrad._errors import (
    ConcurrencyError,
    FastgradError,
    FastgradWarning,
    InputTypeError,
    InputValueError,
    MissingPackageError,
    MutationError,
    ObjectiveError,
    StepWarning,
    WorkerError,
)
from fastgrad._report.pickles import find_old_names as _find_old_names

if _typing.TYPE_CHECKING:
    from fastgrad import plots, testing
    from fastgrad._checks.adjoint import check_adjoint
    from fastgrad._checks.check import check_gradient
    from fastgrad._checks.hessian import check_hessian
    from fastgrad._checks.hvp import check_hvp
    from fastgrad._checks.jacobian import check_jacobian
    from fastgrad._checks.jvp import check_jvp
    from fastgrad._checks.relative_error import relative_error
    from fastgrad._checks.vjp import check_vjp
    from fastgrad._derivatives.coloring import color_columns
    from fastgrad._derivatives.derivative import derivative
    from fastgrad._derivatives.estimate import estimate
    from fastgrad._derivatives.estimated import Estimate
    from fastgrad._derivatives.gradient import gradient
    from fastgrad._derivatives.hessian import hessian
    from fastgrad._derivatives.hvp import hvp
    from fastgrad._derivatives.jacobian import jacobian
    from fastgrad._derivatives.jvp import jvp
    from fastgrad._derivatives.pattern import Sparsity
    from fastgrad._derivatives.propagation import Propagated, propagate
    from fastgrad._derivatives.sparse import sparse_hessian, sparse_jacobian
    from fastgrad._derivatives.sparsity import jacobian_sparsity
    from fastgrad._derivatives.vjp import vjp
    from fastgrad._evaluation.batched import batched
    from fastgrad._evaluation.native import Native, native
    from fastgrad._report.report import Cause, Entries, Entry, Finding, LeafReport, Report, Verdict
    from fastgrad._stencils import (
        ComplexStep,
        Stencil,
        backward,
        central,
        complex_step,
        forward,
    )

__version__ = "0.1.0"

__all__ = [
    "Cause",
    "ComplexStep",
    "ConcurrencyError",
    "Entries",
    "Entry",
    "Estimate",
    "FastgradError",
    "FastgradWarning",
    "Finding",
    "InputTypeError",
    "InputValueError",
    "LeafReport",
    "MissingPackageError",
    "MutationError",
    "Native",
    "ObjectiveError",
    "Propagated",
    "Report",
    "Sparsity",
    "Stencil",
    "StepWarning",
    "Verdict",
    "WorkerError",
    "backend",
    "backward",
    "batched",
    "central",
    "check_adjoint",
    "check_gradient",
    "check_hessian",
    "check_hvp",
    "check_jacobian",
    "check_jvp",
    "check_vjp",
    "color_columns",
    "complex_step",
    "derivative",
    "estimate",
    "forward",
    "gradient",
    "hessian",
    "hvp",
    "jacobian",
    "jacobian_sparsity",
    "jvp",
    "native",
    "plots",
    "propagate",
    "relative_error",
    "sparse_hessian",
    "sparse_jacobian",
    "testing",
    "vjp",
]

# Where each name is found when it is first asked for: of a hundred modules a program needs a few.
_PLACES = {
    "Cause": "_report.report",
    "ComplexStep": "_stencils",
    "Entries": "_report.report",
    "Entry": "_report.report",
    "Estimate": "_derivatives.estimated",
    "Finding": "_report.report",
    "LeafReport": "_report.report",
    "Native": "_evaluation.native",
    "Propagated": "_derivatives.propagation",
    "Report": "_report.report",
    "Sparsity": "_derivatives.pattern",
    "Stencil": "_stencils",
    "Verdict": "_report.report",
    "backward": "_stencils",
    "batched": "_evaluation.batched",
    "central": "_stencils",
    "check_adjoint": "_checks.adjoint",
    "check_gradient": "_checks.check",
    "check_hessian": "_checks.hessian",
    "check_hvp": "_checks.hvp",
    "check_jacobian": "_checks.jacobian",
    "check_jvp": "_checks.jvp",
    "check_vjp": "_checks.vjp",
    "color_columns": "_derivatives.coloring",
    "estimate": "_derivatives.estimate",
    "complex_step": "_stencils",
    "derivative": "_derivatives.derivative",
    "forward": "_stencils",
    "gradient": "_derivatives.gradient",
    "hessian": "_derivatives.hessian",
    "hvp": "_derivatives.hvp",
    "jacobian": "_derivatives.jacobian",
    "jacobian_sparsity": "_derivatives.sparsity",
    "jvp": "_derivatives.jvp",
    "native": "_evaluation.native",
    "plots": "plots",
    "propagate": "_derivatives.propagation",
    "relative_error": "_checks.relative_error",
    "sparse_hessian": "_derivatives.sparse",
    "sparse_jacobian": "_derivatives.sparse",
    "testing": "testing",
    "vjp": "_derivatives.vjp",
}

if not _typing.TYPE_CHECKING:  # for which the names above are all there are

    def __getattr__(name):
        if name not in _PLACES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        module = _import_module(f"{__name__}.{_PLACES[name]}")
        if name == _PLACES[name]:
            return module
        found = getattr(module, name)
        _as_public(found)
        return globals().setdefault(name, found)

    def __dir__():
        return sorted({*globals(), *__all__})


def _as_public(thing: object) -> None:
    """Let it say that it lives here.

    So a pickle names `fastgrad` alone, and can still be read after a private module has been
    renamed; so do tracebacks. Classes of which a pickle holds instances say so themselves.
    """
    if callable(thing):
        thing.__module__ = __name__


for _each in map(globals().get, __all__):
    _as_public(_each)
del _each

_find_old_names()
