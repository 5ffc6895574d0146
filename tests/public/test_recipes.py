"""README's recipes run, and check the gradients that they say they check."""

import re
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import fastgrad as fg

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README.partition("\n## Recipes\n")[2].partition("\n## ")[0]
RECIPE = re.compile(r"^\*\*(.+?)\*\*.*?^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
RECIPES = {title.rstrip("."): code for title, code in RECIPE.findall(SECTION)}
PACKAGES = ("torch", "jax", "scipy")
# In each recipe a line of the gradient, and what a slip makes of it.
SLIPS = {
    "A torch module": ("p.grad.numpy() for", "1.1 * p.grad.numpy() for"),
    "A `torch.autograd.Function`": ("above * torch.sigmoid", "above * torch.tanh"),
    "A JAX function": ("jax.tree.map(np.asarray,", "jax.tree.map(lambda g: np.asarray(g) / 20,"),
    "A class with `loss()` and `grad()`": ("+ 2 * self.w", "+ self.w"),
    "SciPy's `fun`, `jac` and `args`": ("[2 * (x[0] - a)", "[2 * (a - x[0])"),
    "Sensitivities or the adjoint of an ODE": ("(2 * (y - data))", "(y - data)"),
}
EACH = pytest.mark.parametrize(
    "title", SLIPS, ids=lambda title: re.sub(r"\W+", "-", title).strip("-")
)


@pytest.fixture
def run():
    """Run a recipe's code, where its package is installed, and return its names."""
    with ExitStack() as stack:
        yield partial(_run, stack)


def _run(stack, code):
    packages = {
        name: pytest.importorskip(name)
        for name in PACKAGES
        if re.search(rf"^(import|from) {name}\b", code, re.MULTILINE)
    }
    if "torch" in packages:
        packages["torch"].manual_seed(0)
    if "jax" in packages:  # other tests have it as it comes
        config = packages["jax"].config
        stack.callback(config.update, "jax_enable_x64", config.jax_enable_x64)
    names = {"np": np, "fg": fg}
    exec(code, names)
    return names


def test_every_recipe_is_tested():
    assert set(RECIPES) == set(SLIPS)
    assert SECTION.count("```python") == len(RECIPES)


@EACH
def test_the_recipe_finds_its_gradient_right(title, run):
    names = run(RECIPES[title])
    assert names["report"], names["report"]


@EACH
def test_the_recipe_finds_a_slip(title, run):
    line, slip = SLIPS[title]
    assert RECIPES[title].count(line) == 1
    names = run(RECIPES[title].replace(line, slip))
    assert names["report"].verdict is fg.Verdict.WRONG


def test_scipys_pair_and_its_optimizer_take_the_same_functions(run):
    names = run(RECIPES["SciPy's `fun`, `jac` and `args`"])
    assert names["same"]
    np.testing.assert_allclose(names["found"].x, [1.0, 1.0], atol=1e-4)


def test_an_ode_needs_the_tolerance_that_its_recipe_gives(run):
    code = RECIPES["Sensitivities or the adjoint of an ODE"]
    assert code.count(", rtol=1e-3)") == 1
    assert not run(code.replace(", rtol=1e-3)", ")"))["report"]


def test_the_product_that_check_vjp_tells_for_jax_is_right_of_complex_outputs(run):
    jax = pytest.importorskip("jax")
    documented = fg.check_vjp.__doc__
    assert documented is not None
    recipe = "lambda p, u: jax.vjp(f, p)[1](u.conj())[0]"
    assert recipe in " ".join(documented.split())
    run("import jax")
    jax.config.update("jax_enable_x64", True)
    A = np.random.default_rng(0).normal(size=(2, 3, 2)).T @ [1, 1j]
    for matrix in (A.T, A.T.real):
        f = lambda x, matrix=matrix: jax.numpy.sin(matrix @ x)  # noqa: E731
        vjp = eval(recipe, {"jax": jax, "f": f})
        for x in (np.array([0.3, 0.5]), np.array([0.3 + 0.2j, 0.5 - 0.1j])):
            # By complex parameters the product is the conjugate of that of JAX.
            mine = (lambda p, u, vjp=vjp: vjp(p, u).conj()) if x.dtype.kind == "c" else vjp
            assert fg.check_vjp(lambda x, f=f: np.asarray(f(x)), mine, x)
