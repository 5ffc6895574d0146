"""Likelihoods of statsmodels on the data that it ships, with its own scores."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import statsmodels.api as sm
from mutant_models import NO_PATTERN, Blocks, Model, join, penalised, random_of
from statsmodels.discrete import conditional_models, count_model, discrete_model
from statsmodels.duration.hazard_regression import PHReg
from statsmodels.othermod.betareg import BetaModel


def models() -> Iterator[Model]:
    yield _binary("statsmodels/logit fair", sm.Logit)
    yield _binary("statsmodels/probit fair", sm.Probit)
    yield _counts("statsmodels/poisson randhie", sm.Poisson, {})
    yield _counts("statsmodels/negative binomial randhie", sm.NegativeBinomial, {"alpha": 0.6})
    yield _counts(
        "statsmodels/generalised poisson randhie", discrete_model.GeneralizedPoisson, {"alpha": 0.2}
    )
    yield _zero_inflated()
    yield _multinomial()
    yield _gamma()
    yield _beta()
    yield _hazard()
    yield _conditional()


def _standard(X: Any) -> np.ndarray:
    X = np.asarray(X, dtype=float)
    return (X - X.mean(axis=0)) / X.std(axis=0)


def _negative(name: str, model: Any, params: Blocks, turn: bool = False, **known: Any) -> Model:
    """Minus the log-likelihood: `minimize` wants it so. `turn`: the matrix is stored by columns."""
    shapes = {key: block.shape for key, block in params.items()}

    def vector(p: Blocks) -> np.ndarray:
        return join({k: b.T for k, b in p.items()} if turn else p)

    def grad(p: Blocks) -> Blocks:
        g, found, start = -np.asarray(model.score(vector(p)), dtype=float), {}, 0
        for key, shape in shapes.items():
            part = g[start : start + int(np.prod(shape))]
            found[key] = (part.reshape(shape[::-1]).T if turn else part.reshape(shape)).copy()
            start += part.size
        return found

    return Model(name, lambda p: -float(model.loglike(vector(p))), grad, params, **known)


def _binary(name: str, kind: Any) -> Model:
    data = sm.datasets.fair.load_pandas()
    y, X = (data.endog[::60] > 0).astype(float), _standard(data.exog[::60])
    rng = random_of(name)
    params = {"const": np.array(-0.6), "slopes": rng.normal(size=X.shape[1]) / 3}
    model = _negative(name, kind(np.asarray(y), sm.add_constant(X)), params)
    other = y.to_numpy().copy()
    other[0] = 1 - other[0]
    near = _negative(name, kind(other, sm.add_constant(X)), params)
    careless = {}
    if kind is sm.Probit:  # X^T (p - y) holds for the canonical link only
        like_logit = _Score(model, sm.Probit(np.asarray(y), sm.add_constant(X)))
        careless = {"score of the canonical link": (like_logit.grad, NO_PATTERN)}
    return penalised(replace(model, nearby=near.grad, careless=careless), {"slopes": 2.0})


class _Score:
    """X^T (p - y), right for a logit."""

    def __init__(self, model: Model, kind: Any) -> None:
        self.model, self.kind = model, kind

    def grad(self, p: Blocks) -> Blocks:
        r = self.kind.cdf(self.kind.exog @ join(p)) - self.kind.endog
        return {k: v.copy() for k, v in self.model.split(self.kind.exog.T @ r).items()}


def _randhie() -> tuple[np.ndarray, np.ndarray]:
    data = sm.datasets.randhie.load_pandas()
    return np.asarray(data.endog[::250], dtype=float), _standard(data.exog[::250])


def _counts(name: str, kind: Any, more: dict[str, float]) -> Model:
    y, X = _randhie()
    rng = random_of(name)
    params = {"const": np.array(0.8), "slopes": rng.normal(size=X.shape[1]) / 10}
    params |= {key: np.array(value) for key, value in more.items()}
    model = _negative(name, kind(y, sm.add_constant(X)), params, rates=tuple(more))
    if kind is sm.NegativeBinomial:  # the slopes' score lacks 1 / (1 + alpha mu)
        poisson = _Poisson(model, y, sm.add_constant(X))
        model = replace(model, careless={"slopes as of a Poisson": (poisson.grad, NO_PATTERN)})
    return penalised(model, {"slopes": 5.0})


class _Poisson:
    """The score of a Poisson model in place of that of the coefficients."""

    def __init__(self, model: Model, y: np.ndarray, X: np.ndarray) -> None:
        self.right, self.poisson = model, sm.Poisson(y, X)

    def grad(self, p: Blocks) -> Blocks:
        g = self.right.grad(p)
        score = -self.poisson.score(np.append(p["const"], p["slopes"]))
        return {**g, "const": np.asarray(score[0]), "slopes": score[1:]}


def _zero_inflated() -> Model:
    name = "statsmodels/zero-inflated poisson randhie"
    y, X = _randhie()
    rng = random_of(name)
    model = count_model.ZeroInflatedPoisson(
        y, sm.add_constant(X[:, :5]), exog_infl=sm.add_constant(X[:, 5:7])
    )
    params = {"inflation": rng.normal(size=3) / 3, "mean": np.append(0.8, rng.normal(size=5) / 10)}
    return _negative(name, model, params)


def _multinomial() -> Model:
    name = "statsmodels/multinomial logit anes96"
    data = sm.datasets.anes96.load_pandas()
    X = sm.add_constant(_standard(data.exog[::12].iloc[:, :5]))
    model = sm.MNLogit(np.minimum(np.asarray(data.endog[::12]), 4) // 2, X)
    params = {"coef": random_of(name).normal(size=(X.shape[1], 2)) / 3}
    return penalised(_negative(name, model, params, turn=True), {"coef": 1.0})


def _gamma() -> Model:
    name = "statsmodels/gamma scotland"
    data = sm.datasets.scotland.load_pandas()
    X = _standard(data.exog.iloc[:, :7])
    family = sm.families.Gamma(sm.families.links.Log())
    model = sm.GLM(np.asarray(data.endog) / 50, sm.add_constant(X), family=family)
    glm = _WithScale(model)
    params = {"const": np.array(0.2), "slopes": random_of(name).normal(size=7) / 10}
    return _negative(name, glm, params)


class _WithScale:
    """A GLM of a known dispersion: by default it would be estimated anew at each call."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def loglike(self, params: np.ndarray) -> float:
        return self.model.loglike(params, scale=0.3)

    def score(self, params: np.ndarray) -> np.ndarray:
        return self.model.score(params, scale=0.3)


def _beta() -> Model:
    name = "statsmodels/beta regression"
    rng = random_of(name)
    data = sm.datasets.fair.load_pandas()
    X = _standard(data.exog[::120].iloc[:, :4])
    y = rng.beta(2 + X[:, 0] ** 2, 3)
    model = BetaModel(y, sm.add_constant(X), exog_precision=sm.add_constant(X[:, :2]))
    params = {"mean": rng.normal(size=5) / 3, "precision": np.append(1.2, rng.normal(size=2) / 4)}
    return _negative(name, model, params)


def _hazard() -> Model:
    name = "statsmodels/cox heart"
    data = sm.datasets.heart.load_pandas()
    age = np.asarray(data.exog, dtype=float).ravel()
    rng = random_of(name)
    X = _standard(np.column_stack([age, age**2, rng.normal(size=(len(age), 3))]))
    time = np.asarray(data.endog, dtype=float) + rng.uniform(0, 0.5, len(age))
    model = PHReg(time, X, status=np.asarray(data.censors))
    params = {"slopes": rng.normal(size=5) / 3}
    return penalised(_negative(name, model, params), {"slopes": 3.0}, {"slopes": 0.4})


def _conditional() -> Model:
    name = "statsmodels/conditional logit"
    rng = random_of(name)
    X, groups = rng.normal(size=(60, 4)), np.repeat(np.arange(12), 5)
    y = (X @ [1, -0.5, 0.3, 0] + rng.logistic(size=60) > 0).astype(int)
    model = conditional_models.ConditionalLogit(y, X, groups=groups)
    return _negative(name, model, {"slopes": rng.normal(size=4) / 2})
