"""How weights move: Muon and the other optimisers, learning rates, averaged weights and their statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ProtoSegBrainLib.network.device import half_precision_of

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of the odd polynomial that sends singular values from 0 to 1 towards 1 fastest (Jordan 2024)."""


class Muon(torch.optim.AdamW):
    """Parameter groups named ``kernels`` learn by Muon, all others by AdamW.

    A kernel (out, in, k, k, k) is a matrix (out, in k^3). Its step is the Nesterov momentum of its gradients with all
    singular values near 1, so that rare directions are learned as fast as frequent ones. The step is scaled to the
    root mean square of AdamW's, so learning rate and weight decay mean what they mean there.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; scale: Liu et al., "Muon is scalable
    for LLM training", 2025, eq. 4.
    """

    momentum = 0.95
    """Of the running mean of gradients."""

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float, weight_decay: float) -> None:
        super().__init__(groups, lr, weight_decay=weight_decay, fused=True)
        self._step_supports_amp_scaling = False  # a gradient that overflowed must be passed over for kernels, too

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override]
        """One step of all parameters that have a gradient."""
        for group in self.param_groups:
            if group["of"] == "kernels":
                self._step_kernels(group)
        super().step()

    def _step_kernels(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
        for kernel in group["params"]:
            gradient, kernel.grad = kernel.grad, None  # AdamW passes over what has none
            if gradient is None:
                continue
            state = self.state[kernel]
            if not state:
                state["momentum"] = torch.zeros_like(kernel)
                state["step"] = torch.zeros(())  # AdamW looks for it in every state that it reads
            state["momentum"].lerp_(gradient, 1 - self.momentum)
            direction = gradient.lerp(state["momentum"], self.momentum).flatten(1)
            alike.setdefault(tuple(direction.shape), []).append((kernel, direction))
        for (rows, columns), members in alike.items():
            steps = orthogonalised(torch.stack([direction for _, direction in members]))
            scale = 0.2 * max(rows, columns) ** 0.5
            for (kernel, _), step in zip(members, steps, strict=True):
                kernel.mul_(1 - group["lr"] * group["weight_decay"])
                kernel.add_(step.view(kernel.shape), alpha=-group["lr"] * scale)


def orthogonalised(matrices: Tensor, iterations: int = 5) -> Tensor:
    """(N, rows, columns) with singular values near 1 (.7 to 1.2) in place of their own, by Newton-Schulz iterations.

    In bfloat16, which is enough, where the processor computes in it; in float32 elsewhere.
    """
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    native = half_precision_of(matrices.device)
    x = (matrices if wide else matrices.mT).to(native if native == torch.bfloat16 else torch.float32)
    x = x / x.float().norm(dim=(1, 2), keepdim=True).clamp(min=1e-7).to(x.dtype)
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).to(matrices.dtype)


OPTIMISERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": partial(torch.optim.Adam, fused=True),
    "adamw": partial(torch.optim.AdamW, fused=True),
    "muon": Muon,
    "sgd": lambda parameters, lr, weight_decay: torch.optim.SGD(
        parameters, lr, momentum=0.99, nesterov=True, weight_decay=weight_decay
    ),
}


def make_optimiser(network: nn.Module, name: str, learning_rate: float, weight_decay: float) -> torch.optim.Optimizer:
    """One of ``OPTIMISERS``, with weight decay for kernels only.

    Decayed prototypes, biases and norms would lose their meaning.

    Its groups say in ``of`` whose weights they are: ``kernels``, ``others`` or ``prototypes``.
    """
    named = list(network.named_parameters())
    prototypes = [p for n, p in named if "prototype" in n]
    kernels = [p for n, p in named if p.ndim == 5 and "prototype" not in n]
    others = [p for n, p in named if p.ndim != 5 and "prototype" not in n]
    groups = [
        {"params": kernels, "of": "kernels"},
        {"params": others, "of": "others", "weight_decay": 0.0},
        {"params": prototypes, "of": "prototypes", "weight_decay": 0.0},
    ]
    return OPTIMISERS[name](groups, lr=learning_rate, weight_decay=weight_decay)


@dataclass
class Plateau:
    """A factor of the learning rate, halved where the running mean of the loss has not fallen for 300 steps."""

    factor: float = 1.0
    best: float = float("inf")
    bad: int = 0
    mean: float = float("nan")

    def update(self, loss: float, patience: int = 300) -> None:
        """Take in the loss of a step."""
        self.mean = loss if np.isnan(self.mean) else 0.99 * self.mean + 0.01 * loss
        if self.mean < self.best * 0.999:
            self.best, self.bad = self.mean, 0
        else:
            self.bad += 1
        if self.bad >= patience:
            self.factor, self.bad = self.factor / 2, 0


def learning_rate_at(progress: float, highest: float, ramp_share: float, plateau: Plateau | None = None) -> float:
    """Rises from near 0 in the first ``ramp_share`` of a run; falls as a cosine to 0, or as a plateau says."""
    ramp = min(1.0, (progress + 1e-3) / ramp_share) if ramp_share else 1.0
    return highest * ramp * (plateau.factor if plateau else 0.5 + 0.5 * float(np.cos(np.pi * progress)))


@torch.no_grad()
def follow(averaged: nn.Module, live: nn.Module, decay: float, step: int) -> None:
    """Move averaged weights towards the live ones: by 1 - ``decay``, at the first steps by more."""
    decay = min(decay, (1 + step) / (10 + step))
    ours, theirs = list(averaged.state_dict().values()), list(live.state_dict().values())
    floats = [index for index, value in enumerate(theirs) if value.is_floating_point()]
    torch._foreach_lerp_([ours[i] for i in floats], [theirs[i] for i in floats], 1 - decay)


def batch_norms(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """All BatchNorms of a network."""
    return [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@contextmanager
def statistics_anew(network: nn.Module) -> Iterator[None]:
    """Within it BatchNorm forgets what it had counted and takes the plain mean over all batches that pass through."""
    norms = batch_norms(network)
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
