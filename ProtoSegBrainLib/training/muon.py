"""An optimiser for kernels: momentum, orthogonalised (Muon)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

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
    """(N, rows, columns) with singular values near 1 (.7 to 1.2) in place of their own, by Newton-Schulz iterations."""
    a, b, c = NEWTON_SCHULZ
    wide = matrices.shape[1] <= matrices.shape[2]
    x = (matrices if wide else matrices.mT).bfloat16()
    x = x / x.float().norm(dim=(1, 2), keepdim=True).clamp(min=1e-7).bfloat16()
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.mT).to(matrices.dtype)
