"""The loop: learning, options, budgets, several processes."""

from __future__ import annotations

import os
import socket
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from short_runs import CASES, CONFIG, DEEP, PLAIN, REGIONS, UNET, WHOLE, curve, run, segmentation_loss
from synthetic import TINY

from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.patches.augmentation import UNCHANGED
from ProtoSegBrainLib.patches.sampling import SamplingConfig
from ProtoSegBrainLib.training.configuration import load_config
from ProtoSegBrainLib.training.logbook import read_log
from ProtoSegBrainLib.training.losses import LossConfig
from ProtoSegBrainLib.training.prototype_trainer import PrototypeTrainer
from ProtoSegBrainLib.training.validation import mean_dice

pytestmark = pytest.mark.usefixtures("one_thread")


def largest_difference(first: PrototypeTrainer | dict[str, torch.Tensor], second: PrototypeTrainer) -> float:
    weights = first.network.state_dict() if isinstance(first, PrototypeTrainer) else first
    pairs = zip(weights.values(), second.network.state_dict().values(), strict=True)
    return max(float((a.float() - b.float()).abs().max()) for a, b in pairs)


def test_training_lowers_the_loss_and_finds_the_tumour(tmp_path):
    config = replace(CONFIG, steps=40, learning_rate=0.02, ema_decay=0.8, augmentation=UNCHANGED)
    trainer = PrototypeTrainer(config, CASES, tmp_path)
    before = mean_dice(trainer.ema, CASES)
    trainer.run()
    losses = [segmentation_loss(line) for line in curve(tmp_path)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    assert mean_dice(trainer.ema.eval(), CASES)["WT"] > max(0.6, before["WT"])


@pytest.mark.parametrize(("preset", "patch_size"), [("default", 16), ("seed", 16)])
def test_a_preset_trains_and_its_loss_falls(tmp_path, preset, patch_size):
    config = replace(
        CONFIG, model=load_config(preset).model, steps=4, warm_up_share=0.5, augmentation=UNCHANGED, ramp_share=0.0,
        batch_size=1,
        frozen_norm_share=0.0,  # four steps give BatchNorm no running statistics to freeze
        sampling=SamplingConfig(patch_size=patch_size, tumour_share=1.0, jitter=0.0),
    )  # fmt: skip
    trainer = run(config, tmp_path, cases=CASES[:1])
    losses = [segmentation_loss(line) for line in curve(tmp_path)]
    assert len(losses) == 4
    assert losses[-1] < losses[0]
    assert trainer.phase == "joint"


@pytest.mark.parametrize(
    "changes",
    [
        {"optimiser": "adam"},
        {"optimiser": "adamw"},
        {"optimiser": "muon"},
        {"optimiser": "sgd", "learning_rate": 2e-3},
        {"schedule": "plateau"},
        {"precision": "bfloat16"},
        {"precision": "auto"},
        {"accumulation": 2, "batch_size": 1},
        {"loss": LossConfig(dice=1, weighted_dice=1, focal=1, hard_examples=1)},
        {"model": replace(TINY, norm="batch")},
        {"model": replace(TINY, checkpointing=True)},
        {"model": replace(TINY, prototype_size=3, reach=None)},
        {"model": replace(TINY, similarity="cosine", class_connected=False)},
    ],
    ids=str,
)
def test_every_option_trains(tmp_path, changes):
    config = replace(
        CONFIG, **{"steps": 14, "learning_rate": 0.01, "augmentation": UNCHANGED, "ramp_share": 0} | changes
    )
    run(config, tmp_path, cases=CASES[:1])
    losses = [segmentation_loss(line) for line in curve(tmp_path)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    case = replace(CASES[0], images=torch.full_like(CASES[0].images, torch.inf))
    with pytest.raises(FloatingPointError, match=r"at step 1.*lower the rate"):
        run(CONFIG, tmp_path, cases=[case])


def test_steps_search_for_the_fastest_convolutions_and_leave_the_setting_as_it_was(tmp_path, monkeypatch):
    """The library for them must stay on: on a GPU a step without cuDNN takes several times as long."""
    seen: list[tuple[bool, bool]] = []
    step = PrototypeTrainer.train_step

    def watched(trainer: PrototypeTrainer) -> dict[str, float]:
        seen.append((torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark))
        return step(trainer)

    monkeypatch.setattr(PrototypeTrainer, "train_step", watched)
    before = torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark
    run(replace(CONFIG, steps=2), tmp_path)
    assert seen == [(True, True)] * 2
    assert (torch.backends.cudnn.enabled, torch.backends.cudnn.benchmark) == before


def test_near_the_end_batch_norm_keeps_its_statistics(tmp_path):
    config = replace(CONFIG, model=replace(TINY, norm="batch"), frozen_norm_share=0.5)
    trainer = run(config, tmp_path, until_step=4)
    norm = next(m for m in trainer.network.modules() if isinstance(m, torch.nn.BatchNorm3d))
    halfway, weight = norm.running_mean.clone(), norm.weight.detach().clone()
    trainer.run()
    assert torch.equal(norm.running_mean, halfway)
    assert not torch.equal(norm.weight, weight)


def test_minutes_are_kept_and_the_schedule_is_scaled_to_them(tmp_path):
    minutes = 0.03
    trainer = run(replace(CONFIG, minutes=minutes, finish_share=0.25, warm_up_share=0.5), tmp_path)
    lines = read_log(tmp_path / "log.jsonl")
    assert len(lines) == trainer.step > 2
    assert lines[-2]["minutes"] < 0.75 * minutes <= lines[-1]["minutes"]
    assert lines[-1]["learning_rate"] == 0
    assert "loss/purity" not in lines[0]
    assert "loss/purity" in lines[-1]


# Plain gradient descent and a norm without batch statistics: a small difference in a sum stays small.
SUMS = replace(
    CONFIG, optimiser="sgd", learning_rate=1e-3, steps=4, warm_up_share=0.5, schedule="plateau", clip_norm=1.0
)


def test_two_batches_of_one_equal_one_batch_of_two(tmp_path):
    whole = run(replace(SUMS, batch_size=2), tmp_path / "whole")
    parts = run(replace(SUMS, batch_size=1, accumulation=2), tmp_path / "parts")
    assert largest_difference(parts, whole) < 1e-4
    for ours, other in zip(curve(tmp_path / "parts"), curve(tmp_path / "whole"), strict=True):
        assert ours == pytest.approx(other, rel=1e-3, abs=1e-4)


def test_two_processes_equal_one_with_twice_the_batch(tmp_path):
    port = _free_port()
    torch.multiprocessing.spawn(_one_of_two_processes, (port, tmp_path), nprocs=2)
    whole = run(replace(SUMS, batch_size=2), tmp_path / "whole")
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(a, b) for a, b in zip(first["weights"].values(), second["weights"].values(), strict=True))
    assert first["plateau"] == second["plateau"]
    assert largest_difference(first["weights"], whole) < 1e-4
    for ours, other in zip(curve(tmp_path / "two"), curve(tmp_path / "whole"), strict=True):
        assert ours == pytest.approx(other, rel=1e-3, abs=1e-4)
    # One process finishes for both.
    assert "dice_after_refit" in first["summary"]
    assert second["summary"] == {}
    load_model(tmp_path / "two" / "model.safetensors")
    # With a time budget and batch statistics, too, both change phase and end at the same step with the same weights.
    for key in ("timed_steps", "timed_vectors"):
        assert torch.equal(first[key], second[key])


def _free_port() -> int:
    with socket.socket() as a_socket:
        a_socket.bind(("127.0.0.1", 0))
        return a_socket.getsockname()[1]


def _one_of_two_processes(rank: int, port: int, out: Path) -> None:
    """What torchrun does, without its supervisor."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    trainer = run(replace(SUMS, batch_size=1), out / "two")
    result: dict[str, Any] = {"weights": trainer.network.state_dict(), "plateau": asdict(trainer.plateau)}
    batch_norm = replace(TINY, norm="batch")
    timed = run(replace(SUMS, model=batch_norm, batch_size=1, minutes=0.01, schedule="cosine"), out / "timed")
    result["timed_steps"] = torch.tensor([timed.step, timed.initialised])
    result["timed_vectors"] = timed.network.prototype_layer.prototype_vectors.detach().clone()
    result["summary"] = trainer.finish({"fold": "all"})
    torch.save(result, out / f"rank-{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


# -- networks without prototypes ---------------------------------------------------------------------------------------

SIGMOIDS = LossConfig(region_dice=0, cross_entropy=0, region_sigmoid_dice=1)


@pytest.mark.parametrize(
    "changes",
    [{"model": PLAIN}, {"model": UNET}, {"model": REGIONS, "loss": SIGMOIDS}, {"model": DEEP}, {"model": WHOLE}],
    ids=lambda changes: getattr(changes["model"], "architecture", "plain"),
)
def test_the_same_loop_trains_them_and_writes_a_model(tmp_path, changes):
    config = replace(CONFIG, steps=25, learning_rate=1e-2, augmentation=UNCHANGED, frozen_norm_share=0.0, **changes)
    trainer = run(config, tmp_path)
    assert trainer.phase == "training"
    totals = [line["total"] for line in curve(tmp_path)]
    assert np.mean(totals[-5:]) < 0.8 * np.mean(totals[:5])
    summary = trainer.finish({"fold": "all"})
    network, card = load_model(tmp_path / "model.safetensors")
    assert card.prototypes == ()
    assert card.model == config.model
    assert type(network) is type(trainer.network)
    assert summary["patches"] == 25 * 2
    assert summary["parameters"] == sum(value.numel() for value in network.parameters())
    assert summary["peak_memory_mib"] > 50
    assert mean_dice(network, CASES) == summary["dice"]
