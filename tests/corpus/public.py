"""Errors reported on public trackers, rebuilt from what was reported, in our own words and data."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from . import errors as e
from .base import Bug, Case, Problem, edit, rng
from .layers import normalised
from .planting import Spoiler, everywhere, in_leaves, plant
from .public_costs import COMPLEX_LEFT
from .public_models import DIVIDEND, PLACES, READ, WORDS, profiled_gamma, sigmoid_output

_REPORTS: list[tuple[str, str, str, str, Callable[[], Spoiler]]] = []


def report(source: str, cause: str, problem: str) -> Callable:
    """Register an error under its tracker entry; the function's name becomes the bug's."""

    def keep(build: Callable[[], Spoiler]) -> Callable[[], Spoiler]:
        _REPORTS.append((source, cause, problem, f"public_{build.__name__}", build))
        return build

    return keep


def rebuilt(named: dict[str, Problem]) -> Iterator[Bug]:
    """Every reported error, on the problems given by name."""
    for source, cause, problem, name, build in _REPORTS:
        yield plant(named[problem], cause, name, build(), source=source)


def whole(spoil: e.Spoil) -> Spoiler:
    """Spoil the one leaf of a bare array."""
    return in_leaves({"": spoil})


def _regraded(grad_of: Callable[[Case], Callable]) -> Spoiler:
    return lambda case: Case(case.f, grad_of(case), case.params)


@report("tensorflow/tensorflow#1847", "FACTOR", "public_scaled_tanh")
def incoming_gradient_dropped():
    """A new operation's gradient forgot the incoming one: invisible until its output is scaled."""
    return whole(e.factor(1 / 1.1))


@report("jax-ml/jax#29485", "FACTOR", "public_square")
def documentation_example_without_two():
    """A documented custom gradient of the square returned x where 2x is right."""
    return whole(e.factor(0.5))


@report("SciSharp/TensorFlow.NET#303", "FACTOR", "public_tenth_of_cube")
def one_of_three_paths():
    """Of three equal factors only one passed its gradient on."""
    return whole(e.factor(1 / 3))


@report("pytorch/pytorch#57006", "FACTOR", "public_filled_values")
def fill_counts_duplicates():
    """A fill value got a gradient for each index naming its slot, also for repeated ones."""
    return whole(e.factor(2.0))


@report("kvfrans/notes#5", "FACTOR", "mlp_relu")
def bias_averaged():
    """The bias gradient was a mean over the batch where a sum was due."""
    return in_leaves({"layers[0].b": e.factor(1 / 12)})


@report("Oneflow-Inc/oneflow#255", "FACTOR", "convolution_1d")
def divided_by_positions():
    """Weight and bias gradients of a convolution were divided by the number of kernel positions."""
    return in_leaves({"kernel": e.factor(1 / 7), "bias": e.factor(1 / 7)})


@report("torch/cunn#318", "FACTOR", "public_divergence_in_log_probabilities")
def divergence_twice():
    """The gradient of a divergence criterion was twice too large on the device."""
    return whole(e.factor(2.0))


@report("chainer/chainer#1175", "FACTOR", "public_scaled_huber")
def huber_ignores_what_follows():
    """The Huber loss ignored the gradient from above, so scaling it changed nothing."""
    return whole(e.factor(1 / 0.3))


@report("SeanNaren/warp-ctc#69", "FACTOR", "public_tenth_of_cross_entropy")
def sequence_loss_ignores_its_weight():
    """A sequence loss multiplied by 0.1 sent back the same gradient as without."""
    return whole(e.factor(10.0))


@report("zergtant/pytorch-handbook#69", "FACTOR", "public_five_times")
def constant_left_out():
    """A multiplication by a constant returned the incoming gradient without it."""
    return whole(e.factor(0.2))


@report("pytorch/pytorch#995", "SIGN", "public_negative_product")
def product_loses_minus():
    """The gradient of a product did not take up the minus in front of it."""
    return whole(e.sign())


@report("k2-fsa/k2#341", "SIGN", "public_negative_total_score")
def total_score_loses_minus():
    """The backward of a total score ignored the gradient above: the update had the wrong sign."""
    return whole(e.sign())


@report("STOR-i/GaussianProcesses.jl#26", "SIGN", "public_process_in_lengths")
def mean_parameters_downhill():
    """The evidence's derivative in the mean parameters had the right size and the wrong sign."""
    return in_leaves({"mean": e.sign()})


@report("pints-team/pints#412", "SIGN", "normal_log_scale")
def residual_the_other_way():
    """Error measures subtracted data from model, likelihoods model from data: signs differed."""
    return in_leaves({"mean": e.sign()})


@report("scikit-learn/scikit-learn#11113", "LOG_PARAMETER", "public_process_in_lengths")
def length_scale_taken_for_its_log():
    """A kernel's gradient is in the log of its length scale; read as one in the scale it fails."""
    return in_leaves({"length": e.times_parameters()})


def _without_chain(leaf: str) -> Spoiler:
    return in_leaves({leaf: lambda g, t: g * np.exp(-t)})


@report("scikit-learn/scikit-learn#6701", "LOG_PARAMETER", "public_process_in_log_lengths")
def test_differentiates_the_wrong_parameter():
    """A gradient in the scale was compared with differences in its log."""
    return _without_chain("length")


@report("alan-turing-institute/stat-fem#35", "LOG_PARAMETER", "public_scaling_in_logs")
def factor_of_log_scale_missing():
    """A parameter lives on a log scale, and its derivative lacked the factor that follows."""
    return _without_chain("log_rho")


@report("statsmodels/statsmodels#7522", "LOG_PARAMETER", "public_dispersion_in_logs")
def transform_of_dispersion_not_applied():
    """A comparison in place of an assignment left the dispersion's score untransformed."""
    return _without_chain("log_d")


@report("jax-ml/jax#9110", "CONJUGATE", "public_squared_modulus")
def other_convention():
    """The gradient of a squared modulus came out conjugated against the ascent convention."""
    return whole(e.conjugate())


@report("FluxML/Zygote.jl#151", "CONJUGATE", "public_complex_contraction")
def contraction_conjugated():
    """A tensor contraction's gradient differed by a conjugate, for complex numbers only."""
    return whole(e.conjugate())


@report("tensorflow/tensorflow#4859", "UNKNOWN", "public_complex_product")
def factor_not_conjugated():
    """The gradient of a complex matrix product did not conjugate the other factor."""
    back = np.linalg.pinv(COMPLEX_LEFT.conj().T)
    return whole(lambda g, t: COMPLEX_LEFT.T @ (back @ g))


@report("HIPS/autograd#56", "SYMMETRIC", "public_symmetrised_log_determinant")
def one_triangle_for_both():
    """A Cholesky gradient filled the lower triangle with both halves, zero above."""
    return whole(e.one_triangle())


@report("pytorch/pytorch#18825", "SYMMETRIC", "public_symmetrised_trace_of_inverse")
def inverse_through_cholesky():
    """Going through the Cholesky factor gave another gradient: one triangle with all of it."""
    return whole(e.one_triangle())


@report("pytorch/pytorch#22807", "SYMMETRIC", "public_symmetrised_spectrum")
def spectrum_of_one_triangle():
    """The eigenvalues' gradient stayed in one triangle after Cholesky's had been symmetrised."""
    return whole(e.one_triangle(lower=False))


@report("jax-ml/jax#40421", "SYMMETRIC", "public_upper_cholesky")
def ghost_below_the_diagonal():
    """With only the upper triangle read, half its gradient turned up in the lower one."""
    return whole(lambda g, t: (g + g.T) / 2)


@report("wush978/KDD2015wpp#11", "MISSING_L2", "public_censored_ridge")
def weight_of_penalty_missing():
    """The gradient of a censored regression had no term for its ridge penalty."""
    return whole(e.add_parameters(-0.8))


@report("jingtinghuang/CS231n-Spring-2017#3", "MISSING_L2", "public_multiclass_hinge")
def penalty_halved():
    """The penalty was the full square, its gradient that of half the square."""
    return whole(e.add_parameters(-0.05))


@report("drckf/paysage#108", "MISSING_L2", "low_rank_factors")
def penalties_cancel():
    """The penalty's gradient cancelled between the two phases of a contrastive gradient."""
    return everywhere(e.add_parameters(-0.1))


@report("jax-ml/jax#11469", "OFFSET", "public_remainder_in_divisor")
def quotient_rounded_down():
    """The remainder's derivative in the divisor was wrong for operands of mixed sign."""
    return whole(lambda g, t: -np.floor(DIVIDEND / t))


@report("jax-ml/jax#38001", "ZERO", "public_ldexp")
def zero_times_a_power():
    """Scaling by a power of two had gradient zero at the point zero."""
    return whole(e.scale_where(lambda t: t == 0, 0.0))


@report("tinygrad/tinygrad#17758", "ZERO", "public_asinh")
def sign_of_zero():
    """Written with sign and absolute value, the inverse hyperbolic sine was flat at zero."""
    return whole(e.scale_where(lambda t: t == 0, 0.0))


@report("jax-ml/jax#22398", "ZERO", "public_weights_of_logsumexp")
def zero_weight_no_gradient():
    """A zero weight in a log-sum-exp had gradient zero in place of its exponential's share."""
    return whole(e.scale_where(lambda t: t == 0, 0.0))


@report("stan-dev/math#3370", "SIGN", "public_saturated_bernoulli")
def sign_lost_beyond_the_cutoff():
    """Beyond a cutoff the partials forgot the outcome's sign: wrong for one of two outcomes."""
    return whole(e.scale_where(lambda t: t > 0, -1.0))


@report("tracel-ai/burn#1208", "FACTOR", "public_negative_slope_relu")
def mask_from_the_output():
    """The mask was taken from the output, which a negative slope makes positive everywhere."""
    return whole(e.scale_where(lambda t: t < 0, -5.0))


@report("pytorch/pytorch#1528", "SINGLE", "public_repeated_lookup")
def last_copy_only():
    """Of an entry fetched several times only the last copy's gradient was kept."""

    def last(g: np.ndarray, t: np.ndarray) -> np.ndarray:
        out = g.copy()
        out[WORDS] = READ * np.cos(t[WORDS])
        return out

    return whole(last)


@report("tensorflow/tensorflow#7397", "SINGLE", "public_overwritten_row")
def overwritten_still_paid():
    """Rows that a later write replaces still received a gradient."""
    return whole(lambda g, t: READ * np.cos(t))


@report("pytorch/pytorch#473", "SWAPPED", "public_copied_rows")
def every_copy_paid():
    """Rows copied to one place all received its gradient, though only the last one remains."""
    return whole(lambda g, t: READ[PLACES] * np.cos(t[[1, 1, 2, 3, 4, 5]]))


@report("nntrainer/nntrainer#705", "TRANSPOSED", "public_filters_and_taps")
def filters_and_taps_exchanged():
    """A convolution's weight gradient was laid out in the wrong order of its axes."""
    return whole(e.transpose())


@report("iamtrask/Grokking-Deep-Learning#22", "TRANSPOSED", "public_three_in_three_out")
def inputs_across_outputs():
    """The outer product of errors and inputs was stored transposed."""
    return whole(e.transpose())


@report("elixir-nx/nx#1643", "PERMUTED", "public_sorted_scores")
def sorted_places():
    """The gradient of a sort stayed at the sorted places."""
    return whole(lambda g, t: g[np.argsort(t)])


@report("apache/mxnet#17703", "PRECISION", "public_lookup_in_half_precision")
def summed_in_half_precision():
    """An embedding's gradient was added up in half precision and stopped growing too early."""

    def half(g: np.ndarray, t: np.ndarray) -> np.ndarray:
        total = np.zeros(6, np.float16)
        for k, part in enumerate(0.01 * rng(938).uniform(0.5, 1.5, 2400)):
            total[k % 6] += np.float16(part)
        return total.astype(float) * np.cos(t)

    return whole(half)


@report("VikParuchuri/zero_to_gpt#12", "STALE", "public_network_with_linear_loss")
def pulled_through_updated_weights():
    """A layer was updated before the gradient was pulled through it to the layer below."""

    def grad_of(case: Case) -> Callable:
        step = 0.05 * case.grad(case.params)["second"]

        def grad(p):
            late = case.grad(edit(p, {"second": p["second"] - step}))
            return edit(case.grad(p), {"first": late["first"]})

        return grad

    return _regraded(grad_of)


@report("hans/glove.py#6", "STALE", "public_word_vectors")
def vectors_move_during_the_sweep():
    """Vectors were updated in the same loop in which the other gradients were still computed."""

    def grad_of(case: Case) -> Callable:
        step = 0.02 * case.grad(case.params)["main"]

        def grad(p):
            late = case.grad(edit(p, {"main": p["main"] - step}))
            return edit(case.grad(p), {"context": late["context"]})

        return grad

    return _regraded(grad_of)


@report("abhiskk/ladder#2", "UNKNOWN", "batch_norm")
def variance_detached():
    """The batch variance was cut out of the graph: nothing flows through it."""

    def back(z, scale, to_z, axis):
        return scale * (to_z - to_z.mean(axis=axis, keepdims=True))

    return _regraded(lambda case: normalised(0, 500, back).grad)


@report("denizyuret/Knet.jl#288", "FACTOR", "batch_norm")
def scales_forgotten():
    """The gradient to the layer below left out the learned scales of the normalisation."""

    def grad_of(case: Case) -> Callable:
        return lambda p: edit(case.grad(p), {"W": case.grad(p)["W"] / p["gamma"]})

    return _regraded(grad_of)


@report("BoltzmannEntropy/interviews.ai#4", "UNKNOWN", "public_sigmoid_sum")
def slope_from_the_input():
    """The logistic slope y(1 - y) was written with the input in place of the output."""
    return whole(lambda g, t: (1 + 0.25 * np.arange(t.size)) * t * (1 - t))


@report("Bot-Academy/NeuralNetworkFromScratch#3", "UNKNOWN", "public_sigmoid_output")
def last_slope_missing():
    """The derivative of the output layer's logistic function was missing."""
    return _regraded(lambda case: sigmoid_output(last_slope=False).grad)


@report("statsmodels/statsmodels#4616", "UNKNOWN", "public_profiled_gamma")
def scale_held_fixed():
    """The likelihood estimates its scale inside, the score treats the scale as given."""
    return _regraded(lambda case: profiled_gamma(partial=True).grad)
