"""Losses of scikit-learn on the data that it ships, with its own gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from mutant_models import Blocks, Model, join, penalised, random_of
from sklearn import datasets
from sklearn._loss import HalfBinomialLoss, HalfGammaLoss, HalfMultinomialLoss, HalfPoissonLoss
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, RationalQuadratic, WhiteKernel
from sklearn.linear_model._huber import _huber_loss_and_gradient
from sklearn.linear_model._linear_loss import LinearModelLoss
from sklearn.neighbors import NeighborhoodComponentsAnalysis
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.preprocessing import scale

Pair = Callable[[np.ndarray], tuple[float, np.ndarray]]


def models() -> Iterator[Model]:
    yield _binomial()
    yield _multinomial()
    yield _counts("sklearn/poisson diabetes", HalfPoissonLoss())
    yield _counts("sklearn/gamma diabetes", HalfGammaLoss())
    yield _huber()
    yield _hinge()
    yield _ridge()
    yield _components()
    yield _network(MLPClassifier, datasets.load_iris, "logistic", "sklearn/mlp iris")
    yield _network(MLPRegressor, datasets.load_diabetes, "tanh", "sklearn/mlp diabetes")
    yield _process()
    yield _process_classifier()


def _data(load: Callable, rows: int, columns: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    X, y = load(return_X_y=True)
    every = max(1, len(y) // rows)
    return scale(X[::every, :columns]), y[::every]


def of_vector(name: str, pair: Pair, params: Blocks, **knowledge: object) -> Model:
    """A model whose value and gradient come together, from one vector."""
    shapes = {key: block.shape for key, block in params.items()}
    model = Model(name, lambda p: float(pair(join(p))[0]), lambda p: p, params)

    def grad(p: Blocks) -> Blocks:
        return {k: v.reshape(shapes[k]).copy() for k, v in model.split(pair(join(p))[1]).items()}

    return replace(model, grad=grad, **knowledge)


def _binomial() -> Model:
    name = "sklearn/logistic breast cancer"
    X, y = _data(datasets.load_breast_cancer, 100, 12)
    loss, target, rng = LinearModelLoss(HalfBinomialLoss(), True), y.astype(float), random_of(name)
    params = {"coef": rng.normal(size=12) / 3, "intercept": np.array(0.3)}

    def pair(v: np.ndarray, c: float = 0.5) -> tuple[float, np.ndarray]:
        return loss.loss_gradient(v, X, target, l2_reg_strength=c)

    return of_vector(name, pair, params, l2={"coef": 0.5})


def _multinomial() -> Model:
    name = "sklearn/softmax iris"
    X, y = _data(datasets.load_iris, 75)
    loss, rng = LinearModelLoss(HalfMultinomialLoss(n_classes=3), True), random_of(name)
    params = {"W": rng.normal(size=(3, 4)) / 2, "b": rng.normal(size=3) / 2}

    def pair(v: np.ndarray) -> tuple[float, np.ndarray]:
        coef = np.column_stack([v[:12].reshape(3, 4), v[12:]])
        value, g = loss.loss_gradient(coef, X, y.astype(float), l2_reg_strength=0.1)
        return value, np.concatenate([g[:, :4].ravel(), g[:, 4]])

    return of_vector(name, pair, params, l2={"W": 0.1})


def _counts(name: str, base: object) -> Model:
    X, y = _data(datasets.load_diabetes, 80)
    loss, target, rng = LinearModelLoss(base, True), y / 50, random_of(name)
    params = {"coef": rng.normal(size=10) / 5, "intercept": np.array(0.8)}
    model = of_vector(name, lambda v: loss.loss_gradient(v, X, target), params)
    other = of_vector(name, lambda v: loss.loss_gradient(v, X, target + 0.002), params)
    return penalised(replace(model, nearby=other.grad), {"coef": 0.2}, {"coef": 0.05})


def _huber() -> Model:
    name = "sklearn/huber diabetes"
    X, y = _data(datasets.load_diabetes, 60)
    rng, weight, target = random_of(name), np.ones(len(X)), (y - 150) / 80

    def pair(v: np.ndarray, epsilon: float = 1.35) -> tuple[float, np.ndarray]:
        return _huber_loss_and_gradient(v, X, target, epsilon, 0.5, weight)

    params = {"coef": rng.normal(size=10) / 3, "intercept": np.array(0.2), "sigma": np.array(0.7)}
    # alpha |w|^2, without the half.
    model = of_vector(name, pair, params, l2={"coef": 1.0}, rates=("sigma",))
    near = of_vector(name, lambda v: pair(v, 1.352), params)
    return replace(model, nearby=near.grad)


def _hinge() -> Model:
    """The loss of LinearSVC: squared hinge, the intercept not penalised."""
    name = "sklearn/squared hinge wine"
    X, y = _data(datasets.load_wine, 90)
    sign, rng = np.where(y == 0, 1.0, -1.0), random_of(name)

    def pair(v: np.ndarray) -> tuple[float, np.ndarray]:
        slack = np.fmax(0, 1 - sign * (X @ v[:-1] + v[-1]))
        pull = -2 * sign * slack
        g = np.append(X.T @ pull + v[:-1], pull.sum())
        return float((slack**2).sum() + v[:-1] @ v[:-1] / 2), g

    params = {"coef": rng.normal(size=13) / 4, "intercept": np.array(-0.2)}
    return of_vector(name, pair, params, l2={"coef": 1.0})


def _ridge() -> Model:
    """The loss of Ridge with several outputs."""
    name = "sklearn/ridge linnerud"
    X, Y = datasets.load_linnerud(return_X_y=True)
    X, Y, rng = scale(X), scale(Y), random_of(name)
    params = {"coef": rng.normal(size=(3, 3)), "intercept": rng.normal(size=3)}

    def f(p: Blocks) -> float:
        return float(((X @ p["coef"].T + p["intercept"] - Y) ** 2).sum() / 2)

    def grad(p: Blocks) -> Blocks:
        r = X @ p["coef"].T + p["intercept"] - Y
        return {"coef": r.T @ X, "intercept": r.sum(axis=0)}

    return penalised(Model(name, f, grad, params), {"coef": 2.0})


def _components() -> Model:
    name = "sklearn/nca wine"
    X, y = _data(datasets.load_wine, 60, 8)
    nca, same = NeighborhoodComponentsAnalysis(), y[:, None] == y[None, :]
    nca.n_iter_ = 1  # at 0 it prints the head of a table
    params = {"components": random_of(name).normal(size=(2, 8)) / 3}
    return of_vector(name, lambda v: nca._loss_grad_lbfgs(v, X, same, -1.0), params)


def _network(kind: Callable, load: Callable, activation: str, name: str) -> Model:
    X, y = _data(load, 40)
    regression = kind is MLPRegressor
    net = kind(
        hidden_layer_sizes=(5, 4),
        activation=activation,
        solver="lbfgs",
        max_iter=1,
        alpha=0.3,
        random_state=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.fit(X, (y - 150) / 80 if regression else y)
    target = ((y - 150) / 80)[:, None] if regression else np.eye(3)[y]
    units = [X.shape[1], 5, 4, target.shape[1]]
    layers = [X, *(np.empty((len(X), n)) for n in units[1:])]
    deltas, cg, ig = (
        [np.empty_like(a) for a in each] for each in (layers[1:], net.coefs_, net.intercepts_)
    )

    def pair(v: np.ndarray) -> tuple[float, np.ndarray]:
        return net._loss_grad_lbfgs(v, X, target, None, layers, deltas, cg, ig)

    rng, params = random_of(name), {}
    for i, coef in enumerate(net.coefs_):
        params[f"W{i + 1}"] = rng.normal(size=coef.shape) / np.sqrt(len(coef))
    for i, intercept in enumerate(net.intercepts_):
        params[f"b{i + 1}"] = rng.normal(size=intercept.shape) / 2
    l2 = {f"W{i + 1}": 0.3 / len(X) for i in range(3)}
    return of_vector(name, pair, params, l2=l2)


def _process() -> Model:
    name = "sklearn/gaussian process diabetes"
    X, y = _data(datasets.load_diabetes, 30, 4)
    target = (y - 150) / 80
    kernel = ConstantKernel(1.5) * RBF([1.0, 2.0, 1.5, 0.8]) + WhiteKernel(0.4)
    gp = GaussianProcessRegressor(kernel, optimizer=None).fit(X, target)
    return _likelihood(name, gp)


def _process_classifier() -> Model:
    name = "sklearn/rational quadratic diabetes"
    X, y = _data(datasets.load_diabetes, 25, 3)
    kernel = ConstantKernel(2.0) * RationalQuadratic(1.3, 0.7) + WhiteKernel(0.3)
    gp = GaussianProcessRegressor(kernel, optimizer=None).fit(X, (y - 150) / 80)
    return _likelihood(name, gp)


def _likelihood(name: str, gp: GaussianProcessRegressor | GaussianProcessClassifier) -> Model:
    """Hyperparameters enter as logarithms, all of them."""
    theta = gp.kernel_.theta + random_of(name).normal(size=gp.kernel_.n_dims) / 10
    params = {"amplitude": theta[0].copy(), "length": theta[1:-1].copy(), "noise": theta[-1].copy()}
    params = {key: np.asarray(value) for key, value in params.items()}

    def pair(v: np.ndarray) -> tuple[float, np.ndarray]:
        return gp.log_marginal_likelihood(v, eval_gradient=True, clone_kernel=False)

    return of_vector(name, pair, params, logs=dict.fromkeys(params, ...))
