"""Imports go down CONTRIBUTING's table only, each module can be imported alone, needing NumPy."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from strategies import PATIENCE

import fastgrad

pytestmark = pytest.mark.once
ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(fastgrad.__file__).resolve().parent
KERNEL = "_kernel"  # compiled from src/_kernel.pyx
# What users import or run; all else has an underscore.
PUBLIC = {"__main__", "demo", "plots", "testing"}
# Imported where it is needed, and not before.
OPTIONAL = {
    "_report.figure": {"matplotlib"},
    "_evaluation.meter": {"tqdm"},
    "_derivatives.pattern": {"scipy"},
}


def table(text):
    """Names below fastgrad and what is said of them, in the order of the lines under "Layout".

    An indented line is a module of the folder above it; the folder's own line is its `__init__`.
    """
    block = re.search(r"^## Layout\n.*?^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    rows, folder = {}, ""
    for line in block[1].splitlines():
        row = re.fullmatch(r"(  )?(\w+)(/?) +(\S.*)", line)
        assert row, f"no module and its purpose: {line!r}"
        indented, name, slash, purpose = row.groups()
        if not indented:
            folder = f"{name}." if slash else ""
        full = f"{folder}{name}" if indented else name
        assert full not in rows, f"twice in the table: {full}"
        rows[full] = purpose
    return rows


def modules_of(package):
    """Names of a package's modules; a folder has the name of its `__init__`."""
    for path in package.rglob("*.py"):
        *folders, name = path.relative_to(package).with_suffix("").parts
        yield ".".join(folders) if folders and name == "__init__" else ".".join([*folders, name])


ORDER = list(table((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
MODULES = sorted(modules_of(PACKAGE))


def source(module):
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imports(module):
    """Dotted names that a module imports at run time, wherever in it."""
    tree = ast.parse(source(module).read_text(encoding="utf-8"))
    return set(_imports(tree))


def _imports(node):
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        nodes = node.orelse
    else:
        nodes = ast.iter_child_nodes(node)
    for child in nodes:
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, "imports are absolute"
            yield from (_imported(child.module, alias.name) for alias in child.names)
        else:
            yield from _imports(child)


def _imported(place, name):
    """The module that ``from place import name`` needs."""
    full = f"{place}.{name}"
    return full if full.removeprefix("fastgrad.") in {*MODULES, KERNEL} else place


def upwards(module, names):
    """Imports from within fastgrad that do not lie below this module in the table."""
    below = {f"fastgrad.{each}" for each in ORDER[ORDER.index(module) + 1 :]}
    if "__init__" in ORDER[ORDER.index(module) + 1 :]:
        below.add("fastgrad")
    return sorted(n for n in names if n.split(".")[0] == "fastgrad" and n not in below)


def test_the_table_is_read_from_top_to_bottom():
    text = "# A\n\n## Layout\n\nSome words.\n\n```\ntop  first\n_in/  a folder\n  a    one\n```\n"
    assert table(text) == {"top": "first", "_in": "a folder", "_in.a": "one"}


def test_the_table_has_a_line_for_every_module_and_no_other():
    assert sorted({*MODULES, KERNEL}) == sorted(ORDER)


def test_all_but_what_users_import_has_an_underscore():
    assert {name for name in ORDER if not name.startswith("_")} | {"__main__"} == PUBLIC
    inner = [name.split(".") for name in MODULES if "." in name]
    assert all(folder.startswith("_") for folder, *_ in inner)


def test_dir_shows_what_is_public_and_nothing_else():
    # pytest adds names that are none to the modules of its plugins' packages.
    shown = {name for name in dir(fastgrad) if not name.startswith("_") and name.isidentifier()}
    assert shown <= {*fastgrad.__all__, *PUBLIC}


def test_what_is_found_on_demand_is_what_type_checkers_see():
    tree = ast.parse(source("__init__").read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If) and not n.orelse)
    seen = {
        alias.name: node.module.removeprefix("fastgrad").removeprefix(".") or alias.name
        for node in block.body
        for alias in node.names
    }
    assert seen == fastgrad._PLACES


def test_the_package_alone_loads_few_of_its_modules(tmp_path):
    code = "import sys, fastgrad; print(*sorted(m for m in sys.modules if 'fastgrad._' in m))"
    loaded = python(code, tmp_path).stdout.split()
    assert "fastgrad._errors" in loaded
    assert not any("_checks" in name or "_workers" in name for name in loaded)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    assert upwards(module, imports(module)) == []


def test_the_kernels_imports_go_down():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").glob("*.p[yx][xi]"))
    lines = re.findall(r"^from (fastgrad[.\w]*) import (.*)$", text, re.MULTILINE)
    names = {_imported(place, name) for place, names in lines for name in names.split(", ")}
    assert names
    assert upwards(KERNEL, names) == []


@pytest.mark.parametrize("module", MODULES)
def test_numpy_is_all_it_needs(module):
    outer = {name.split(".")[0] for name in imports(module)}
    assert outer <= {"fastgrad", "numpy", *sys.stdlib_module_names} | OPTIONAL.get(module, set())


ALONE = f"""
import os, sys, traceback, types, warnings
import numpy
warnings.simplefilter("ignore")  # of forks
for module in {MODULES!r}:
    sys.stdout.flush()
    if os.fork():
        assert os.wait()[1] == 0, module
        continue
    warnings.simplefilter("error")
    if module not in ("__init__", "__main__"):  # they need the package whole
        package = types.ModuleType("fastgrad")
        package.__path__ = [{str(PACKAGE)!r}]
        sys.modules["fastgrad"] = package
    try:
        __import__(f"fastgrad.{{module}}" if module != "__init__" else "fastgrad")
    except BaseException:
        traceback.print_exc()
    else:
        print(module)
    sys.stdout.flush()
    os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process for each module, by a fork")
def test_each_module_can_be_imported_alone(tmp_path):
    """First of all fastgrad's modules: the package's own ``__init__`` is kept out of the way."""
    done = python(ALONE, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == MODULES


def test_importing_the_package_loads_numpy_and_the_standard_library_only(tmp_path):
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # what site and editable installs load is not ours
        "import fastgrad\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})\n"
    )
    loaded = set(python(code, tmp_path).stdout.split())
    assert "numpy" in loaded
    others = {n for n in loaded - {"numpy", "fastgrad"} if not n.startswith("_")}
    assert others <= sys.stdlib_module_names | {"cython_runtime"}


def python(code, cwd, *options):
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=PATIENCE)
