"""Short names of parameters: each is that of one array, and of no other."""

import re

import numpy as np
import pytest
import reports
from hypothesis import example, given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad._report import text
from fastgrad._report.format import printable, width
from fastgrad._report.names import Names

pytestmark = pytest.mark.once

WORDS = ["encoder", "decoder", "layers", "blocks", "self_attn", "cross_attention", "output"]
WORDS += [
    "dense",
    "in_proj_weight",
    "weight",
    "weight_g",
    "bias",
    "0",
    "1",
    "2",
    "11",
    "12",
    "ln_1",
]
DOTTED = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(".".join)
KEYS = DOTTED.map(lambda name: f"params['{name}']")
NESTED = st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(
    lambda words: "params" + "".join(f"['{word}']" for word in words)
)
LONG = st.text(st.sampled_from("ab_1"), min_size=1, max_size=60)
ANY = st.text(min_size=1, max_size=60).filter(lambda text: "..." not in text and "#" not in text)


def sets_of(names):
    return st.lists(names, min_size=2, max_size=12, unique=True)


def pattern(short):
    """A short name as a reader takes it: anything for the dots, but no number is cut."""
    gap = r"(?:(?<=\d)(?!\d)|(?<!\d)).+(?:(?<=\d)(?!\d)|(?<!\d))"
    return re.compile(gap.join(map(re.escape, short.split("..."))) + r"(?:'\])?", re.DOTALL)


def models(layers=6):
    """The names of a transformer of torch's."""
    parts = [
        "self_attn.in_proj_weight",
        "self_attn.out_proj.weight",
        "linear1.weight",
        "norm1.bias",
    ]
    return [
        f"params['{side}.layers.{i}.{part}']"
        for side in ("encoder", "decoder")
        for i in range(layers)
        for part in parts
    ]


@given(st.one_of(map(sets_of, (DOTTED, KEYS, NESTED))), st.integers(8, 60))
@example(models(), 20)
@example([f"params['layer.{i}.{'x' * 70}']" for i in (1, 11, 111)], 9)
def test_each_name_is_that_of_one_array(paths, most):
    shown = [Names(paths).short(path, most) for path in paths]
    assert len(set(shown)) == len(paths)
    for path, short in zip(paths, shown, strict=True):
        assert short == path or width(path) > most
        assert width(short) <= most + 40
        if "#" not in short:
            assert [other for other in paths if pattern(short).fullmatch(other)] == [path]


@given(st.one_of(sets_of(LONG), sets_of(ANY)), st.integers(8, 60))
@example(["w" * 1000, "w" * 1001], 20)
@example(["w" * 1000 + "a", "w" * 1000 + "b"], 20)
@example(["層" * 60, "層" * 60 + "a"], 20)
@example(["🙂" * 30 + ".W", "🙂" * 31 + ".W"], 20)
def test_names_of_any_text_are_apart_and_short(paths, most):
    shown = [Names(paths).short(path, most) for path in paths]
    assert len(set(shown)) == len({printable(path) for path in paths})
    assert all(width(short) <= most + 40 for short in shown)
    assert all(short.isprintable() for short in shown)


@given(st.integers(2, 200), st.integers(0, 10**6))
def test_a_usual_model_fits_32_columns_and_says_which_layer(layers, seed):
    paths = models(layers)
    path = paths[seed % len(paths)]
    short = Names(paths).short(path, 32)
    layer = re.search(r"layers\.(\d+)", path)[1]
    assert width(short) <= 52
    assert re.search(rf"(?<!\d){layer}(?!\d)", short)


def test_names_look_like_this():
    names = Names(models())
    path = "params['encoder.layers.2.self_attn.in_proj_weight']"
    assert names.short(path, 60) == path
    assert names.short(path, 40) == "...encoder.layers.2...in_proj_weight"
    assert names.short(path, 32) == "...encoder...2...in_proj_weight"
    assert names.entry(f"{path}[3, 2]", path, 38) == "...encoder...2...in_proj_weight[3, 2]"


def test_an_index_stays_in_its_brackets():
    paths = [
        f"model.layers[{i}].{part}"
        for i in range(12)
        for part in ("attention.query.kernel", "attention.query.bias", "mlp.dense_in.kernel")
    ]
    assert Names(paths).short(paths[5], 32) == "...layers[1].mlp.dense_in.kernel"
    assert Names(paths).short(paths[5], 24) == "...[1]...dense_in.kernel"


def test_in_a_sentence_the_longest_name_is_meant():
    paths = [f"network.{'very.' * 10}W{end}" for end in ("", "1", "12")]
    names = Names(paths, 20)
    a, b, c = map(names.short, paths)
    text = f"`{paths[2]}` is that of `{paths[0]}`; {paths[1]}[3, 2] is right"
    assert names.within(text) == f"`{c}` is that of `{a}`; {b}[3, 2] is right"


@pytest.mark.parametrize("bad", [(1,), (2, 11), tuple(range(12))])
def test_a_report_tells_every_layer_that_it_names(bad):
    names = [f"encoder.layers.{i}.self_attn.in_proj_weight" for i in range(12)]
    params = {name: np.full((2, 2), 1.0 + i) for i, name in enumerate(names)}
    report = fg.check_gradient(
        lambda p: float(sum((v**3).sum() for v in p.values())),
        lambda p: {k: 3 * v**2 * (1 + (names.index(k) in bad)) for k, v in p.items()},
        params,
    )
    text = str(report)
    assert max(map(width, text.splitlines())) <= 80
    first, _, rest = text.partition("\n\n")
    causes, _, rest = rest.partition("\n\n")
    leaves, _, _ = rest.partition("\n\n")
    for part, wrong in ((causes, bad[:3]), (leaves, bad[:9]), (first, ())):
        told = {int(i) for i in re.findall(r"layers\.(\d+)\.\.\.", part)}
        assert told
        assert set(bad) >= told or part is leaves
        assert len(told) >= len(wrong)
    rows = [line.split()[0] for line in leaves.splitlines()[1:] if "and more" not in line]
    assert len(set(rows)) == len(rows)


@given(st.one_of(map(sets_of, (DOTTED, KEYS, NESTED))), st.integers(1, 5))
@example(models(12), 5)
def test_whatever_the_names_a_report_tells_them_apart(paths, wrong):
    leaves = {p: reports.leaf(2, 3, factor=1 + (k < wrong)) for k, p in enumerate(paths)}
    causes = [reports.finding(path) for path in paths[:wrong]]
    worst = f"{paths[0]}[1, 2]"
    report = reports.make(leaves, causes=causes, reason=f"some disagree; the worst is {worst}")
    lines = str(report).splitlines()
    assert max(map(width, lines)) <= 120
    table = [line for line in lines if line.endswith((" right", " wrong"))]
    rows = [line.split()[0] for line in table if "and more: " not in line]
    assert len(rows) == len(set(rows)) == min(len(paths), 9)
    said = [re.search(r"`([^`]*)`", line) for line in lines if line.startswith("  * ")]
    assert len(said) == min(wrong, len(paths), 3)
    for match, path in zip(said, paths[:3], strict=False):
        assert [p for p in paths if pattern(match[1]).fullmatch(p)] == [path]
    first = "".join(str(report).partition("\n\n")[0].split(" the worst is")[1].split())
    name = first.removesuffix("[1,2]")
    assert [p for p in paths if pattern(name).fullmatch(p)] == paths[:1]
    for line in (repr(report), text.as_headline(report.to_dict())):
        assert line.isprintable()


def test_hand_made_reports_keep_two_long_names_apart():
    leaves = {f"{'block.' * 20}{i}.{'weight.' * 20}W": reports.leaf(2, factor=2) for i in range(9)}
    text = str(reports.make(leaves, causes=[reports.finding(path) for path in leaves]))
    assert max(map(width, text.splitlines())) <= 120
    rows = [line.split()[0] for line in text.splitlines() if line.endswith(" wrong")]
    assert len(set(rows)) == 9
