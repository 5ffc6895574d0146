"""Judged products with Jacobians: small ones entry by entry, large ones by random vectors."""

from __future__ import annotations

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Cause, Verdict

pytestmark = pytest.mark.usefixtures("backend")

A = np.random.default_rng(0).normal(size=(5, 4))
X = np.linspace(0.1, 0.5, 4)


def f(x):
    return np.sin(A @ x)


def vjp(x, u):
    return A.T @ (u * np.cos(A @ x))


def jvp(x, v):
    return np.cos(A @ x) * (A @ v)


def paths(report):
    return {entry.path for entry in report.wrong}


# ------------------------------------------------------------------------------ small Jacobians


def test_small_products_are_judged_as_whole_jacobians():
    for report in (fg.check_vjp(f, vjp, X.copy()), fg.check_jvp(f, jvp, X.copy())):
        assert report, report
        assert len(report.entries) == 20
        assert report.entries[5].path == "out[1] / params[1]"


def test_wrong_entries_of_small_products_are_named_by_output_and_parameter():
    def wrong(x, u):
        g = vjp(x, u)
        g[2] += 0.1 * u[3]
        return g

    assert paths(fg.check_vjp(f, wrong, X.copy())) == {"out[3] / params[2]"}
    report = fg.check_jvp(f, lambda x, v: 2 * jvp(x, v), X.copy())
    assert report.causes[0].kind is Cause.FACTOR
    assert "`out / params` is 2 x the numeric Jacobian" in report.causes[0].sentence
    report = fg.check_vjp(f, lambda x, u: A.T @ u, X.copy())
    assert "a factor for each entry of `out`" in report.causes[0].sentence


def test_nested_structures_go_both_ways():
    params = {"w": np.array([0.3, -0.5]), "b": 0.2}

    def g(p):
        return {"y": np.tanh(p["w"] * p["b"]), "total": (p["w"] ** 2).sum()}

    def pull(p, u):
        d = u["y"] * (1 - np.tanh(p["w"] * p["b"]) ** 2)
        return {"w": d * p["b"] + 2 * p["w"] * u["total"], "b": (d * p["w"]).sum()}

    def push(p, v):
        d = 1 - np.tanh(p["w"] * p["b"]) ** 2
        return {"y": d * (v["w"] * p["b"] + p["w"] * v["b"]), "total": 2 * p["w"] @ v["w"]}

    assert fg.check_vjp(g, pull, params)
    assert fg.check_jvp(g, push, params)
    report = fg.check_vjp(g, lambda p, u: pull(p, u) | {"b": 0.0}, params)
    assert paths(report) == {"out.y[0] / b", "out.y[1] / b"}


@pytest.mark.parametrize("name", ["vjp", "jvp"])
def test_other_structures_are_refused_with_a_way_out(name):
    check, right = (fg.check_vjp, vjp) if name == "vjp" else (fg.check_jvp, jvp)
    with pytest.raises(fg.InputValueError, match=f"`{name}` at .* must have shape"):
        check(f, lambda x, u: right(x, u)[:2], X.copy())
    with pytest.raises(fg.InputTypeError, match=f"`{name}` must be callable"):
        check(f, A, X.copy())
    with pytest.raises(fg.InputTypeError, match=f"the order of the arguments is f, {name}, params"):
        check(X, f, right)
    once = (lambda x, u: (vjp(x, u),)) if name == "vjp" else (lambda x, v: (f(x), jvp(x, v)))
    with pytest.raises((fg.InputTypeError, fg.InputValueError), match=r"\[0\]|\[1\]"):
        check(f, once, X.copy())


def test_products_that_accumulate_are_told():
    total = np.zeros(4)

    def adds(x, u):
        total[...] += vjp(x, u)
        return total.copy()

    report = fg.check_vjp(f, adds, X.copy())
    assert report.verdict is Verdict.CANNOT_TELL
    assert "`vjp`" in report.reason


def test_faults_leave_the_bits_where_they_were():
    x = X.copy()
    for check, right in ((fg.check_vjp, vjp), (fg.check_jvp, jvp)):
        for fault in (2, 5, 12, 15):
            calls = 0

            def broken(x, fault=fault):
                nonlocal calls
                calls += 1
                if calls > fault:
                    raise KeyboardInterrupt
                return f(x)

            with pytest.raises(KeyboardInterrupt):
                check(broken, right, x)
            assert x.tobytes() == X.tobytes()


# ------------------------------------------------------------------------------ large Jacobians


M, N = 200, 20_000
RNG = np.random.default_rng(1)
READS = RNG.permutation(N)[: M * 20].reshape(M, 20)
WEIGHTS = RNG.normal(size=READS.shape) / 5
SIZES = np.logspace(-6, 6, M)
LARGE = RNG.normal(size=N)


def big(x):
    return SIZES * np.tanh((x[READS] * WEIGHTS).sum(axis=1))


def slopes(x):
    return SIZES * (1 - np.tanh((x[READS] * WEIGHTS).sum(axis=1)) ** 2)


def big_vjp(x, u):
    g = np.zeros(N)
    np.add.at(g, READS, (slopes(x) * u)[:, None] * WEIGHTS)
    return g


def big_jvp(x, v):
    return slopes(x) * (v[READS] * WEIGHTS).sum(axis=1)


class Counted:
    def __init__(self):
        self.calls = 0

    def __call__(self, x):
        self.calls += 1
        return big(x)


def test_large_right_products_take_a_few_dozen_evaluations():
    x = LARGE.copy()
    for check, right in ((fg.check_vjp, big_vjp), (fg.check_jvp, big_jvp)):
        g = Counted()
        report = check(g, right, x, **({"strategy": "probe"} if check is fg.check_vjp else {}))
        assert report, report
        assert g.calls == report.evaluations <= 50
        assert x.tobytes() == LARGE.tobytes()


def test_a_wrong_entry_of_a_large_vjp_is_found_in_outputs_and_parameters():
    k = int(READS[17, 3])

    def wrong(x, u):
        g = big_vjp(x, u)
        g[k] *= 1.5
        return g

    g = Counted()
    report = fg.check_vjp(g, wrong, LARGE.copy(), strategy="probe")
    assert paths(report) == {f"out[17] / params[{k}]"}
    assert report.wrong[0].output == "out[17]"
    assert report.causes[0].kind is Cause.FACTOR
    assert g.calls == report.evaluations <= 300


# Wrong entries by their outputs and places, each with a factor.
SLIPS = {
    "of one per cent": {(17, 3): 1.01},
    "sign": {(150, 19): -1.0},
    "missing": {(0, 0): 0.0},
    "in two outputs": {(42, 7): 1.1, (43, 7): 0.9},
    "in three outputs": {(3, 1): 1.1, (99, 12): -1.0, (199, 5): 0.0},
    "in one output": {(60, 2): 1.2, (60, 11): 0.7},
}


@pytest.mark.parametrize("slip", SLIPS)
@pytest.mark.parametrize("seed", range(3))
def test_wrong_entries_of_a_large_vjp_are_named_in_a_few_dozen_evaluations(slip, seed):
    calls = 0

    def wrong(x, u):
        nonlocal calls
        calls += 1
        matrix = (slopes(x) * u)[:, None] * WEIGHTS
        for entry, factor in SLIPS[slip].items():
            matrix[entry] *= factor
        g = np.zeros(N)
        np.add.at(g, READS, matrix)
        return g

    g = Counted()
    x = LARGE.copy()
    report = fg.check_vjp(g, wrong, x, strategy="probe", seed=seed)
    assert paths(report) == {f"out[{j}] / params[{READS[j, k]}]" for j, k in SLIPS[slip]}
    rows = len({j for j, _ in SLIPS[slip]})
    assert g.calls == report.evaluations <= 20 + 70 * len(SLIPS[slip])
    # Of the first look, of the weights and halves, and of each output that is judged.
    assert calls <= 12 + 12 * rows
    assert x.tobytes() == LARGE.tobytes()


def test_a_large_vjp_that_is_wrong_in_many_outputs_names_some_of_them():
    def wrong(x, u):
        g = big_vjp(x, u)
        extra = np.zeros(M)
        extra[50:70] = 0.2 * u[50:70]
        return g + big_vjp(x, extra)

    report = fg.check_vjp(big, wrong, LARGE.copy(), strategy="probe")
    assert report.verdict is Verdict.WRONG
    assert "and others are wrong too" in report.reason
    assert {entry.output for entry in report.entries} <= {f"out[{j}]" for j in range(50, 70)}
    assert report.causes[0].kind is Cause.FACTOR
    assert "1.2" in report.causes[0].sentence


def test_a_wrong_entry_that_all_outputs_of_a_large_vjp_read_is_named_with_some_of_them():
    B = np.random.default_rng(0).normal(size=(100, 30))

    def wrong(x, u):
        g = B.T @ (u * np.cos(B @ x))
        g[7] += 0.037 * g[3]
        return g

    x = np.linspace(0.1, 0.9, 30)
    report = fg.check_vjp(lambda x: np.sin(B @ x), wrong, x)
    assert {entry.leaf for entry in report.wrong} == {"params"}
    assert {entry.index for entry in report.wrong} == {(7,)}
    assert len({entry.output for entry in report.wrong}) == 3
    assert "and others are wrong too" in report.reason


HOW = ["workers", "batched", "bounds", "tight bounds", "where", "exhaustive", "noisy"]


@pytest.mark.parametrize("how", HOW)
def test_a_wrong_entry_of_a_large_vjp_is_named_however_it_is_looked_for(how):
    k = int(READS[17, 3])
    options = {"strategy": "exhaustive" if how == "exhaustive" else "probe"}
    g, x = big, LARGE.copy()
    if how == "workers":
        options["workers"] = map
    if how == "bounds":
        options["bounds"] = (x - 1e-3, x + 1.0)
    if how == "tight bounds":
        options["bounds"] = (x - 1e-9, x + 1e-9)
    if how == "where":
        options["where"] = np.arange(N) >= min(k, 100)
    if how == "batched":
        g = fg.batched(lambda x: SIZES * np.tanh((x[:, READS] * WEIGHTS).sum(axis=2)), memory=2**24)
    if how == "noisy":

        def g(x):
            y = big(x)
            return y + 1e-10 * SIZES * np.sin(1e13 * y / SIZES)

    if how == "exhaustive":
        options["where"] = np.arange(N) % 100 == k % 100

    def wrong(x, u):
        g = big_vjp(x, u)
        g[k] *= 1.5
        return g

    for product, right in ((big_vjp, True), (wrong, False)):
        report = fg.check_vjp(g, product, x, **options)
        assert bool(report) is right
        if not right:
            (entry,) = report.wrong
            assert entry.output == "out[17]"
            assert "[where]" in entry.path or entry.path.endswith(f"params[{k}]")
        assert x.tobytes() == LARGE.tobytes()


def test_outputs_that_are_no_numbers_beside_the_point_hide_nothing():
    def hole(x):
        y = big(x)
        if x.tobytes() != LARGE.tobytes():
            y[5] = np.nan
        return y

    report = fg.check_vjp(hole, big_vjp, LARGE.copy(), strategy="probe")
    assert report.verdict is Verdict.CANNOT_TELL


def test_a_large_vjp_that_writes_into_the_parameters_is_refused():
    calls = 0

    def writes(x, u):
        nonlocal calls
        calls += 1
        if calls > 5:  # those that tell whether it is linear
            x[0] += 1.0
        return -big_vjp(x, u)

    x = LARGE.copy()
    with pytest.raises(fg.MutationError):
        fg.check_vjp(big, writes, x, strategy="probe")
    assert x.tobytes() == LARGE.tobytes()


def test_an_exception_of_a_large_vjp_leaves_the_bits_where_they_were():
    for last in range(1, 12):
        calls = 0

        def breaks(x, u, last=last):
            nonlocal calls
            calls += 1
            if calls == last:
                raise ZeroDivisionError
            g = big_vjp(x, u)
            g[int(READS[17, 3])] *= 1.5
            return g

        x = LARGE.copy()
        with pytest.raises(ZeroDivisionError):
            fg.check_vjp(big, breaks, x, strategy="probe")
        assert x.tobytes() == LARGE.tobytes()


def test_a_wrong_output_of_a_large_vjp_is_named():
    def wrong(x, u):
        u = u.copy()
        u[42] *= -1
        return big_vjp(x, u)

    report = fg.check_vjp(big, wrong, LARGE.copy(), strategy="probe")
    assert report.verdict is Verdict.WRONG
    assert {entry.output for entry in report.wrong} <= {"out[42]"}
    assert "out[42]" in report.reason


def test_a_factor_of_a_whole_vjp_is_said_of_the_parameters():
    report = fg.check_vjp(big, lambda x, u: 2 * big_vjp(x, u), LARGE.copy(), strategy="probe")
    assert report.verdict is Verdict.WRONG
    assert "2 x" in report.causes[0].sentence


def test_a_wrong_entry_of_a_large_jvp_is_found_in_parameters_and_outputs():
    k = int(READS[17, 3])

    def wrong(x, v):
        v = v.copy()
        v[k] *= 1.37
        return big_jvp(x, v)

    g = Counted()
    report = fg.check_jvp(g, wrong, LARGE.copy())
    assert paths(report) == {f"out[17] / params[{k}]"}
    assert g.calls == report.evaluations <= 500


def test_a_wrong_output_of_a_large_jvp_is_named_along_the_tangent():
    def wrong(x, v):
        y = big_jvp(x, v)
        y[42] *= -1
        return y

    report = fg.check_jvp(big, wrong, LARGE.copy())
    assert paths(report) == {"out[42] / v"}
    assert report.causes[0].kind is Cause.SIGN


def test_large_products_do_not_depend_on_the_seed():
    for seed in range(3):
        assert fg.check_vjp(big, big_vjp, LARGE.copy(), strategy="probe", seed=seed)
        assert fg.check_jvp(big, big_jvp, LARGE.copy(), seed=seed)


def test_short_types_have_tangents_and_cotangents_of_their_own():
    x = np.linspace(0.1, 2.0, 100, dtype=np.float32)

    def push(x, v):
        assert v.dtype == np.float32
        return np.cos(x.astype(float)) * v

    assert fg.check_jvp(lambda x: np.sin(x.astype(float)), push, x).verdict is not Verdict.WRONG

    def pull(x, u):
        assert u.dtype == np.float32
        return u.astype(float) * np.cos(x.astype(float))

    wide = x.astype(float)
    report = fg.check_vjp(lambda x: np.sin(x).astype(np.float32), pull, wide)
    assert report.verdict is not Verdict.WRONG


def test_bounds_hold_tangents_back_and_are_no_error():
    n = 100
    x = np.linspace(0.0, 1.0, n)
    B = np.random.default_rng(0).normal(size=(7, n)) / 10

    def inside(x):
        assert ((x >= 0) & (x <= 1)).all()
        return np.sin(B @ x)

    def right(x, v):
        return np.cos(B @ x) * (B @ v)

    report = fg.check_jvp(inside, right, x, bounds=(0, 1))
    assert report.verdict is not Verdict.WRONG, report
    report = fg.check_jvp(inside, lambda x, v: -right(x, v), x, bounds=(0, 1))
    assert report.verdict is Verdict.WRONG
    assert fg.check_jvp(inside, right, x, bounds=(-1, 2))
