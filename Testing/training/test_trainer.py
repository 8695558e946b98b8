"""The loop: learning, options, rates and budgets, exact resumption, several processes, validation."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from short_runs import CASES, CONFIG, curve, run, segmentation_loss
from synthetic import TINY

from ProtoSegBrainLib.network.model import NetworkOutput, upsample
from ProtoSegBrainLib.network.networks import size_multiple_of
from ProtoSegBrainLib.network.peers import PeerConfig
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.patches.augmentation import AugmentationConfig
from ProtoSegBrainLib.patches.dataset import SamplingConfig, class_shares, whole_window
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.training.configuration import load_config
from ProtoSegBrainLib.training.logbook import read_log
from ProtoSegBrainLib.training.losses import LossConfig, cross_entropy_loss
from ProtoSegBrainLib.training.prototype_trainer import PrototypeTrainer
from ProtoSegBrainLib.training.trainer import TrainConfig, Trainer, mean_dice, peak_memory_mib, predict_classes

pytestmark = pytest.mark.usefixtures("one_thread")

UNCHANGED = AugmentationConfig(**dict.fromkeys(AugmentationConfig.__dataclass_fields__, 0.0))


def assert_same_state(first: PrototypeTrainer, second: PrototypeTrainer) -> None:
    for ours, other in ((first.network, second.network), (first.ema, second.ema)):
        for (name, value), expected in zip(ours.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(value, expected), name


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


@pytest.mark.parametrize(("edge", "halved"), [(2, False), (3, True)])
def test_half_precision_is_not_for_the_smallest_grids_of_a_processor(tmp_path, monkeypatch, edge, halved):
    monkeypatch.setattr("ProtoSegBrainLib.training.trainer.half_precision_of", lambda _: torch.bfloat16)
    sampling = replace(CONFIG.sampling, patch_size=edge * size_multiple_of(TINY))
    trainer = PrototypeTrainer(replace(CONFIG, precision="auto", sampling=sampling), CASES, tmp_path)
    assert trainer._precision() == (torch.bfloat16 if halved else torch.float32)


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
        trainer._update_plateau(10 - 0.04 * step)
    assert trainer._learning_rate() == 1
    for _ in range(2000):
        trainer._update_plateau(2)
    assert trainer._learning_rate() < 0.5


def test_minutes_are_kept_and_the_schedule_is_scaled_to_them(tmp_path):
    minutes = 0.03
    trainer = run(replace(CONFIG, minutes=minutes, finish_share=0.25, warm_up_share=0.5), tmp_path)
    lines = read_log(tmp_path / "log.jsonl")
    assert len(lines) == trainer.step > 2
    assert lines[-2]["minutes"] < 0.75 * minutes <= lines[-1]["minutes"]
    assert lines[-1]["learning_rate"] == 0
    assert "loss/purity" not in lines[0]
    assert "loss/purity" in lines[-1]


@pytest.mark.parametrize(
    "changes",
    [
        {"warm_up_share": 0.75},  # stopped in the warm-up, the border lies ahead
        {"warm_up_share": 0.5},  # stopped at the border
        {"warm_up_share": 0.2},  # stopped in the joint phase
        {"warm_up_share": 0.2, "reseed_at": (0.5, 0.75), "reseed_distance": 0.001},  # stopped before a move
        {"warm_up_share": 0.2, "reseed_at": (0.4, 0.75), "reseed_distance": 0.001},  # stopped between two
        {"schedule": "plateau", "optimiser": "adam"},
        {"optimiser": "sgd", "accumulation": 2},
        {"optimiser": "muon"},
        {"model": replace(TINY, norm="batch"), "precision": "bfloat16"},
    ],
    ids=str,
)
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path, changes):
    config = replace(CONFIG, **changes)
    whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "halves", until_step=4)
    resumed = PrototypeTrainer(config, CASES, tmp_path / "halves")
    resumed.load_checkpoint()
    assert resumed.step == 4
    resumed.run()
    assert resumed.plateau == whole.plateau
    assert_same_state(resumed, whole)
    assert curve(tmp_path / "halves") == curve(tmp_path / "whole")
    assert len(list((tmp_path / "halves").glob("checkpoint-*.safetensors"))) == 1


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
    result: dict[str, Any] = {"weights": trainer.network.state_dict(), "plateau": trainer.plateau}
    batch_norm = replace(TINY, norm="batch")
    timed = run(replace(SUMS, model=batch_norm, batch_size=1, minutes=0.01, schedule="cosine"), out / "timed")
    result["timed_steps"] = torch.tensor([timed.step, timed.initialised])
    result["timed_vectors"] = timed.network.prototype_layer.prototype_vectors.detach().clone()
    result["summary"] = trainer.finish({"fold": "all"})
    torch.save(result, out / f"rank-{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_the_checkpoint_of_another_network_is_refused(tmp_path):
    first = PrototypeTrainer(CONFIG, CASES, tmp_path)
    first.save_checkpoint()
    wider = replace(CONFIG, model=replace(TINY, widths=(8, 16)))
    with pytest.raises(ValueError, match="trains another network"):
        PrototypeTrainer(wider, CASES, tmp_path).load_checkpoint()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("optimiser", "lion"), ("schedule", "step"), ("precision", "int8"), ("steps", 0), ("accumulation", 0)),
        ("minutes", -1.0),
    ],
)
def test_a_setting_that_cannot_work_is_refused_at_once(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected .*{value}"):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("patch_size", [-4, 0, 18])
def test_a_patch_the_network_cannot_take_is_refused_at_once(patch_size):
    with pytest.raises(ValueError, match=f"patch_size: expected a multiple of 4; got {patch_size}"):
        TrainConfig(model=TINY, sampling=SamplingConfig(patch_size=patch_size))


def test_predicted_classes_are_the_argmax_of_the_upsampled_logits(tmp_path):
    network = run(replace(CONFIG, steps=30), tmp_path).ema.eval()
    predicted = predict_classes(network, CASES[0])
    window = whole_window(CASES[0], 4)
    x, y, z = CASES[0].label.shape
    expected = upsample(network(window).logits, window.shape[2:]).argmax(1)[0, :x, :y, :z]
    assert predicted.shape == (x, y, z)
    assert predicted.dtype == np.uint8
    assert len(np.unique(predicted)) > 1
    assert (predicted == expected.numpy()).mean() > 0.97  # bfloat16 moves a border here and there


def test_classes_are_predicted_in_what_the_processor_computes_natively(tmp_path, monkeypatch):
    """A processor without bfloat16 emulates it, which takes many times as long as float32."""
    monkeypatch.setattr("ProtoSegBrainLib.training.trainer.half_precision_of", lambda _: torch.float32)
    network = PrototypeTrainer(CONFIG, CASES, tmp_path).ema.eval()
    window = whole_window(CASES[0], 4)
    x, y, z = CASES[0].label.shape
    expected = upsample(network(window).logits, window.shape[2:]).argmax(1)[0, :x, :y, :z]
    np.testing.assert_array_equal(predict_classes(network, CASES[0]), expected.numpy())


# -- networks without prototypes ---------------------------------------------------------------------------------------

PLAIN = replace(TINY, prototypes_per_class=(0, 0, 0, 0))
UNET = PeerConfig("unet", channels=(4, 4, 8, 8, 8))
REGIONS = PeerConfig("segresnet", channels=(8, 16), target="regions", dropout=0.1, window=16)
DEEP = PeerConfig("resunet", channels=(4, 8, 8, 8), deep_supervision=2)
WHOLE = PeerConfig("neuroseg", channels=(4, 8, 8), target="whole_tumour")
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


@pytest.mark.parametrize("model", [PLAIN, REGIONS, DEEP], ids=str)
def test_a_resumed_run_without_prototypes_equals_one_that_was_never_stopped(tmp_path, model):
    config = replace(CONFIG, model=model, steps=4)
    whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "halves", until_step=2)
    resumed = Trainer(config, CASES, tmp_path / "halves")
    resumed.load_checkpoint()
    resumed.run()
    assert_same_state(resumed, whole)


def test_coarser_levels_weigh_a_half_and_a_quarter_of_the_finest():
    trainer = Trainer.__new__(Trainer)
    trainer.config = replace(CONFIG, loss=LossConfig(region_dice=0, deep_supervision=(0.5, 0.25)))
    right = torch.tensor([9.0, 0, 0, 0])[None, :, None, None, None]
    truth, wrong = right / 9, right.roll(1, 1)
    clean, dirty = (float(cross_entropy_loss(logits, truth)) for logits in (right, wrong))
    terms = trainer._segmentation_losses(NetworkOutput(right, right, right, (wrong, right)), truth)
    assert set(terms) == {"cross_entropy"}
    assert float(terms["cross_entropy"]) == pytest.approx((clean + 0.5 * dirty + 0.25 * clean) / 1.75)


# -- validation --------------------------------------------------------------------------------------------------------


def test_loss_and_dice_are_logged_now_and_then_and_change_nothing(tmp_path):
    validated = replace(CONFIG, steps=8, validations=2, validation_patches=2)
    trainer = PrototypeTrainer(validated, CASES[:2], tmp_path / "validated", held_out=CASES[2:])
    trainer.run()
    plain = PrototypeTrainer(replace(validated, validations=0), CASES[:2], tmp_path / "plain")
    plain.run()
    assert_same_state(trainer, plain)
    lines = [line for line in read_log(tmp_path / "validated" / "log.jsonl") if "held_out/loss" in line]
    assert [line["step"] for line in lines] == [4, 8]
    names = {f"{group}/{name}" for group in ("training", "held_out") for name in ("loss", *DICES)}
    assert [set(line) for line in lines] == [names | {"step"}] * 2
    assert lines[1]["held_out/loss"] == trainer.validate(CASES[2:])["loss"]


DICES = ("dice_WT", "dice_TC", "dice_ET")


def thin_rim() -> torch.Tensor:
    """(1, 16, 16, 16): a core of NCR in a rim of ET that is one voxel thick."""
    distance = torch.cdist(torch.cartesian_prod(*[torch.arange(16.0)] * 3), torch.tensor([[7.5, 7.5, 7.5]]))
    distance = distance.reshape(1, 16, 16, 16)
    return (distance < 5).long() + 2 * ((distance > 4) & (distance < 5))


def test_a_rim_thinner_than_a_voxel_of_the_prototypes_can_be_learned(tmp_path):
    trainer, label = Trainer(replace(CONFIG, model=PLAIN), CASES, tmp_path), thin_rim()
    shares, truth = class_shares(label, 2), class_shares(label, 1)
    logits = shares.clamp(min=0.02).log().requires_grad_()
    assert dice_of_rim(logits, label) < 0.7, "the best that the shares of the classes can teach"
    optimiser = torch.optim.Adam([logits], 0.3)
    for _ in range(40):
        optimiser.zero_grad()
        output = NetworkOutput(logits, logits[:, :0], logits[:, :0])
        sum(trainer._segmentation_losses(output, truth).values()).backward()
        optimiser.step()
    assert dice_of_rim(logits, label) > 0.9


def dice_of_rim(logits: torch.Tensor, label: torch.Tensor) -> float:
    found = upsample(logits, label.shape[1:]).argmax(dim=1)
    return dice((found == 3).numpy(), (label == 3).numpy())


def test_validation_takes_all_patches_together(tmp_path):
    trainer = Trainer(replace(CONFIG, model=PLAIN, validation_patches=3), CASES, tmp_path)
    with torch.no_grad():
        trainer.ema.head.weight.zero_()
        trainer.ema.head.bias.copy_(torch.tensor([0.0, 0, 0, 5]))  # ET everywhere
    patches = list(trainer._plain_batches(CASES, 3, CONFIG.seed + 2))
    label = torch.cat([patch.label for patch in patches])
    for name, classes in {"WT": (1, 2, 3), "ET": (3,)}.items():
        true = sum(int((label == k).sum()) for k in classes)
        expected = 2 * true / (true + label.numel())
        assert trainer.validate(CASES)[f"dice_{name}"] == pytest.approx(expected)


def test_the_peak_memory_is_this_process_own_not_that_of_the_one_that_started_it():
    large = np.ones(2**27)  # 1 GiB
    code = "from ProtoSegBrainLib.training.trainer import peak_memory_mib; print(peak_memory_mib('cpu'))"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 50 < int(answer.stdout) < 1000
    assert peak_memory_mib("cpu") > 1024 * len(large) / 2**27
