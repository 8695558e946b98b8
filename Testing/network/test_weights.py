from __future__ import annotations

import copy
import hashlib
import json
import math
import pickle
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.calibration import Familiarity, Normality, RegionReliability
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
LOOK = Normality(("brain_ml", "noise.t1n"), (7.0, -1.0), (0.1, 0.2), ((1.0, 0.3), (0.3, 1.0)), 1.5)
CARD = ModelCard(
    name="tiny",
    model=SMALL,
    prototypes=tuple(
        Prototype(index, CLASSES[k], "case_1", (1.5, -2.0, 3.25), 2.0, {"t1n": 0.5, "t1c": -1.0}, 0.125)
        for index, k in enumerate(SMALL.prototype_class)
    ),
    calibration=Calibration(
        (1.0, 1.5, 0.8, 2.0),
        0.25,
        reliability=(RegionReliability("WT", 50, 0.01, 0.3, 0.9, None),),
        familiarity=Familiarity(LOOK, LOOK, 50),
    ),
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
    with pytest.raises(ValueError, match="format missing"):
        read_card(a_file)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("format", "protosegbrain-0", r"format: expected 'protosegbrain-1'; got 'protosegbrain-0'"),
        ("classes", ["background", "ED", "NCR", "ET"], r"classes: expected \['background', 'NCR'"),
        ("input.spacing_mm", 2.0, r"input: expected \{'modalities'"),
        ("name", 3, r"name: expected a text; got 3"),
        ("name", " ", r"name is empty"),
        ("identity", "abc", r"identity is no SHA-256: 'abc'"),
        ("model", {}, r"model: backbone, stem_stride, .*checkpointing missing"),
        ("model", [], r"model: expected a section"),
        ("model.backbone", "unet", r"model: backbone must be one of"),
        ("model.depth", 3, r"model\.depth: unknown key"),
        ("model.widths", [4, 10**9], r"model: widths: at most 4096, not 1000000000"),
        ("model.stem_stride", True, r"model\.stem_stride: expected a whole number; got True"),
        ("model.epsilon", math.nan, r"model\.epsilon: expected a number; got nan"),
        ("prototypes", [3], r"prototypes\[0\]: expected a section of keys and values; got 3"),
        ("prototypes", [{"index": 0}], r"prototypes\[0\]: class_name, case_id, .*projection_distance missing"),
        ("prototypes.1", None, r"prototypes\[1\]: expected a section"),
        ("prototypes.1.index", 0, r"prototypes\[1\]: expected index and class \(1, 'background'\); got \(0, "),
        ("prototypes.2.class_name", "ET", r"prototypes\[2\]: expected index and class \(2, 'NCR'\)"),
        ("prototypes.2.class_name", "tumour", r"prototypes\[2\]: class_name must be one of"),
        ("prototypes.0.position_mm", [1.0, 2.0], r"prototypes\[0\]\.position_mm: expected a list of 3"),
        ("prototypes.0.profile.t1n", "bright", r"prototypes\[0\]\.profile\.t1n: expected a number; got 'bright'"),
        ("prototypes.0.profile.pd", 1.0, r"prototypes\[0\]: profile is of t1n, t1c, t2w, t2f, not of pd"),
        ("prototypes.0.similarity_quantiles", [2.0, 1.0], r"prototypes\[0\]: similarity_quantiles must be"),
        ("calibration", None, r"calibration: expected a section of keys and values; got None"),
        ("calibration", {}, r"calibration: temperature, minimum_et_ml missing"),
        ("calibration.temperature", 1.0, r"calibration\.temperature: expected a list"),
        ("calibration.temperature", [1.0, 1.0], r"calibration: temperature needs 4 positive numbers"),
        ("calibration.temperature", [1.0, 1.0, 0.0, 1.0], r"calibration: temperature needs 4 positive numbers"),
        ("calibration.temperature.3", 1e-300, r"calibration: temperature needs 4 positive numbers"),
        ("calibration.minimum_et_ml", -1, r"calibration: minimum_et_ml must be a volume"),
        ("calibration.reliability.0.dice_coefficients", [1.0], r".*reliability\[0\]: dice_coefficients must"),
        ("calibration.reliability.0.region", "CT", r"calibration\.reliability\[0\]: region must be one of"),
        ("calibration.familiarity", {}, r"calibration\.familiarity: look, likeness, n missing"),
        ("calibration.familiarity.look.measures.1", [1, 2], r".*look\.measures\[1\]: expected a text"),
        ("calibration.familiarity.look.centre", [1.0], r".*familiarity\.look: centre needs one entry for each"),
        ("calibration.familiarity.look.deviation.0", 0.0, r".*familiarity\.look: deviation must be positive"),
        ("calibration.familiarity.look.correlation.0.1", 9.0, r".*familiarity\.look: correlation must be"),
        ("calibration.familiarity.look.limit", 0, r".*familiarity\.look: limit must be positive"),
        ("training", [], r"training: expected a section"),
        ("training.cases", "all", r"training\.cases: expected a list"),
        ("metrics.dice", 0.9, r"metrics\.dice: expected a section"),
    ],
)  # fmt: skip
def test_a_wrong_part_of_a_card_is_named_with_its_place(a_file: Path, place: str, value: Any, message: str) -> None:
    content = json.loads(a_file.with_suffix(".json").read_text())
    *above, last = place.split(".")
    part = content
    for name in above:
        part = part[int(name) if isinstance(part, list) else name]
    part[int(last) if isinstance(part, list) else last] = value
    a_file.with_suffix(".json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"tiny\.json is not a ProtoSegBrain model card: " + message):
        read_card(a_file)


LATER = [
    *(f"prototypes.{name}" for name in ("similarity_quantiles", "contrast", "surroundings", "explained_share")),
    *("prototypes.purity", "prototypes.stability", "prototypes.neighbours", "model.reach"),
    *("calibration.minimum_component_ml", "calibration.reliability", "calibration.familiarity"),
    *("input", "classes", "intended_use"),
]


def test_a_card_may_lack_what_is_younger_than_the_format_and_nothing_else(a_file: Path) -> None:
    whole = json.loads(a_file.with_suffix(".json").read_text())
    parts = {"": whole, "model.": whole["model"], "calibration.": whole["calibration"]}
    refused = set()
    for prefix, part in [*parts.items(), ("prototypes.", whole["prototypes"][0])]:
        for name in list(part):
            content = copy.deepcopy(whole)
            place = {"": content, "prototypes.": content["prototypes"][0]}.get(prefix, content.get(prefix[:-1]))
            del place[name]
            a_file.with_suffix(".json").write_text(json.dumps(content))
            if prefix + name in LATER:
                read_card(a_file)
                continue
            refused.add(prefix + name)
            with pytest.raises(ValueError, match=f"{name}.* missing"):
                read_card(a_file)
    assert len(refused) > 30


def test_a_persons_notes_in_a_card_do_no_harm(a_file: Path) -> None:
    edit_card(a_file, note="our second attempt")
    assert read_card(a_file).name == "tiny"


# -- tensors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(a_file: Path, value: float) -> None:
    tensors = safetensors.torch.load_file(a_file)
    tensors["last_layer.bias"][2] = value
    safetensors.torch.save_file(tensors, a_file)
    give_identity(a_file)
    with pytest.raises(ValueError, match=r"last_layer\.bias holds what is not a number"):
        load_model(a_file)


def test_a_card_that_asks_for_a_larger_network_is_refused_before_that_is_built(a_file: Path) -> None:
    edit_card(a_file, model=asdict(replace(SMALL, widths=(4096, 4096), blocks=(60, 60))))
    with pytest.raises(ValueError, match="that has 4096 channels or prototypes somewhere"):
        load_model(a_file)
