"""Reports and entries as values."""

import collections
import copy
import dataclasses
import gc
import io
import itertools
import json
import math
import pickle
import re
import typing
import weakref
from collections import namedtuple

import numpy as np
import pytest
import reports

import fastgrad as fg

NUMBER = re.compile(r"-?\d[\d.]*(?:e[+-]\d+)?")


@pytest.mark.parametrize("name", reports.ALL)
def test_a_report_survives_json(name):
    values = reports.ALL[name]().to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values


def test_a_dict_says_what_the_report_says():
    report = reports.wrong()
    values = report.to_dict()
    assert values["verdict"] == "WRONG"
    assert values["sentence"] == fg.Verdict.WRONG.sentence
    assert values["n_wrong"] == len(values["wrong"]) == 12
    assert values["wrong"][0] == {
        "path": "layers[0].W[3, 2]",
        "leaf": "layers[0].W",
        "index": [3, 2],
        "analytic": 0.75,
        "numeric": 1.5,
        "uncertainty": 1e-9,
        "verdict": "WRONG",
        "output": None,
    }
    assert values["causes"][0]["kind"] == "FACTOR"
    assert values["causes"][0]["evidence"] == {"factor": 0.5, "slices": [1, 2]}
    assert values["leaves"][0]["worst"]["index"] == [3, 2]
    assert len(values["curve"]["steps"]) == 29


def test_a_dict_holds_the_worst_twenty_of_a_million():
    values = reports.large().to_dict()
    assert values["n_wrong"] == 10**6
    assert [entry["path"] for entry in values["wrong"][:2]] == ["W[999, 999]", "W[999, 998]"]
    assert len(values["wrong"]) == 20


@pytest.mark.parametrize("name", ["right", "wrong", "unclear", "untested"])
def test_a_report_is_true_if_right(name):
    assert bool(reports.PLAIN[name]()) is (name == "right")


def test_wrong_entries_come_worst_first_and_what_is_not_finite_before_all():
    worst = reports.infinite().wrong
    assert {entry.path for entry in worst[:3]} == {"x[0]", "x[1]", "x[2]"}
    errors = [entry.error for entry in reports.wrong().wrong]
    assert errors == sorted(errors, reverse=True)


def test_entries_are_a_sequence():
    entries = reports.wrong().entries
    assert len(entries) == 16
    assert entries[-1] == entries[15]
    assert entries[2:4] == [entries[2], entries[3]]
    assert [entry.leaf for entry in entries][-1] == "scale"
    assert entries[-1].path == "scale"
    assert entries[-1].index == ()
    assert repr(entries) == "<16 entries>"
    for outside in (16, -17):
        with pytest.raises(IndexError, match="of 16"):
            entries[outside]


def test_parts_of_complex_entries_have_names():
    assert [entry.path for entry in reports.complex_leaf().entries[:3]] == [
        "z[0].real",
        "z[0].imag",
        "z[1].real",
    ]


def test_codes_number_the_verdicts():
    assert [verdict.code for verdict in fg.Verdict] == [0, 1, 2]


def test_a_report_can_be_pickled():
    report = fg.check_gradient(lambda x: (x**2).sum(), lambda x: 3 * x, np.ones(2))
    again = pickle.loads(pickle.dumps(report))
    assert again.to_dict() == report.to_dict()
    assert str(again) == str(report)


class Reader(pickle.Unpickler):
    """Keeps the names that a pickle asks for."""

    def __init__(self, file):
        super().__init__(file)
        self.names = set()

    def find_class(self, module, name):
        self.names.add((module, name))
        return super().find_class(module, name)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
def test_a_pickle_names_public_classes_alone(protocol, strategy):
    """It can then be read by a later version, wherever the private modules are by then."""
    x = {"W": np.ones((300, 2)), "b": np.ones(2), "none": np.ones(0)}
    claimed = {"W": 3 * x["W"], "b": 2 * x["b"], "none": x["none"]}

    def f(p):
        return sum((each**2).sum() for each in p.values())

    report = fg.check_gradient(f, lambda p: claimed, x, strategy=strategy)
    assert (report.curve is not None) == (strategy == "exhaustive")
    pickled = pickle.dumps((report, report.leaves, report.wrong, report.wrong[0]), protocol)
    reader = Reader(io.BytesIO(pickled))
    again = reader.load()[0]
    ours = {(place, name) for place, name in reader.names if "fastgrad" in place + name}
    classes = {"Cause", "Entries", "Entry", "Finding", "LeafReport", "Report", "Verdict"}
    assert ours == {("fastgrad", name) for name in classes}
    assert again.to_dict() == report.to_dict()
    assert again.entries.spans[0].probe is None or len(again.entries.spans[0].probe.judged)
    assert again.entries.at(5) == report.entries.at(5)


@pytest.mark.parametrize("name", fg.__all__)
def test_public_things_live_in_the_package(name):
    thing = getattr(fg, name)
    if not callable(thing):
        return
    assert (thing.__module__, thing.__qualname__) == ("fastgrad", name)
    assert pickle.loads(pickle.dumps(thing)) is thing
    typing.get_type_hints(thing)  # finds every name that the annotations hold


def test_a_checks_report_has_its_steps(backend):
    x = np.ones(2)
    report = fg.check_gradient(lambda x: (x**2).sum(), lambda x: 2 * x, x)
    assert len(report.steps) == 1
    assert 0 < report.steps[0] < 1


def test_pickles_of_the_first_version_are_read():
    """Written by 0.1, whose classes lived in other modules, with the texts that it showed."""
    stored = pickle.loads((reports.GOLDEN / "reports-0.1.pickle").read_bytes())
    for name, shown in zip(("every", "probed"), stored["text"], strict=True):
        now = str(stored[name])  # in other words, with the same numbers and arrays
        assert {word for word in NUMBER.findall(shown) if word not in NUMBER.findall(now)} == set()
        assert [line for line in shown.splitlines() if line.endswith((" right", " wrong"))] == [
            line for line in now.splitlines() if line.endswith((" right", " wrong"))
        ]
        assert repr(stored[name]).startswith("<Report WRONG: ")
        # They know no structure.
        arrays = stored[name].numeric
        assert [each.shape for each in arrays] == [leaf.shape for leaf in stored[name].leaves]
    assert [entry.path for entry in stored["every"].wrong] == ["a[1]"]
    assert stored["stencils"] == (fg.central(4), fg.forward())
    assert stored["stencils"][0].steps(np.dtype("f4")).relative == fg.central(4).relative_step(
        np.dtype("f4")
    )
    assert pickle.loads(pickle.dumps(stored["every"])).to_dict() == stored["every"].to_dict()


# ------------------------------------------------------------------------ a report in one line


@pytest.mark.parametrize("name", reports.ALL)
def test_a_repr_is_one_line_and_short(name):
    said = repr(reports.ALL[name]())
    assert len(said) <= 250
    assert said.isprintable()
    assert "array" not in said
    assert said.startswith("<Report " + reports.ALL[name]().verdict.name.replace("_", " ") + ": ")


def test_a_repr_says_what_was_found_and_what_it_cost():
    assert repr(reports.wrong()) == (
        "<Report WRONG: 12 of 16 entries disagree; the worst is layers[0].W[3, 2]: analytic 0.75, "
        "numeric 1.5; 16 entries, 41 evaluations>"
    )


# ------------------------------------------------------- the numeric gradient, nested as parameters


@dataclasses.dataclass
class Net:
    W: np.ndarray
    parts: list


Point = namedtuple("Point", "x y")
NESTS = {
    "array": np.ones((2, 3)),
    "0-d": np.array(2.0),
    "number": 2.0,
    "dict": {"W": np.ones((2, 3)), "b": np.ones(2)},
    "complex": [np.ones(2), np.array([1 + 2j, 3 - 1j])],
    "deep": {"layers": [{"W": np.ones((1, 2))}, (np.ones(2), None)], 3: np.float64(1.0)},
    "dataclass": Net(np.ones(2), [np.ones(1), Point(np.ones(1), np.ones((2, 0)))]),
    "default": collections.defaultdict(list, a=np.ones(2)),
    "empty": {"a": np.ones(0)},
}


def leaves_of(node):
    if dataclasses.is_dataclass(node):
        node = vars(node)
    if isinstance(node, dict):
        node = list(node.values())
    if isinstance(node, (list, tuple)):
        return [leaf for child in node for leaf in leaves_of(child)]
    return [] if node is None else [node]


def square(params):
    return float(sum((np.abs(leaf) ** 2).sum() for leaf in leaves_of(params)))


def doubled(params):
    """Of the nest, with arrays of its own."""
    made = copy.deepcopy(params)
    for leaf in leaves_of(made):
        leaf *= 2
    return made


@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
@pytest.mark.parametrize("name", NESTS)
def test_the_numeric_gradient_has_the_structure_of_the_parameters(name, strategy):
    params = NESTS[name]
    report = fg.check_gradient(square, doubled, params, strategy=strategy)
    for nest, missing in ((report.numeric, math.nan), (report.uncertainty, math.inf)):
        assert type(nest) is (type(params) if name != "number" else np.ndarray)
        for leaf, found in zip(leaves_of(params), leaves_of(nest), strict=True):
            assert found.shape == np.shape(leaf)
            assert found.dtype == (np.complex128 if np.iscomplexobj(leaf) else np.float64)
            if missing is math.nan:
                known = ~np.isnan(found)
                np.testing.assert_allclose(found[known], 2 * np.asarray(leaf)[known], rtol=1e-6)
            assert strategy == "probe" or np.isfinite(found).all()
    if name == "deep":
        assert report.numeric["layers"][1][1] is None
        assert report.numeric[3].shape == ()


def test_entries_that_a_probe_did_not_judge_are_nan_and_unbounded():
    x = {"W": np.ones((300, 2)), "b": np.ones(2)}
    claimed = {"W": 2 * x["W"], "b": 2 * x["b"]}
    claimed["W"][7, 1] = 3
    report = fg.check_gradient(square, claimed, x, strategy="probe")
    assert report.numeric["W"][7, 1] == pytest.approx(2)
    assert report.uncertainty["W"][7, 1] < 1e-5
    assert np.isnan(report.numeric["W"]).sum() == np.isinf(report.uncertainty["W"]).sum() == 599
    assert np.allclose(report.numeric["b"], 2)


def test_numeric_gradients_are_copies_and_hold_no_parameters():
    params = {"a": np.ones(2)}
    watched = weakref.ref(params["a"])
    report = fg.check_gradient(square, doubled, params)
    del params
    gc.collect()
    assert watched() is None
    report.numeric["a"][0] = 7
    assert np.allclose(report.numeric["a"], 2)
    assert np.allclose(report.entries.numeric, 2)


def test_a_pickle_holds_the_structure_in_pythons_own_containers():
    params = Net(np.ones(2), [np.ones(1), Point(np.ones(1), np.ones((2, 0)))])
    report = fg.check_gradient(square, doubled, params)
    pickled = pickle.dumps(report)
    assert b"Net" not in pickled
    assert b"Point" not in pickled
    again = pickle.loads(pickled).numeric
    assert list(again) == ["W", "parts"]
    assert list(again["parts"][1]) == ["x", "y"]
    assert np.allclose(again["W"], 2)
    # Keys may be of any class.
    odd = fg.check_gradient(square, doubled, {frozenset({1}): np.ones(2)})
    assert isinstance(odd.numeric, dict)
    assert [each.shape for each in pickle.loads(pickle.dumps(odd)).numeric] == [(2,)]


# ----------------------------------------------------------------------------------------- limits


def not_finite(x):
    return math.nan


@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
def test_where_nothing_was_judged_no_error_would_have_been_seen(strategy):
    count = itertools.count()
    for f, options in (
        (lambda x: float(np.random.default_rng(next(count)).random()), {}),
        (not_finite, {}),
        (square, {"budget": 8}),
    ):
        x = np.ones(30)
        report = fg.check_gradient(f, 2 * x, x, strategy=strategy, **options)
        assert report.verdict is fg.Verdict.CANNOT_TELL
        limits = [report.detection_limit, report.typical_limit]
        limits += [report.leaves[0].limit, report.leaves[0].typical_limit]
        assert limits == [math.inf] * 4
        assert report.to_dict()["detection_limit"] == "inf"
        assert "no entry could be judged" in str(report)


def test_of_mixed_scales_the_typical_and_the_worst_limit_are_given():
    scales = np.array([1.0] * 20 + [1e6])
    x = {"a": np.ones(5), "b": np.ones(21)}
    report = fg.check_gradient(
        lambda p: float((p["a"] ** 3).sum() + (scales * p["b"] ** 3).sum()),
        lambda p: {"a": 3 * p["a"] ** 2, "b": 3 * scales * p["b"] ** 2},
        x,
    )
    assert report.verdict is fg.Verdict.RIGHT
    assert report.leaves[1].limit == report.detection_limit
    assert report.leaves[0].typical_limit < report.detection_limit / 10
    assert report.typical_limit < report.detection_limit / 10
    said = " ".join(str(report).split())
    worst, typical = f"{report.detection_limit:.1g}", f"{report.typical_limit:.1g}"
    assert f"errors above {typical} in a typical entry, {worst} in b[20], would have" in said
    assert report.to_dict()["limit_at"] == "b[20]"


def test_an_array_of_zeros_has_no_relative_error():
    """Rounding by rounding is any number: an array that is right would be off by 100 %."""
    report = fg.check_gradient(
        lambda p: float((p["w"] ** 2).sum() + (p["b"] - p["b"].mean()).sum()),
        lambda p: {"w": 2 * p["w"], "b": np.array([1e-17, -1e-17, 0.0])},
        {"w": np.array([0.3, 1.7]), "b": np.array([0.1, 0.7, 0.4])},
    )
    assert report.verdict is fg.Verdict.RIGHT
    assert report.leaves[1].relative_error > 0.1
    assert "<td>-</td>" in report.to_html()


def test_what_a_tolerance_hides_is_in_the_limits():
    x = np.array([1.0, 200.0])
    report = fg.check_gradient(square, 2 * x * (1 + 1e-4), x, rtol=1e-2, atol=1e-3)
    assert report.verdict is fg.Verdict.RIGHT
    assert report.detection_limit == report.leaves[0].limit > 1e-2 * 400
    assert report.to_dict()["rtol"] == 1e-2
    assert report.uncertainty.max() < 1e-2  # what was measured


@pytest.mark.parametrize("rtol", [0.0, 1e-3])
def test_the_limit_is_that_of_the_worst_leaf(rtol):
    x = {"a": np.ones(3), "b": np.full(2, 7.0)}
    report = fg.check_gradient(square, doubled, x, rtol=rtol)
    assert report.detection_limit == max(leaf.limit for leaf in report.leaves)


class Counted(np.ndarray):
    """Counts the numbers that arithmetic touches."""

    touched = 0

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        Counted.touched += max(np.size(each) for each in inputs)
        plain = (each.view(np.ndarray) if isinstance(each, Counted) else each for each in inputs)
        return getattr(ufunc, method)(*plain, **options)


@pytest.mark.parametrize("rtol", [0.0, 1e-3])
def test_leaves_look_at_their_own_entries_alone(rtol):
    """Of many leaves, work for all entries in each of them would grow with its square."""
    x = [np.ones(3) for _ in range(60)]
    report = fg.check_gradient(square, doubled, x, rtol=rtol, strategy="exhaustive")
    numeric = report.entries.numeric.view(Counted)
    counted = dataclasses.replace(
        report, entries=dataclasses.replace(report.entries, numeric=numeric)
    )
    Counted.touched = 0
    assert len(counted.leaves) == 60
    assert 0 < Counted.touched <= 10 * len(report.entries)


def test_one_entry_is_no_entries():
    one, two = fg.check_gradient(square, 3 * np.ones(1), np.ones(1)), reports.wrong()
    assert repr(one.wrong) == "<1 entry>"
    assert repr(two.wrong) == "<12 entries>"
    assert "Wrong entry<" in one.to_html()
    assert "Wrong entries, worst first<" in two.to_html()
