"""The three phases, and what is written of the prototypes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.multiprocessing
from short_runs import CASES, CONFIG, SEGMENTATION, curve, run
from synthetic import TINY

from ProtoSegBrainLib.network.weights import load_model, save_model
from ProtoSegBrainLib.patches.cases import whole_window
from ProtoSegBrainLib.training.prototype_trainer import PrototypeTrainer
from ProtoSegBrainLib.training.recipe import recorded

pytestmark = pytest.mark.usefixtures("one_thread")

PROTOTYPES = {"purity", "cluster", "separation", "diversity", "l1"}


def test_the_three_phases_follow_each_other(tmp_path):
    told: list[str] = []
    trainer = PrototypeTrainer(
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
    common = {"step", "total", "learning_rate", "gradient_norm"} | SEGMENTATION
    assert [set(line) for line in lines[:3]] == [common] * 3
    assert [set(line) for line in lines[3:]] == [common | PROTOTYPES] * 3
    assert not (tmp_path / "model.safetensors").exists()
    told.clear()
    trainer.finish({"fold": "all"})
    order = [text.split(":")[0] for text in told]
    stages = ["Projecting prototypes", "Re-fitting the last layer", "Portraits of the prototypes"]
    assert order == sorted(order, key=stages.index)
    assert set(order) == set(stages)


def test_the_finished_model_has_prototypes_that_are_training_patches(tmp_path):
    trainer = PrototypeTrainer(CONFIG, CASES, tmp_path, held_out=CASES[:1])
    trainer.run()
    summary = trainer.finish({"fold": "0", "data": "synthetic"})
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


def test_portraits_can_be_left_out(tmp_path):
    told: list[str] = []
    trainer = PrototypeTrainer(
        replace(CONFIG, portraits=False), CASES, tmp_path, on_progress=lambda _, s: told.append(s)
    )
    trainer.run()
    trainer.finish({"fold": "all"})
    prototypes = load_model(tmp_path / "model.safetensors")[1].prototypes
    assert len(prototypes) == 8
    assert not any(prototype.purity for prototype in prototypes)
    assert not any("Portraits" in text for text in told)


def test_prototypes_learn_at_their_own_rate_once_they_lie_on_the_data(tmp_path):
    trainer = PrototypeTrainer(replace(CONFIG, warm_up_share=0.5, prototype_rate=0.0), CASES, tmp_path)

    def vectors() -> torch.Tensor:
        return trainer.network.prototype_layer.prototype_vectors.detach().clone()

    first = vectors()
    trainer.run(until_step=CONFIG.steps // 2)
    assert trainer.phase == "warm_up"
    assert not torch.equal(vectors(), first)
    trainer.run(until_step=CONFIG.steps // 2 + 1)
    assert trainer.phase == "joint"
    joint, kernel = vectors(), trainer.network.embedding.weight.detach().clone()
    trainer.run()
    assert torch.equal(vectors(), joint)
    assert not torch.equal(trainer.network.embedding.weight, kernel)


def test_the_last_layer_stays_non_negative_and_class_connected(tmp_path):
    trainer = run(replace(CONFIG, learning_rate=0.5, steps=4, ramp_share=0.0), tmp_path)
    layer = trainer.network.last_layer
    assert (layer.weight >= 0).all()
    assert not layer.weight[layer.prototype_class_identity == 0].any()


def test_a_run_can_go_on_from_a_model(tmp_path):
    """Without a warm-up, from its weights and its prototypes."""
    run(CONFIG, tmp_path / "first").finish({"fold": "all"})
    model = tmp_path / "first" / "model.safetensors"
    trainer = PrototypeTrainer(replace(CONFIG, start_from=(str(model),)), CASES, tmp_path / "second")
    assert trainer.phase == "joint"
    for name, value in load_model(model)[0].state_dict().items():
        assert torch.equal(trainer.network.state_dict()[name], value), name
    for places, written in (
        ([str(model), "model.safetensors"], ["first/model.safetensors", "model.safetensors"]),
        ([], []),
    ):
        assert recorded(replace(CONFIG, start_from=tuple(places)))["start_from"] == written
    with pytest.raises(ValueError, match="start-from"):
        PrototypeTrainer(
            replace(CONFIG, start_from=(str(model),), model=replace(TINY, aspp_channels=8)), CASES, tmp_path / "third"
        )


def test_a_run_of_no_steps_concludes_the_mean_of_several_models(tmp_path):
    """Its weights are the mean's but for prototypes and last layer, which are projected and re-fitted."""
    places = []
    for name, seed in (("first", 1), ("second", 2)):
        run(replace(CONFIG, seed=seed), tmp_path / name).finish({"fold": "all"})
        places.append(str(tmp_path / name / "model.safetensors"))
    trainer = run(replace(CONFIG, start_from=tuple(places), steps=0), tmp_path / "mean")
    assert trainer.step == 0
    first, second = (load_model(Path(place))[0].state_dict() for place in places)
    for name, value in trainer.network.state_dict().items():
        if value.is_floating_point():
            assert torch.allclose(value, (first[name] + second[name]) / 2), name
    trainer.finish({"fold": "all"})
    network, card = load_model(tmp_path / "mean" / "model.safetensors")
    assert all(prototype.case_id in {case.case_id for case in CASES} for prototype in card.prototypes)
    lengths = network.prototype_layer.prototype_vectors.flatten(1).norm(dim=1)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-2), "embeddings of patches, not means of them"
    with pytest.raises(ValueError, match="steps: expected at least 1"):
        replace(CONFIG, steps=0)


def test_a_mean_of_models_takes_its_statistics_from_the_patches(tmp_path):
    """Two models whose first kernels are opposites: their mean answers 0, whatever each of them had counted."""
    config = replace(CONFIG, model=replace(TINY, norm="batch"))
    run(config, tmp_path / "first").finish({"fold": "all"})
    place = tmp_path / "first" / "model.safetensors"
    network, card = load_model(place)
    counted = {name: value.clone() for name, value in network.state_dict().items() if "running" in name}
    with torch.no_grad():
        network.backbone.stem.conv[0].weight.neg_()
    save_model(tmp_path / "opposite.safetensors", network, card)
    places = (str(place), str(tmp_path / "opposite.safetensors"))
    trainer = run(replace(config, start_from=places, steps=0), tmp_path / "mean")
    for net in (trainer.network, trainer.ema):
        norm = net.backbone.stem.conv[1]
        assert norm.momentum == 0.03
        assert not norm.running_mean.any()
        assert not norm.running_var.any()
    trainer = run(replace(config, start_from=places[:1], steps=0), tmp_path / "one")
    for name, value in counted.items():
        assert torch.equal(trainer.network.state_dict()[name], value), name


def test_a_prototype_that_left_the_data_is_moved_back_in_both_networks(tmp_path):
    config = replace(CONFIG, warm_up_share=0.1, reseed_at=(0.5,), reseed_distance=0.01)
    trainer = PrototypeTrainer(config, CASES, tmp_path)
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
