"""The three phases, exact resumption, several processes, and each option of a run."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing
from synthetic import TINY, training_case

from ProtoSegBrainLib.augmentation import AugmentationConfig
from ProtoSegBrainLib.case import Case
from ProtoSegBrainLib.dataset import SamplingConfig, TrainingCase, whole_window
from ProtoSegBrainLib.logbook import read_log
from ProtoSegBrainLib.losses import LossConfig
from ProtoSegBrainLib.model import PRESETS
from ProtoSegBrainLib.simulate import write_case
from ProtoSegBrainLib.training import TrainConfig, Trainer, mean_dice, read_split, train
from ProtoSegBrainLib.weights import load_model

SEGMENTATION = {"region_dice", "cross_entropy"}
PROTOTYPES = {"purity", "cluster", "separation", "diversity", "l1"}
CASES = [training_case(number) for number in range(3)]
CONFIG = TrainConfig(
    model=TINY, sampling=SamplingConfig(patch_size=16), steps=8, log_every=1, precision="float32", device="cpu",
    reseed_at=(),
)  # fmt: skip
UNCHANGED = AugmentationConfig(**dict.fromkeys(AugmentationConfig.__dataclass_fields__, 0.0))


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(config: TrainConfig, out: Path, until_step: int | None = None, cases: list[TrainingCase] = CASES) -> Trainer:
    trainer = Trainer(config, cases, out)
    trainer.run(until_step)
    return trainer


def curve(out: Path) -> list[dict[str, float]]:
    """The log but for the clock."""
    lines = read_log(out / "log.jsonl")
    return [{name.removeprefix("loss/"): value for name, value in line.items() if name != "minutes"} for line in lines]


def segmentation_loss(line: dict[str, float]) -> float:
    return sum(line[name] for name in SEGMENTATION)


def assert_same_state(first: Trainer, second: Trainer) -> None:
    for ours, other in ((first.network, second.network), (first.ema, second.ema)):
        for (name, value), expected in zip(ours.state_dict().items(), other.state_dict().values(), strict=True):
            assert torch.equal(value, expected), name


def largest_difference(first: Trainer | dict[str, torch.Tensor], second: Trainer) -> float:
    weights = first.network.state_dict() if isinstance(first, Trainer) else first
    pairs = zip(weights.values(), second.network.state_dict().values(), strict=True)
    return max(float((a.float() - b.float()).abs().max()) for a, b in pairs)


# -- learning ----------------------------------------------------------------------------------------------------------


def test_training_lowers_the_loss_and_finds_the_tumour(tmp_path):
    config = replace(CONFIG, steps=40, learning_rate=0.02, ema_decay=0.8, augmentation=UNCHANGED)
    trainer = Trainer(config, CASES, tmp_path)
    before = mean_dice(trainer.ema, CASES)
    trainer.run()
    losses = [segmentation_loss(line) for line in curve(tmp_path)]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    assert mean_dice(trainer.ema.eval(), CASES)["WT"] > max(0.6, before["WT"])


@pytest.mark.parametrize(("preset", "patch_size"), [("default", 16), ("seed", 16)])
def test_a_preset_trains_and_its_loss_falls(tmp_path, preset, patch_size):
    config = replace(
        CONFIG, model=PRESETS[preset], steps=4, warm_up_share=0.5, augmentation=UNCHANGED, ramp_share=0.0, batch_size=1,
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


# -- phases ------------------------------------------------------------------------------------------------------------


def test_the_three_phases_follow_each_other(tmp_path):
    told: list[str] = []
    trainer = Trainer(
        replace(CONFIG, steps=6, warm_up_share=0.5), CASES, tmp_path, on_progress=lambda _, s: told.append(s)
    )
    assert trainer.phase == "warm_up"
    start = trainer.network.prototype_layer.prototype_vectors.detach().clone()
    trainer.run(until_step=3)
    assert trainer.phase == "warm_up"
    warm = trainer.network.prototype_layer.prototype_vectors.detach().clone()
    trainer.run()
    assert trainer.phase == "joint"
    joint = trainer.network.prototype_layer.prototype_vectors.detach().clone()
    assert float((joint - warm).abs().max()) > 5 * float((warm - start).abs().max())  # k-means moved them
    lines = curve(tmp_path)
    common = {"step", "total", "learning_rate"} | SEGMENTATION
    assert [set(line) for line in lines[:3]] == [common] * 3
    assert [set(line) for line in lines[3:]] == [common | PROTOTYPES] * 3
    assert not (tmp_path / "model.safetensors").exists()
    told.clear()
    trainer.finish([], {"fold": "all"})
    order = [text.split(":")[0] for text in told]
    stages = ["Projecting prototypes", "Re-fitting the last layer", "Portraits of the prototypes"]
    assert order == sorted(order, key=stages.index)
    assert set(order) == set(stages)


def test_the_finished_model_has_prototypes_that_are_training_patches(tmp_path):
    trainer = run(CONFIG, tmp_path)
    summary = trainer.finish(CASES[:1], {"fold": "0", "data": "synthetic"})
    network, card = load_model(tmp_path / "model.safetensors")
    by_id = {case.case_id: case for case in CASES}
    assert len(card.prototypes) == 8
    for prototype in card.prototypes:
        case = by_id[prototype.case_id]
        position = np.linalg.inv(case.affine) @ [*prototype.position_mm, 1]
        x, y, z = (round((v - 0.5) / 2) for v in position[:3])
        distances = network.prototype_layer.distances(network.embed(whole_window(case, 4)))
        assert distances[0, prototype.index, x, y, z] < 1e-5
    for moment in ("before_projection", "after_projection", "after_refit"):
        assert set(summary[f"dice_{moment}"]) == {"WT", "TC", "ET"}
    assert summary["monitored"] == "held out"
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    assert card.metrics == summary
    assert card.training["data"] == "synthetic"
    assert card.training["cases"] == ["case_0", "case_1", "case_2"]
    assert card.training["config"]["steps"] == 8
    assert card.name == "protosegbrain-fold-0"
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_the_averaged_weights_follow_the_live_ones(tmp_path):
    trainer = Trainer(replace(CONFIG, ema_decay=0.9), CASES, tmp_path)
    expected = {name: value.clone() for name, value in trainer.ema.state_dict().items()}
    for step in range(1, 4):
        trainer.train_step()
        decay = min(0.9, (1 + step) / (10 + step))
        for name, value in trainer.network.state_dict().items():
            expected[name] = decay * expected[name] + (1 - decay) * value
    for name, value in trainer.ema.state_dict().items():
        torch.testing.assert_close(value, expected[name])


def test_the_last_layer_stays_non_negative_and_class_connected(tmp_path):
    trainer = run(replace(CONFIG, learning_rate=0.5, steps=4, ramp_share=0.0), tmp_path)
    layer = trainer.network.last_layer
    assert (layer.weight >= 0).all()
    assert not layer.weight[layer.prototype_class_identity == 0].any()


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    case = replace(CASES[0], images=torch.full_like(CASES[0].images, torch.inf))
    with pytest.raises(FloatingPointError, match=r"at step 1.*lower the rate"):
        run(CONFIG, tmp_path, cases=[case])


def test_near_the_end_batch_norm_keeps_its_statistics(tmp_path):
    config = replace(CONFIG, model=replace(TINY, norm="batch"), frozen_norm_share=0.5)
    trainer = run(config, tmp_path, until_step=4)
    norm = next(m for m in trainer.network.modules() if isinstance(m, torch.nn.BatchNorm3d))
    halfway, weight = norm.running_mean.clone(), norm.weight.detach().clone()
    trainer.run()
    assert torch.equal(norm.running_mean, halfway)
    assert not torch.equal(norm.weight, weight)


def test_a_run_can_go_on_from_a_model(tmp_path):
    """Without a warm-up, from its weights and its prototypes."""
    run(CONFIG, tmp_path / "first").finish([], {"fold": "all"})
    model = tmp_path / "first" / "model.safetensors"
    trainer = Trainer(replace(CONFIG, start_from=str(model)), CASES, tmp_path / "second")
    assert trainer.phase == "joint"
    for name, value in load_model(model)[0].state_dict().items():
        assert torch.equal(trainer.network.state_dict()[name], value), name
    with pytest.raises(ValueError, match="start-from"):
        Trainer(replace(CONFIG, start_from=str(model), model=replace(TINY, aspp_channels=8)), CASES, tmp_path / "third")


# -- rates and budgets -------------------------------------------------------------------------------------------------


def test_the_cosine_rises_then_falls_to_0(tmp_path):
    trainer = Trainer(replace(CONFIG, steps=1000, ramp_share=0.1, learning_rate=1.0), CASES, tmp_path)
    rates = []
    for trainer.step in range(0, 1001, 10):
        rates.append(trainer._learning_rate())
    assert rates[0] < 0.02
    assert np.argmax(rates) in (9, 10)
    assert rates[50] == pytest.approx(0.5)
    assert rates[-1] == 0


def test_the_plateau_halves_the_rate_when_the_loss_stays(tmp_path):
    trainer = Trainer(replace(CONFIG, schedule="plateau", ramp_share=0.0, learning_rate=1.0), CASES, tmp_path)
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


# -- resumption --------------------------------------------------------------------------------------------------------


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
        {"model": replace(TINY, norm="batch"), "precision": "bfloat16"},
    ],
    ids=str,
)
def test_a_resumed_run_equals_one_that_was_never_stopped(tmp_path, changes):
    config = replace(CONFIG, **changes)
    whole = run(config, tmp_path / "whole")
    run(config, tmp_path / "halves", until_step=4)
    resumed = Trainer(config, CASES, tmp_path / "halves")
    resumed.load_checkpoint()
    assert resumed.step == 4
    resumed.run()
    assert resumed.plateau == whole.plateau
    assert_same_state(resumed, whole)
    assert curve(tmp_path / "halves") == curve(tmp_path / "whole")
    assert len(list((tmp_path / "halves").glob("checkpoint-*.safetensors"))) == 1


def test_a_prototype_that_left_the_data_is_moved_back_in_both_networks(tmp_path):
    config = replace(CONFIG, warm_up_share=0.1, reseed_at=(0.5,), reseed_distance=0.01)
    trainer = Trainer(config, CASES, tmp_path)
    trainer.run(until_step=4)
    vectors = [net.prototype_layer.prototype_vectors for net in (trainer.network, trainer.ema)]
    with torch.no_grad():  # the opposite of all that the class has
        for tensor in vectors:
            tensor[6] = -trainer.network.prototype_layer.prototype_vectors[[6, 7]].mean(dim=0)
    away = vectors[0][6].detach().clone()
    trainer.run(until_step=5)
    assert trainer.reseeded == 1
    for tensor in vectors:
        assert (tensor[6] - away).norm().item() > 0.5
    trainer.run()
    assert trainer.reseeded == 1  # once


# -- batches and processes ---------------------------------------------------------------------------------------------

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
    result["summary"] = trainer.finish([], {"fold": "all"})
    torch.save(result, out / f"rank-{rank}.pt")
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


# -- the whole command -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three cases; ``splits.json`` beside them names two folds."""
    folder = tmp_path_factory.mktemp("data")
    for case_id, case in zip("abc", CASES, strict=True):
        images = (100 * case.images.float() + 1000).numpy()
        write_case(Case(case_id, images, case.affine, case.label.numpy()), folder / "cases")
    (folder / "splits.json").write_text(json.dumps({"folds": [["a"], ["b", "c"]]}))
    return folder


WHOLE = replace(CONFIG, steps=4, checkpoint_minutes=0.0, name="a-model")


def train_here(data: Path, out: Path, fold: str = "0", **options: Any) -> dict[str, Any]:
    config = replace(WHOLE, cache=str(data / "cache"))
    return train(config, data / "cases", data / "splits.json", fold, out, **options)


def test_a_killed_run_goes_on_where_its_checkpoint_was(data, tmp_path):
    def kill(_: float, text: str) -> None:
        if "step 3" in text:
            raise KeyboardInterrupt

    summary = train_here(data, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_here(data, tmp_path / "killed", on_progress=kill)
    assert [line["step"] for line in curve(tmp_path / "killed")] == [1, 2, 3]  # step 3 is not in the checkpoint
    resumed = train_here(data, tmp_path / "killed", resume=True)
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")
    assert (tmp_path / "killed" / "model.safetensors").read_bytes() == (
        tmp_path / "whole" / "model.safetensors"
    ).read_bytes()
    assert {**resumed, "minutes": 0} == {**summary, "minutes": 0}
    network, card = load_model(tmp_path / "killed" / "model.safetensors")
    assert card.name == "a-model"
    assert card.training["fold"] == "0"
    assert card.training["cases"] == ["b", "c"]
    assert not network.training


def test_a_folder_with_a_run_is_not_overwritten(data, tmp_path):
    (tmp_path / "log.jsonl").write_text("")
    with pytest.raises(FileExistsError, match=r"already holds a run.*--resume"):
        train_here(data, tmp_path)


def test_the_checkpoint_of_another_network_is_refused(tmp_path):
    first = Trainer(CONFIG, CASES, tmp_path)
    first.save_checkpoint()
    wider = replace(CONFIG, model=replace(TINY, widths=(8, 16)))
    with pytest.raises(ValueError, match="trains another network"):
        Trainer(wider, CASES, tmp_path).load_checkpoint()


def test_nothing_to_resume_is_said(data, tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint to resume from"):
        train_here(data, tmp_path / "new", resume=True)


@pytest.mark.parametrize("fold", ["2", "-1", "first", "1.0"])
def test_a_fold_that_is_not_there_is_refused(data, tmp_path, fold):
    with pytest.raises(ValueError, match=rf"--fold: expected 0 to 1 or all.*got '{fold}'"):
        train_here(data, tmp_path / "new", fold=fold)
    assert not (tmp_path / "new").exists()


def test_a_splits_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "splits.json").write_text('{"train": []}')
    with pytest.raises(ValueError, match=r"splits.json.*folds"):
        read_split(tmp_path / "splits.json", "0")
    (tmp_path / "splits.json").write_text("not json")
    with pytest.raises(ValueError, match=r"splits.json"):
        read_split(tmp_path / "splits.json", "0")
    (tmp_path / "splits.json").write_text('{"folds": [1, 2]}')
    with pytest.raises(ValueError, match=r"splits.json"):
        read_split(tmp_path / "splits.json", "0")
    with pytest.raises(FileNotFoundError, match=r"none.json"):
        read_split(tmp_path / "none.json", "0")


def test_a_fold_that_leaves_nothing_to_train_on_is_refused(tmp_path):
    (tmp_path / "splits.json").write_text('{"folds": [["a", "b"]]}')
    with pytest.raises(ValueError, match="no case left"):
        read_split(tmp_path / "splits.json", "0")
    assert read_split(tmp_path / "splits.json", "all") == (["a", "b"], [])


def test_a_case_that_is_not_there_is_refused(data, tmp_path):
    (tmp_path / "splits.json").write_text(json.dumps({"folds": [["a"], ["d"]]}))
    with pytest.raises(FileNotFoundError, match=r"lacks 1 of the 1 cases asked for.*d"):
        train(WHOLE, data / "cases", tmp_path / "splits.json", "0", tmp_path / "new")


def test_a_fold_trains_on_the_others_and_all_trains_on_all(data):
    assert read_split(data / "splits.json", "0") == (["b", "c"], ["a"])
    assert read_split(data / "splits.json", "1") == (["a"], ["b", "c"])
    assert read_split(data / "splits.json", "all") == (["a", "b", "c"], [])


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


def test_a_device_that_is_not_there_is_refused_before_any_work(data, tmp_path):
    with pytest.raises(ValueError, match=r"device: torch cannot use 'abacus'"):
        train(replace(WHOLE, device="abacus"), data / "cases", data / "splits.json", "0", tmp_path / "new")
    assert not (tmp_path / "new").exists()
