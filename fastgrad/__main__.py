"""The command line: ``fastgrad demo`` and ``fastgrad check MODULE:NAME``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, BinaryIO

import fastgrad as fg
from fastgrad._report import figure, several
from fastgrad._targets import CLAIMS, Target, UsageError, found
from fastgrad.demo import BUGS, iris_network

__all__ = ["main"]

EXIT_CODES = {fg.Verdict.RIGHT: 0, fg.Verdict.WRONG: 1, fg.Verdict.CANNOT_TELL: 2}
USAGE_ERROR = 2
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    0: all that was judged is right. 1: something is wrong. 2: cannot tell, or the command could not
    be run.
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
        epilog="exit status: 0 right, 1 wrong, 2 cannot tell or usage error; of several "
        "derivatives 1 if any is wrong, and 0 if all are right",
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
        "check", parents=[common], help="check a gradient, Jacobian or Hessian of your own"
    )
    check.add_argument(
        "target",
        metavar="MODULE:NAME",
        help="a module that can be imported, or a .py file, and in it the name of an object or "
        "dict with cost, grad and params, or of a function without arguments that returns such an "
        "object, or a tuple of the three; with hess, the Hessian of cost is judged too, and with "
        "residual and jac a Jacobian, each with a report of its own",
    )
    check.set_defaults(run=_check)
    return parser


def _common() -> argparse.ArgumentParser:
    """The options that both commands have."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--json",
        action="store_true",
        help="print the report as JSON; of several, the worst verdict and the list of reports",
    )
    common.add_argument("--html", metavar="FILE", help="write the report as a web page")
    common.add_argument("--plot", metavar="FILE", help="draw the report (.png, .svg, .pdf)")
    common.add_argument(
        "--strategy",
        choices=["auto", "exhaustive", "probe"],
        default="auto",
        help="judge every entry (exhaustive), or look along random directions (probe); auto probes "
        "where judging every entry would exceed the budget",
    )
    common.add_argument(
        "--budget",
        type=int,
        metavar="N",
        help="evaluate the function at most N times for each derivative that is judged",
    )
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
    target = Target({"cost": problem.cost, "grad": problem.grad, "params": problem.params})
    if not options.json:
        _print_lecture()
        planted = f", with a bug: {BUGS[options.bug].sentence}" if options.bug else ""
        _show(f"Backpropagation on Fisher's Iris data{planted}\n")
    return _judge(target, options)


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
        target = found(options.target)
    if options.strategy == "probe" and target.claims != ["grad"]:
        raise UsageError(
            "--strategy=probe is for gradients; every entry of a Jacobian or Hessian is judged"
        )
    return _judge(target, options)


def _judge(target: Target, options: argparse.Namespace) -> int:
    """Judge all that is claimed, one after the other, and render the reports."""
    if options.plot:
        figure.new_figure(1, 1, "--plot")  # what is missing is told before the work
    reports: dict[str, fg.Report] = {}
    alone = len(target.claims) == 1
    for name in target.claims:
        against = _gradient(target, reports) if name == "hess" else None
        title = _title(name, target, against)
        with _clean_output(options):
            reports[title] = _report(name, target, against, options)
        if not options.json:  # as soon as it is known, in case the next one takes long
            before = "" if alone else "\n" * (len(reports) > 1) + f"{title}\n\n"
            _show(f"{before}{reports[title]}")
    _render(reports, options)
    return EXIT_CODES[several.worst(reports.values())]


def _render(reports: Mapping[str, fg.Report], options: argparse.Namespace) -> None:
    """What the options ask for beside the text."""
    if options.json:
        _show(json.dumps(several.to_dict(reports), indent=2, allow_nan=False))
    if options.html:
        _write(options.html, lambda file: file.write(several.to_html(reports).encode()))
    if options.plot:
        kind = os.path.splitext(options.plot)[1][1:] or "png"
        _write(options.plot, lambda file: several.plot(reports).savefig(file, format=kind))


def _gradient(target: Target, reports: Mapping[str, fg.Report]) -> Any:
    """The gradient to judge the Hessian against, or None if none is known to be right."""
    grad = target.get("grad")
    known = [report for report in reports.values() if report.derivative == "gradient" and report]
    return grad if known and (callable(grad) or grad is True) else None


def _title(name: str, target: Target, against: Any) -> str:
    """What a report is of, among others."""
    claim = CLAIMS[name]
    title = f"{name}: the {claim.derivative} of {claim.of}"
    if name != "hess" or "grad" not in target.claims:
        return title
    if against is not None:
        return f"{title}, from differences of grad"
    grad = target.get("grad")
    if not callable(grad) and grad is not True:
        return f"{title}, from values, as grad is no function"
    return f"{title}, from values, as grad is not known to be right"


def _report(name: str, target: Target, against: Any, options: argparse.Namespace) -> fg.Report:
    """Judge one of the claims."""
    how = {
        "budget": options.budget,
        "rtol": options.rtol,
        "atol": options.atol,
        "workers": options.workers,
        "progress": sys.stderr.isatty() and importlib.util.find_spec("tqdm") is not None,
        "seed": options.seed,
    }
    function, claim, params = target[CLAIMS[name].of], target[name], target["params"]
    if name == "grad":
        return fg.check_gradient(function, claim, params, strategy=options.strategy, **how)
    if name == "jac":
        return fg.check_jacobian(function, claim, params, **how)
    if against is None and target.get("grad") is True:  # cost returns pairs
        return fg.check_hessian(_First(function), claim, params, **how)
    return fg.check_hessian(function, claim, params, against, **how)


@dataclass(frozen=True)
class _First:
    """The first of the pair that a function returns, also in other processes."""

    pairs: Callable[[Any], Any]

    def __call__(self, params: Any) -> Any:
        return self.pairs(params)[0]


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


if __name__ == "__main__":
    sys.exit(main())
