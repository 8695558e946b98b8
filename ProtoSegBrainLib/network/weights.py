"""A model on disk: ``<name>.safetensors`` (numbers) beside ``<name>.json`` (the model card). Never pickle.

The card holds all that is needed to rebuild the network and to read its output: configuration, prototypes with their
origin, calibration, training record.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.network.evidence import Evidence, Prototype, require_records
from ProtoSegBrainLib.network.model import ModelConfig, ProtoSegNet
from ProtoSegBrainLib.network.networks import NetworkConfig, build_network, sizes_of
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.records import read_json, require, shown, stored

FORMAT = "protosegbrain-1"
STATED: dict[str, Any] = {
    "format": FORMAT,
    "intended_use": "Research use only. Not a medical device.",
    "input": {"modalities": list(MODALITIES), "spacing_mm": 1.0, "axes": "RAS", "intensity": "z-score in brain"},
    "classes": list(CLASSES),
}
"""What every card says, as every network here is used in this way."""
STORED_TYPES = (torch.float16, torch.float32, torch.int64)
BUNDLED = Path(__file__).parents[1] / "weights" / "default.safetensors"


KNOWN_PARTS: dict[str, dict[str, Any]] = {
    "training": {"cases": tuple[str, ...], "config": dict[str, Any], "pruning": tuple[dict[str, Any], ...]},
    "metrics": {"n": int, "monitored": str, "dice": dict[str, float], **{
        f"dice_{stage}": dict[str, float] for stage in ("before_projection", "after_projection", "after_refit")
    }},
}  # fmt: skip
"""Types of what is read again of the record of the training, where it is there."""


@dataclass(frozen=True)
class ModelCard:
    """What a person, and the code, must know about a model."""

    name: str
    model: NetworkConfig
    prototypes: tuple[Prototype, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    identity: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as written to the JSON card."""
        return {**STATED, **asdict(self)}


def save_model(path: Path, network: SegmentationNet, card: ModelCard) -> ModelCard:
    """Write ``path`` (.safetensors) and its card beside it; returns the card with the weights' identity.

    Convolution weights of the network before the prototype layer are stored in half precision.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: _storable(name, value) for name, value in network.state_dict().items()}
    content = safetensors.torch.save(tensors, metadata={"format": FORMAT})
    card = replace(card, identity=hashlib.sha256(content).hexdigest())
    write_whole(path, content)
    write_whole(path.with_suffix(".json"), json.dumps(card.to_dict(), indent=1))
    return card


def load_model(path: Path | None = None, device: str = "cpu") -> tuple[SegmentationNet, ModelCard]:
    """The network, in evaluation mode, and its card; ``None`` gives the bundled model.

    Raises:
        FileNotFoundError: The weights or their card are not there.
        ValueError: The files are damaged, not ours, or do not belong together.
    """
    path = Path(path) if path else BUNDLED
    card = read_card(path)
    content = path.read_bytes()
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a readable .safetensors file ({error}); fetch it again.") from error
    if hashlib.sha256(content).hexdigest() != card.identity:
        card_name = path.with_suffix(".json").name
        raise ValueError(f"{path} is not the file its card {card_name} describes (SHA-256 differs); fetch both again.")
    network = _filled(card.model, tensors, path)
    return network.eval().to(device), card


def _filled(config: NetworkConfig, tensors: dict[str, torch.Tensor], path: Path) -> SegmentationNet:
    """The network of a configuration with these tensors.

    Raises:
        ValueError: It cannot be built, or has other tensors, or one of these holds what is not a number.
    """
    _refuse_other_sizes(config, tensors, path)  # before one is built that no memory holds
    try:
        network = build_network(config)
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"The network that the card of {path} describes cannot be built: {error}") from error
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in (*expected, *found):
        if found.get(name) != expected.get(name):
            there, here = (f"of shape {shapes[name]}" if name in shapes else "none" for shapes in (found, expected))
            raise ValueError(
                f"{path} does not fit the network its card describes: {name} is {there} in the file and {here} in the "
                "network; fetch both again."
            )
    network.load_state_dict(tensors)  # half precision becomes float32 on the way in
    for name, value in tensors.items():
        if value.dtype not in STORED_TYPES or not np.isfinite(value.numpy()).all():
            raise ValueError(f"{path}: {name} holds what is not a number; its training failed, or it was damaged.")
    return network


def _refuse_other_sizes(config: NetworkConfig, tensors: dict[str, torch.Tensor], path: Path) -> None:
    there = {size for value in tensors.values() for size in value.shape}
    odd = sorted(set(sizes_of(config)) - there)
    if odd:
        raise ValueError(
            f"{path} does not fit the network its card describes: that has {odd[0]} channels or prototypes somewhere, "
            "and no tensor of the file has; fetch both again."
        )


def read_card(path: Path) -> ModelCard:
    """The card beside ``path`` (.safetensors), without loading the weights.

    Raises:
        FileNotFoundError: The weights or the card are not there.
        ValueError: The card is not one of ours.
    """
    card_path = path.with_suffix(".json")
    for needed in (path, card_path):
        if not needed.is_file():
            raise FileNotFoundError(f"{needed} not found: a model is a .safetensors file and its .json card beside it.")
    try:
        return _card_from(read_json(card_path))
    except ValueError as error:
        raise ValueError(f"{card_path} is not a ProtoSegBrain model card: {error}") from error


def _card_from(content: Any) -> ModelCard:
    """The card from what its JSON holds; further keys, such as a person's notes, do no harm."""
    members = stored(content, dict[str, Any])
    if "format" not in members:
        raise ValueError("format missing.")
    for name in ("format", "input", "classes"):
        if members.get(name, STATED[name]) != STATED[name]:
            raise ValueError(f"{name}: expected {STATED[name]!r}; got {shown(members[name])}.")
    known = {field.name: members[field.name] for field in fields(ModelCard) if field.name in members}
    card: ModelCard = stored(known, ModelCard)
    require(bool(card.name.strip()), "name is empty.")
    require(re.fullmatch("[0-9a-f]{64}", card.identity) is not None, f"identity is no SHA-256: {shown(card.identity)}")
    if isinstance(card.model, ModelConfig):
        require_records(card.prototypes, [CLASSES[index] for index in card.model.prototype_class])
    for part, kinds in KNOWN_PARTS.items():
        for name, kind in kinds.items():
            if name in getattr(card, part):
                stored(getattr(card, part)[name], kind, f"{part}.{name}")
    return card


def describe_prototypes(path: Path, prototypes: tuple[Prototype, ...]) -> None:
    """Write other records of the prototypes into the card of the model at ``path``; the weights stay."""
    card = replace(read_card(path), prototypes=prototypes)
    write_whole(path.with_suffix(".json"), json.dumps(card.to_dict(), indent=1))


def recalibrate(path: Path, calibration: Calibration) -> None:
    """Write another calibration into the card of the model at ``path``; the weights stay."""
    card = replace(read_card(path), calibration=calibration)
    write_whole(path.with_suffix(".json"), json.dumps(card.to_dict(), indent=1))


@torch.no_grad()
def round_as_stored(network: SegmentationNet) -> None:
    """Round the weights to what ``save_model`` writes, so that what is computed next holds for the stored model."""
    for name, value in network.state_dict().items():
        value.copy_(_storable(name, value))


def _storable(name: str, value: torch.Tensor) -> torch.Tensor:
    value = value.detach().cpu()
    is_kernel = value.ndim == 5 and not name.startswith("prototype_layer")
    return (value.half() if is_kernel else value).contiguous()


def evidence_of(network: SegmentationNet, card: ModelCard) -> Evidence:
    """The last layer of a network and what its card says of the prototypes; without prototypes, no evidence at all."""
    if not network.prototype_class:
        return Evidence.none(network.stride, card.calibration)
    network = cast(ProtoSegNet, network)
    return Evidence(
        prototype_class=tuple(CLASSES[index] for index in network.prototype_class),
        weight=network.last_layer.weight.detach().cpu().numpy().copy(),
        bias=network.last_layer.bias.detach().cpu().numpy().copy(),
        similarity=network.config.similarity,
        epsilon=network.config.epsilon,
        reach=network.config.reach,
        prototype_stride=network.prototype_stride,
        prototypes=card.prototypes,
        calibration=card.calibration,
    )
