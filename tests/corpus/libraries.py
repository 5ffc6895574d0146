"""Gradients that SciPy, scikit-learn, statsmodels and PyTorch ship."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Case, Family, rng
from .likelihoods import design

scipy_ones = Family("libraries", requires=("scipy",))
sklearn_ones = Family("libraries", requires=("sklearn",))
statsmodels_ones = Family("libraries", requires=("statsmodels",))
torch_ones = Family("libraries", requires=("torch",))


@scipy_ones
def scipy_rosen_der() -> Case:
    from scipy.optimize import rosen, rosen_der

    return Case(rosen, rosen_der, np.array([-0.6, 1.1, 0.4, -1.3, 0.9, 0.2, -0.1]))


@scipy_ones
def scipy_cubic_spline() -> Case:
    """A spline and its shipped derivative."""
    from scipy.interpolate import CubicSpline

    spline = CubicSpline(np.arange(8), rng(601).normal(size=8))
    slope = spline.derivative()
    return Case(lambda x: np.sum(spline(x)), slope, rng(602).uniform(0.5, 6.5, 5))


def _loss(name: str, targets: Callable, **options: float) -> Callable[[], Case]:
    """One of scikit-learn's private losses in the raw prediction."""

    def make() -> Case:
        import sklearn._loss as losses

        y = targets(rng(603), 12)
        loss = getattr(losses, name)(**options)
        shape = (12, 3) if name == "HalfMultinomialLoss" else (12,)

        def f(raw):
            return float(np.sum(loss.loss(y_true=y, raw_prediction=raw)))

        return Case(
            f, lambda raw: loss.gradient(y_true=y, raw_prediction=raw), rng(604).normal(size=shape)
        )

    return make


for _name, _targets, _options in [
    ("HalfBinomialLoss", lambda r, n: r.integers(0, 2, n).astype(float), {}),
    ("HalfPoissonLoss", lambda r, n: r.poisson(2, n).astype(float), {}),
    ("HalfGammaLoss", lambda r, n: r.gamma(2, 1, n), {}),
    ("HalfTweedieLoss", lambda r, n: r.gamma(2, 1, n), {"power": 1.5}),
    ("PinballLoss", lambda r, n: r.normal(size=n), {"quantile": 0.8}),
    ("HuberLoss", lambda r, n: r.normal(size=n), {"delta": 0.7}),
    ("HalfMultinomialLoss", lambda r, n: r.integers(0, 3, n).astype(float), {"n_classes": 3}),
]:
    sklearn_ones.add(f"sklearn_{_name}", _loss(_name, _targets, **_options))


def _linear_model(loss_name: str, l2: float) -> Case:
    from sklearn import _loss as losses
    from sklearn.linear_model._linear_loss import LinearModelLoss

    x, y = rng(605).normal(size=(20, 4)), rng(606).integers(0, 2, 20).astype(float)
    model = LinearModelLoss(base_loss=getattr(losses, loss_name)(), fit_intercept=True)
    return Case(
        lambda w: float(model.loss(w, x, y, l2_reg_strength=l2)),
        lambda w: model.gradient(w, x, y, l2_reg_strength=l2),
        rng(607).normal(size=5),
    )


sklearn_ones.add("sklearn_linear_logistic", lambda: _linear_model("HalfBinomialLoss", 0.0))
sklearn_ones.add("sklearn_linear_poisson_l2", lambda: _linear_model("HalfPoissonLoss", 0.4))


@sklearn_ones
def sklearn_gaussian_process() -> Case:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    x, y = rng(608).uniform(0, 4, (12, 1)), rng(609).normal(size=12)
    model = GaussianProcessRegressor(
        ConstantKernel(1.0) * RBF(0.8) + WhiteKernel(0.3), optimizer=None
    ).fit(x, y)
    return Case(
        lambda t: float(-model.log_marginal_likelihood(t)),
        lambda t: -model.log_marginal_likelihood(t, eval_gradient=True)[1],
        model.kernel_.theta.copy(),
    )


def _discrete(model: str, extra: int = 0) -> Callable[[], Case]:
    """Minus a statsmodels log-likelihood and its score."""

    def make() -> Case:
        from statsmodels.discrete import discrete_model

        binary = model in ("Logit", "Probit")
        y = rng(610).integers(0, 2, 30) if binary else rng(611).poisson(2, 30)
        fitted = getattr(discrete_model, model)(y, 0.5 * design(30, 3, 612))
        point = np.concatenate([0.5 * rng(613).normal(size=3), np.full(extra, 0.6)])
        return Case(lambda b: -float(fitted.loglike(b)), lambda b: -fitted.score(b), point)

    return make


statsmodels_ones.add("statsmodels_logit", _discrete("Logit"))
statsmodels_ones.add("statsmodels_probit", _discrete("Probit"))
statsmodels_ones.add("statsmodels_poisson", _discrete("Poisson"))
statsmodels_ones.add("statsmodels_negative_binomial", _discrete("NegativeBinomial", extra=1))
statsmodels_ones.add("statsmodels_generalized_poisson", _discrete("GeneralizedPoisson", extra=1))


def _through_torch(loss: Callable, params: dict[str, np.ndarray]) -> Case:
    """Autograd on float64 tensors that share the NumPy memory of the parameters."""
    import torch

    def f(p):
        with torch.no_grad():
            return loss(torch, {k: torch.from_numpy(v) for k, v in p.items()}).item()

    def grad(p):
        tensors = {k: torch.from_numpy(v.copy()).requires_grad_() for k, v in p.items()}
        loss(torch, tensors).backward()
        return {k: t.grad.numpy().copy() for k, t in tensors.items()}

    return Case(f, grad, params)


@torch_ones
def torch_network() -> Case:
    def loss(torch, p):
        x = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(8, 3)
        return ((torch.tanh(x @ p["W"] + p["b"]) @ p["v"]) ** 2).mean()

    r = rng(614)
    return _through_torch(
        loss, {"W": r.normal(size=(3, 4)), "b": r.normal(size=4), "v": r.normal(size=4)}
    )


@torch_ones
def torch_layer_norm() -> Case:
    def loss(torch, p):
        x = torch.sin(torch.arange(20, dtype=torch.float64)).reshape(5, 4)
        h = torch.nn.functional.layer_norm(x @ p["W"], (3,), p["g"], p["g"])
        return torch.nn.functional.cross_entropy(h, torch.tensor([0, 1, 2, 0, 1]))

    r = rng(615)
    return _through_torch(loss, {"W": r.normal(size=(4, 3)), "g": r.uniform(0.5, 1.5, 3)})
