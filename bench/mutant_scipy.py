"""Losses made of SciPy's functions, with gradients from SciPy's own or from the textbook."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from mutant_models import NO_PATTERN, Blocks, Model, penalised, random_of
from scipy import interpolate, linalg, optimize, signal, spatial, special, stats


def models() -> Iterator[Model]:
    yield _rosenbrock()
    yield _enzyme()
    yield _softmax()
    yield _procrustes()
    yield _mixture()
    yield _dirichlet()
    yield _deconvolution()
    yield _spline()
    yield _covariance()
    yield _beta_counts()
    yield _recurrence()
    yield _transport()


def _rosenbrock() -> Model:
    name = "scipy/rosenbrock"
    x = random_of(name).uniform(0.5, 1.5, 12)

    def f(p: Blocks) -> float:
        return float(optimize.rosen(np.concatenate([p["first"], p["second"]])))

    def grad(p: Blocks) -> Blocks:
        g = optimize.rosen_der(np.concatenate([p["first"], p["second"]]))
        return {"first": g[:6], "second": g[6:]}

    return Model(name, f, grad, {"first": x[:6].copy(), "second": x[6:].copy()})


def _enzyme() -> Model:
    """Kowalik and Osborne's kinetics, as in the documentation of `least_squares`."""
    u = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
    y = np.array([19.57, 19.47, 17.35, 16, 8.44, 6.27, 4.56, 3.42, 3.23, 2.35, 2.46]) / 10

    def residuals(p: Blocks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        top, den = u**2 + u * p["num"], u**2 + u * p["den"][0] + p["den"][1]
        return p["scale"] * top / den - y, top, den

    def f(p: Blocks) -> float:
        return float((residuals(p)[0] ** 2).sum() / 2)

    def grad(p: Blocks) -> Blocks:
        r, top, den = residuals(p)
        slope = -p["scale"] * top / den**2
        return {
            "scale": np.asarray(r @ (top / den)),
            "num": np.asarray(r @ (p["scale"] * u / den)),
            "den": np.array([r @ (slope * u), r @ slope]),
        }

    params = {"scale": np.array(2.1), "num": np.array(0.39), "den": np.array([0.415, 0.32])}
    return Model("scipy/enzyme kinetics", f, grad, params, rates=("scale", "den"))


def _softmax() -> Model:
    name = "scipy/softmax regression"
    rng = random_of(name)
    X, y = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)

    def f(p: Blocks) -> float:
        z = X @ p["W"] + p["b"]
        return float((special.logsumexp(z, axis=1) - z[np.arange(30), y]).mean())

    def grad(p: Blocks) -> Blocks:
        z = X @ p["W"] + p["b"]
        d = (special.softmax(z, axis=1) - np.eye(3)[y]) / 30
        return {"W": X.T @ d, "b": d.sum(axis=0)}

    model = Model(name, f, grad, {"W": rng.normal(size=(4, 3)), "b": rng.normal(size=3)})
    return penalised(model, {"W": 0.1}, {"W": 0.03})


def _procrustes() -> Model:
    """Directions that shall fit others after a rotation; they are normalised by the loss."""
    name = "scipy/spherical procrustes"
    rng = random_of(name)
    A, R = rng.normal(size=(6, 3)), stats.special_ortho_group.rvs(3, random_state=1)

    def f(p: Blocks) -> float:
        return float(((_unit(p["X"]) @ R - A) ** 2).sum())

    def grad(p: Blocks) -> Blocks:
        n, d = _unit(p["X"]), 2 * (_unit(p["X"]) @ R - A) @ R.T
        along = (n * d).sum(axis=1, keepdims=True)
        return {"X": (d - along * n) / np.linalg.norm(p["X"], axis=1, keepdims=True)}

    return Model(name, f, grad, {"X": rng.normal(size=(6, 3))}, unit={"X": 1})


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _mixture() -> Model:
    name = "scipy/gaussian mixture"
    rng = random_of(name)
    X = np.concatenate([rng.normal(-1, 0.7, (20, 2)), rng.normal(1.2, 1.1, (20, 2))])

    def parts(p: Blocks) -> tuple[np.ndarray, np.ndarray]:
        z = (X[:, None] - p["means"]) / np.exp(p["log_sigma"])
        logs = p["logits"] - special.logsumexp(p["logits"])
        return z, logs - (z**2 / 2 + p["log_sigma"]).sum(axis=2)

    def f(p: Blocks) -> float:
        return -float(special.logsumexp(parts(p)[1], axis=1).sum())

    def grad(p: Blocks) -> Blocks:
        z, logs = parts(p)
        share = special.softmax(logs, axis=1)
        return {
            "logits": len(X) * special.softmax(p["logits"]) - share.sum(axis=0),
            "means": -(share[..., None] * z / np.exp(p["log_sigma"])).sum(axis=0),
            "log_sigma": -(share[..., None] * (z**2 - 1)).sum(axis=0),
        }

    params = {
        "logits": rng.normal(size=3) / 2,
        "means": rng.normal(size=(3, 2)),
        "log_sigma": rng.normal(size=(3, 2)) / 3,
    }
    return Model(name, f, grad, params, logs={"log_sigma": ...})


def _dirichlet() -> Model:
    """Maximum likelihood of a Dirichlet distribution, by logarithms of its parameters."""
    name = "scipy/dirichlet likelihood"
    rng = random_of(name)
    mean_log = np.log(rng.dirichlet([2, 1, 3, 0.7, 1.5], 40)).mean(axis=0)

    def f(p: Blocks) -> float:
        a = np.exp(p["log_alpha"])
        return float(special.gammaln(a).sum() - special.gammaln(a.sum()) - (a - 1) @ mean_log)

    def grad(p: Blocks) -> Blocks:
        a = np.exp(p["log_alpha"])
        return {"log_alpha": a * (special.digamma(a) - special.digamma(a.sum()) - mean_log)}

    return Model(name, f, grad, {"log_alpha": rng.normal(size=5) / 2}, logs={"log_alpha": ...})


def _deconvolution() -> Model:
    name = "scipy/deconvolution"
    rng = random_of(name)
    image = rng.normal(size=(8, 8))
    seen = signal.correlate2d(image, rng.normal(size=(3, 3)), "valid")

    def residual(p: Blocks) -> np.ndarray:
        return signal.correlate2d(image, p["kernel"], "valid") + p["offset"] - seen

    def f(p: Blocks) -> float:
        return float((residual(p) ** 2).mean() / 2)

    def grad(p: Blocks) -> Blocks:
        r = residual(p) / 36
        return {"kernel": signal.correlate2d(image, r, "valid"), "offset": r.sum()}

    params = {"kernel": rng.normal(size=(3, 3)), "offset": np.array(0.4)}
    return penalised(Model(name, f, grad, params, kernels=("kernel",)), {"kernel": 0.2})


def _spline() -> Model:
    """A smoothing spline with a robust loss."""
    name = "scipy/spline"
    rng = random_of(name)
    t = np.r_[[0.0] * 3, np.linspace(0, 1, 9), [1.0] * 3]
    x = np.sort(rng.uniform(0, 1, 40))
    B = interpolate.BSpline.design_matrix(x, t, 3).toarray()
    y = np.sin(6 * x) + rng.standard_t(2, 40) / 5
    D = np.diff(np.eye(B.shape[1]), 2, axis=0)

    def f(p: Blocks) -> float:
        fit, rough = B @ p["coef"] - y, D @ p["coef"]
        return float(special.pseudo_huber(0.5, fit).sum() + 0.3 * rough @ rough)

    def grad(p: Blocks, delta: float = 0.5) -> Blocks:
        fit = B @ p["coef"] - y
        slope = fit / np.sqrt(1 + (fit / delta) ** 2)
        return {"coef": B.T @ slope + 0.6 * D.T @ (D @ p["coef"])}

    params = {"coef": rng.normal(size=B.shape[1])}
    return Model(name, f, grad, params, nearby=lambda p: grad(p, 0.501))


def _covariance() -> Model:
    """The normal likelihood; the covariance is a full matrix, as `slogdet` takes it."""
    name = "scipy/normal likelihood"
    rng = random_of(name)
    X = stats.multivariate_normal.rvs(np.zeros(4), np.diag([1, 2, 3, 4.0]), 50, random_state=2)

    def f(p: Blocks) -> float:
        Z = X - p["mean"]
        return float(
            np.linalg.slogdet(p["cov"])[1] + np.trace(linalg.solve(p["cov"], Z.T @ Z / 50))
        )

    def grad(p: Blocks) -> Blocks:
        Z, inverse = X - p["mean"], linalg.inv(p["cov"])
        S = Z.T @ Z / 50
        mean = -(inverse + inverse.T) @ Z.mean(axis=0)
        return {"mean": mean, "cov": (inverse - inverse @ S @ inverse).T}

    root = rng.normal(size=(4, 4))
    params = {"mean": rng.normal(size=4) / 3, "cov": root @ root.T / 2 + np.eye(4)}
    return Model(name, f, grad, params, symmetric=("cov",))


def _beta_counts() -> Model:
    """Beta-binomial counts: two rates, each positive."""
    rng = np.random.default_rng(3)
    n, k = np.full(30, 12), rng.binomial(12, rng.beta(2, 3, 30))

    def f(p: Blocks) -> float:
        return -float(
            (special.betaln(k + p["a"], n - k + p["b"]) - special.betaln(p["a"], p["b"])).sum()
        )

    def grad(p: Blocks) -> Blocks:
        a, b, psi = p["a"], p["b"], special.digamma
        both = psi(n + a + b) - psi(a + b)
        g = {"a": psi(k + a) - psi(a) - both, "b": psi(n - k + b) - psi(b) - both}
        return {key: -np.asarray(each.sum()) for key, each in g.items()}

    params = {"a": np.array(1.7), "b": np.array(2.6)}
    return Model("scipy/beta binomial", f, grad, params, rates=("a", "b"))


def _recurrence() -> Model:
    """A linear filter run over time, its gradient by the adjoint recurrence."""
    name = "scipy/recurrence"
    rng = random_of(name)
    inputs, target = rng.normal(size=(15, 3)), rng.normal(size=15)

    def run(p: Blocks) -> np.ndarray:
        states = [np.zeros(4)]
        for u in inputs:
            states.append(np.tanh(p["A"] @ states[-1] + p["B"] @ u))
        return np.array(states)

    def f(p: Blocks) -> float:
        return float(((run(p)[1:] @ p["c"] - target) ** 2).sum() / 2)

    def grad(p: Blocks, first: int = 0, slope: int = 2) -> Blocks:
        states = run(p)
        errors, back = states[1:] @ p["c"] - target, np.zeros(4)
        g = {"A": np.zeros((4, 4)), "B": np.zeros((4, 3)), "c": errors @ states[1:]}
        for i in reversed(range(15)):
            pull = (back + errors[i] * p["c"]) * (1 - states[i + 1] ** slope)
            if i >= first:
                g["A"] += np.outer(pull, states[i])
                g["B"] += np.outer(pull, inputs[i])
            back = p["A"].T @ pull
        return g

    careless = {
        "last step instead of the sum": (lambda p: grad(p, 14), ("LAST", "RANK", *NO_PATTERN)),
        "1 - s for 1 - s^2": (lambda p: grad(p, slope=1), NO_PATTERN),
    }
    params = {
        "A": rng.normal(size=(4, 4)) / 2,
        "B": rng.normal(size=(4, 3)),
        "c": rng.normal(size=4),
    }
    return Model(name, f, grad, params, careless=careless)


def _transport() -> Model:
    """The cost of a transport plan is linear: its gradient is the same everywhere."""
    name = "scipy/transport"
    rng = random_of(name)
    cost = spatial.distance.cdist(rng.normal(size=(4, 2)), rng.normal(size=(3, 2)))

    def f(p: Blocks) -> float:
        return float((cost * p["plan"]).sum() + p["fee"].sum() / 7)

    def grad(p: Blocks) -> Blocks:
        return {"plan": cost.copy(), "fee": np.full(5, 1 / 7)}

    params = {"plan": rng.dirichlet(np.ones(12)).reshape(4, 3), "fee": rng.uniform(1, 2, 5)}
    return Model(name, f, grad, params)
