"""Reports as HTML: well-formed, accessible, harmless, and the same to the letter."""

from html.parser import HTMLParser

import pytest
import reports

from fastgrad.__main__ import main
from fastgrad._report.html import index

VOID = {"meta", "br"}
ALLOWED = {"html", "head", "title", "style", "body", "main", "div", "h1", "p", "span", "strong"}
ALLOWED |= {"ul", "li", "code", "table", "caption", "thead", "tbody", "tr", "th", "td"} | VOID
ATTRIBUTES = {"class", "lang", "charset", "name", "content", "http-equiv", "role", "aria-label"}
ATTRIBUTES |= {"aria-level", "aria-hidden", "tabindex", "scope"}


class Reader(HTMLParser):
    """Keeps tags and text, and asserts that every tag is closed, known and harmless."""

    allowed, attributes_allowed = ALLOWED, ATTRIBUTES

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.attributes, self.texts = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag in self.allowed
        assert {name for name, _ in attributes} <= self.attributes_allowed
        self.tags.append(tag)
        self.attributes.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.texts.append(data)


@pytest.mark.parametrize("name", ["right", "wrong", "unclear"])
def test_page_is_the_golden_one(name):
    reports.golden(f"{name}.html", reports.PLAIN[name]().to_html())


@pytest.mark.parametrize("name", reports.ALL)
def test_page_is_well_formed_and_loads_nothing(name):
    page = reports.ALL[name]().to_html()
    tags = Reader(page).tags
    assert page.startswith("<!doctype html>")
    assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
    assert "://" not in page
    assert "@import" not in page
    assert "url(" not in page
    page.encode("utf-8")


@pytest.mark.parametrize("name", reports.ALL)
def test_fragment_is_a_part_of_a_page(name):
    fragment = reports.ALL[name]()._repr_html_()
    tags = Reader(fragment).tags
    assert tags[0] == "div"
    assert not {"html", "head", "body", "title", "main", "h1"} & set(tags)
    rules = fragment.split("<style>")[1].split("</style>")[0]
    selectors = [part for rule in rules.split("}") for part in rule.split("{")[:-1]]
    for selector in selectors:
        assert selector.strip().startswith((".fastgrad", "@media"))


@pytest.mark.parametrize("path", reports.HOSTILE.values(), ids=reports.HOSTILE)
def test_paths_are_text_and_nothing_else(path):
    shown = "".join(Reader(reports.hostile(path).to_html()).texts)
    visible = path.encode("unicode_escape").decode() if not path.isprintable() else path
    if path.isprintable():
        assert visible in shown
    assert "<script" not in reports.hostile(path).to_html()


def test_a_title_says_what_the_page_is_of():
    title = "tests/test_net.py::test_loss[<b>&\n]"
    page = reports.wrong().to_html(title=title)
    texts = Reader(page).texts
    assert "tests/test_net.py::test_loss[<b>&\\n]" in texts
    assert "fastgrad: wrong, tests/test_net.py::test_loss[<b>&\\n]" in texts
    assert reports.wrong().to_html().splitlines()[-5:] == page.splitlines()[-5:]


class IndexReader(Reader):
    """The same for an index, which has links and nothing else that leads anywhere."""

    allowed = ALLOWED | {"a"}
    attributes_allowed = ATTRIBUTES | {"href"}


def test_an_index_links_its_pages_and_escapes_what_it_shows():
    rows = [
        ("a b.html", "t.py::a[<b>]", "WRONG: x[0], 3 of 3 entries"),
        ("c.html", "d", "RIGHT: &"),
    ]
    page = index(rows)
    reader = IndexReader(page)
    links = [attributes["href"] for tag, attributes in reader.attributes if tag == "a"]
    assert links == ["a%20b.html", "c.html"]
    assert "t.py::a[<b>]" in reader.texts
    assert "RIGHT: &" in reader.texts
    assert "2 gradient checks that failed" in "".join(reader.texts)
    assert "1 gradient check that failed" in index(rows[:1])
    assert "<script" not in page
    assert "://" not in page


def test_tables_are_marked_up_for_screen_readers():
    attributes = Reader(reports.wrong().to_html()).attributes
    tables = [tag for tag, _ in attributes if tag == "table"]
    captions = [tag for tag, _ in attributes if tag == "caption"]
    assert len(tables) == len(captions) == 2
    scopes = [each.get("scope") for tag, each in attributes if tag == "th"]
    assert set(scopes) == {"col", "row"}
    assert ("html", {"lang": "en"}) in attributes


def test_verdicts_do_not_rely_on_colour():
    texts = [text.strip() for text in Reader(reports.wrong().to_html()).texts]
    assert "✗ wrong" in texts
    assert "✓ right" in texts


def test_page_is_light_or_dark_as_wished():
    assert "prefers-color-scheme: dark" in reports.right().to_html()


def test_long_lists_are_cut_and_counted():
    page = reports.many().to_html()
    assert "the worst 100 of 300" in page
    assert "and 80 more" in page
    assert "(20 of 400)" in page
    assert len(page) < 100_000


def test_commands_write_the_page(tmp_path, capsys):
    page = tmp_path / "report.html"
    assert main(["demo", "--html", str(page)]) == 0
    assert "✓ RIGHT" in "".join(Reader(page.read_text(encoding="utf-8")).texts)
    assert main(["demo", "--bug", "transposed", "--json", "--html", str(page)]) == 1
    assert "transpose" in page.read_text(encoding="utf-8")
    out, err = capsys.readouterr()
    assert "RIGHT" in out
    assert not err


@pytest.mark.parametrize("flag", ["--html", "--plot"])
def test_a_file_that_cannot_be_written_is_one_line(flag, tmp_path, capsys):
    target = str(tmp_path / "nowhere" / "report.png")
    assert main(["demo", flag, target]) == 2
    out, err = capsys.readouterr()
    assert "RIGHT" in out
    assert err == f"fastgrad: cannot write {target}: No such file or directory\n"
