"""From a ``Case`` to a ``Prediction``: prepare, run the network, calibrate, map back to the case's grid.

The whole brain goes through the network in one window. Logits stay on the prototype grid, where they equal
``last_layer(similarities)``; they are divided by the temperatures and upsampled inside the brain crop only.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ProtoSegBrainLib.explanation.findings import doubts, findings
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.preprocess import NetworkInput, prepare, to_reference
from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.network.device import Attempt, Device, Precision, first_that_fits, plan
from ProtoSegBrainLib.network.inference import SLICES_AT_ONCE, calibrated, fuse_for_inference, mean_of, run_views
from ProtoSegBrainLib.network.networks import regions_of
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.network.weights import ModelCard, evidence_of, load_model
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.result.decision import decide
from ProtoSegBrainLib.result.familiarity import look_of
from ProtoSegBrainLib.result.prediction import Prediction, prototype_affine, volumes_ml, what_is_not_found
from ProtoSegBrainLib.result.uncertainty import disagreement


@dataclass(frozen=True)
class PredictConfig:
    """How a prediction is computed; none of it changes what is returned."""

    device: Device = field(default="auto", metadata={"help": "where to compute; auto takes a GPU where there is one"})
    precision: Precision = field(
        default="auto", metadata={"help": "of the convolutions; auto takes half precision where the processor has it"}
    )
    tta: bool = field(default=False, metadata={"help": "average with the prediction of the left-right flipped brain"})
    tile: int | None = field(
        default=None, metadata={"help": "edge in voxels of the tiles; default: the whole brain in one window"}
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be run, naming the field."""
        for name, allowed in (("device", get_args(Device)), ("precision", get_args(Precision))):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}.")
        if self.tile is not None and self.tile < 1:
            raise ValueError(f"tile must be at least 1 voxel, not {self.tile}.")


def predict(
    case: Case,
    model: tuple[SegmentationNet, ModelCard] | None = None,
    config: PredictConfig | None = None,
    on_progress: Progress | None = None,
) -> Prediction:
    """Segment one case.

    Args:
        case: Four images on one grid, skull-stripped.
        model: Network and card as ``load_model`` gives them (left untouched); None takes the bundled weights.
        config: How to compute it.
        on_progress: Called with a fraction from 0 to 1 and what is being done.

    Raises:
        ValueError: The case is empty, or the device is not there.
        MemoryError: Not even tiles on the CPU fit into memory.
    """
    config = config or PredictConfig()
    progress = on_progress or _silent
    attempts = plan(config.device, config.precision, config.tile)  # an absent device is refused before any work
    network, card = model or load_model(None, "cpu")
    clock = _Clock()

    progress(0.0, "Preparing the images")
    network_input = prepare(case)
    clock.lap("prepare")

    progress(0.3, "Running the network")
    temperature = card.calibration.temperature
    output, used, warnings = first_that_fits(
        attempts, lambda attempt: _run(attempt, network, network_input, temperature, config.tta), case.case_id
    )
    clock.lap("network")

    progress(0.8, "Mapping the result back to the input's grid")
    prediction = _on_case(case, network_input, output, network, card)
    clock.lap("to_reference")

    progress(0.95, "Measuring the findings")
    found = findings(prediction)
    clock.lap("findings")
    progress(1.0, "Done")
    return replace(
        prediction,
        findings=found,
        device=used.name,
        timings_s=clock.timings_s,
        warnings=(*doubts(found), *case.warnings, *warnings, *prediction.warnings),
    )


def _on_case(
    case: Case, network_input: NetworkInput, output: _Output, network: SegmentationNet, card: ModelCard
) -> Prediction:
    """The decision on the case's grid; findings, device and timings are still to come."""
    brain = case.brain
    label, probabilities, sentences = decide(output.tumour, network_input.affine, brain, case.affine, card.calibration)
    return Prediction(
        case_id=case.case_id,
        label=label,
        probabilities=probabilities,
        similarities=output.similarities,
        similarity_affine=prototype_affine(network_input.affine, network.stride),
        affine=case.affine,
        volumes_ml=volumes_ml(label, case.affine),
        model=_identity(network, card),
        evidence=evidence_of(network, card),
        device="",
        timings_s={},
        warnings=(*what_is_not_found(card.name, regions_of(card.model)), *sentences),
        disagreement=_disagreement(output, network_input, brain),
        look=look_of(network_input.images),
        preparation=case.preparation.to_dict() if case.preparation else {},
    )


class _Output(NamedTuple):
    """What the network gives for a case, on its own grid.

    Attributes:
        similarities: (P, x, y, z) on the prototype grid.
        tumour: (3, X, Y, Z) calibrated probabilities of NCR, ED, ET.
        disagreement: (X, Y, Z) between the views; None where there is one view.
    """

    similarities: np.ndarray
    tumour: np.ndarray
    disagreement: np.ndarray | None


@torch.inference_mode()
def _run(
    attempt: Attempt,
    network: SegmentationNet,
    network_input: NetworkInput,
    temperature: tuple[float, ...],
    tta: bool,
) -> _Output:
    """One attempt."""
    fused = fuse_for_inference(network).to(attempt.device)
    images = torch.from_numpy(network_input.images).to(attempt.device)
    views = run_views(fused, images, attempt.precision, tile=attempt.tile, tta=tta)
    x, y, z = images.shape[1:]

    def probabilities(logits: Tensor) -> Tensor:
        """From here on z, y, x: the order of the files, see ``decision.on_reference``."""
        return _fine_probabilities(logits.permute(0, 3, 2, 1), (z, y, x), network.stride, temperature)

    tumour = probabilities(mean_of([logits for _, logits in views]))[1:]
    apart = disagreement([probabilities(logits).cpu().numpy() for _, logits in views]) if tta else None
    similarities = mean_of([view for view, _ in views]).permute(0, 3, 2, 1).contiguous()
    return _Output(_from_zyx(similarities), _from_zyx(tumour), None if apart is None else apart.transpose())


def _disagreement(output: _Output, network_input: NetworkInput, brain: np.ndarray) -> np.ndarray | None:
    """On the case's grid, 0 outside the brain; None where there is one view."""
    if output.disagreement is None:
        return None
    disagreement_on_reference: np.ndarray = to_reference(output.disagreement, network_input, order=1) * brain
    return disagreement_on_reference


def _fine_probabilities(
    logits: Tensor, size: tuple[int, int, int], stride: int, temperature: tuple[float, ...]
) -> Tensor:
    """(K, z, y, x) on the prototype grid -> calibrated probabilities (K, *size) on the network's.

    As ``upsample`` and ``calibrated``, but a few slices at a time, which the processor's cache can hold.
    """
    result = logits.new_empty(len(logits), *size)
    plane = [n * stride for n in logits.shape[2:]]
    last = logits.shape[1] - 1
    for start in range(0, size[0], SLICES_AT_ONCE):
        part = slice(start, min(start + SLICES_AT_ONCE, size[0]))
        position = (
            torch.arange(part.start, part.stop, device=logits.device).add(0.5).div(stride).sub(0.5).clamp(0, last)
        )
        low = position.long()
        between = torch.lerp(logits[:, low], logits[:, (low + 1).clamp(max=last)], (position - low)[:, None, None])
        fine = F.interpolate(between, size=plane, mode="bilinear")
        result[:, part] = calibrated(fine[..., : size[1], : size[2]], temperature)
    return result


def _identity(network: SegmentationNet, card: ModelCard) -> dict[str, Any]:
    """What a result says of the model it comes from."""
    prototype_class = [CLASSES[index] for index in network.prototype_class]
    identity = {"name": card.name, "identity": card.identity, "prototype_class": prototype_class}
    regions = regions_of(card.model)
    return identity if set(regions) == set(REGIONS) else {**identity, "regions": list(regions)}


def _from_zyx(array: Tensor) -> np.ndarray:
    """(C, z, y, x) -> (C, x, y, z), a view with x fastest in memory."""
    return array.cpu().numpy().transpose(0, 3, 2, 1)


def _silent(fraction: float, message: str) -> None:
    """Nobody listens to the progress."""


class _Clock:
    """Seconds of each stage since the one before."""

    def __init__(self) -> None:
        self.timings_s: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.timings_s[stage] = round(now - self._last, 4)
        self._last = now
