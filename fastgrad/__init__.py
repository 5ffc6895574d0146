"""Gradient checking and finite differences with an honest error bar."""

from fastgrad import plots, testing
from fastgrad._backend import backend
from fastgrad._checks.check import check_gradient
from fastgrad._checks.jacobian import check_jacobian
from fastgrad._checks.relative_error import relative_error
from fastgrad._derivatives.coloring import color_columns
from fastgrad._derivatives.gradient import derivative, gradient
from fastgrad._derivatives.hessian import hessian, hvp
from fastgrad._derivatives.pattern import Sparsity
from fastgrad._derivatives.sparse import sparse_hessian, sparse_jacobian
from fastgrad._derivatives.sparsity import jacobian_sparsity
from fastgrad._errors import (
    ConcurrencyError,
    FastgradError,
    FastgradWarning,
    InputTypeError,
    InputValueError,
    MissingPackageError,
    MutationError,
    ObjectiveError,
    WorkerError,
)
from fastgrad._evaluation.batched import batched
from fastgrad._evaluation.native import Native, native
from fastgrad._report.pickles import find_old_names as _find_old_names
from fastgrad._report.report import Cause, Entries, Entry, Finding, LeafReport, Report, Verdict
from fastgrad._stencils import Stencil, backward, central, forward

__version__ = "0.1.0"

__all__ = [
    "Cause",
    "ConcurrencyError",
    "Entries",
    "Entry",
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
    "Report",
    "Sparsity",
    "Stencil",
    "Verdict",
    "WorkerError",
    "backend",
    "backward",
    "batched",
    "central",
    "check_gradient",
    "check_jacobian",
    "color_columns",
    "derivative",
    "forward",
    "gradient",
    "hessian",
    "hvp",
    "jacobian_sparsity",
    "native",
    "plots",
    "relative_error",
    "sparse_hessian",
    "sparse_jacobian",
    "testing",
]

# Public classes and functions say that they live here. So a pickle of a report names `fastgrad`
# alone, and can still be read after a private module has been renamed; so do tracebacks.
for _each in map(globals().get, __all__):
    if callable(_each):
        _each.__module__ = __name__
del _each

_find_old_names()
