"""From a ``Case`` to a ``Prediction``: prepare, run the network, calibrate, map back to the case's grid.

The whole brain goes through the network in one window. Logits stay on the prototype grid, where they equal
``last_layer(similarities)``; they are divided by the temperatures and upsampled inside the brain crop only.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from ProtoSegBrainLib.case import Case
from ProtoSegBrainLib.evidence import Evidence
from ProtoSegBrainLib.inference import Attempt, Device, Precision, is_out_of_memory, plan, run_network
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.model import ProtoSegNet, fuse_for_inference, upsample
from ProtoSegBrainLib.prediction import LARGEST_IN_BRAIN, Prediction, volumes_ml
from ProtoSegBrainLib.preprocess import NetworkInput, prepare, to_reference
from ProtoSegBrainLib.weights import ModelCard, load_model

logger = logging.getLogger(__name__)

# Of a voxel: an index this near to a face may lie on either side of it.
FACE_TOLERANCE = 1e-3
NCR, ET = CLASSES.index("NCR"), CLASSES.index("ET")

Progress = Callable[[float, str], None]


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
    model: tuple[ProtoSegNet, ModelCard] | None = None,
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
    similarities, tumour, used, warnings = _run_first_that_fits(
        attempts, network, network_input, card.calibration.temperature, config.tta
    )
    clock.lap("network")

    progress(0.8, "Mapping the result back to the input's grid")
    label, probabilities = on_reference(tumour, network_input, np.asarray(case.images.any(axis=0)))
    label, sentences = remove_small_enhancement(label, case.affine, card.calibration.minimum_et_ml)
    clock.lap("to_reference")
    progress(1.0, "Done")
    return Prediction(
        case_id=case.case_id,
        label=label,
        probabilities=probabilities,
        similarities=similarities,
        similarity_affine=prototype_affine(network_input.affine, network.prototype_stride),
        affine=case.affine,
        volumes_ml=volumes_ml(label, case.affine),
        model=_identity(network, card),
        evidence=evidence_of(network, card),
        device=used.name,
        timings_s=clock.timings_s,
        warnings=(*case.warnings, *warnings, *sentences),
    )


def prototype_affine(affine: np.ndarray, stride: int) -> np.ndarray:
    """Affine of the prototype grid: its voxel k covers the input voxels stride*k to stride*k + stride - 1."""
    steps = np.diag([stride, stride, stride, 1.0])
    steps[:3, 3] = (stride - 1) / 2
    return affine @ steps


def on_reference(tumour: np.ndarray, network_input: NetworkInput, brain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label and probabilities on the case's grid.

    Args:
        tumour: (3, X, Y, Z) float32, probabilities of NCR, ED, ET on the network's grid.
        network_input: Where they come from.
        brain: Bool, on the case's grid; where it is False there is no tumour.

    Returns:
        label: uint8 class indices, the most probable class (the first of equals).
        probabilities: (4, ...) float32; background is what the others leave, exactly 1 outside the brain and at most
            ``LARGEST_IN_BRAIN`` inside.
    """
    shape = network_input.reference_shape
    # Both lie in memory as in a file, i fastest: made, mapped and written without turning the axes round.
    probabilities = np.zeros((len(CLASSES), *reversed(shape)), np.float32).transpose(0, 3, 2, 1)
    label = np.zeros(shape[::-1], np.uint8).transpose()

    box, boxed_input = _box_on_reference(network_input)
    inside, brain = probabilities[:, box[0], box[1], box[2]], brain[box]

    def place(index: int) -> None:
        np.multiply(to_reference(tumour[index - 1], boxed_input, order=1), brain, out=inside[index])

    with ThreadPoolExecutor(len(tumour)) as pool:
        list(pool.map(place, range(1, len(CLASSES))))
    probabilities[0] = 1
    rest = 1 - inside[1:].sum(axis=0)
    np.clip(rest, 0, LARGEST_IN_BRAIN, out=inside[0], where=brain)
    label[box] = _most_probable(inside)
    return label, probabilities


def remove_small_enhancement(
    label: np.ndarray, affine: np.ndarray, minimum_et_ml: float
) -> tuple[np.ndarray, tuple[str, ...]]:
    """ET of less than ``minimum_et_ml`` in all becomes NCR; returns the label and a sentence if that happened.

    A few stray voxels of enhancement in a low-grade tumour are nearly always wrong; most challenge entries do this.
    """
    volume = volumes_ml(label, affine)["ET"]
    if not 0 < volume < minimum_et_ml:
        return label, ()
    sentence = (
        f"Enhancing tumour of {volume:.2f} ml in all is below the minimum of {minimum_et_ml:g} ml that this model was "
        "calibrated for; it was relabelled as necrotic / non-enhancing core. The probabilities are left as they were."
    )
    return np.where(label == ET, np.uint8(NCR), label), (sentence,)


def _run_first_that_fits(
    attempts: list[Attempt],
    network: ProtoSegNet,
    network_input: NetworkInput,
    temperature: tuple[float, ...],
    tta: bool,
) -> tuple[np.ndarray, np.ndarray, Attempt, list[str]]:
    """Similarities and tumour probabilities of the first attempt that does not run out of memory."""
    warnings: list[str] = []
    for attempt, following in itertools.zip_longest(attempts, attempts[1:]):
        try:
            similarities, tumour = _run(attempt, network, network_input, temperature, tta)
        except (MemoryError, RuntimeError) as error:  # torch.OutOfMemoryError is a RuntimeError
            if not is_out_of_memory(error):
                raise
            if following is None:
                raise MemoryError(
                    f"Case {network_input.case_id}: out of memory with {attempt}, which needs the least. "
                    "Close other programs, or use a machine with more memory."
                ) from error
        else:
            return similarities, tumour, attempt, warnings
        # Out here the traceback, and with it the tensors of the failed attempt, is gone.
        warnings.append(f"Out of memory on {attempt}; the network was run on {following} instead.")
        logger.warning(warnings[-1])
        if attempt.device.type == "cuda":
            torch.cuda.empty_cache()
    raise ValueError("No attempt was given.")


@torch.inference_mode()
def _run(
    attempt: Attempt,
    network: ProtoSegNet,
    network_input: NetworkInput,
    temperature: tuple[float, ...],
    tta: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Similarities (P, x, y, z) and probabilities of NCR, ED, ET (3, X, Y, Z) on the network's grid."""
    fused = fuse_for_inference(network).to(attempt.device)
    images = torch.from_numpy(network_input.images).to(attempt.device)
    similarities, logits = run_network(fused, images, attempt.precision, tile=attempt.tile, tta=tta)
    # From here on z, y, x: the order of the files, see ``on_reference``.
    logits = logits.permute(0, 3, 2, 1)[None].contiguous()
    z, y, x = reversed(images.shape[1:])
    whole = upsample(logits, [n * network.prototype_stride for n in logits.shape[2:]])[0][:, :z, :y, :x]
    tumour = _calibrated(whole, temperature)[1:]
    # Channels leave the innermost place first: two passes along memory cost less than one across it.
    similarities = similarities.contiguous().permute(0, 3, 2, 1).contiguous()
    return _from_zyx(similarities), _from_zyx(tumour)


def _calibrated(logits: Tensor, temperature: tuple[float, ...]) -> Tensor:
    """Softmax of (K, ...) logits divided by the temperature of the class that leads: the label stays what it was."""
    if len(set(temperature)) == 1:
        return (logits / temperature[0]).softmax(dim=0)
    divisor = torch.tensor(temperature, device=logits.device)[logits.argmax(dim=0)]
    return (logits / divisor).softmax(dim=0)


def _identity(network: ProtoSegNet, card: ModelCard) -> dict[str, Any]:
    """What a result says of the model it comes from."""
    prototype_class = [CLASSES[index] for index in network.prototype_class]
    return {"name": card.name, "identity": card.identity, "prototype_class": prototype_class}


def evidence_of(network: ProtoSegNet, card: ModelCard) -> Evidence:
    """The last layer of a network and what its card says of the prototypes."""
    return Evidence(
        prototype_class=tuple(CLASSES[index] for index in network.prototype_class),
        weight=network.last_layer.weight.detach().cpu().numpy().copy(),
        bias=network.last_layer.bias.detach().cpu().numpy().copy(),
        similarity=network.config.similarity,
        epsilon=network.config.epsilon,
        prototype_stride=network.prototype_stride,
        prototypes=card.prototypes,
        calibration=card.calibration,
    )


def _from_zyx(array: Tensor) -> np.ndarray:
    """(C, z, y, x) -> (C, x, y, z), a view with x fastest in memory."""
    return array.cpu().numpy().transpose(0, 3, 2, 1)


def _box_on_reference(network_input: NetworkInput) -> tuple[tuple[slice, ...], NetworkInput]:
    """The part of the case's grid within the network's field of view, and the input with that part as its reference."""
    faces = [(-0.5, n - 0.5) for n in network_input.brain.shape]
    corners = np.array([[*corner, 1] for corner in itertools.product(*faces)]).T
    index = (np.linalg.inv(network_input.reference_affine) @ network_input.affine @ corners)[:3]
    low = np.maximum(np.ceil(index.min(axis=1) - FACE_TOLERANCE), 0).astype(int)
    high = np.minimum(np.floor(index.max(axis=1) + FACE_TOLERANCE) + 1, network_input.reference_shape).astype(int)
    shift = np.eye(4)
    shift[:3, 3] = low
    nx, ny, nz = (int(n) for n in high - low)
    boxed = replace(
        network_input, reference_shape=(nx, ny, nz), reference_affine=network_input.reference_affine @ shift
    )
    return tuple(slice(a, b) for a, b in zip(low, high, strict=True)), boxed


def _most_probable(probabilities: np.ndarray) -> np.ndarray:
    """Class index of the largest of (K, ...), as ``argmax(axis=0)`` but faster over few classes."""
    best = probabilities[0].copy(order="K")
    label = np.zeros_like(best, np.uint8)
    for index, probability in enumerate(probabilities[1:], start=1):
        np.copyto(label, index, where=probability > best)
        np.maximum(best, probability, out=best)
    return label


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
