"""One case on the bench: its geometry, intensities and label, and what is wrong with them.

Nothing here stops at a fault: a case that cannot be read is a result like any other, with the reason as its problem.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ProtoSegBrainLib.checking.recognition import class_ranks, modality_order
from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.checks import LEAST_ZERO_SHARE
from ProtoSegBrainLib.images.codings import READ_OTHERWISE, VALUE_SAYS
from ProtoSegBrainLib.images.folders import CaseFiles, find_case
from ProtoSegBrainLib.images.preprocess import NetworkInput, prepare
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.images.volume import Volume, bounding_box, voxel_ml
from ProtoSegBrainLib.labels import CLASSES, MODALITIES, MODALITY_NAMES, REGIONS, listed
from ProtoSegBrainLib.network.calibration import Normality
from ProtoSegBrainLib.pictures.drawing import grey_pixels
from ProtoSegBrainLib.result.familiarity import look_of, unusualness

SEVERITIES = ("error", "warning", "note")
"""An error must be mended before training; a warning asks for a look; a note only says what is there."""
BRAIN_ML = (700.0, 2300.0)
"""Brains outside this range are cut off, or not stripped of the skull, or not in mm."""
THICK_MM = 3.0
LEAST_SHARE = 0.001
"""Of the voxels: fewer are not worth a sentence."""
MOST_SATURATED = 0.005
"""Share of an image's voxels that may have its largest value."""
FEW_LEVELS = 256
"""Grey values that 8 bits can hold."""
MOST_MISSING = 0.05
"""Share of the brain in which one modality may be 0."""
MOST_OUTSIDE = 0.01
"""Share of the tumour that may lie where all images are 0."""
LEAST_FLAIR_RANK = 0.6
"""Mean rank of the whole tumour's voxels on FLAIR, among those of the brain; in real cases .68 and more."""
PERCENTILES = (1, 50, 99)
COMMON_BOX = (45, 55, 42)
"""Voxels of the box into which every brain is fitted, about 3 mm each."""
OUTSIDE, BRAIN, TUMOUR = 0, 1, 2
SHOWN = tuple(MODALITIES.index(role) for role in ("t2f", "t1c"))
SHOWN_PERCENTILES = (1, 99.5)


@dataclass(frozen=True)
class Problem:
    """What is wrong, in a sentence, and how bad it is (one of ``SEVERITIES``)."""

    severity: str
    text: str


@dataclass(frozen=True, eq=False)
class View:
    """The axial slice with the most tumour, as radiologists see it: the patient's right on the left.

    Attributes:
        images: (2, rows, columns) uint8 grey, FLAIR and T1ce, pixels of 1 mm.
        label: (rows, columns) uint8 classes.
    """

    images: np.ndarray
    label: np.ndarray


@dataclass(frozen=True, eq=False)
class CheckedCase:
    """What was found in one case; without facts where it could not be read.

    Attributes:
        case_id: Its name.
        path: Its folder or 4-D file.
        problems: In the order in which they were found.
        facts: Columns of the table: geometry, volumes in ml, intensities; plain types.
        fingerprints: By role, see ``fingerprint``.
        view: For the picture sheet.
        place: ``COMMON_BOX`` uint8, the brain's bounding box fitted to it: ``OUTSIDE``, ``BRAIN`` or ``TUMOUR``.
    """

    case_id: str
    path: Path
    problems: tuple[Problem, ...]
    facts: dict[str, Any] = field(default_factory=dict)
    fingerprints: dict[str, np.ndarray] = field(default_factory=dict)
    view: View | None = None
    place: np.ndarray | None = None

    @property
    def severity(self) -> str:
        """The worst of its problems; "" where there is none."""
        found = {problem.severity for problem in self.problems}
        return next((severity for severity in SEVERITIES if severity in found), "")


def check_case(
    place: str | os.PathLike[str] | CaseFiles, reference: Normality | None = None, reading: Reading | None = None
) -> CheckedCase:
    """Read a case and look for faults; a bad case is a result, not an exception.

    Args:
        place: What ``read_case`` takes; that another case has its name is no matter here.
        reference: How cases with their modalities in order look; None: that order is not checked.
        reading: What the files leave open.
    """
    try:
        found = replace(place, namesakes=()) if isinstance(place, CaseFiles) else find_case(place)
    except (ValueError, OSError) as error:
        path = Path(str(place))
        return CheckedCase(path.name, path, (Problem("error", str(error)),))
    path = found.place
    try:
        case, problems = _read(found, reading)
        prepared = prepare(case)
    except (ValueError, OSError) as error:
        return CheckedCase(found.case_id, path, (Problem("error", str(error)),))
    look, ranks = look_of(prepared.images), class_ranks(prepared)
    problems += [Problem(_severity(sentence), sentence) for sentence in case.warnings]
    values = {role: _own_values(image) for role, image in zip(MODALITIES, case.images, strict=True)}
    facts = {**_geometry(case, look), **_volumes(case), **_intensities(values)}
    problems += [
        *_geometry_problems(facts),
        *_intensity_problems(facts, look, case.warnings),
        *_label_problems(case, prepared, ranks),
        *_order_problems(case, look, ranks, reference),
    ]
    fingerprints = {role: fingerprint(own, own.size * voxel_ml(case.affine)) for role, own in values.items()}
    return CheckedCase(case.case_id, path, tuple(problems), facts, fingerprints, _view(prepared), _place(prepared))


def fingerprint(values: np.ndarray, ml: float) -> np.ndarray:
    """What an image shares with its copies, whatever their axes, mirroring, margins, scale or file type.

    Args:
        values: Of the voxels that are not 0, sorted.
        ml: Their volume.

    Returns:
        (102,): the logarithm of the volume, and the percentiles 0 to 100 from the median on in units of the distance
        between the 5th and the 95th; 0 where that is 0.
    """
    percentiles = values[np.linspace(0, values.size - 1, 101).round().astype(int)].astype(float)
    width = percentiles[95] - percentiles[5]
    scaled = (percentiles - percentiles[50]) / width if width else np.zeros(101)
    return np.array([np.log(ml), *scaled])


# -- reading and measuring -----------------------------------------------------------------------------------------


def _read(files: CaseFiles, reading: Reading | None) -> tuple[Case, list[Problem]]:
    """The case; without its label, and with a problem, where only the label is at fault."""
    try:
        case = read_case(files, reading=reading)
    except (ValueError, OSError) as error:
        return read_case(files, with_label=False, reading=reading), [Problem("error", str(error))]
    if case.label is None:
        return case, [Problem("warning", "There is no label: the case can be segmented, but not trained on or scored.")]
    return case, []


def _severity(sentence: str) -> str:
    """Of a sentence said in reading: a label in another coding must be mended, a merged value is only worth knowing."""
    if sentence.startswith(READ_OTHERWISE):
        return "error"
    return "note" if sentence.startswith(VALUE_SAYS) else "warning"


def _own_values(image: np.ndarray) -> np.ndarray:
    """Of the voxels that are not 0, sorted; a checked image has some."""
    values = image.ravel(order="K")
    return np.sort(values[values != 0])


def _geometry(case: Case, look: Mapping[str, float]) -> dict[str, Any]:
    import nibabel as nib

    grid = Volume(case.images[0], case.affine)
    return {
        "size": " x ".join(map(str, grid.shape)),
        "spacing_mm": " x ".join(f"{mm:.3g}" for mm in grid.spacing_mm),
        "thickest_mm": round(max(grid.spacing_mm), 3),
        "axes": "".join(nib.orientations.aff2axcodes(case.affine)),
        "grids": "several" if case.originals else "one",
        "brain_ml": round(look["brain_ml"], 1),
        "skull_stripped": bool(case.brain.mean() <= 1 - LEAST_ZERO_SHARE),
    }


def _volumes(case: Case) -> dict[str, Any]:
    """Of classes and regions in ml, and the coding of the label; nothing without a label."""
    if case.label is None:
        return {}
    counts = np.bincount(case.label.ravel(order="K"), minlength=len(CLASSES)) * voxel_ml(case.affine)
    classes = {f"{name}_ml": float(counts[n]) for n, name in enumerate(CLASSES) if n}
    regions = {f"{name}_ml": float(counts[list(members)].sum()) for name, members in REGIONS.items() if name != "ET"}
    return {"coding": case.label_convention, **{name: round(ml, 3) for name, ml in (classes | regions).items()}}


def _intensities(sorted_values: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Percentiles of each modality's own voxels, its grey values, and the shares at its largest and below 0."""
    facts: dict[str, Any] = {}
    for role, values in sorted_values.items():
        for percentile in PERCENTILES:
            facts[f"{role}_p{percentile}"] = float(f"{values[(values.size - 1) * percentile // 100]:.5g}")
        facts[f"{role}_levels"] = 1 + int(np.count_nonzero(np.diff(values)))
        facts[f"{role}_saturated"] = round(1 - float(np.searchsorted(values, values[-1])) / values.size, 5)
        facts[f"{role}_negative"] = round(float(np.searchsorted(values, 0)) / values.size, 5)
    return facts


# -- problems ------------------------------------------------------------------------------------------------------


def _geometry_problems(facts: Mapping[str, Any]) -> Iterator[Problem]:
    low, high = BRAIN_ML
    if not low <= facts["brain_ml"] <= high:
        size = f"The brain has {facts['brain_ml']:.0f} ml, expected {low:.0f} to {high:.0f}"
        yield Problem("warning", f"{size}: is a part cut off, the skull still there, or the voxel size wrong?")
    if facts["thickest_mm"] > THICK_MM:
        yield Problem(
            "warning", f"Voxels are {facts['spacing_mm']} mm: small parts of a tumour are lost in thick slices."
        )


def _intensity_problems(
    facts: Mapping[str, Any], look: Mapping[str, float], said: tuple[str, ...]
) -> Iterator[Problem]:
    """Image by image; ``said`` are the sentences of reading, where a part that is missing may stand already."""
    few = [role for role in MODALITIES if facts[f"{role}_levels"] <= FEW_LEVELS]
    if few:
        levels = max(facts[f"{role}_levels"] for role in few)
        yield Problem("note", f"{_names(few)}: no more than {levels} grey values, as in images of 8 bits.")
    for role in MODALITIES:
        name, missing = MODALITY_NAMES[role], look[f"missing.{role}"]
        if facts[f"{role}_saturated"] > MOST_SATURATED:
            share = f"{facts[f'{role}_saturated']:.1%}"
            yield Problem("warning", f"{name} is clipped: {share} of its voxels have its largest value.")
        if facts[f"{role}_negative"] > LEAST_SHARE:
            share = f"{facts[f'{role}_negative']:.0%}"
            yield Problem("note", f"{name} is negative in {share} of its voxels: it seems to be normalised already.")
        if missing > MOST_MISSING and not any(sentence.startswith(f"{name} shows only") for sentence in said):
            yield Problem("warning", f"{name} is 0 in {missing:.0%} of the brain: another field of view or mask?")


def _label_problems(case: Case, prepared: NetworkInput, ranks: np.ndarray) -> Iterator[Problem]:
    if case.label is None or prepared.label is None:
        return
    tumour = case.label > 0
    if not tumour.any():
        yield Problem("warning", "The label is empty: it marks no tumour.")
        return
    outside = float((tumour & ~case.brain).sum() / tumour.sum())
    if outside > MOST_OUTSIDE:
        yield Problem(
            "error", f"{outside:.0%} of the labelled tumour lies outside the brain: is it another case's label?"
        )
    sizes = np.bincount(prepared.label.ravel(), minlength=len(CLASSES))[1:] * np.isfinite(ranks[0, 1:])
    if sizes.any():
        rank = float((np.nan_to_num(ranks[SHOWN[0], 1:]) * sizes).sum() / sizes.sum())
        if rank < LEAST_FLAIR_RANK:
            text = f"The labelled tumour is not bright on FLAIR (mean rank {rank:.2f} among the brain's voxels)"
            yield Problem("warning", f"{text}: is the label mirrored, or another case's?")


def _order_problems(
    case: Case, look: Mapping[str, float], ranks: np.ndarray, reference: Normality | None
) -> Iterator[Problem]:
    """Modalities that seem to be exchanged: an error where the label was asked, too; else the case looks unusual."""
    if reference is None or not set(reference.measures) <= set(look):
        return
    moved = modality_order(look, ranks, reference)
    unusual = unusualness(reference, look)
    if moved:
        severity = "warning" if case.label is None else "error"
        yield Problem(severity, f"Modalities seem to be exchanged: {_seem(moved)}.")
    elif unusual > 1:
        text = f"The images look unlike those that the model learned from ({unusual:.2f} times its limit)."
        yield Problem("note", text)


def _seem(moved: Mapping[str, str]) -> str:
    """In a sentence: "T1 looks like T2, T2 like T1"."""
    pairs = [(MODALITY_NAMES.get(now, now), MODALITY_NAMES.get(fitting, fitting)) for now, fitting in moved.items()]
    return ", ".join(f"{now} {'' if n else 'looks '}like {fitting}" for n, (now, fitting) in enumerate(pairs))


def _names(roles: list[str]) -> str:
    return listed([MODALITY_NAMES[role] for role in roles])


# -- for pictures --------------------------------------------------------------------------------------------------


def _view(prepared: NetworkInput) -> View:
    label = np.zeros(prepared.brain.shape, np.uint8) if prepared.label is None else prepared.label
    area = (label > 0 if label.any() else prepared.brain).sum(axis=(0, 1))
    level = int(area.argmax())
    greys = []
    for plane in prepared.images[list(SHOWN), :, :, level]:
        own = plane != 0
        low, high = np.percentile(plane[own], SHOWN_PERCENTILES) if own.any() else (0.0, 1.0)
        greys.append(np.where(own, grey_pixels(plane, (float(low), float(high))), 0))
    return View(np.stack([_seen(grey) for grey in greys]), _seen(label[:, :, level]))


def _seen(plane: np.ndarray) -> np.ndarray:
    """(X, Y) of RAS axes -> rows and columns with the patient's right on the left and the front up."""
    return plane[::-1, ::-1].T


def _place(prepared: NetworkInput) -> np.ndarray | None:
    """Nothing without a label: a tumour that nobody marked has no place."""
    box = bounding_box(prepared.brain)
    if prepared.label is None or box is None:
        return None
    place = np.where(prepared.label > 0, TUMOUR, np.where(prepared.brain, BRAIN, OUTSIDE)).astype(np.uint8)[box]
    middles = ((np.arange(n) + 0.5) * size // n for n, size in zip(COMMON_BOX, place.shape, strict=True))
    return place[np.ix_(*(middle.astype(int) for middle in middles))]
