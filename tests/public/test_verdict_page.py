"""The page on how a verdict is reached states every constant of the judge, with its reason."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from pathlib import Path

import pytest

from fastgrad._checks import error_model
from fastgrad._derivatives import extrapolation, noise

pytestmark = pytest.mark.once
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "verdict.md"


def load():
    spec = importlib.util.spec_from_file_location("docs_constants", ROOT / "docs" / "constants.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module


constants = load()
TEXT = PAGE.read_text(encoding="utf-8")
PROSE = TEXT.partition(constants.MARK)[0]
EVERY = constants.constants()


def test_page_lists_every_constant_with_the_reason_in_the_code():
    assert PROSE + constants.section() == TEXT, "run python docs/constants.py"


def test_constants_are_found():
    names = [name for constant in EVERY for name in constant.names]
    assert len(names) > 100
    assert {"SAFETY", "POWER_LEAF", "SIGMAS", "RATIO", "DIRECTIONS", "_VISIBLE"} <= set(names)


@pytest.mark.parametrize("constant", EVERY, ids=lambda c: f"{c.module}-{c.names[0]}")
def test_every_constant_has_a_reason_above_it(constant):
    assert len(constant.reason.split()) >= 4, constant.source


@pytest.mark.parametrize("module", [error_model, extrapolation, noise])
def test_formulas_state_the_values_that_the_code_has(module):
    """The prose writes ``NAME = value``, which must be the code's."""
    stated = dict(re.findall(r"`(_?[A-Z][A-Z_]+) = ([0-9.e-]+)`", PROSE))
    mine = {name: value for name, value in stated.items() if hasattr(module, name)}
    assert mine
    for name, value in mine.items():
        assert float(value) == getattr(module, name), name


def test_prose_explains_every_constant_of_the_error_model():
    names = [name for c in EVERY if c.module == "_checks.error_model" for name in c.names]
    assert [name for name in names if f"`{name} = " not in PROSE] == []


def test_prose_names_no_constant_that_does_not_exist():
    every = {name for constant in EVERY for name in constant.names}
    stated = {name for name, _ in re.findall(r"`(_?[A-Z][A-Z_]+) = ([0-9.e-]+)`", PROSE)}
    assert stated <= every


def test_prose_states_no_value_that_the_code_has_not():
    """Of private constants too, of which several modules may have one of the same name."""
    stated = re.findall(r"`(_?[A-Z][A-Z_]+) = ([0-9.e-]+)`", PROSE)
    assert len(stated) > 30
    for name, value in stated:
        modules = {constant.module for constant in EVERY if name in constant.names}
        values = [getattr(importlib.import_module(f"fastgrad.{each}"), name) for each in modules]
        assert float(value) in values, name
