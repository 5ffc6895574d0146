"""The command line: ``fastgrad demo`` and ``fastgrad check MODULE:NAME``."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import inspect
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, BinaryIO

import fastgrad as fg
from fastgrad._report import figure
from fastgrad._words import with_article
from fastgrad.demo import BUGS, Problem, iris_network

__all__ = ["main"]

EXIT_CODES = {fg.Verdict.RIGHT: 0, fg.Verdict.WRONG: 1, fg.Verdict.CANNOT_TELL: 2}
USAGE_ERROR = 2
# What a target has: for a gradient, or for a Jacobian.
_WANTED = ("cost", "grad", "params")
_OF_VECTORS = ("residual", "jac", "params")
INTERRUPTED = 130


class UsageError(Exception):
    """The command cannot be carried out; the message is the line that the user sees."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0: the gradient is right. 1: it is wrong. 2: cannot tell, or the command could not be run.
    """
    options = _parser().parse_args(argv)
    _tell_if_slow()
    try:
        return int(options.run(options))
    except KeyboardInterrupt as error:
        _say("interrupted; the parameters are as they were")
        for note in getattr(error, "__notes__", ()):  # what the check knew by then
            _say(note)
        return INTERRUPTED
    except SystemExit as error:  # its status would pass for a verdict
        _say(f"the code to be checked left by sys.exit({error.code!r}) before there was a verdict")
    except Exception as error:
        if options.traceback:
            traceback.print_exc()
            return USAGE_ERROR
        text = " ".join(str(error).split())
        if not isinstance(error, (UsageError, fg.FastgradError)):  # the user's own code raised it
            named = ": ".join(filter(None, (type(error).__name__, text)))
            text = f"{named} (--traceback shows where)"
        _say(text)
    return USAGE_ERROR


def _show(text: str) -> None:
    """Print; a reader that has seen enough, such as head, may stop reading."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # What is left in the buffer has nowhere to go, and Python would complain as it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(line: str) -> None:
    print(f"fastgrad: {line}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastgrad",
        description="Is this gradient right? If not, which entries are wrong, and why?",
        epilog="exit status: 0 right, 1 wrong, 2 cannot tell or usage error",
    )
    version = f"fastgrad {fg.__version__} ({fg.backend} kernel)"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = _common()
    demo = commands.add_parser(
        "demo",
        parents=[common],
        help="check a network's hand-written backpropagation on Fisher's Iris data",
    )
    demo.add_argument("--bug", choices=sorted(BUGS), metavar="NAME", help=_bug_help())
    demo.set_defaults(run=_demo)

    check = commands.add_parser(
        "check", parents=[common], help="check a gradient or Jacobian of your own"
    )
    check.add_argument(
        "target",
        metavar="MODULE:NAME",
        help="a module that can be imported, or a .py file, and in it the name of an object or "
        "dict with cost, grad and params, or of a function without arguments that returns such an "
        "object, or a tuple of the three; or with residual, jac and params, for a Jacobian",
    )
    check.set_defaults(run=_check)
    return parser


def _common() -> argparse.ArgumentParser:
    """The options that both commands have."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--json", action="store_true", help="print the report as JSON")
    common.add_argument("--html", metavar="FILE", help="write the report as a web page")
    common.add_argument("--plot", metavar="FILE", help="draw the report (.png, .svg, .pdf)")
    common.add_argument(
        "--strategy",
        choices=["auto", "exhaustive", "probe"],
        default="auto",
        help="judge every entry (exhaustive), or look along random directions (probe); auto probes "
        "where judging every entry would exceed the budget",
    )
    common.add_argument("--budget", type=int, metavar="N", help="evaluate cost at most N times")
    for name, of in (("rtol", "of the numeric value"), ("atol", "in absolute terms")):
        common.add_argument(
            f"--{name}",
            type=float,
            default=0.0,
            metavar="X",
            help=f"count as right what is off by X {of} beyond the error bar (default 0)",
        )
    common.add_argument("--workers", type=int, metavar="N", help="evaluate in N processes")
    common.add_argument(
        "--seed", type=int, default=0, metavar="N", help="seed of the random directions (default 0)"
    )
    common.add_argument("--traceback", action="store_true", help="show errors in full")
    return common


def _bug_help() -> str:
    bugs = "; ".join(f"{name} ({bug.sentence})" for name, bug in BUGS.items())
    return f"plant a bug: {bugs}".replace("%", "%%")


def _tell_if_slow() -> None:
    """Say that the kernel is missing. The build says so as well, but pip hides its output."""
    if fg.backend == "pure" and not os.environ.get("FASTGRAD_BACKEND"):
        _say(
            "the compiled kernel was not built, so the slower pure backend runs; install a C "
            "compiler and reinstall, or set FASTGRAD_BACKEND=pure"
        )


def _demo(options: argparse.Namespace) -> int:
    problem = iris_network(options.bug)
    if not options.json:
        _print_lecture()
        planted = f", with a bug: {BUGS[options.bug].sentence}" if options.bug else ""
        _show(f"Backpropagation on Fisher's Iris data{planted}\n")
    return _judge(problem, options)


def _print_lecture() -> None:
    two_sided = fg.derivative(lambda t: t**3, 1.0, eps=0.01)
    one_sided = fg.derivative(lambda t: t**3, 1.0, eps=0.01, method="forward")
    _show(
        "The derivative of t^3 at t = 1 is 3. With a step of 0.01\n"
        f"  one-sided  (f(t+e) - f(t)) / e       gives {one_sided:.4f}, an error of order e\n"
        f"  two-sided  (f(t+e) - f(t-e)) / (2e)  gives {two_sided:.4f}, an error of order e^2\n"
    )


def _check(options: argparse.Namespace) -> int:
    with _clean_output(options):
        problem = _find(options.target)
    return _judge(problem, options)


def _judge(problem: Problem, options: argparse.Namespace) -> int:
    if options.plot:
        figure.new_figure(1, 1, "--plot")  # what is missing is told before the work
    with _clean_output(options):
        report = _report(problem, options)
    as_json = options.json
    _show(json.dumps(report.to_dict(), indent=2, allow_nan=False) if as_json else str(report))
    if options.html:
        _write(options.html, lambda file: file.write(report.to_html().encode()))
    if options.plot:
        kind = os.path.splitext(options.plot)[1][1:] or "png"
        _write(options.plot, lambda file: report.plot().savefig(file, format=kind))
    return EXIT_CODES[report.verdict]


def _report(problem: Problem, options: argparse.Namespace) -> fg.Report:
    """Judge the gradient, or the Jacobian."""
    how = {
        "budget": options.budget,
        "rtol": options.rtol,
        "atol": options.atol,
        "workers": options.workers,
        "progress": sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None,
        "seed": options.seed,
    }
    arguments = (problem.cost, problem.grad, problem.params)
    if problem.derivative == "gradient":
        return fg.check_gradient(*arguments, strategy=options.strategy, **how)
    if options.strategy == "probe":
        raise UsageError("--strategy=probe is for gradients; every entry of a Jacobian is judged")
    return fg.check_jacobian(*arguments, **how)


def _write(path: str, render: Callable[[BinaryIO], object]) -> None:
    """Render to memory first, so that a failure leaves the old file as it was."""
    memory = io.BytesIO()
    try:
        render(memory)
        with open(path, "wb") as file:
            file.write(memory.getbuffer())
    except (OSError, ValueError) as error:  # matplotlib does not know the format
        raise UsageError(f"cannot write {path}: {getattr(error, 'strerror', error)}") from error


def _clean_output(options: argparse.Namespace) -> AbstractContextManager[object]:
    """Send what the user's code prints to standard error, where JSON goes to standard output."""
    return contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext()


def _find(target: str) -> Problem:
    """Import the object that ``MODULE:NAME`` names, and take cost, grad and params from it."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(f"TARGET must be MODULE:NAME, such as mymodel.py:problem; got {target!r}")
    found: Any = _module(place)
    for part in name.split("."):
        if not hasattr(found, part):
            raise UsageError(f"{place} has no {name!r}")
        found = getattr(found, part)
    if callable(found) and not any(
        all(hasattr(found, each) for each in wanted) for wanted in (_WANTED, _OF_VECTORS)
    ):
        found = _called(found, target)
    if isinstance(found, tuple) and len(found) == len(_WANTED):
        return Problem(*found)
    named: Any = found if isinstance(found, Mapping) else _Attributes(found)
    missing = [each for each in _WANTED if each not in named]
    if not missing:
        return Problem(*(named[each] for each in _WANTED))
    if all(each in named for each in _OF_VECTORS):
        residual, jac, params = (named[each] for each in _OF_VECTORS)
        return Problem(residual, jac, params, derivative="Jacobian")
    got = with_article(type(found).__name__)
    if isinstance(found, tuple):
        got = f"a tuple of {len(found)}"
    elif len(missing) < len(_WANTED):
        got += f" without {' and '.join(missing)}"
    raise UsageError(
        f"{target} must be, or return, something with cost, grad and params (attributes, keys, or "
        f"a tuple of the three), or with residual, jac and params; got {got}"
    )


class _Attributes:
    """The attributes of an object, as a mapping has its keys."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __contains__(self, name: str) -> bool:
        return hasattr(self._thing, name)

    def __getitem__(self, name: str) -> Any:
        return getattr(self._thing, name)


def _called(make: Callable[[], Any], target: str) -> Any:
    try:
        inspect.signature(make).bind()
    except ValueError:  # of some functions in C nothing is known
        pass
    except TypeError as error:
        raise UsageError(
            f"{target} must be a function without arguments that returns cost, grad and params; "
            f"this one is called with {inspect.signature(make)}"
        ) from error
    return make()


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        if not os.path.isfile(place):
            what = "a directory" if os.path.isdir(place) else "not there"
            raise UsageError(f"{place} must be a file; it is {what}")
        spec = importlib.util.spec_from_file_location(_free_name(place), place)
        if spec is None or spec.loader is None:
            raise UsageError(f"{place} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        _add_folder(os.path.dirname(os.path.abspath(place)))
        spec.loader.exec_module(module)
        return module
    if not all(part.isidentifier() for part in place.split(".")):
        raise UsageError(f"{place} must be a module or a .py file")
    sys.path.insert(0, os.getcwd())  # fastgrad itself is imported already: this cannot hide it
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise
        if os.path.exists(place):
            raise UsageError(f"{place} must be a module or a .py file") from None
        raise UsageError(f"there is no module {place} here or on the Python path") from None


def _free_name(place: str) -> str:
    """The name of a file as a module, or another where something installed has that name."""
    name = os.path.basename(place)[:-3]
    try:
        other = importlib.util.find_spec(name) if "." not in name else None
    except ValueError:  # a module that says nothing of itself, such as __main__
        return f"{name}_file"
    here = os.path.realpath(place)
    taken = other is not None and os.path.realpath(other.origin or "") != here
    return f"{name}_file" if taken else name


def _add_folder(folder: str) -> None:
    """Let a file's neighbors be imported, but none in place of the standard library's modules."""
    library = os.path.dirname(os.__file__)
    standard = (library, os.path.join(library, "lib-dynload"))
    last = max((k for k, each in enumerate(sys.path) if each in standard), default=-1)
    sys.path.insert(last + 1, folder)


if __name__ == "__main__":
    sys.exit(main())
