"""Pruning: what stays is untouched, what goes is gone from network and card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from synthetic import TINY, training_case

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.calibration import Calibration, RegionReliability
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.weights import ModelCard, load_model, save_model
from ProtoSegBrainLib.patches.cases import whole_window
from ProtoSegBrainLib.training.pruning import prune, without_prototypes

KNOWN = RegionReliability("ET", 20, 0.01, 0.5, 0.9, 0.9)


@pytest.fixture
def a_model() -> tuple[ProtoSegNet, ModelCard]:
    """Two prototypes of each class: 0 and 1 of background, ... 6 and 7 of ET."""
    torch.manual_seed(0)
    records = tuple(
        Prototype(index, CLASSES[index // 2], f"case_{index}", (index, 0, 0), 2.0, {"t1c": 1.0}, 0.0)
        for index in range(8)
    )
    card = ModelCard(
        "tiny", TINY, records, Calibration((1, 2, 1, 1), reliability=(KNOWN,)), metrics={"dice": 0.5}, identity="abc"
    )
    return ProtoSegNet(TINY).eval(), card


@torch.no_grad()
def test_the_others_have_the_similarities_they_had(a_model: tuple[ProtoSegNet, ModelCard]) -> None:
    network, _ = a_model
    window = whole_window(training_case(1), network.size_multiple)
    pruned = without_prototypes(network, [2, 7])
    assert pruned.prototype_class == (0, 0, 1, 2, 2, 3)
    before, after = network(window), pruned(window)
    kept = [0, 1, 3, 4, 5, 6]
    torch.testing.assert_close(after.similarities, before.similarities[:, kept])
    # The logits lack what the two contributed, and nothing else.
    weight = network.last_layer.weight[:, [2, 7]]
    missing = torch.einsum("kp,bpxyz->bkxyz", weight, before.similarities[:, [2, 7]])
    torch.testing.assert_close(after.logits, before.logits - missing, atol=1e-4, rtol=1e-4)


def test_network_and_card_agree_and_can_be_stored(a_model: tuple[ProtoSegNet, ModelCard], tmp_path: Path) -> None:
    network, card = a_model
    state = {name: value.clone() for name, value in network.state_dict().items()}
    pruned, new_card = prune(network, card, {7, 2}, [training_case(number) for number in (1, 2)])
    saved = save_model(tmp_path / "pruned.safetensors", pruned, new_card)
    loaded, read = load_model(tmp_path / "pruned.safetensors")
    assert read == saved
    assert loaded.config.prototypes_per_class == read.model.prototypes_per_class == (2, 1, 2, 1)
    assert [p.case_id for p in read.prototypes] == ["case_0", "case_1", "case_3", "case_4", "case_5", "case_6"]
    assert [p.index for p in read.prototypes] == list(range(6))
    assert [CLASSES[index] for index in loaded.prototype_class] == [p.class_name for p in read.prototypes]
    assert read.calibration == replace(card.calibration, reliability=())
    (record,) = read.training["pruning"]
    assert record["from"] == {"name": "tiny", "identity": "abc"}
    assert [entry["index"] for entry in record["removed"]] == [2, 7]
    assert read.name == "tiny-pruned"
    assert read.metrics["before_pruning"] == {"dice": 0.5}
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_the_last_layer_is_fitted_to_those_that_stay(a_model: tuple[ProtoSegNet, ModelCard]) -> None:
    network, card = a_model
    pruned, _ = prune(network, card, [0], [training_case(1)])
    assert not torch.equal(pruned.last_layer.weight, without_prototypes(network, [0]).last_layer.weight)
    identity = pruned.last_layer.prototype_class_identity
    assert (pruned.last_layer.weight * (1 - identity) == 0).all()
    torch.testing.assert_close(pruned.prototype_layer.prototype_vectors, network.prototype_layer.prototype_vectors[1:])


@pytest.mark.parametrize(
    ("removed", "said"), [([8], "0 to 7; got 8"), ([], "got none"), ([6, 7], "every prototype of ET")]
)
def test_what_cannot_be_removed_is_refused(
    removed: list[int], said: str, a_model: tuple[ProtoSegNet, ModelCard]
) -> None:
    with pytest.raises(ValueError, match=said):
        prune(*a_model, removed, [training_case(1)])


def test_without_cases_nothing_is_fitted(a_model: tuple[ProtoSegNet, ModelCard]) -> None:
    with pytest.raises(ValueError, match="labelled cases; got none"):
        prune(*a_model, [0], [])
