"""Calibration of a model from cases it has not seen.

``observe`` runs the network over a case, once; ``fit`` chooses temperatures and minimum volumes from any number of
such observations and learns from them how reliable results are and what familiar scans look like. All of it rests on
out-of-fold predictions: to report a fold, fit on the others; for the final model, on all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.images.volume import Volume, voxel_ml
from ProtoSegBrainLib.labels import CLASSES, REGIONS
from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.network.device import half_precision_of
from ProtoSegBrainLib.network.inference import calibrated, fuse_for_inference, run_network
from ProtoSegBrainLib.network.networks import NetworkConfig
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet, upsample
from ProtoSegBrainLib.network.weights import ModelCard, evidence_of
from ProtoSegBrainLib.patches.cases import TrainingCase
from ProtoSegBrainLib.result.decision import Decision, components, decide, remove_small_components
from ProtoSegBrainLib.result.familiarity import fit_familiarity, likeness_of, look_of, nearest_distance
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.result.prediction import prototype_affine
from ProtoSegBrainLib.result.reliability import UnseenRegion, fit_reliability, observe_region

ET = CLASSES.index("ET")
VOXELS_PER_CLASS = 5_000
LEAST_VOXELS = 200
"""Of a leading class, to give it a temperature of its own."""
TEMPERATURE_RANGE = (0.2, 10.0)
MINIMUM_ET_CHOICES_ML = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
MINIMUM_COMPONENT_CHOICES_ML = (0.0, 0.1, 0.25, 0.5, 1.0)


class Voxels(NamedTuple):
    """Logits (n, K) and true classes (n,) of some voxels."""

    logits: Tensor
    classes: Tensor


@dataclass(frozen=True, eq=False)
class Observation:
    """What a model that did not train on a case makes of it.

    Attributes:
        case_id: Of the case.
        group: Number of the model.
        logits: (K, x, y, z) float32 on the prototype grid.
        distance: Squared distance to the nearest prototype, on the prototype grid; None without prototypes.
        look: What ``look_of`` says of the images.
        voxels: A draw from the brain.
        brain: (X, Y, Z) bool, on the network's grid.
        label: (X, Y, Z) uint8 most probable classes, on the network's grid, before any rule.
        truth: (X, Y, Z) uint8 classes, on the network's grid.
        affine: 4x4, voxel of the network's grid -> RAS mm.
        stride: Voxels of the network's grid per voxel of the logits.
    """

    case_id: str
    group: int
    logits: Tensor
    distance: Volume | None
    look: dict[str, float]
    voxels: Voxels
    brain: np.ndarray
    label: np.ndarray
    truth: np.ndarray
    affine: np.ndarray
    stride: int


class EnhancingVolume(NamedTuple):
    """Predicted enhancing tumour of a case, its Dice, and the Dice if all of it were removed."""

    ml: float
    dice: float
    dice_without: float


def calibrate(models: Sequence[tuple[SegmentationNet, Sequence[TrainingCase]]]) -> Calibration:
    """Calibration from models, each with cases it has not seen.

    Raises:
        ValueError: No cases.
    """
    return fit([observe(network, case, n) for n, (network, cases) in enumerate(models) for case in cases])


@torch.inference_mode()
def observe(network: SegmentationNet, case: TrainingCase, group: int = 0) -> Observation:
    """Run a case through a model that did not train on it, as ``predict`` does.

    Args:
        network: On the device of the case.
        case: With its label.
        group: Number of the model.
    """
    images = case.images.float()
    precision = half_precision_of(images.device)
    similarities, logits = run_network(fuse_for_inference(network), images, precision)
    evidence = evidence_of(network, ModelCard("", cast(NetworkConfig, network.config)))
    nearest = nearest_distance(evidence, similarities.cpu().numpy())
    logits, truth = logits.cpu(), case.label.cpu().numpy()
    whole = _on_network_grid(logits, network.stride, truth.shape)
    brain = np.asarray(images.cpu().numpy().any(axis=0))
    return Observation(
        case_id=case.case_id,
        group=group,
        logits=logits,
        distance=None if nearest is None else Volume(nearest, prototype_affine(case.affine, network.stride)),
        look=look_of(images.cpu().numpy()),
        voxels=draw(whole, brain, truth),
        brain=brain,
        label=whole.argmax(dim=0).numpy().astype(np.uint8) * brain,
        truth=truth,
        affine=case.affine,
        stride=network.stride,
    )


def fit(observations: Sequence[Observation]) -> Calibration:
    """Choose and measure everything that a calibration holds.

    Raises:
        ValueError: No observations.
    """
    if not observations:
        raise ValueError("Calibration needs at least one case that a model has not seen; none was given.")
    temperature = fit_temperature([observation.voxels for observation in observations])
    parts = [components(o.label, o.affine, o.truth > 0) for o in observations]
    minimum = choose_minimum_component_ml(parts, [_ml(o.truth > 0, o.affine) for o in observations])
    enhancing = [_enhancing(observation, minimum) for observation in observations]
    rules = Calibration(temperature, choose_minimum_et_ml(enhancing), minimum)
    regions, likenesses = [], []
    for observation in observations:
        decision = decide_observed(observation, rules)
        regions += _regions(observation, decision)
        likenesses.append(_likeness(observation, decision))
    return Calibration(
        temperature=temperature,
        minimum_et_ml=rules.minimum_et_ml,
        minimum_component_ml=minimum,
        reliability=fit_reliability(regions),
        familiarity=fit_familiarity([observation.look for observation in observations], likenesses),
    )


def draw(logits: Tensor, brain: np.ndarray, truth: np.ndarray) -> Voxels:
    """Voxels of the brain, at most 5,000 for each class that leads.

    A temperature is fitted for each leading class alone, so their shares in the draw do not matter.

    Args:
        logits: (K, X, Y, Z).
        brain: (X, Y, Z) bool.
        truth: (X, Y, Z) class indices.
    """
    leading = logits.argmax(dim=0)
    generator = torch.Generator().manual_seed(0)
    chosen = []
    for index in range(len(logits)):
        found = (torch.from_numpy(brain) & (leading == index)).flatten().nonzero()[:, 0]
        chosen.append(found[torch.randperm(len(found), generator=generator)[:VOXELS_PER_CLASS]])
    flat = torch.cat(chosen)
    return Voxels(logits.flatten(1).T[flat].clone(), torch.from_numpy(truth).flatten()[flat].long())


def fit_temperature(cases: Sequence[Voxels]) -> tuple[float, ...]:
    """Per leading class the temperature that minimises the cross-entropy over the voxels where it leads.

    Temperature scaling (Guo et al. 2017), but dependent on the leading class: a network may be overconfident of oedema
    and not of background. As it divides all logits of a voxel, the order of the classes, so the label, stays. A class
    that leads in less than 200 voxels gets the temperature of all voxels together.
    """
    logits, classes = torch.cat([case.logits for case in cases]), torch.cat([case.classes for case in cases])
    leading = logits.argmax(dim=1)
    common = _fit_one_temperature(logits, classes)
    chosen = (leading == index for index in range(logits.shape[1]))
    return tuple(_fit_one_temperature(logits[c], classes[c]) if c.sum() >= LEAST_VOXELS else common for c in chosen)


def choose_minimum_et_ml(cases: Sequence[EnhancingVolume]) -> float:
    """The minimum volume that gains most ET Dice; of equals the smallest, as less is changed.

    The case that gains most does not count: where ten cases are known, one without enhancing tumour (Dice 0 or 1) would
    decide alone, and small true ones of other patients would go with its false one.
    """
    scores = []
    for minimum in MINIMUM_ET_CHOICES_ML:
        gains = [case.dice_without - case.dice if 0 < case.ml < minimum else 0.0 for case in cases]
        scores.append(sum(gains) - max([0.0, *gains]))
    return MINIMUM_ET_CHOICES_ML[_first_best(scores)]


def choose_minimum_component_ml(parts: Sequence[np.ndarray], truth_ml: Sequence[float]) -> float:
    """The minimum volume of a separate part with the best mean WT Dice; of equals the smallest.

    Args:
        parts: Per case (n, 2): volume of each separate part of the predicted tumour and how much of it is true, in ml;
            the largest, which always stays, first.
        truth_ml: Per case, volume of the true tumour.
    """
    scores = []
    for minimum in MINIMUM_COMPONENT_CHOICES_ML:
        dices = []
        for part, truth in zip(parts, truth_ml, strict=True):
            volume, true = part[(part[:, 0] >= minimum) | (np.arange(len(part)) == 0)].sum(axis=0)
            dices.append(2 * true / (volume + truth) if volume + truth else 1.0)
        scores.append(np.mean(dices))
    return MINIMUM_COMPONENT_CHOICES_ML[_first_best(scores)]


def _first_best(scores: Sequence[float | np.floating]) -> int:
    return int(np.flatnonzero(np.array(scores) >= max(scores) - 1e-9)[0])


def _fit_one_temperature(logits: Tensor, classes: Tensor, iterations: int = 60) -> float:
    """The search is on the logarithm, so that the temperature stays positive; 1 without voxels."""
    if not len(classes):
        return 1.0
    log_temperature = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], lr=0.5, max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(logits / log_temperature.exp(), classes)
        loss.backward()
        return loss

    optimiser.step(closure)
    return round(float(log_temperature.detach().exp().clamp(*TEMPERATURE_RANGE)), 4)


def decide_observed(observation: Observation, calibration: Calibration) -> Decision:
    """What ``predict`` would decide with this calibration, on the network's grid."""
    whole = _on_network_grid(observation.logits, observation.stride, observation.truth.shape)
    tumour = calibrated(whole, calibration.temperature)[1:].numpy()
    return decide(tumour, observation.affine, observation.brain, observation.affine, calibration)


def _on_network_grid(logits: Tensor, stride: int, shape: Sequence[int]) -> Tensor:
    """(K, X, Y, Z), upsampled and without the padding."""
    x, y, z = shape
    return upsample(logits[None], [n * stride for n in logits.shape[1:]])[0][:, :x, :y, :z]


def _enhancing(observation: Observation, minimum_component_ml: float) -> EnhancingVolume:
    label, _ = remove_small_components(observation.label, observation.affine, minimum_component_ml)
    found, true = label == ET, observation.truth == ET
    return EnhancingVolume(_ml(found, observation.affine), dice(found, true), float(not true.any()))


def _regions(observation: Observation, decision: Decision) -> list[UnseenRegion]:
    label, probabilities, _ = decision
    group, truth, affine = observation.group, observation.truth, observation.affine
    return [observe_region(region, group, label, probabilities, truth, affine) for region in REGIONS]


def _likeness(observation: Observation, decision: Decision) -> dict[str, float]:
    label, background = (Volume(a, observation.affine) for a in (decision.label, decision.probabilities[0]))
    return likeness_of(observation.distance, label, background)


def _ml(mask: np.ndarray, affine: np.ndarray) -> float:
    return float(np.count_nonzero(mask)) * voxel_ml(affine)
