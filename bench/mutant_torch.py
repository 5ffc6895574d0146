"""Small networks of torch in float64; the parameters are NumPy views of its tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from mutant_models import NO_PATTERN, Blocks, Model, random_of
from torch import nn
from torch.nn import functional as F

Loss = Callable[[], torch.Tensor]


def models() -> Iterator[Model]:
    torch.set_num_threads(1)  # for such sizes, threads only cost
    for make in (_mlp, _image, _sequence, _batch_norm, _layer_norm, _embedding, _attention):
        yield make()
    for make in (_gru, _rnn, _weight_norm, _gaussian, _autoencoder):
        yield make()


def _tensor(name: str, *shape: int) -> torch.Tensor:
    return torch.from_numpy(random_of(name).normal(size=shape))


def _in_one_piece(name: str, named: Mapping[str, nn.Parameter]) -> np.ndarray:
    """Memory into which the parameters are moved, with random values of a usual size."""
    memory = random_of(name).normal(size=sum(p.numel() for p in named.values()))
    start = 0
    for key, p in named.items():
        part = memory[start : start + p.numel()]
        plain = p.ndim < 2  # biases and gains: about their usual value
        part *= 0.2 if plain else 1 / np.sqrt(max(p[0].numel(), 1))
        part += 1.0 if plain and "norm" in key and "weight" in key else 0.0
        p.data = torch.from_numpy(part).view(p.shape)
        start += p.numel()
    return memory


def of_module(
    name: str,
    module: nn.Module,
    loss: Loss,
    l2: float = 0.0,
    slips: Mapping[str, tuple[Loss, Sequence[str]]] | None = None,
    **known: Any,
) -> Model:
    """The parameters of a module, moved into one piece of memory, as one vector or one by one."""
    named = dict(module.named_parameters())
    memory = _in_one_piece(name, named)
    penalties = {key: l2 for key, p in named.items() if p.ndim > 1 and l2}

    def total(loss: Loss) -> torch.Tensor:
        return loss() + sum(c / 2 * (named[key] ** 2).sum() for key, c in penalties.items())

    def f(_: Blocks) -> float:
        with torch.no_grad():
            return float(total(loss))

    def backward(loss: Loss) -> Callable[[Blocks], Blocks]:
        def grad(_: Blocks) -> Blocks:
            found = torch.autograd.grad(
                total(loss), list(named.values()), allow_unused=True, materialize_grads=True
            )
            return {key: g.numpy().copy() for key, g in zip(named, found, strict=True)}

        return grad

    careless = {what: (backward(other), kinds) for what, (other, kinds) in (slips or {}).items()}
    params = {key: p.detach().numpy() for key, p in named.items()}
    return Model(
        name, f, backward(loss), params, l2=penalties, memory=memory, careless=careless, **known
    )


def _mlp() -> Model:
    name = "torch/mlp"
    net = nn.Sequential(
        nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)
    ).double()
    x, y = _tensor(name, 20, 5), torch.arange(20) % 3
    slips = {
        "a sample left out": (lambda: F.cross_entropy(net(x[1:]), y[1:]), NO_PATTERN),
        "labels smoothed": (lambda: F.cross_entropy(net(x), y, label_smoothing=0.02), NO_PATTERN),
    }
    return of_module(name, net, lambda: F.cross_entropy(net(x), y), l2=0.05, slips=slips)


def _image() -> Model:
    name = "torch/convolution"
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Softplus(), nn.Flatten(), nn.Linear(27, 2)).double()
    x, y = _tensor(name, 6, 2, 5, 5), torch.arange(6) % 2
    return of_module(name, net, lambda: F.cross_entropy(net(x), y), kernels=("0.weight",))


def _sequence() -> Model:
    name = "torch/convolution of sequences"
    net = nn.Sequential(nn.Conv1d(3, 4, 5), nn.SiLU(), nn.Flatten(), nn.Linear(16, 1)).double()
    x, y = _tensor(name, 8, 3, 8), _tensor(name + "y", 8, 1)
    return of_module(name, net, lambda: F.smooth_l1_loss(net(x), y), l2=0.02, kernels=("0.weight",))


def _batch_norm() -> Model:
    """The bias before the norm cancels out: its gradient is zero but for rounding."""
    name = "torch/batch norm"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift, self.norm, self.out = nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(torch.tanh(self.norm(self.lift(x))))

        def constant(self, x: torch.Tensor, mean: bool = True) -> torch.Tensor:
            """As if the statistics of the batch did not depend on the parameters."""
            z = self.lift(x)
            middle = z.mean(dim=0)
            spread = (((z - middle) ** 2).mean(dim=0) + self.norm.eps).sqrt().detach()
            z = (z - (middle.detach() if mean else middle)) / spread
            return self.out(torch.tanh(self.norm.weight * z + self.norm.bias))

    net, x, y = Net().double(), _tensor(name, 12, 4), _tensor(name + "y", 12, 2)
    slips = {
        "statistics constant": (lambda: F.mse_loss(net.constant(x), y), NO_PATTERN),
        "variance constant": (lambda: F.mse_loss(net.constant(x, mean=False), y), NO_PATTERN),
    }
    return of_module(name, net, lambda: F.mse_loss(net(x), y), slips=slips)


def _layer_norm() -> Model:
    name = "torch/layer norm"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift, self.norm, self.out = nn.Linear(6, 6), nn.LayerNorm(6), nn.Linear(6, 6)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.out(F.gelu(self.norm(self.lift(x))))

    net, x, y = Net().double(), _tensor(name, 10, 6), _tensor(name + "y", 10, 6)
    return of_module(name, net, lambda: F.mse_loss(net(x), y, reduction="sum"), l2=0.5)


def _embedding() -> Model:
    name = "torch/embedding"
    net = nn.Sequential(
        nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 5), nn.ELU(), nn.Linear(5, 9)
    ).double()
    words = torch.tensor([[0, 1, 2], [3, 1, 4], [5, 6, 7], [8, 2, 1], [4, 4, 0], [7, 3, 6]])
    following = torch.tensor([3, 4, 5, 6, 7, 8])

    def padded() -> torch.Tensor:
        rest = net[1:](F.embedding(words, net[0].weight, padding_idx=0))
        return F.cross_entropy(rest, following)

    def by_frequency() -> torch.Tensor:
        rest = net[1:](F.embedding(words, net[0].weight, scale_grad_by_freq=True))
        return F.cross_entropy(rest, following)

    slips = {
        "row of the padding zero": (padded, ("ZERO",)),
        "scaled by frequency": (by_frequency, ("FACTOR", *NO_PATTERN)),
    }
    return of_module(name, net, lambda: F.cross_entropy(net(words), following), slips=slips)


def _attention() -> Model:
    name = "torch/attention"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.query, self.key, self.value = (nn.Linear(5, 4, False) for _ in range(3))
            self.out = nn.Linear(4, 1)

        def forward(self, x: torch.Tensor, scale: float = 0.5) -> torch.Tensor:
            q, k, v = self.query(x), self.key(x), self.value(x)
            return self.out(F.scaled_dot_product_attention(q, k, v, scale=scale)).mean(dim=1)

        def constant_key(self, x: torch.Tensor) -> torch.Tensor:
            q, k, v = self.query(x), self.key(x).detach(), self.value(x)
            return self.out(F.scaled_dot_product_attention(q, k, v)).mean(dim=1)

    net, x, y = Net().double(), _tensor(name, 6, 7, 5), _tensor(name + "y", 6, 1)
    slips = {
        "keys constant": (lambda: F.mse_loss(net.constant_key(x), y), ("ZERO",)),
        "scaled by 1 / sqrt(5)": (lambda: F.mse_loss(net(x, 5**-0.5), y), NO_PATTERN),
    }
    return of_module(name, net, lambda: F.mse_loss(net(x), y), slips=slips)


def _gru() -> Model:
    name = "torch/gru"
    net, out = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 1)
    both = nn.ModuleDict({"gru": net, "out": out}).double()
    x, y = _tensor(name, 5, 6, 3), _tensor(name + "y", 5, 1)

    def truncated() -> torch.Tensor:
        early = net(x[:, :3])[1].detach()
        return F.mse_loss(out(net(x[:, 3:], early)[0][:, -1]), y)

    slips = {"truncated in time": (truncated, NO_PATTERN)}
    return of_module(name, both, lambda: F.mse_loss(out(net(x)[0][:, -1]), y), slips=slips)


def _rnn() -> Model:
    name = "torch/rnn"
    net, out = nn.RNN(3, 5, batch_first=True), nn.Linear(5, 2)
    both = nn.ModuleDict({"rnn": net, "out": out}).double()
    x, y = _tensor(name, 4, 6, 3), _tensor(name + "y", 4, 6, 2)

    def without_time() -> torch.Tensor:
        state, seen = torch.zeros(1, 4, 5).double(), []
        for i in range(6):
            each, state = net(x[:, i : i + 1], state.detach())
            seen.append(each)
        return F.mse_loss(out(torch.cat(seen, dim=1)), y)

    slips = {"states constant": (without_time, NO_PATTERN)}
    return of_module(name, both, lambda: F.mse_loss(out(net(x)[0]), y), l2=0.03, slips=slips)


def _weight_norm() -> Model:
    """Directions of unit length times a gain, as by `weight_norm`: only directions count."""
    name = "torch/weight norm"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.direction = nn.Parameter(torch.zeros(4, 6))
            self.gain, self.out = nn.Parameter(torch.zeros(4)), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.with_unit(x, F.normalize(self.direction, dim=1))

        def with_unit(self, x: torch.Tensor, unit: torch.Tensor) -> torch.Tensor:
            return self.out(torch.tanh(self.gain * (x @ unit.T)))

    net, x, y = Net().double(), _tensor(name, 10, 6), torch.arange(10) % 2

    def constant_norm() -> torch.Tensor:
        unit = net.direction / net.direction.norm(dim=1, keepdim=True).detach()
        return F.cross_entropy(net.with_unit(x, unit), y)

    return of_module(
        name,
        net,
        lambda: F.cross_entropy(net(x), y),
        slips={"norm constant": (constant_norm, ("NORMALIZATION", "UNKNOWN"))},
        unit={"direction": 1},
    )


def _gaussian() -> Model:
    name = "torch/gaussian likelihood"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.log_var = nn.Linear(3, 4), nn.Parameter(torch.zeros(4))

    net, x, y = Net().double(), _tensor(name, 15, 3), _tensor(name + "y", 15, 4)

    def loss() -> torch.Tensor:
        return F.gaussian_nll_loss(net.mean(x), y, net.log_var.exp().expand(15, 4))

    return of_module(name, net, loss, l2=0.1, logs={"log_var": ...})


def _autoencoder() -> Model:
    name = "torch/tied autoencoder"

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3, 7))
            self.up, self.down = nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(7))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sigmoid(x @ self.weight.T + self.up) @ self.weight + self.down

        def half(self, x: torch.Tensor) -> torch.Tensor:
            """The gradient of the encoder's use of the weights is forgotten."""
            return torch.sigmoid(x @ self.weight.detach().T + self.up) @ self.weight + self.down

    net, x = Net().double(), _tensor(name, 12, 7)
    slips = {"one of two uses": (lambda: F.mse_loss(net.half(x), x, reduction="sum"), NO_PATTERN)}
    loss = lambda: F.mse_loss(net(x), x, reduction="sum")  # noqa: E731
    return of_module(name, net, loss, l2=0.4, slips=slips)
