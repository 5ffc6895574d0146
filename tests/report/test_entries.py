"""Columns that look like a sequence of entries."""

import dataclasses

import numpy as np
import pytest

import fastgrad as fg


def test_an_entry_is_made_when_it_is_looked_at_and_knows_its_place():
    params = [np.ones((2, 3)), np.array([1 + 2j, 3 - 1j])]

    def cost(p):
        return (p[0] ** 2).sum() + (np.abs(p[1]) ** 2).sum()

    entries = fg.check_gradient(cost, lambda p: [2 * p[0], 2 * p[1]], params).entries
    assert len(entries) == 10
    assert entries[5].path == "params[0][1, 2]"
    assert entries[-1].path == "params[1][1].imag"
    assert entries[-1].index == (1,)
    assert [entry.leaf for entry in entries[5:7]] == ["params[0]", "params[1]"]
    with pytest.raises(IndexError):
        entries[10]


def test_wrong_entries_come_worst_first_whatever_they_are():
    x = np.arange(1.0, 6.0)
    claimed = 2 * x + np.array([0, 3.0, 0, np.nan, 1.0])
    wrong = fg.check_gradient(lambda x: (x**2).sum(), claimed, x).wrong
    assert [entry.index for entry in wrong] == [(3,), (1,), (4,)]


def test_each_entry_finds_its_leaf_among_many_empty_ones():
    """Whatever lies between: the leaf is looked up by where it starts, not by going through all."""
    sizes = [0, 0, 2, 0, 1, 0, 0, 3, 0]
    params = [np.full(n, 2.0) for n in sizes]
    entries = fg.check_gradient(
        lambda p: float(sum((x**2).sum() for x in p)), [2 * x for x in params], params
    ).entries
    expected = [f"params[{k}][{i}]" for k, n in enumerate(sizes) for i in range(n)]
    assert [entry.path for entry in entries] == expected
    assert [entry.path for entry in reversed(entries)] == expected[::-1]


class Counted(tuple):
    """Leaves that count how often one of them is looked at."""

    looks = 0

    def __getitem__(self, at):
        Counted.looks += 1
        return super().__getitem__(at)

    def __iter__(self):
        for k in range(len(self)):
            yield self[k]


def test_looking_at_an_entry_does_not_go_through_all_leaves():
    params = [np.ones(1) for _ in range(1000)]
    report = fg.check_gradient(
        lambda p: float(sum(x[0] ** 2 for x in p)), [2 * x for x in params], params, budget=5000
    )
    entries = dataclasses.replace(report.entries, spans=Counted(report.entries.spans))
    Counted.looks = 0
    assert entries[997].path == "params[997][0]"
    assert Counted.looks <= 12
