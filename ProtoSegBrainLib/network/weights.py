"""A model on disk: ``<name>.safetensors`` (numbers) beside ``<name>.json`` (the model card). Never pickle.

The card holds all that is needed to rebuild the network and to read its output: configuration, prototypes with their
origin, calibration, training record.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.evidence import Calibration, Evidence, Prototype
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.networks import NetworkConfig, build_network, config_from_dict
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet

FORMAT = "protosegbrain-1"
BUNDLED = Path(__file__).parents[1] / "weights" / "default.safetensors"


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
        return {
            "format": FORMAT,
            "intended_use": "Research use only. Not a medical device.",
            "input": {
                "modalities": list(MODALITIES),
                "spacing_mm": 1.0,
                "axes": "RAS",
                "intensity": "z-score in brain",
            },
            "classes": list(CLASSES),
            **asdict(self),
        }


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
    network = build_network(card.model)
    try:
        network.load_state_dict(tensors)  # half precision becomes float32 on the way in
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network its card describes: {str(error)[:300]}") from error
    return network.eval().to(device), card


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
        content = json.loads(card_path.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}, expected {FORMAT!r}")
        return ModelCard(
            name=content["name"],
            model=config_from_dict(content["model"]),
            prototypes=tuple(Prototype.from_dict(p) for p in content["prototypes"]),
            calibration=Calibration.from_dict(content["calibration"]),
            training=content["training"],
            metrics=content["metrics"],
            identity=content["identity"],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{card_path} is not a ProtoSegBrain model card: {reason}") from error


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
