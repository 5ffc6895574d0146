"""Reports and entries as values."""

import io
import json
import pickle
import typing

import numpy as np
import pytest
import reports

import fastgrad as fg


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
    assert (str(stored["every"]), str(stored["probed"])) == stored["text"]
    assert [entry.path for entry in stored["every"].wrong] == ["a[1]"]
    assert stored["stencils"] == (fg.central(4), fg.forward())
    assert stored["stencils"][0].steps(np.dtype("f4")).relative == fg.central(4).relative_step(
        np.dtype("f4")
    )
    assert pickle.loads(pickle.dumps(stored["every"])).to_dict() == stored["every"].to_dict()
