"""Imports go down only, each module can be imported alone, and NumPy is all they need."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastgrad

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(fastgrad.__file__).resolve().parent
KERNEL = "_kernel"  # compiled from src/_kernel.pyx, which only the twin's level may rely on

# DESIGN: plan, sample, combine, judge, render. A module may import from lower levels, and from
# those on its own that come before it in the line.
LEVELS = {
    0: [
        "errors",
        "pointers",
        "natives",
        "values",
        "progress",
        "custody",
        "plain",
        "advice",
        "wording",
        "rendering",
        "html",
        "figures",
        KERNEL,
    ],
    1: ["_reference", "trees", "stencils", "parcels", "batches"],
    2: ["_backend", "ladder", "threads", "noise", "entries", "results", "memory"],
    3: [
        "objectives",
        "blocks",
        "sampling",
        "survey",
        "judging",
        "patterns",
        "diagnosis",
        "staleness",
        "conclusions",
        "interruption",
    ],
    4: [
        "workshop",
        "processes",
        "hands",
        "executors",
        "readings",
        "probing",
        "samples",
        "probed",
    ],
    5: ["exhaustive", "derivatives"],
    6: ["checking"],
    8: ["testing", "plots", "demo"],
    9: ["__init__", "__main__"],
}
OPTIONAL = {
    "figures": {"matplotlib"},
    "progress": {"tqdm"},
}  # imported where it is needed, and not before
ORDER = [module for level in sorted(LEVELS) for module in LEVELS[level]]
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))


def imports(module):
    """Dotted names that a module imports at run time, wherever in it."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
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
            names = [alias.name for alias in child.names]
            if child.module == "fastgrad":
                yield from (f"fastgrad.{n}" if n in MODULES else "fastgrad" for n in names)
            else:
                yield child.module
        else:
            yield from _imports(child)


def test_the_kernel_imports_from_the_lowest_level():
    source = (ROOT / "src" / "_kernel.pyx").read_text(encoding="utf-8")
    found = re.findall(r"^from (fastgrad[.\w]*) import (.*)$", source, re.MULTILINE)
    names = {f"{place}.{name}" for place, line in found for name in line.split(", ")}
    below = tuple(f"fastgrad.{each}" for each in LEVELS[0])
    assert all(name.startswith(below) for name in names), names


def test_every_module_has_its_level():
    assert set(MODULES) == set(ORDER) - {KERNEL}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module):
    below = ORDER[: ORDER.index(module)]
    allowed = {"fastgrad"} if module == "__main__" else set()
    allowed |= {f"fastgrad.{each}" for each in below}
    inner = {name for name in imports(module) if name.split(".")[0] == "fastgrad"}
    assert inner <= allowed


@pytest.mark.parametrize("module", MODULES)
def test_numpy_is_all_it_needs(module):
    outer = {name.split(".")[0] for name in imports(module)}
    assert outer <= {"fastgrad", "numpy", *sys.stdlib_module_names} | OPTIONAL.get(module, set())


@pytest.mark.parametrize("module", [m for m in MODULES if m != "__init__"])
def test_can_be_imported_alone(module, tmp_path):
    """First of all fastgrad's modules: the package's own ``__init__`` is kept out of the way."""
    code = (
        "import sys, types\n"
        "package = types.ModuleType('fastgrad')\n"
        f"package.__path__ = [{str(PACKAGE)!r}]\n"
        "sys.modules['fastgrad'] = package\n"
        f"import fastgrad.{module}\n"
    )
    if module == "__main__":  # needs the package whole
        code = "import fastgrad.__main__\n"
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_package_loads_numpy_and_the_standard_library_only(tmp_path):
    code = (
        "import sys\n"
        "before = set(sys.modules)\n"  # what site and editable installs load is not ours
        "import fastgrad\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    loaded = set(done.stdout.split())
    assert "numpy" in loaded
    others = {n for n in loaded - {"numpy", "fastgrad"} if not n.startswith("_")}
    assert others <= sys.stdlib_module_names | {"cython_runtime"}
