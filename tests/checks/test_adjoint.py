"""The adjoint of a linear map: right ones of all kinds, what is no map, and the stated limit."""

import dataclasses

import numpy as np
import pytest
from kinds import RIGHT, UNCLEAR, WRONG, expect
from linear_maps import SQUARE, A, C, times

import fastgrad as fg

RNG = np.random.default_rng(8)


def check(forward, adjoint, x=None, verdict=RIGHT, **options):
    report = fg.check_adjoint(forward, adjoint, x, **options)
    expect(report, verdict)
    assert str(report)
    assert report.to_dict()["derivative"] == "adjoint"
    return report


# ------------------------------------------------------------------------------------ right ones


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "g", ">f8", "c16", "c8", "G", ">c16"])
def test_a_matrix_of_any_type(dtype):
    matrix = C if np.dtype(dtype).kind == "c" else A
    matrix = matrix.astype(np.dtype(dtype).newbyteorder("="))
    report = check(times(matrix), times(matrix.conj().T), np.zeros(5, dtype))
    assert report.evaluations == 10
    assert report.strategy == "probe"
    assert not len(report.entries)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("strategy", ["probe", "exhaustive"])
@pytest.mark.parametrize(
    ("forward", "adjoint", "x"),
    [
        (np.cumsum, lambda y: np.cumsum(y[::-1])[::-1], np.zeros(20)),
        (np.fft.fft, lambda y: 12 * np.fft.ifft(y), np.zeros(12, complex)),
        (lambda x: x.sum(), lambda y: np.full((3, 4), y), np.zeros((3, 4))),
        (lambda x: float(x @ A[:, 0]), lambda y: y * A[:, 0], np.zeros(7)),
        (lambda x: x * A[0], lambda y: y @ A[0], np.array(0.0)),
        (np.conj, np.conj, np.zeros(3, complex)),  # linear in real factors alone
        (np.real, lambda y: y + 0j, np.zeros(3, complex)),
        (lambda x: x[::2, 1], lambda y: _spread(y), np.zeros((5, 3))),
        (lambda x: np.linalg.solve(SQUARE, x), lambda y: np.linalg.solve(SQUARE.T, y), np.zeros(6)),
        (lambda x: x.tolist(), lambda y: list(y), [0.0, 0.0, 0.0]),
    ],
)
def test_maps_of_all_kinds(forward, adjoint, x, strategy, seed):
    check(forward, adjoint, x, seed=seed, strategy=strategy)


def _spread(y):
    out = np.zeros((5, 3))
    out[::2, 1] = y
    return out


def test_the_coefficients_may_be_rounded_in_either_map():
    inverse = 1 / np.exp(-np.log(np.abs(A)))
    check(lambda x: np.abs(A) * x, lambda y: inverse * y, np.zeros((7, 5)))


def test_rows_of_any_size():
    scaled = A * 10.0 ** np.linspace(-12, 12, 7)[:, None]
    check(times(scaled), times(scaled.T), np.zeros(5))


@dataclasses.dataclass
class Wave:
    velocity: np.ndarray
    density: np.ndarray


def nested(p):
    return {"a": A @ p.velocity + 1e8 * p.density[0], "b": [3 * p.density, None]}


def nested_adjoint(y):
    density = 3 * y["b"][0] + np.array([1e8 * y["a"].sum(), 0])
    return Wave(A.T @ y["a"], density)


def test_nests_of_arrays_are_looked_at_block_by_block():
    x = Wave(np.zeros(5), np.zeros(2))
    report = check(nested, nested_adjoint, x)
    assert [leaf.path for leaf in report.leaves] == [
        "y.a / x.velocity",
        "y.a / x.density",
        "y.b[0] / x.velocity",
        "y.b[0] / x.density",
    ]
    assert report.evaluations == 10 + 2 * 4

    def wrong(y):
        found = nested_adjoint(y)
        found.density[1] -= 1e-9 * y["b"][0][1]  # 17 digits below the largest values
        return found

    report = check(nested, wrong, x, WRONG)
    assert [entry.path for entry in report.wrong] == ["y.b[0][1] / x.density[1]"]


def test_many_arrays_are_looked_at_together():
    x = [np.zeros(2) for _ in range(40)]
    assert check(lambda x: [2 * a for a in x], lambda y: [2 * a for a in y], x).evaluations == 10
    report = check(
        lambda x: [2 * a for a in x],
        lambda y: [(2 + (k == 17)) * a for k, a in enumerate(y)],
        x,
        WRONG,
        strategy="probe",
    )
    assert report.causes[0].place == "y[17] / x[17]"
    assert report.causes[0].evidence["factor"] == pytest.approx(1.5)


def test_a_linear_operator_needs_no_more_arguments():
    linalg = pytest.importorskip("scipy.sparse.linalg")
    operator = linalg.aslinearoperator(C)
    check(operator, None)
    check(operator, operator.H)
    check(times(C), operator.H, np.zeros(5, complex))
    check(operator, None, np.zeros(5, complex))
    wrong = linalg.LinearOperator((7, 5), matvec=times(A), rmatvec=times(2 * A.T))
    check(wrong, None, verdict=WRONG)
    with pytest.raises(fg.InputTypeError, match="no rmatvec"):
        fg.check_adjoint(linalg.LinearOperator((7, 5), matvec=times(A)))
    with pytest.raises(fg.InputValueError, match=r"must have shape \(5,\)"):
        fg.check_adjoint(operator, None, np.zeros(4))


# ------------------------------------------------------------------------------- what is no map


def test_errors_of_inverted_matrices_are_no_alarm():
    u, v = (np.linalg.qr(RNG.normal(size=(30, 30)))[0] for _ in range(2))
    matrix = u * np.logspace(0, -7, 30) @ v
    report = check(
        lambda x: np.linalg.solve(matrix, x),
        lambda y: np.linalg.solve(matrix.T, y),
        np.zeros(30),
        UNCLEAR,
    )
    assert "rtol=" in report.reason
    check(
        lambda x: np.linalg.solve(matrix, x),
        lambda y: np.linalg.solve(matrix.T, y),
        np.zeros(30),
        rtol=1e-6,
    )


NO_MAPS = {
    "affine": (lambda x: A @ x + 1, "forward(0) is not 0"),
    "square": (lambda x: A @ x**2, "forward(-256 v) is not -256 forward(v)"),
    "hardly": (lambda x: A @ x + 1e-9 * (A @ x**3), "rtol="),
    "absolute": (lambda x: np.abs(A @ x), "not linear"),
    "hardly absolute": (lambda x: A @ x + 1e-9 * np.abs(A @ x), "not linear"),
    "largest": (
        lambda x: A @ np.where(np.abs(x) == np.abs(x).max(), x, 0),
        "forward(u + v) is not forward(u) + forward(v)",
    ),
    "constant": (lambda x: np.ones(7 if len(x) == 5 else 5), "forward(0) is not 0"),
    "beyond": (lambda x: np.maximum(A @ x - 50, 0), "not linear"),
    "random": (lambda x: A @ x * RNG.uniform(0.9, 1.1), "not repeatable"),
    "infinite": (lambda x: A @ x / 0.0, "`forward` returned"),
}


@pytest.mark.parametrize("what", NO_MAPS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_forward_must_be_linear(what):
    forward, words = NO_MAPS[what]
    report = check(forward, times(A.T), np.zeros(5), UNCLEAR)
    assert words in report.reason
    assert not len(report.entries)


@pytest.mark.parametrize("what", NO_MAPS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_adjoint_that_is_not_linear_is_wrong(what):
    adjoint, words = NO_MAPS[what]
    verdict = UNCLEAR if what in ("random", "hardly", "hardly absolute") else WRONG
    report = check(times(A.T), adjoint, np.zeros(7), verdict)
    assert words.replace("forward", "adjoint") in report.reason


def test_a_state_is_found():
    sums = np.zeros(5)

    def adds_up(y):
        sums[...] += A.T @ y
        return sums

    report = check(times(A), adds_up, np.zeros(5), UNCLEAR)
    assert "not repeatable" in report.reason


def test_noise_in_the_last_digits_is_measured():
    noisy = np.random.default_rng(1)

    def forward(x):
        return A @ x * (1 + 1e-9 * noisy.normal(size=7))

    report = check(forward, times(A.T), np.zeros(5))
    assert 1e-10 < report.noise < 1e-8
    assert 1e-9 < report.detection_limit < 1e-5
    check(forward, times(1.001 * A.T), np.zeros(5), WRONG)


def test_a_tolerance_is_granted():
    near = times(A.T * (1 + 1e-6 * RNG.uniform(-1, 1, size=(5, 7))))
    for strategy in ("probe", "exhaustive"):
        check(times(A), near, np.zeros(5), WRONG, strategy=strategy)
        check(times(A), near, np.zeros(5), rtol=1e-6, strategy=strategy)
        check(times(A), near, np.zeros(5), atol=5e-6, strategy=strategy)
        check(times(A), times(1.1 * A.T), np.zeros(5), WRONG, rtol=1e-3, strategy=strategy)
    check(lambda x: A @ x + 1e-9 * (A @ x**3), times(A.T), np.zeros(5), rtol=1e-3)


def test_zeros_tell_nothing():
    report = check(lambda x: 0 * x, lambda y: 0 * y, np.zeros(3), UNCLEAR)
    assert "zero" in report.reason
    assert "no entries" in check(lambda x: x, lambda y: y, np.zeros(0), UNCLEAR).reason
    empty = check(lambda x: x[:0], lambda y: np.zeros(3), np.zeros(3), UNCLEAR)
    assert "no entries" in empty.reason
    block = np.zeros((4, 4))
    block[:2, :2] = SQUARE[:2, :2]
    check(times(block), times(block.T), np.zeros(4))


@pytest.mark.parametrize("others", [0.0, 1.0])
def test_an_error_at_the_limit_is_missed_in_one_of_a_hundred(others):
    limit = fg.check_adjoint(times(SQUARE), times(SQUARE.T), np.zeros(6)).detection_limit
    missed, trials = 0, 300
    for seed in range(trials):
        wrong = SQUARE.copy()
        wrong[2, 3] += limit
        wrong[4, 4] += others * limit
        report = fg.check_adjoint(
            times(SQUARE), times(wrong.T), np.zeros(6), seed=seed, strategy="probe", budget=10
        )
        missed += report.verdict is RIGHT
    assert missed <= 0.01 * trials
