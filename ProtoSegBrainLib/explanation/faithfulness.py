"""Are the explanations the reason? Every measure of it, over labelled cases, in one table.

One pass of the network per case gives most measures (``mapscores``); the first cases are also looked at again with
changed images (``perturbation``) and with voxels deleted (``deletion``). ``DEFINITIONS`` says what each key means.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ProtoSegBrainLib.explanation import mapscores
from ProtoSegBrainLib.explanation.deletion import LEVELS, deletion_scores, orders
from ProtoSegBrainLib.explanation.mapscores import PARTS, BrainMaps
from ProtoSegBrainLib.explanation.perturbation import (
    Scene,
    brain_of,
    effective_receptive_field_mm,
    perturbed_parts,
    scene_around,
    spatial_misalignment,
)
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.device import Device, plan
from ProtoSegBrainLib.network.evidence import Evidence, require_prototypes
from ProtoSegBrainLib.network.inference import fuse_for_inference
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.weights import ModelCard, evidence_of
from ProtoSegBrainLib.patches.cases import TrainingCase, class_shares, padded_label, whole_window
from ProtoSegBrainLib.progress import Progress

CONSISTENT = 0.8
ALIVE_SHARE = 0.01
TOP_CASES = 10
AREAS = tuple(f"incremental_{way}{of}" for way in ("deletion", "insertion") for of in ("", ".random", ".grad_cam"))
AROUND = ("spatial_misalignment", "spatial_misalignment_activation", "effective_receptive_field_mm")
"""What is measured around the predicted tumour: undefined where there is none."""

DEFINITIONS = {
    "purity": "mean similarity of the class's prototypes inside the class / inside the other tumour classes",
    "purity_background": "the same against the brain without tumour",
    "purity_shell": "the same against the 10 mm of brain around the tumour",
    "purity_outside": "the same against all of the brain but the class",
    "voxel_purity": "share of a prototype's class in the 0.1 % most active voxels of its 10 most active cases",
    "activation_precision": "share of the active voxels (>= .5 of the range) of a class's evidence that are tumour",
    "activation_precision_class": "the same, that are the class itself; cases that have it",
    "incremental_deletion": "area under the soft Dice of the predicted tumour, voxels deleted by contributions",
    "incremental_insertion": "the same, voxels inserted into a brain filled with healthy tissue",
    "stability": "share of prototypes whose most active 0.1 % of voxels keep their part of the brain: all changes",
    "consistency": "share of prototypes that highlight the same part of the brain in at least 80 % of the cases",
    "spatial_misalignment": "1 - overlap of a prototype's active region before and after noise outside of it",
    "spatial_misalignment_activation": "relative change of the mean similarity in that region",
    "effective_receptive_field_mm": "diameter around a prototype's peak that holds 90 % of its squared gradient",
    "prototypes_alive": "share of prototypes that lead at least 1 % of the voxels decided for their class",
    "dice": "mean Dice of WT, TC, ET on the prototype grid",
    "dice_without_each": "the same with one prototype removed; each: per prototype, in order",
    "dice_without_all": "the same with all prototypes removed",
    "projection_gap": "mean Dice of WT, TC, ET before the projection - after projection and re-fit; from the card",
    "error_auroc": "area under the ROC curve for wrong voxels of the brain",
    "risk_coverage": "area under the share of errors among the most certain voxels; curve: at 0, 5, ... 100 %",
    "qu_brats": "QU-BraTS score of the region",
}


@dataclass(frozen=True)
class FaithfulnessConfig:
    """How much is measured."""

    deletion_cases: int = field(
        default=10, metadata={"help": "cases on which voxels are deleted, inserted and changed, many passes each"}
    )
    levels: int = field(default=LEVELS, metadata={"help": "steps of deletion and insertion, both ends included"})
    margin_mm: float = field(default=16.0, metadata={"help": "brain around the tumour in passes that are repeated"})
    batch_size: int = field(default=4, metadata={"help": "images per pass in passes that are repeated"})
    seed: int = field(default=0, metadata={"help": "seed of noise and random orders"})
    device: Device = field(default="auto", metadata={"help": "where to compute; auto takes a GPU where there is one"})

    def __post_init__(self) -> None:
        """Refuse what cannot be measured, naming the field."""
        for name, least in (("deletion_cases", 0), ("levels", 2), ("margin_mm", 0), ("batch_size", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: expected {least} or more; got {getattr(self, name)}.")


Report = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class Observed:
    """What one case adds to the table; P prototypes, NaN where something is undefined.

    Attributes:
        scores: One number of the case by key.
        present: (P,) whether the case has the prototype's class.
        peak: (P,) largest similarity.
        purity: (P,) share of the highlight that has the class.
        part: (P,) part that is highlighted.
        leads: (P,) voxels whose decision the prototype leads.
        decided: (P,) voxels decided for the prototype's class.
        dice_without: (P,) mean Dice without the prototype.
        risk: Risk at 0, 5, ... 100 % coverage.
        per_prototype: (m,) numbers of prototypes of this case by key.
    """

    scores: dict[str, float]
    present: np.ndarray
    peak: np.ndarray
    purity: np.ndarray
    part: np.ndarray
    leads: np.ndarray
    decided: np.ndarray
    dice_without: np.ndarray
    risk: np.ndarray
    per_prototype: dict[str, np.ndarray]


def measure(
    model: tuple[ProtoSegNet, ModelCard],
    cases: Sequence[TrainingCase],
    config: FaithfulnessConfig | None = None,
    on_progress: Progress | None = None,
) -> dict[str, dict[str, Any]]:
    """All measures of ``DEFINITIONS`` by key: ``mean``, ``median``, ``sd`` of the sample, ``n`` and of what (``of``).

    A measure that is undefined everywhere has n = 0 and mean None.

    Raises:
        ValueError: No cases, a model without prototypes, or the device is not there.
    """
    if not cases:
        raise ValueError("Faithfulness is measured on labelled cases; none was given.")
    require_prototypes(model[0].prototype_class, model[1].name)
    config = config or FaithfulnessConfig()
    device = plan(config.device, "auto", None)[0].device
    network = fuse_for_inference(model[0]).to(device).requires_grad_(False)
    evidence = evidence_of(*model)
    repeated = [config if number < config.deletion_cases else None for number in range(len(cases))]
    observed = []
    for number, (case, report) in enumerate(zip(cases, _reporters(cases, repeated, on_progress), strict=True)):
        rng = np.random.default_rng([config.seed, number])
        observed.append(observe(network, evidence, case, rng, repeated[number], report))
        report(1.0)
    return {**summarise(observed, evidence), "projection_gap": projection_gap(model[1])}


def _reporters(
    cases: Sequence[TrainingCase], repeated: Sequence[FaithfulnessConfig | None], on_progress: Progress | None
) -> list[Report]:
    """Per case, what is told the share of it that is done; cases count by their passes of the network, about."""
    passes = np.array([4 + (6 * more.levels if more else 0) for more in repeated], float)
    before = np.cumsum(passes) - passes

    def reporter(number: int) -> Report:
        def report(part: float) -> None:
            if on_progress:
                fraction = (before[number] + part * passes[number]) / passes.sum()
                on_progress(float(fraction), f"Measuring {cases[number].case_id}")

        return report

    return [reporter(number) for number in range(len(cases))]


# -- one case ------------------------------------------------------------------------------------------------------


def observe(
    network: ProtoSegNet,
    evidence: Evidence,
    case: TrainingCase,
    rng: np.random.Generator,
    repeated: FaithfulnessConfig | None,
    report: Report,
) -> Observed:
    """Measure one case; the passes on the tumour's surroundings only if ``repeated`` says how."""
    window = whole_window(case, network.size_multiple).to(next(network.parameters()).device)
    maps, brain = brain_maps(network, evidence, case, window)
    scores = {"dice": mapscores.grid_dice(maps.predicted, maps.shares)}
    scores["dice_without_all"] = mapscores.dice_without_all(maps)
    for score in (mapscores.purity, mapscores.activation_precision, mapscores.error_auroc, mapscores.qu_brats):
        scores |= score(maps)
    per_prototype = _stability(network, window[0], brain, maps, rng)
    if repeated and (maps.predicted > 0).any():
        more, others = _around_the_tumour(network, window[0], brain, maps, repeated, rng, _voxel_mm(case), report)
        scores |= more
        per_prototype |= others
    return Observed(
        scores=scores,
        present=maps.present,
        peak=maps.similarities.max(axis=1),
        purity=mapscores.highlight_purity(maps),
        part=maps.highlighted_part,
        leads=mapscores.leading_voxels(maps),
        decided=np.bincount(maps.predicted, minlength=len(CLASSES))[maps.owners],
        dice_without=mapscores.dice_without_each(maps),
        risk=mapscores.risk_coverage(maps),
        per_prototype=per_prototype,
    )


@torch.no_grad()
def brain_maps(
    network: ProtoSegNet, evidence: Evidence, case: TrainingCase, window: Tensor
) -> tuple[BrainMaps, Tensor]:
    """The voxels of the brain in a row, and (x, y, z) bool that says where they are."""
    stride = network.prototype_stride
    label = padded_label(case, window).to(window.device)
    shares = class_shares(label, stride)[0]
    brain = brain_of(window, stride)
    parts = mapscores.parts_of(shares.argmax(dim=0).cpu().numpy(), _voxel_mm(case) * stride)
    similarities = network(window).similarities[0]
    in_brain = brain.cpu().numpy()
    maps = BrainMaps(similarities[:, brain].cpu().numpy(), shares[:, brain].cpu().numpy(), parts[in_brain], evidence)
    return maps, brain


def _voxel_mm(case: TrainingCase) -> float:
    return float(np.cbrt(abs(np.linalg.det(case.affine[:3, :3]))))


def _stability(
    network: ProtoSegNet,
    window: Tensor,
    brain: Tensor,
    maps: BrainMaps,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """1 where a prototype whose class is there highlights the same part after a change of the images, else 0."""
    after = perturbed_parts(network, window, brain, maps.parts, rng)
    kept = {name: (parts == maps.highlighted_part)[maps.present].astype(float) for name, parts in after.items()}
    return {"stability": np.concatenate(list(kept.values())), **{f"stability.{k}": v for k, v in kept.items()}}


def _around_the_tumour(
    network: ProtoSegNet,
    window: Tensor,
    brain: Tensor,
    maps: BrainMaps,
    config: FaithfulnessConfig,
    rng: np.random.Generator,
    voxel_mm: float,
    report: Report,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Scores of the case, and figures of its prototypes, from repeated passes on the scene."""
    predicted = np.zeros(tuple(brain.shape), bool)
    in_brain = brain.cpu().numpy()
    predicted[in_brain] = maps.predicted > 0
    target = torch.as_tensor(predicted, device=window.device)
    scene = scene_around(window, brain, target, network, config.margin_mm, voxel_mm)
    scores: dict[str, float] = {}
    ranked = orders(network, window, brain, maps.similarities, rng)
    for number, (name, places) in enumerate(ranked.items()):
        report(number / len(ranked))
        volume = np.ones(in_brain.shape, np.float32)
        volume[in_brain] = places
        suffix = "" if name == "prototypes" else f".{name}"
        areas = deletion_scores(network, scene, volume[scene.box], config.levels, config.batch_size)
        scores |= {f"{key}{suffix}": area for key, area in areas.items()}
    tumour = np.flatnonzero(maps.owners > 0).tolist()
    moved = spatial_misalignment(network, scene, tumour, rng, config.batch_size)
    fields = _receptive_fields(network, scene, maps)
    return scores, dict(zip(AROUND, (moved["location"], moved["activation"], fields), strict=True))


def _receptive_fields(network: ProtoSegNet, scene: Scene, maps: BrainMaps) -> np.ndarray:
    """Of the most active prototype of each tumour class that is decided for somewhere."""
    peaks = maps.similarities.max(axis=1)
    fields = []
    for index in np.unique(maps.predicted[maps.predicted > 0]):
        members = np.flatnonzero(maps.owners == index)
        best = int(members[peaks[members].argmax()])
        fields.append(effective_receptive_field_mm(network, scene, best))
    return np.array(fields)


# -- all cases -----------------------------------------------------------------------------------------------------


def summarise(observed: Sequence[Observed], evidence: Evidence) -> dict[str, dict[str, Any]]:
    """From what was seen in each case to the table."""
    keys = dict.fromkeys([*(key for seen in observed for key in seen.scores), *AREAS])
    table = {key: _entry((seen.scores.get(key, np.nan) for seen in observed), "cases") for key in keys}
    for key in dict.fromkeys([*(key for seen in observed for key in seen.per_prototype), *AROUND]):
        values = [value for seen in observed for value in seen.per_prototype.get(key, ())]
        table[key] = _entry(values, "prototypes in cases")
    table["voxel_purity"] = _entry(_voxel_purity(observed, evidence), "prototypes")
    table["consistency"] = _entry(_consistency(observed), "prototypes")
    table["prototypes_alive"] = _entry(_alive(observed), "prototypes")
    without = np.mean([seen.dice_without for seen in observed], axis=0)
    table["dice_without_each"] = {**_entry(without, "prototypes"), "each": [round(float(d), 4) for d in without]}
    risk = np.array([seen.risk for seen in observed])
    areas = (risk[:, 1:] + risk[:, :-1]).mean(axis=1) / 2
    table["risk_coverage"] = {**_entry(areas, "cases"), "curve": risk.mean(axis=0).round(6).tolist()}
    return table


def _entry(values: Iterable[float], of: str) -> dict[str, Any]:
    """Mean, median, sd of the sample (0 for one value) and number of the values that are defined."""
    numbers = np.array(list(values), float)
    numbers = numbers[np.isfinite(numbers)]
    if len(numbers) == 0:
        return {"mean": None, "median": None, "sd": None, "n": 0, "of": of}
    sd = numbers.std(ddof=1) if len(numbers) > 1 else 0.0
    statistics = {"mean": numbers.mean(), "median": np.median(numbers), "sd": sd}
    return {**{name: round(float(value), 6) for name, value in statistics.items()}, "n": len(numbers), "of": of}


def _voxel_purity(observed: Sequence[Observed], evidence: Evidence) -> list[float]:
    """Per prototype, over the ``TOP_CASES`` cases in which it is most active (Nauta et al. 2023, PIP-Net)."""
    peaks, purities = (np.array([getattr(seen, name) for seen in observed]) for name in ("peak", "purity"))
    best = np.argsort(-peaks, axis=0, kind="stable")[:TOP_CASES]
    return [float(purities[best[:, p], p].mean()) for p in range(len(evidence.prototype_class))]


def _consistency(observed: Sequence[Observed]) -> list[float]:
    """Per prototype 1 if one part is highlighted in ``CONSISTENT`` of the cases with its class (Huang et al. 2023)."""
    part, present = (np.array([getattr(seen, name) for seen in observed]) for name in ("part", "present"))
    scores = []
    for column, there in zip(part.T, present.T, strict=True):
        counts = np.bincount(column[there], minlength=len(PARTS))
        scores.append(float(counts.max() >= CONSISTENT * there.sum()) if there.any() else np.nan)
    return scores


def _alive(observed: Sequence[Observed]) -> np.ndarray:
    """Per prototype 1 if it leads ``ALIVE_SHARE`` of what is decided for its class; 0 if nothing is."""
    leads, decided = (np.sum([getattr(seen, name) for seen in observed], axis=0) for name in ("leads", "decided"))
    return ((leads > 0) & (leads >= ALIVE_SHARE * decided)).astype(float)


def projection_gap(card: ModelCard) -> dict[str, Any]:
    """What projection and re-fit cost in Dice, as the training run recorded it; n = 0 where it did not."""
    before, after = (card.metrics.get(f"dice_{stage}") for stage in ("before_projection", "after_refit"))
    if not before or not after:
        return _entry([], "cases")
    gap = float(np.mean(list(before.values())) - np.mean(list(after.values())))
    return {"mean": round(gap, 6), "sd": None, "n": card.metrics.get("n", 0), "of": card.metrics.get("monitored")}


# -- file ----------------------------------------------------------------------------------------------------------


def check_output(path: Path) -> None:
    """Refuse a name for the table before hours are spent on it.

    Raises:
        ValueError: It does not end in .json.
        FileNotFoundError: There is no such folder.
    """
    if path.suffix.lower() != ".json":
        raise ValueError(f"--out: expected a file name ending in .json, got {path}.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"There is no folder {path.absolute().parent} for {path.name}; make it first.")


def write_measures(path: Path, about: dict[str, Any], table: dict[str, dict[str, Any]]) -> None:
    """Write what was measured on, the table by key, and the definitions, as JSON; the file is whole or not there."""
    write_whole(path, json.dumps({**about, **table, "definitions": DEFINITIONS}, indent=1) + "\n")
