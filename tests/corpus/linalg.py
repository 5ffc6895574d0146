"""Matrix functions."""

from __future__ import annotations

import numpy as np

from .base import Case, Family, rng

linalg = Family("linalg")


def _spd(n: int, seed: int) -> np.ndarray:
    root = rng(seed).normal(size=(n, n))
    return root @ root.T / n + np.eye(n)


@linalg
def log_determinant() -> Case:
    return Case(
        lambda a: np.linalg.slogdet(a)[1],
        lambda a: np.linalg.inv(a).T,
        np.eye(5) * 2 + 0.5 * rng(80).normal(size=(5, 5)),
    )


@linalg
def determinant() -> Case:
    return Case(
        lambda a: np.linalg.det(a),
        lambda a: np.linalg.det(a) * np.linalg.inv(a).T,
        rng(81).normal(size=(3, 3)) + np.eye(3),
    )


@linalg
def trace_of_inverse() -> Case:
    def grad(a):
        inverse = np.linalg.inv(a)
        return -(inverse @ inverse).T

    return Case(
        lambda a: np.trace(np.linalg.inv(a)),
        grad,
        3 * np.eye(4) + 0.5 * rng(82).normal(size=(4, 4)),
    )


@linalg
def quadratic_form_in_matrix() -> Case:
    """x'Ax as a function of a symmetric A, every entry free."""
    x = rng(83).normal(size=6)
    return Case(lambda a: x @ a @ x, lambda a: np.outer(x, x), _spd(6, 84))


@linalg
def inverse_form_of_symmetric() -> Case:
    """b'inv(A)b at a symmetric A, every entry free."""
    b = rng(85).normal(size=5)

    def grad(a):
        return -np.outer(np.linalg.solve(a.T, b), np.linalg.solve(a, b))

    return Case(lambda a: b @ np.linalg.solve(a, b), grad, _spd(5, 86))


@linalg
def gaussian_in_covariance() -> Case:
    """Negative log-likelihood of a sample in its covariance, every entry free."""
    sample = rng(87).normal(size=(9, 4))
    scatter = sample.T @ sample

    def grad(s):
        inverse = np.linalg.inv(s)
        return (9 * inverse - inverse @ scatter @ inverse).T / 2

    def f(s):
        return (9 * np.linalg.slogdet(s)[1] + np.trace(np.linalg.solve(s, scatter))) / 2

    return Case(f, grad, _spd(4, 88))


@linalg
def gaussian_in_cholesky_factor() -> Case:
    """The same in a lower factor L: entries above the diagonal are ignored."""
    sample = rng(89).normal(size=(9, 4))

    def f(factor):
        white = np.linalg.solve(np.tril(factor), sample.T)
        return 9 * np.sum(np.log(np.diag(factor))) + 0.5 * np.sum(white**2)

    def grad(factor):
        low = np.tril(factor)
        white = np.linalg.solve(low, sample.T)
        return np.tril(-np.linalg.solve(low.T, white @ white.T)) + np.diag(9 / np.diag(factor))

    return Case(f, grad, np.linalg.cholesky(_spd(4, 90)) + np.triu(np.full((4, 4), 0.3), 1))


@linalg
def cholesky_of_argument() -> Case:
    """Sum of the log-diagonal of a Cholesky factor: reads the lower triangle only."""

    def grad(a):
        inverse = np.linalg.inv(np.tril(a) + np.tril(a, -1).T)
        return np.tril(inverse, -1) + np.diag(np.diag(inverse)) / 2

    return Case(lambda a: np.sum(np.log(np.diag(np.linalg.cholesky(a)))), grad, _spd(5, 91))


@linalg
def frobenius_product() -> Case:
    r = rng(92)
    left, right, target = r.normal(size=(5, 3)), r.normal(size=(4, 6)), r.normal(size=(5, 6))

    def grad(x):
        return 2 * left.T @ (left @ x @ right - target) @ right.T

    return Case(lambda x: np.sum((left @ x @ right - target) ** 2), grad, r.normal(size=(3, 4)))


@linalg
def trace_of_product() -> Case:
    """tr(A X B X') mixes X and its transpose."""
    r = rng(93)
    a, b = r.normal(size=(4, 4)), r.normal(size=(3, 3))
    return Case(
        lambda x: np.trace(a @ x @ b @ x.T),
        lambda x: a.T @ x @ b.T + a @ x @ b,
        r.normal(size=(4, 3)),
    )


@linalg
def nuclear_norm() -> Case:
    def grad(x):
        u, _, vt = np.linalg.svd(x, full_matrices=False)
        return u @ vt

    return Case(
        lambda x: np.sum(np.linalg.svd(x, compute_uv=False)), grad, rng(94).normal(size=(5, 3))
    )


@linalg
def largest_eigenvalue() -> Case:
    def grad(a):
        top = np.linalg.eigh(a + a.T)[1][:, -1]
        return 2 * np.outer(top, top)

    return Case(lambda a: np.linalg.eigvalsh(a + a.T)[-1], grad, rng(95).normal(size=(5, 5)))


@linalg
def projection_residual() -> Case:
    """Squared distance of y from the columns of X (variable projection)."""
    r = rng(96)
    y = r.normal(size=8)

    def grad(x):
        c = np.linalg.lstsq(x, y, rcond=None)[0]
        return -2 * np.outer(y - x @ c, c)

    def f(x):
        return np.sum((y - x @ np.linalg.lstsq(x, y, rcond=None)[0]) ** 2)

    return Case(f, grad, r.normal(size=(8, 3)))


@linalg
def low_rank_factors() -> Case:
    r = rng(97)
    seen, target = r.random((7, 6)) < 0.7, r.normal(size=(7, 6))

    def grad(p):
        residual = seen * (p["U"] @ p["V"].T - target)
        return {"U": residual @ p["V"] + 0.1 * p["U"], "V": residual.T @ p["U"] + 0.1 * p["V"]}

    def f(p):
        misfit = np.sum((seen * (p["U"] @ p["V"].T - target)) ** 2)
        return 0.5 * misfit + 0.05 * (np.sum(p["U"] ** 2) + np.sum(p["V"] ** 2))

    return Case(f, grad, {"U": r.normal(size=(7, 2)), "V": r.normal(size=(6, 2))})
