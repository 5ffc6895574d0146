"""Reports made by hand, so that renderings can be compared to the letter; and the comparison."""

import os
from pathlib import Path

import numpy as np

from fastgrad._report.entries import Entries, LeafSpan, Verdict
from fastgrad._report.report import Cause, Curve, Finding, Report

GOLDEN = Path(__file__).resolve().parent / "golden"
HOSTILE = {
    "tags": "<script>alert('1 & 2')</script>",
    "quotes": "params['a\"b']",
    "line break": "a\nb\tc\x1b[31m",
    "surrogate": "a\ud800b",
    "wide": "層" * 60,
    "emoji": "🙂" * 30 + ".W",
    "combining": "e\u0301" * 50,
    "right to left": "وزن\u202eabc",
    "backticks": "a`b",
    "mathematics": "$\\frac{x$",
    "long": "network." + "block[12]." * 60 + "weight",
    "long word": "w" * 1000,
    "braces": "{path}{0}%s",
}


def golden(name, text):
    """Compare with the file in tests/golden; FASTGRAD_GOLDEN=write makes the file anew."""
    path = GOLDEN / name
    if os.environ.get("FASTGRAD_GOLDEN") == "write":
        path.write_bytes(text.encode())
    assert text == path.read_bytes().decode()


def make(leaves, *, causes=(), reason=None, curve=None, dtype="float64", **changes):
    """A report on leaves given as path: (analytic, numeric, uncertainty), arrays of one shape."""
    blocks, start = [], 0
    for path, (analytic, _, _) in leaves.items():
        shape = analytic.shape[:-1] if dtype == "complex128" else analytic.shape
        stop = start + analytic.size
        blocks.append(LeafSpan(path, shape, dtype, start, stop, dtype == "complex128"))
        start = stop
    entries = _entries(tuple(blocks), list(leaves.values()))
    n, wrong = len(entries), len(entries.only(Verdict.WRONG))
    unclear = len(entries.only(Verdict.CANNOT_TELL))
    verdict = Verdict.WRONG if wrong else Verdict.CANNOT_TELL if unclear or not n else Verdict.RIGHT
    reason = reason or f"{wrong} of {n} entries disagree"
    fields = {
        "evaluations": 2 * n + 9,
        "noise": 1.25e-16,
        "detection_limit": 3e-9,
        "strategy": "exhaustive",
        "backend": "compiled",
        "seed": 0,
        "seconds": 0.0125,
        "steps": (6e-6,) * len(blocks),
    }
    fields |= changes
    return Report(verdict, reason, tuple(causes), entries, curve=curve, **fields)


def _entries(blocks, triples):
    columns = [[np.zeros(0)] + [np.ravel(t[i]).astype(float) for t in triples] for i in range(3)]
    analytic, numeric, bound = (np.concatenate(column) for column in columns)
    with np.errstate(invalid="ignore"):
        right = np.abs(analytic - numeric) <= bound
    unclear = ~np.isfinite(numeric) | ~np.isfinite(bound)
    codes = np.where(right, Verdict.RIGHT.code, Verdict.WRONG.code)
    codes = np.where(unclear, Verdict.CANNOT_TELL.code, codes).astype(np.int8)
    return Entries(blocks, analytic, numeric, bound, codes, np.zeros(len(codes), bool))


def leaf(*shape, factor=1.0, bound=1e-9):
    """Numeric values that count up, and analytic ones that are a multiple of them."""
    numeric = np.arange(1.0, 1 + np.prod(shape, dtype=int)).reshape(shape) / 8
    return factor * numeric, numeric, np.full(shape, bound)


def finding(path, kind=Cause.FACTOR, said=" is 0.5 x the numeric gradient: a factor 2 is missing"):
    return Finding(
        kind, path, path, f"`{path}`{said}", {"factor": np.float64(0.5), "slices": (1, 2)}
    )


def curve(path):
    steps = np.logspace(0, -14, 29)
    return Curve(path, 0.5, steps, 1 + steps**2, 1 + steps)


def right():
    return make({"W": leaf(4, 3), "b": leaf(3)}, reason="all 15 entries agree")


def wrong():
    """Some leaves wrong by a factor, one right, one a scalar."""
    leaves = {"layers[0].W": leaf(4, 3, factor=0.5), "layers[0].b": leaf(3), "scale": leaf()}
    causes = [finding("layers[0].W")]
    reason = "12 of 16 entries disagree; the worst is layers[0].W[3, 2]: analytic 0.75, numeric 1.5"
    return make(leaves, causes=causes, reason=reason, curve=curve("layers[0].W[3, 2]"))


def unclear():
    """An `f` that is not finite beside one entry."""
    analytic, numeric, bound = leaf(3)
    numeric[1], bound[1] = np.nan, np.inf
    reason = "1 of 3 entries cannot be judged, for example x[1]: `f` is not finite beside it"
    return make({"x": (analytic, numeric, bound)}, reason=reason)


def untested():
    """No entries at all."""
    reason = "nothing was tested: the parameters hold no entries"
    return make({"x": leaf(0)}, reason=reason, noise=np.nan, detection_limit=0.0, steps=())


def many():
    """Three hundred leaves, a third of them wrong."""
    leaves = {f"blocks[{i}].W": leaf(2, 2, factor=1 + i % 3 // 2) for i in range(300)}
    causes = [finding(f"blocks[{i}].W") for i in range(2, 300, 3)]
    return make(leaves, causes=causes, curve=curve("blocks[2].W[0, 0]"))


def large():
    """A million entries, all of them wrong."""
    return make({"W": leaf(1000, 1000, factor=-1.0)}, causes=[finding("W", Cause.SIGN)])


def infinite():
    """Analytic values that are not finite."""
    analytic, numeric, bound = leaf(4)
    analytic[:3] = np.nan, np.inf, -np.inf
    return make({"x": (analytic, numeric, bound)}, curve=curve("x[0]"))


def complex_leaf():
    """Columns hold real and imaginary parts in turn."""
    analytic, numeric, bound = leaf(3, 2)
    return make({"z": (analytic * [1, -1], numeric, bound)}, dtype="complex128")


def extreme():
    """Numbers, shapes and indices as wide as they get."""
    shape = (1, 1, 1, 2, 1, 1, 1, 1, 1, 1)
    analytic, numeric, bound = leaf(*shape)
    analytic = analytic * -1.23456789e-300
    path = "parameters_of_the_network"
    leaves = {path: (analytic, numeric * 9.87654321e299, bound), "b": leaf(123456, factor=2)}
    return make(leaves, causes=[finding(path, Cause.UNKNOWN)], evaluations=10**9, seed=2**63)


def hostile(path):
    """Everything that names a path names this one."""
    reason = f"2 of 2 entries disagree; the worst is {path}[1]"
    return make({path: leaf(2, factor=2)}, causes=[finding(path)], reason=reason, curve=curve(path))


PLAIN = {
    each.__name__: each
    for each in (right, wrong, unclear, untested, many, infinite, complex_leaf, extreme, large)
}
ALL = PLAIN | {name: lambda path=path: hostile(path) for name, path in HOSTILE.items()}
