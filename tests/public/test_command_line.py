"""The command line: verdicts as exit statuses, JSON, and errors of one line."""

import json
import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from strategies import PATIENCE, run_on_terminal

import fastgrad as fg
from fastgrad.__main__ import main
from fastgrad.demo import BUGS

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = Path(sysconfig.get_path("scripts")) / "fastgrad"

MODEL = """
import sys
from types import SimpleNamespace

import numpy as np

x = np.array([1.0, 2.0, 3.0])


def cost(x):
    return (x**3).sum()


def grad(x):
    return 3 * x**2


def right():
    return cost, grad, x


def wrong():
    return cost, lambda x: 3 * x, x


def undefined():
    return lambda x: float("nan"), grad, x


def chatty():
    def f(x):
        print("computing")
        return cost(x)

    print("loading")
    return f, grad, x


def leaving():
    return lambda x: sys.exit(0), grad, x


def interrupted():
    def f(x):
        if x[1] != 2.0:
            raise KeyboardInterrupt
        return cost(x)

    return f, grad, x


def long():
    # A slow one with a wrong entry, that tells where it is and how it left its parameters.
    import atexit
    import pathlib
    import time

    theta = np.linspace(1.0, 2.0, 200)
    atexit.register(lambda: print("left:", (theta == np.linspace(1.0, 2.0, 200)).all()))

    def f(x):
        time.sleep(0.01)
        if x[60] != theta0[60] and x[0] == theta0[0]:  # and not the baseline
            pathlib.Path("reached").touch()
            while pathlib.Path("wait").exists():  # for the interrupt, however late it comes
                time.sleep(0.01)
        return cost(x)

    theta0 = theta.copy()
    claimed = grad(theta)
    claimed[7] *= 1.5
    return f, claimed, theta


def failing():
    raise RuntimeError("no\\n   data")


def demanding(argument):
    return cost, grad, x


number = 3
mapping = {"cost": cost, "grad": grad, "params": x}
instance = SimpleNamespace(cost=cost, grad=grad, params=x)
pair = (cost, grad)
half = {"cost": cost}
holder = SimpleNamespace(inner=instance)
integers = {"cost": cost, "grad": grad, "params": np.array([1, 2])}

squares = {"residual": lambda x: x**2, "jac": lambda x: np.diag(2 * x), "params": np.ones(2)}
no_squares = squares | {"jac": lambda x: np.diag(x)}

cubes = {"cost": cost, "grad": grad, "hess": lambda x: np.diag(6 * x), "params": x}
everything = cubes | {"residual": lambda x: x**2, "jac": lambda x: np.diag(2 * x)}
one_wrong = everything | {"jac": lambda x: np.diag(x)}
without_grad = {name: each for name, each in cubes.items() if name != "grad"}
with_none = everything | {"grad": None, "residual": None, "jac": None}
wrong_grad = cubes | {"grad": lambda x: 3 * x}
pairs = cubes | {"cost": lambda x: (cost(x), grad(x)), "grad": True}
wrong_pairs = cubes | {"cost": lambda x: (cost(x), 3 * x), "grad": True}
array_grad = cubes | {"grad": grad(x)}
undecided = one_wrong | {"cost": lambda x: float("nan"), "hess": lambda x: np.diag(x)}
undecided_alone = cubes | {"cost": lambda x: float("nan")}
jac_of_cost = {"cost": cost, "jac": grad, "params": x}
hess_of_nothing = squares | {"hess": lambda x: np.diag(x)}
grad_of_nothing = {"grad": grad, "hess": cubes["hess"], "params": x}
no_params = {"cost": cost, "hess": cubes["hess"]}
no_jac = {"residual": cost, "params": x}
bad_shape = everything | {"hess": lambda x: x}


def interrupted():
    def hess(x):
        raise KeyboardInterrupt

    return SimpleNamespace(cost=cost, grad=grad, hess=hess, params=x)


class Model:
    params = x
    cost, grad, hess = map(staticmethod, (cost, grad, cubes["hess"]))
"""


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A directory with model.py in it, to work in; what it imports is forgotten afterwards."""
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "broken.py").write_text("import a_module_that_is_not_there\n")
    (tmp_path / "garbled.py").write_text("def f(:\n")
    (tmp_path / "notes.txt").write_text("not a model\n")
    (tmp_path / "folder.py").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name in ("model", "broken", "garbled"):
            del sys.modules[name]


def strict_json(text):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def run(*command, cwd):
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=PATIENCE
    )


def test_demo_shows_the_lecture_and_the_verdict(backend, capsys):
    assert main(["demo"]) == 0
    out, err = capsys.readouterr()
    assert "3.0301" in out
    assert "3.0001" in out
    assert "RIGHT" in out
    assert not err


@pytest.mark.parametrize("bug", BUGS)
def test_demo_finds_each_bug(bug, backend, capsys):
    assert main(["demo", "--bug", bug]) == 1
    out, _ = capsys.readouterr()
    assert BUGS[bug].sentence in out
    assert "WRONG" in out


def test_demo_names_the_wrong_entry(capsys):
    assert main(["demo", "--bug", "one-entry", "--json"]) == 1
    report = strict_json(capsys.readouterr().out)
    assert report["verdict"] == "WRONG"
    assert [entry["path"] for entry in report["wrong"]] == ["W1[2, 1]"]


def test_json_is_the_report_and_nothing_else(capsys):
    assert main(["demo", "--json"]) == 0
    report = strict_json(capsys.readouterr().out)
    assert report["verdict"] == "RIGHT"
    assert report["n_entries"] == 35


@pytest.mark.parametrize("name", ["right", "mapping", "instance", "holder.inner"])
@pytest.mark.parametrize("place", ["model", "model.py", "./model.py"])
def test_check_finds_the_problem(place, name, workplace, capsys):
    assert main(["check", f"{place}:{name}"]) == 0
    assert "RIGHT" in capsys.readouterr().out


def test_check_finds_jacobians(workplace, capsys):
    assert main(["check", "model.py:squares"]) == 0
    assert "all 4 entries agree" in capsys.readouterr().out
    assert main(["check", "model.py:no_squares", "--json"]) == 1
    report = strict_json(capsys.readouterr().out)
    assert report["derivative"] == "Jacobian"
    assert {entry["output"] for entry in report["wrong"]} == {"out[0]", "out[1]"}
    assert main(["check", "model.py:squares", "--strategy", "probe"]) == 2
    assert "every entry of a Jacobian or Hessian is judged" in capsys.readouterr().err


def _judged(capsys, name, status):
    """Title, verdict and derivative of each of several reports, and the verdict on all."""
    assert main(["check", f"model.py:{name}", "--json"]) == status
    found = strict_json(capsys.readouterr().out)
    reports = [(each["title"], each["verdict"], each["derivative"]) for each in found["reports"]]
    return reports, found["verdict"]


GRAD, JAC = "grad: the gradient of cost", "jac: the Jacobian of residual"
HESS = "hess: the Hessian of cost"
FROM_GRAD = f"{HESS}, from differences of grad"
FROM_VALUES = f"{HESS}, from values, as grad is not known to be right"
RIGHT_GRAD, RIGHT_HESS = (GRAD, "RIGHT", "gradient"), (FROM_GRAD, "RIGHT", "Hessian")


@pytest.mark.parametrize("name", ["cubes", "pairs", "Model"])
def test_gradient_and_hessian_are_judged_both(name, workplace, backend, capsys):
    assert _judged(capsys, name, 0) == ([RIGHT_GRAD, RIGHT_HESS], "RIGHT")


def test_all_that_is_claimed_is_judged_and_the_worst_counts(workplace, capsys):
    right, wrong = (JAC, "RIGHT", "Jacobian"), (JAC, "WRONG", "Jacobian")
    assert _judged(capsys, "everything", 0) == ([RIGHT_GRAD, right, RIGHT_HESS], "RIGHT")
    assert _judged(capsys, "one_wrong", 1) == ([RIGHT_GRAD, wrong, RIGHT_HESS], "WRONG")
    unclear = [(GRAD, "CANNOT_TELL", "gradient"), (FROM_VALUES, "CANNOT_TELL", "Hessian")]
    assert _judged(capsys, "undecided", 1) == ([unclear[0], wrong, unclear[1]], "WRONG")
    assert _judged(capsys, "undecided_alone", 2) == (unclear, "CANNOT_TELL")


@pytest.mark.parametrize(
    ("name", "verdict"),
    [("wrong_grad", "WRONG"), ("wrong_pairs", "WRONG"), ("array_grad", "RIGHT")],
)
def test_a_hessian_is_not_held_against_a_gradient_that_may_be_wrong(
    name, verdict, workplace, capsys
):
    reports, _ = _judged(capsys, name, 0 if verdict == "RIGHT" else 1)
    title = FROM_VALUES if verdict == "WRONG" else f"{HESS}, from values, as grad is no function"
    assert reports == [(GRAD, verdict, "gradient"), (title, "RIGHT", "Hessian")]


@pytest.mark.parametrize("name", ["without_grad", "with_none"])
def test_a_hessian_alone_is_one_report(name, workplace, capsys):
    assert main(["check", f"model.py:{name}", "--json"]) == 0
    assert strict_json(capsys.readouterr().out)["derivative"] == "Hessian"


def test_several_reports_as_text_page_and_picture(workplace, capsys):
    pytest.importorskip("matplotlib")
    assert main(["check", "model:one_wrong", "--html", "page.html", "--plot", "picture.svg"]) == 1
    out = capsys.readouterr().out
    places = [out.index(each) for each in (GRAD, JAC, "WRONG", FROM_GRAD)]
    assert places == sorted(places)
    page = (workplace / "page.html").read_text()
    assert page.count("<!doctype html>") == page.count("<h1") == 1
    assert "<h1>3 derivatives: wrong</h1>" in page
    assert all(f"<code>{title}</code>" in page for title in (GRAD, JAC, FROM_GRAD))
    assert (workplace / "picture.svg").stat().st_size > 10_000
    assert main(["check", "model:one_wrong", "--strategy", "probe"]) == 2
    assert "every entry of a Jacobian or Hessian is judged" in capsys.readouterr().err


def test_what_was_judged_before_an_error_or_an_interrupt_is_shown(workplace, capsys):
    assert main(["check", "model.py:bad_shape"]) == 2
    out, err = capsys.readouterr()
    assert GRAD in out
    assert "`hess` at `params / params` must have shape (3, 3)" in err
    assert main(["check", "model.py:interrupted"]) == 130
    out, err = capsys.readouterr()
    assert GRAD in out
    assert "interrupted" in err


def test_check_from_another_directory(workplace, monkeypatch, capsys):
    elsewhere = workplace / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert main(["check", f"{workplace / 'model.py'}:right"]) == 0


def test_wrong_and_undefined_have_their_statuses(workplace, capsys):
    assert main(["check", "model:wrong"]) == 1
    assert "WRONG" in capsys.readouterr().out
    assert main(["check", "model:undefined"]) == 2
    assert "CANNOT TELL" in capsys.readouterr().out


def test_options_reach_the_check(workplace, capsys):
    def report(*options):
        assert main(["check", "model.py:wrong", "--json", *options]) == 1
        return json.loads(capsys.readouterr().out)

    usual, probed = report("--seed", "7"), report("--strategy", "probe")
    assert (usual["strategy"], usual["seed"]) == ("exhaustive", 7)
    assert (probed["strategy"], probed["seed"]) == ("probe", 0)
    tolerant = report("--rtol", "1e-3", "--atol", "0.01")
    assert (tolerant["rtol"], tolerant["atol"]) == (1e-3, 0.01)
    assert report("--workers", "2")["evaluations"] > usual["evaluations"]  # of the copies' proof
    assert main(["check", "model.py:wrong", "--budget", "12"]) == 2
    assert "the budget ran out" in capsys.readouterr().out
    assert main(["check", "model.py:wrong", "--budget", "0"]) == 2
    assert "budget" in capsys.readouterr().err


def test_json_without_finite_numbers_is_strict(workplace, capsys):
    assert main(["check", "model:undefined", "--json"]) == 2
    assert strict_json(capsys.readouterr().out)["verdict"] == "CANNOT_TELL"


def test_what_the_users_code_prints_stays_out_of_the_json(workplace, capsys):
    assert main(["check", "model:chatty", "--json"]) == 0
    out, err = capsys.readouterr()
    assert strict_json(out)["verdict"] == "RIGHT"
    assert "loading" in err
    assert "computing" in err


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("nowhere:x", "no module nowhere"),
        ("nowhere.sub:x", "no module nowhere.sub"),
        ("nowhere.py:x", "nowhere.py must be a file; it is not there"),
        (".:x", ". must be a module"),
        ("folder.py:x", "folder.py must be a file; it is a directory"),
        ("notes.txt:x", "notes.txt must be a module or a .py file"),
        ("model", "MODULE:NAME"),
        (":right", "MODULE:NAME"),
        ("model:", "MODULE:NAME"),
        ("model.py:absent", "model.py has no 'absent'"),
        ("model:number", "cost, grad and params"),
        ("model:failing", "RuntimeError: no data"),
        ("model:demanding", "without arguments * this one is called with (argument)"),
        ("model:pair", "got a tuple of 2"),
        ("model:half", "got a dict without grad and params"),
        ("model:no_params", "got a dict without params"),
        ("model:no_jac", "got a dict without jac"),
        ("model:jac_of_cost", "no residual: add it, or leave jac out; * cost is called grad"),
        ("model:hess_of_nothing", "has hess, the Hessian of cost, but no cost"),
        ("model:grad_of_nothing", "has grad, the gradient of cost, but no cost"),
        ("model:integers", "int"),
        ("model:leaving", "sys.exit(0)"),
        ("broken:x", "a_module_that_is_not_there"),
        ("garbled.py:x", "SyntaxError"),
    ],
)
def test_an_error_is_one_line_and_status_2(target, said, workplace, capsys):
    assert main(["check", target]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith("fastgrad: ")
    assert err.count("\n") == 1
    assert all(part in err for part in said.split(" * "))


@pytest.mark.parametrize(
    ("target", "hinted"),
    [("model:failing", True), ("garbled.py:x", True), ("broken:x", True), ("model:integers", False),
     ("model.py:absent", False), ("nowhere:x", False), ("model:leaving", False)],
)  # fmt: skip
def test_where_an_error_of_the_users_code_is_shown_is_said(target, hinted, workplace, capsys):
    main(["check", target])
    assert ("--traceback" in capsys.readouterr().err) is hinted


@pytest.mark.parametrize(
    ("option", "value"),
    [("--seed", "-1"), ("--budget", "0"), ("--rtol", "-1.0"), ("--atol", "nan")],
)
def test_a_number_out_of_range_is_named(option, value, workplace, capsys):
    assert main(["check", "model.py:right", option, value]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err.startswith(f"fastgrad: `{option[2:]}` must be ")
    assert err.rstrip().endswith(f"got {value}")


NAMES = ("random", "secrets", "numbers", "numpy", "pytest", "fastgrad", "model.v2", "__main__")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_may_have_any_modules_name(name, tmp_path):
    """It is loaded by its path, and takes the place of nothing; its neighbors can be imported."""
    lab = tmp_path / "lab"
    lab.mkdir()
    (lab / f"{name}.py").write_text("import neighbor, secrets, graphlib\n" + MODEL)
    (lab / "neighbor.py").write_text("power = 3\n")
    (lab / "graphlib.py").write_text("raise ImportError('not the standard library')\n")
    target = f"lab/{name}.py:right"
    done = run(sys.executable, "-m", "fastgrad", "check", target, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_file_whose_name_is_free_is_a_module_of_that_name(workplace, capsys):
    """So that workers can import it."""
    assert main(["check", "model.py:right", "--workers", "2"]) == 0
    assert sys.modules["model"].x.tolist() == [1.0, 2.0, 3.0]
    assert main(["check", "model.py:right"]) == 0
    assert "model_file" not in sys.modules


@pytest.mark.parametrize(
    ("arguments", "status"),
    [(["demo"], 0), (["demo", "--bug", "one-entry"], 1), (["demo", "--json"], 0),
     (["check", "model.py:undefined"], 2)],
)  # fmt: skip
def test_a_reader_that_stops_reading_changes_nothing(arguments, status, workplace):
    """As head does when it has seen enough: no message, and the status of the verdict."""
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "fastgrad", *arguments]
    done = subprocess.run(
        command, cwd=workplace, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=120
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (status, "")


def test_traceback_shows_errors_in_full(workplace, capsys):
    assert main(["check", "--traceback", "model:failing"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert "RuntimeError" in err


def test_interrupt_leaves_the_parameters_alone(workplace, capsys):
    assert main(["check", "model:interrupted"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert sys.modules["model"].x.tolist() == [1.0, 2.0, 3.0]


def wait_for(path, process):
    for _ in range(20 * PATIENCE):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.05)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_ctrl_c_tells_what_is_known_so_far(workplace, options):
    command = [sys.executable, "-m", "fastgrad", "check", "model.py:long", *options]
    (workplace / "wait").touch()
    process = subprocess.Popen(
        command, cwd=workplace, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(workplace / "reached", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "left: True" in out
    said = err.splitlines()
    assert said[0] == "fastgrad: interrupted; the parameters are as they were"
    found = re.fullmatch(
        r"fastgrad: the check had looked at (\d+) of 200 entries; at odds with their first "
        r"difference, and not settled: 1 \(params\[7\]\)",
        said[1],
    )
    assert found
    assert 40 <= int(found[1]) < 200
    assert len(said) == 2


def test_a_bar_where_standard_error_is_a_terminal(workplace):
    pytest.importorskip("tqdm")
    command = [sys.executable, "-m", "fastgrad", "check", "model.py:long", "--json"]
    done, shown = run_on_terminal(command, cwd=workplace)
    assert done.returncode == 1
    assert strict_json(done.stdout.replace(b"left: True", b""))["verdict"] == "WRONG"
    assert "first pass, params" in shown


@pytest.mark.parametrize("arguments", [[], ["demo", "--bug", "none"], ["check"], ["nothing"]])
def test_usage_errors_have_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"], ["check", "--help"]])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 0
    out = capsys.readouterr().out
    assert "usage:" in out
    if arguments[0] == "demo":
        shown = "".join(out.split())  # words are wrapped, some at their hyphens
        for name, bug in BUGS.items():
            assert f"{name}({bug.sentence})".replace(" ", "") in shown


def test_version_names_the_kernel(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"fastgrad {fg.__version__} ({fg.backend} kernel)\n"


def test_an_install_without_kernel_is_told_of(monkeypatch, capsys):
    monkeypatch.setattr(fg, "backend", "pure")
    monkeypatch.delenv("FASTGRAD_BACKEND", raising=False)
    assert main(["demo"]) == 0
    err = capsys.readouterr().err
    assert "compiled kernel was not built" in err
    assert err.count("\n") == 1
    monkeypatch.setenv("FASTGRAD_BACKEND", "pure")
    assert main(["demo"]) == 0
    assert not capsys.readouterr().err


def test_console_script_started_in_the_checkout_runs_the_installed_package():
    done = run(SCRIPT, "--version", cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"fastgrad {fg.__version__} ({fg.backend} kernel)\n"


def test_console_script_and_module_give_the_same(tmp_path):
    script = run(SCRIPT, "demo", "--bug", "wrong-sign", cwd=tmp_path)
    module = run(sys.executable, "-m", "fastgrad", "demo", "--bug", "wrong-sign", cwd=tmp_path)
    assert script.returncode == module.returncode == 1
    assert script.stdout.splitlines()[:8] == module.stdout.splitlines()[:8]
    assert script.stderr == module.stderr == ""
