from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ProtoSegBrainLib.network.model import ModelConfig, ProtoSegNet
from ProtoSegBrainLib.network.weights import (
    Calibration,
    ModelCard,
    Prototype,
    load_model,
    read_card,
    round_as_stored,
    save_model,
)

SMALL = ModelConfig(
    reach=None,
    widths=(4, 8), blocks=(1, 1), aspp_rates=(1, 2), aspp_channels=4, embedding_channels=6,
    prototypes_per_class=(2, 1, 1, 2),
)  # fmt: skip
CARD = ModelCard(
    name="tiny",
    model=SMALL,
    prototypes=(Prototype(0, "background", "case_1", (1.5, -2.0, 3.25), 2.0, {"t1n": 0.5, "t1c": -1.0}, 0.125),),
    calibration=Calibration((1.0, 1.5, 0.8, 2.0), 0.25),
    training={"steps": 7, "splits": ["a", "b"]},
    metrics={"WT": 0.9},
)


@pytest.fixture
def a_network() -> ProtoSegNet:
    torch.manual_seed(0)
    network = ProtoSegNet(SMALL)
    network.train()(torch.randn(2, 4, 8, 8, 8))  # running statistics that are not round
    return network.eval()


@pytest.fixture
def a_file(tmp_path: Path, a_network: ProtoSegNet) -> Path:
    path = tmp_path / "models" / "tiny.safetensors"
    save_model(path, a_network, CARD)
    return path


def edit_card(path: Path, **changes: Any) -> None:
    card_path = path.with_suffix(".json")
    card_path.write_text(json.dumps(json.loads(card_path.read_text()) | changes))


def give_identity(path: Path) -> None:
    """Make the card vouch for whatever the weights file holds now."""
    edit_card(path, identity=hashlib.sha256(path.read_bytes()).hexdigest())


# -- round trip ------------------------------------------------------------------------------------------------------


def test_what_is_computed_after_rounding_holds_for_the_stored_model(a_network: ProtoSegNet, tmp_path: Path) -> None:
    images = torch.randn(1, 4, 16, 8, 8)
    with torch.no_grad():
        unrounded = a_network(images).logits
        round_as_stored(a_network)
        expected = a_network(images).logits
        path = tmp_path / "tiny.safetensors"
        save_model(path, a_network, CARD)
        network, _ = load_model(path)
        assert torch.equal(network(images).logits, expected)
    assert not torch.equal(unrounded, expected), "kernels are stored in half precision"
    assert not network.training
    assert all(p.dtype == torch.float32 for p in network.parameters())
    for name, value in a_network.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name


def test_kernels_are_stored_in_half_and_prototypes_and_last_layer_in_full_precision(a_file: Path) -> None:
    kinds = {name: value.dtype for name, value in safetensors.torch.load_file(a_file).items()}
    assert kinds["embedding.weight"] == kinds["backbone.stem.conv.0.weight"] == torch.float16
    whole = ["prototype_layer.prototype_vectors", "last_layer.weight", "backbone.stem.conv.1.running_var"]
    assert {kinds[name] for name in whole} == {torch.float32}


def test_card_comes_back_as_it_was_with_the_weights_identity(a_file: Path) -> None:
    _, card = load_model(a_file)
    assert card.identity == hashlib.sha256(a_file.read_bytes()).hexdigest()
    assert replace(card, identity="") == CARD
    assert read_card(a_file) == card
    assert sorted(p.name for p in a_file.parent.iterdir()) == ["tiny.json", "tiny.safetensors"], "nothing left behind"
    content = json.loads(a_file.with_suffix(".json").read_text())
    assert content["classes"] == ["background", "NCR", "ED", "ET"]
    assert content["input"]["modalities"] == ["t1n", "t1c", "t2w", "t2f"]
    assert "Research use only" in content["intended_use"]


def test_saving_again_replaces_weights_and_card(a_file: Path, a_network: ProtoSegNet) -> None:
    with torch.no_grad():
        a_network.last_layer.bias.fill_(5)
    saved = save_model(a_file, a_network, replace(CARD, name="second"))
    network, card = load_model(a_file)
    assert card == saved
    assert card.name == "second"
    assert network.last_layer.bias.tolist() == [5] * 4


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [".safetensors", ".json"])
def test_a_missing_file_is_named(a_file: Path, missing: str) -> None:
    a_file.with_suffix(missing).unlink()
    with pytest.raises(FileNotFoundError, match=f"tiny{missing} not found"):
        load_model(a_file)


@pytest.mark.parametrize("kept", [0, 5, 100, -10])
def test_a_truncated_file_is_refused(a_file: Path, kept: int) -> None:
    a_file.write_bytes(a_file.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"tiny\.safetensors is not a readable .safetensors file"):
        load_model(a_file)


def test_a_file_with_one_changed_byte_is_refused(a_file: Path) -> None:
    content = bytearray(a_file.read_bytes())
    content[-3] ^= 1
    a_file.write_bytes(content)
    with pytest.raises(ValueError, match=r"tiny\.safetensors is not the file its card tiny\.json describes"):
        load_model(a_file)


def test_the_card_of_other_weights_is_refused(a_file: Path, a_network: ProtoSegNet) -> None:
    with torch.no_grad():
        a_network.last_layer.bias.fill_(5)
    other = a_file.with_name("other.safetensors")
    save_model(other, a_network, CARD)
    other.with_suffix(".json").replace(a_file.with_suffix(".json"))
    with pytest.raises(ValueError, match="SHA-256 differs"):
        load_model(a_file)


@pytest.mark.parametrize("change", ["foreign", "lacking", "other shape"])
def test_safetensors_of_another_network_are_refused(a_file: Path, change: str) -> None:
    tensors = safetensors.torch.load_file(a_file)
    if change == "foreign":
        tensors = {"encoder.weight": torch.zeros(3)}
    elif change == "lacking":
        del tensors["last_layer.bias"]
    else:
        tensors["last_layer.weight"] = torch.zeros(4, 7)
    safetensors.torch.save_file(tensors, a_file)
    give_identity(a_file)
    with pytest.raises(ValueError, match="does not fit the network its card describes"):
        load_model(a_file)


class Bomb:
    """Would leave a file behind if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_not_run(a_file: Path, tmp_path: Path) -> None:
    mark = tmp_path / "unpickled"
    a_file.write_bytes(pickle.dumps(Bomb(mark)))
    give_identity(a_file)
    with pytest.raises(ValueError, match="not a readable"):
        load_model(a_file)
    assert not mark.exists()
    pickle.loads(a_file.read_bytes())
    assert mark.exists(), "the bomb works"


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\xfe", b"not json", b"[]", b"3", b'"protosegbrain-1"', b"{}", b'{"format": "protosegbrain-1"}'],
)
def test_what_is_not_a_card_is_refused(a_file: Path, content: bytes) -> None:
    a_file.with_suffix(".json").write_bytes(content)
    with pytest.raises(ValueError, match=r"tiny\.json is not a ProtoSegBrain model card"):
        load_model(a_file)


def test_a_foreign_card_is_told_what_it_lacks(a_file: Path) -> None:
    a_file.with_suffix(".json").write_text("{}")
    with pytest.raises(ValueError, match="it lacks 'format'"):
        read_card(a_file)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "protosegbrain-0"},
        {"model": []},
        {"model": {"backbone": "unet"}},
        {"model": {"depth": 3}},
        {"prototypes": [3]},
        {"prototypes": [{"index": 0}]},
        {"calibration": {"temperature": 1.0, "minimum_et_ml": 0}},
        {"calibration": {"temperature": [1.0, 1.0], "minimum_et_ml": 0}},
        {"calibration": {"temperature": [1.0, 1.0, 0.0, 1.0], "minimum_et_ml": 0}},
        {"calibration": None},
    ],
)
def test_a_card_with_a_wrong_part_is_refused(a_file: Path, changes: dict[str, Any]) -> None:
    edit_card(a_file, **changes)
    with pytest.raises(ValueError, match=r"tiny\.json is not a ProtoSegBrain model card: ."):
        read_card(a_file)
