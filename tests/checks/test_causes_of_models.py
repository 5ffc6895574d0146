"""Causes of spoilt gradients of hand-written models, in one vector and as several arrays."""

from __future__ import annotations

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Cause

# ----------------------------------------------------------- models: f, its gradient, point, blocks


def logistic(random):
    """An L2 term on the weights, none on the intercept."""
    X, y = random.normal(size=(40, 7)), random.integers(0, 2, 40)
    X[:, 6] = 1
    penalized = np.arange(7) < 6

    def f(t):
        return float(np.mean(np.logaddexp(0, X @ t) - y * (X @ t)) + 0.15 * (t[:6] ** 2).sum())

    def gradient(t):
        return X.T @ (1 / (1 + np.exp(-X @ t)) - y) / 40 + 0.3 * t * penalized

    return f, gradient, random.normal(size=7), (6, 1)


def network(random):
    """Two hidden layers and a linear one."""
    X, y = random.normal(size=(30, 5)), random.normal(size=30)

    def layers(t):
        return t[:15].reshape(5, 3), t[15:21].reshape(3, 2), t[21:23], t[23]

    def f(t):
        V, W, c, d = layers(t)
        return float(((np.tanh(np.tanh(X @ V) @ W) @ c + d - y) ** 2).mean())

    def gradient(t):
        V, W, c, d = layers(t)
        low = np.tanh(X @ V)
        high = np.tanh(low @ W)
        delta = 2 * (high @ c + d - y) / 30
        above = np.outer(delta, c) * (1 - high**2)
        below = above @ W.T * (1 - low**2)
        return np.concatenate(
            [(X.T @ below).ravel(), (low.T @ above).ravel(), high.T @ delta, [delta.sum()]]
        )

    return f, gradient, random.normal(size=24) / 2, (15, 6, 2, 1)


def process(random):
    """A Gaussian process in the logarithms of its three hyperparameters."""
    t = np.linspace(0, 1, 20)
    squares, y = (t[:, None] - t) ** 2, np.sin(7 * t) + 0.1 * np.cos(40 * t)

    def parts(x):
        length, size, noise = np.exp(x)
        near = size**2 * np.exp(-squares / (2 * length**2))
        return near, near + noise**2 * np.eye(20), (length, noise)

    def f(x):
        _, K, _ = parts(x)
        return float(y @ np.linalg.solve(K, y) + np.linalg.slogdet(K)[1]) / 2

    def gradient(x):
        near, K, (length, noise) = parts(x)
        a = np.linalg.solve(K, y)
        inner = np.outer(a, a) - np.linalg.inv(K)
        slopes = near * squares / length**2, 2 * near, 2 * noise**2 * np.eye(20)
        return -np.array([(inner * each).sum() / 2 for each in slopes])

    return f, gradient, np.log([0.3, 1.5, 0.1]) + 0.1 * random.normal(size=3), (1, 1, 1)


def counts(random):
    """A Poisson regression with two groups of features."""
    X, y = 0.3 * random.normal(size=(50, 9)), random.poisson(2, 50)
    f = lambda b: float((np.exp(X @ b) - y * (X @ b)).sum())  # noqa: E731
    return f, lambda b: X.T @ (np.exp(X @ b) - y), 0.5 * random.normal(size=9), (5, 4)


@pytest.mark.parametrize("kind", ["f8", "f4"])
@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_directions_in_a_plane_and_in_space_are_told_from_a_penalty(n, kind):
    """That the gradient has nothing along a unit vector is evidence, where entries are few."""
    told = {"norm": 0, "sphere": 0, "penalty": 0}
    for seed in range(10):
        random = np.random.default_rng(seed)
        M, x = random.normal(size=(n, n)), random.normal(size=n)
        M, x = (M + M.T).astype(kind), (x / np.linalg.norm(x)).astype(kind)
        for name, f, claimed, cause in (
            ("norm", lambda v, M=M: v @ M @ v / (v @ v), 2 * M @ x, Cause.NORMALIZATION),
            ("sphere", lambda v, M=M: v @ M @ v, 2 * M @ x - 2 * (x @ M @ x) * x, None),
            ("penalty", lambda v, M=M: v @ M @ v + 0.1 * v @ v, 2 * M @ x, Cause.MISSING_L2),
        ):
            report = fg.check_gradient(f, claimed, x)
            told[name] += report.causes[0].kind is (cause or Cause.NORMALIZATION)
    assert min(told["norm"], told["sphere"]) >= (10 if kind == "f8" else 8)
    # Of few entries in float32 a penalty cannot be told from chance.
    assert told["penalty"] >= (9 if kind == "f8" else 7 if n > 3 else 0)


MODELS = [logistic, network, process, counts]
SPOILT = {
    # Of one entry a factor of 1.1 is told only where differences have six digits.
    Cause.FACTOR: lambda g, t, r: g * r.choice([2, 0.5, 1.1, 40] if g.size > 1 else [2, 0.5]),
    Cause.SIGN: lambda g, t, r: -g,
    Cause.ZERO: lambda g, t, r: 0 * g,
    Cause.MISSING_L2: lambda g, t, r: g - r.choice([0.1, 0.3, -0.3]) * t,
    Cause.OFFSET: lambda g, t, r: g + r.choice([0.1, 1, -0.25]),
    Cause.LOG_PARAMETER: lambda g, t, r: g * np.exp(r.choice([1, -1]) * t),
    Cause.BROADCAST: lambda g, t, r: np.full(g.shape, g.sum()),
    Cause.REVERSED: lambda g, t, r: g[::-1],
    Cause.NEARBY: lambda g, t, r: g * (1 + 1e-4 * r.uniform(0.5, 1, g.shape)),
}
# Entries below which a cause cannot be told from chance, or from another one.
NEEDED = {
    Cause.MISSING_L2: 3,
    Cause.OFFSET: 3,
    Cause.BROADCAST: 3,
    Cause.REVERSED: 5,
    Cause.NEARBY: 3,
}
CASES = [
    pytest.param(model, kind, block, id=f"{model.__name__}-{kind.name}-{block}")
    for model in MODELS
    for kind in SPOILT
    for block, size in enumerate(model(np.random.default_rng(0))[3])
    if size >= NEEDED.get(kind, 1)
]


def in_arrays(t, sizes):
    """The blocks of a vector as arrays by name: 0-d where a block is one number."""
    cuts = np.split(t, np.cumsum(sizes)[:-1])
    return {f"p{k}": each.reshape(()) if each.size == 1 else each for k, each in enumerate(cuts)}


def in_vector(arrays):
    return np.concatenate([np.ravel(each) for each in arrays.values()])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("model", "kind", "block"), CASES)
def test_cause_and_place_in_a_block(model, kind, block, seed):
    random = np.random.default_rng(seed)
    f, gradient, t, sizes = model(random)
    ends = np.cumsum(sizes)
    side = slice(int(ends[block] - sizes[block]), int(ends[block]))
    claimed = gradient(t)
    claimed[side] = SPOILT[kind](claimed[side], t[side], random)
    flat = fg.check_gradient(f, claimed, t.copy())
    assert [cause.kind for cause in flat.causes] == [kind], flat
    inside = f"{side.start}" if sizes[block] == 1 else f"{side.start}:{side.stop}"
    assert flat.causes[0].place == f"params[{inside}]"

    arrays = {key: each.copy() for key, each in in_arrays(t, sizes).items()}
    nested = fg.check_gradient(lambda p: f(in_vector(p)), in_arrays(claimed, sizes), arrays)
    assert [(c.kind, c.leaf, c.place) for c in nested.causes] == [(kind, f"p{block}", f"p{block}")]
    right = fg.check_gradient(f, gradient, t.copy())
    assert right.verdict is fg.Verdict.RIGHT
    assert not right.causes


@pytest.mark.parametrize("model", MODELS)
def test_factor_of_all_arrays_is_said_once(model):
    f, gradient, t, sizes = model(np.random.default_rng(0))
    arrays = in_arrays(t, sizes)
    claimed = in_arrays(gradient(t) * 0.7744, sizes)
    report = fg.check_gradient(lambda p: f(in_vector(p)), claimed, arrays)
    (cause,) = report.causes
    assert cause.kind is Cause.FACTOR
    assert cause.evidence["factor"] == pytest.approx(0.7744, rel=1e-5)
    assert set(cause.evidence["leaves"]) == set(arrays)


@pytest.mark.parametrize("m", [50, 150, 1000])
def test_factor_of_a_scalar_is_the_number_of_samples(m):
    f, gradient = lambda x: float(np.log1p(x * x)), lambda x: m * 2 * x / (1 + x * x)
    (cause,) = fg.check_gradient(f, gradient, 1.3).causes
    assert (cause.kind, cause.evidence["factor"]) == (Cause.FACTOR, m)


def wrong_in_the_first(count, names):
    """The causes where so many of the first arrays of a network, by any names, are wrong."""
    f, gradient, t, sizes = network(np.random.default_rng(0))
    claimed, params = (
        dict(zip(names, in_arrays(each, sizes).values(), strict=True)) for each in (gradient(t), t)
    )
    for k, name in enumerate(names[:count]):
        claimed[name] = np.tanh((3 + k) * claimed[name]) + 0.1 + 0.07 * np.arange(sizes[k]) ** 2
    return fg.check_gradient(lambda p: f(in_vector(p)), claimed, params).causes


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (1, "; `p0` is the first array, and all after it are right"),
        (2, "; `p1` and all arrays before it are wrong, `p2` and all after it are right"),
        (3, "; `p2` and all arrays before it are wrong, `p3`, the last one, is right"),
    ],
)
def test_up_to_which_layer_a_gradient_is_wrong_is_said_once(count, said):
    causes = wrong_in_the_first(count, ("p0", "p1", "p2", "p3"))
    assert {cause.kind for cause in causes} == {Cause.UNKNOWN}
    assert len(causes) == count
    assert causes[0].sentence.endswith(said)
    assert not any(" right" in cause.sentence for cause in causes[1:])


@pytest.mark.parametrize("names", [("q", "k", "v", "bias"), ("W2", "b2", "W1", "b1")])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_arrays_that_are_no_rising_layers_no_order_is_told(names, count):
    causes = wrong_in_the_first(count, names)
    assert not any(word in each.sentence for each in causes for word in (" before ", " after "))


def test_scalar_that_holds_the_gradient_of_another():
    def f(p):
        return float(p["spot"] * np.sin(p["vol"]) * p["time"] ** 2)

    p = {"spot": np.array(3.0), "vol": np.array(0.4), "time": np.array(0.7)}
    vega = 3.0 * np.cos(0.4) * 0.49
    claimed = {"spot": np.sin(0.4) * 0.49, "vol": vega, "time": vega}
    (cause,) = fg.check_gradient(f, claimed, p).causes
    assert (cause.kind, cause.leaf, cause.evidence["with"]) == (Cause.SWAPPED, "time", "vol")


def test_array_that_does_not_move_f_has_no_relation():
    p = {"W": np.array([[1.0, -2.0], [3.0, 4.0]]), "b": np.array([0.5, -0.2])}
    kept = p["W"].copy()
    f = lambda p: float((kept**2).sum() + (p["b"] ** 4).sum())  # noqa: E731
    report = fg.check_gradient(f, {"W": 2 * kept, "b": 4 * p["b"] ** 3}, p)
    assert {cause.kind for cause in report.causes} <= {Cause.UNKNOWN}
