"""Kernels learn by orthogonalised momentum, everything else exactly by AdamW; rates and averaged weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from short_runs import CASES, CONFIG
from torch import Tensor

from ProtoSegBrainLib.training.optimisation import Muon, orthogonalised
from ProtoSegBrainLib.training.prototype_trainer import PrototypeTrainer

pytestmark = pytest.mark.usefixtures("one_thread")


def groups(kernels: list[Tensor], others: list[Tensor]) -> list[dict[str, Any]]:
    return [{"params": kernels, "of": "kernels"}, {"params": others, "of": "others", "weight_decay": 0.0}]


def a_kernel(*shape: int, seed: int = 0) -> Tensor:
    kernel = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()
    kernel.grad = torch.randn(*shape, generator=torch.Generator().manual_seed(seed + 1))
    return kernel


# -- orthogonalised ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "columns"), [(8, 8), (8, 200), (200, 8), (64, 864)])
def test_singular_values_come_near_one_and_singular_vectors_stay(rows: int, columns: int) -> None:
    matrices = torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(rows))
    u, values, v = torch.linalg.svd(matrices, full_matrices=False)
    found = torch.linalg.svdvals(orthogonalised(matrices))
    large = values > 0.05 * values[:, :1]  # what is far smaller than the largest needs more iterations
    assert large.float().mean() > 0.9
    assert found.max() < 1.25
    assert found.sort(descending=True).values[large].min() > 0.55
    alike = (u.mT @ orthogonalised(matrices) @ v.mT).diagonal(dim1=1, dim2=2)
    assert alike[large].min() > 0.5


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1e6])
def test_how_large_a_gradient_is_does_not_matter(scale: float) -> None:
    matrices = torch.randn(1, 8, 54, generator=torch.Generator().manual_seed(0))
    expected = orthogonalised(matrices)
    if scale > 1e-7:
        torch.testing.assert_close(orthogonalised(scale * matrices), expected, rtol=0, atol=0.05)  # bfloat16
    assert orthogonalised(scale * matrices).isfinite().all()


def test_no_gradient_is_no_direction() -> None:
    assert torch.equal(orthogonalised(torch.zeros(2, 4, 9)), torch.zeros(2, 4, 9))


# -- steps of Muon -----------------------------------------------------------------------------------------------------


def test_a_kernel_moves_along_its_gradient_as_far_as_adamw_would() -> None:
    kernel = a_kernel(16, 8, 3, 3, 3)
    before, gradient = kernel.detach().clone(), kernel.grad.clone()
    Muon(groups([kernel], []), lr=0.01, weight_decay=0.0).step()
    step = before - kernel.detach()
    assert step.square().mean().sqrt().item() == pytest.approx(0.2 * 0.01, rel=0.25)
    assert (step * gradient).sum() > 0.5 * step.norm() * gradient.norm()


def test_a_direction_that_is_rarely_asked_for_is_learned_as_fast() -> None:
    kernel = torch.zeros(2, 4, 1, 1, 1, requires_grad=True)
    kernel.grad = torch.zeros(2, 4, 1, 1, 1)
    kernel.grad[0, 0], kernel.grad[1, 1] = 1.0, 0.1
    Muon(groups([kernel], []), lr=1.0, weight_decay=0.0).step()
    assert kernel[1, 1].item() / kernel[0, 0].item() == pytest.approx(1, abs=0.5)
    rest = torch.tensor([[0, 0, 1, 1], [0, 0, 1, 1]], dtype=torch.bool)
    assert kernel[..., 0, 0, 0][rest].abs().max() < 1e-6


def test_kernels_decay_by_rate_times_decay_and_others_by_their_groups() -> None:
    kernel, bias = a_kernel(4, 2, 3, 3, 3), torch.ones(3, requires_grad=True)
    kernel.grad.zero_()
    bias.grad = torch.zeros(3)
    before = kernel.detach().clone()
    Muon(groups([kernel], [bias]), lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(kernel.detach(), before * 0.95)
    assert torch.equal(bias.detach(), torch.ones(3))


def test_all_but_kernels_learn_as_by_adamw() -> None:
    kernel, ours, theirs = a_kernel(4, 2, 3, 3, 3), torch.ones(5, requires_grad=True), torch.ones(5, requires_grad=True)
    optimiser = Muon(groups([kernel], [ours]), lr=0.02, weight_decay=0.1)
    reference = torch.optim.AdamW([theirs], lr=0.02, weight_decay=0.0, fused=True)
    for seed in range(5):
        kernel.grad = torch.ones_like(kernel)
        ours.grad = torch.randn(5, generator=torch.Generator().manual_seed(seed))
        theirs.grad = ours.grad.clone()
        optimiser.step()
        reference.step()
    assert torch.equal(ours, theirs)


def test_what_has_no_gradient_stays() -> None:
    kernel = torch.ones(4, 2, 3, 3, 3, requires_grad=True)
    Muon(groups([kernel], []), lr=0.1, weight_decay=0.5).step()
    assert torch.equal(kernel.detach(), torch.ones(4, 2, 3, 3, 3))


def test_the_order_of_a_kernel_in_memory_does_not_matter() -> None:
    plain = a_kernel(8, 4, 3, 3, 3)
    last = plain.detach().clone(memory_format=torch.channels_last_3d).requires_grad_()
    last.grad = plain.grad.clone(memory_format=torch.channels_last_3d)
    for kernel in (plain, last):
        Muon(groups([kernel], []), lr=0.1, weight_decay=0.1).step()
    torch.testing.assert_close(plain, last)


def test_it_goes_on_from_its_state_as_if_it_had_not_stopped() -> None:
    kernel, bias = a_kernel(8, 4, 3, 3, 3), torch.ones(3, requires_grad=True)
    optimiser = Muon(groups([kernel], [bias]), lr=0.1, weight_decay=0.1)

    def step(optimiser: Muon, kernel: Tensor, bias: Tensor, seed: int) -> None:
        kernel.grad, bias.grad = a_kernel(8, 4, 3, 3, 3, seed=seed).grad, torch.full((3,), float(seed))
        optimiser.step()

    step(optimiser, kernel, bias, 1)
    copies = [tensor.detach().clone().requires_grad_() for tensor in (kernel, bias)]
    other = Muon(groups(copies[:1], copies[1:]), lr=0.1, weight_decay=0.1)
    other.load_state_dict(copy.deepcopy(optimiser.state_dict()))
    step(optimiser, kernel, bias, 2)
    step(other, *copies, 2)
    assert torch.equal(kernel, copies[0])
    assert torch.equal(bias, copies[1])


# -- averaged weights, learning rates ---------------------------------------------------------------------------------


def test_the_averaged_weights_follow_the_live_ones(tmp_path):
    trainer = PrototypeTrainer(replace(CONFIG, ema_decay=0.9), CASES, tmp_path)
    expected = {name: value.clone() for name, value in trainer.ema.state_dict().items()}
    for step in range(1, 4):
        trainer.train_step()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in trainer.network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in trainer.ema.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_the_cosine_rises_then_falls_to_0(tmp_path):
    trainer = PrototypeTrainer(replace(CONFIG, steps=1000, ramp_share=0.1, learning_rate=1.0), CASES, tmp_path)
    rates = []
    for trainer.step in range(0, 1001, 10):
        rates.append(trainer._learning_rate())
    assert rates[0] < 0.02
    assert np.argmax(rates) in (9, 10)
    assert rates[50] == pytest.approx(0.5)
    assert rates[-1] == 0


def test_the_plateau_halves_the_rate_when_the_loss_stays(tmp_path):
    trainer = PrototypeTrainer(replace(CONFIG, schedule="plateau", ramp_share=0.0, learning_rate=1.0), CASES, tmp_path)
    for step in range(200):
        trainer.plateau.update(10 - 0.04 * step)
    assert trainer._learning_rate() == 1
    for _ in range(2000):
        trainer.plateau.update(2)
    assert trainer._learning_rate() < 0.5
