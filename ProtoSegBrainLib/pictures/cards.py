"""The page of cards: each prototype of a model with its patches, profile and figures; needs no torch.

Its words and its drawings are those of ``cards.html``; here is what they are made of.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.explanation.names import prototype_name
from ProtoSegBrainLib.files import check_folder, write_whole
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.network.evidence import Evidence, Prototype, require_prototypes
from ProtoSegBrainLib.pictures.page import page
from ProtoSegBrainLib.pictures.slices import css, png
from ProtoSegBrainLib.result.prediction import RESEARCH_USE

if TYPE_CHECKING:
    from ProtoSegBrainLib.explanation.patch import Patch

PAGE = "cards.html"
NOT_BLACK = {"background": "#8a8f98"}  # black is no colour for a heading
NOTICEABLE_SHARE = 0.005  # of the surroundings


@dataclass(frozen=True)
class ChartRow:
    """One modality in the chart of a prototype; places run from -1 to 1 along its axis.

    Attributes:
        modality: Its name for people.
        value: z-score of the patch.
        place: Of the patch.
        other_place: Of the normal tissue on the other side of the brain; None if unknown.
    """

    modality: str
    value: float
    place: float
    other_place: float | None


@dataclass(frozen=True)
class PatchPicture:
    """A patch as it is drawn, seen from the feet; lengths are in voxels of 1 mm.

    Attributes:
        overview: Address of the picture of the whole slice.
        overview_size: Its width and height.
        frame: Left and upper end of the square in it.
        squares: Addresses of the square's pictures by modality, for people.
        side: Of the square.
        outline: SVG path around what is similar to the prototype.
        spot: Left, and upper, end of the prototype's own patch in the square.
        simulated_case: Name of the case if it is made by formulas, else None.
    """

    overview: str
    overview_size: tuple[int, int]
    frame: tuple[int, int]
    squares: dict[str, str]
    side: int
    outline: str
    spot: float
    simulated_case: str | None


@dataclass(frozen=True)
class Card:
    """A prototype's card.

    Attributes:
        prototype: The record of the prototype.
        name: What it is called.
        weight: In the decision for its class.
        chart: A row per modality.
        surroundings: Share by class, and ``outside``, of what lies around the patch; what is noticeable of it.
        patch: To be shown, where there is one.
    """

    prototype: Prototype
    name: str
    weight: float
    chart: list[ChartRow]
    surroundings: dict[str, float]
    patch: PatchPicture | None


def page_file(out_dir: Path, *, overwrite: bool = False) -> Path:
    """Path of the page, before it is made.

    Raises:
        FileExistsError: It is there and ``overwrite`` is off, or ``out_dir`` is or lies below a file.
    """
    check_folder(out_dir)
    path = out_dir / PAGE
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; add --overwrite or choose another folder.")
    return path


def write_cards(
    evidence: Evidence, out_dir: Path, model: str = "", patches: Sequence[Patch] = (), *, overwrite: bool = False
) -> Path:
    """Write ``cards.html``, one file that needs no network: a card for each prototype, by class.

    Args:
        evidence: Of the model, with the records of its prototypes.
        out_dir: Folder of the page; made where it is not there.
        model: Name of the model, for the heading.
        patches: At most one per prototype; cards without one show no images.
        overwrite: Replace a page that is there.

    Raises:
        ValueError: The model has no prototypes, or no records of them.
        FileExistsError: See ``page_file``.
    """
    require_prototypes(evidence.prototype_class, model)
    if not evidence.prototypes:
        raise ValueError(f"The model {model} has no records of its prototypes: it was never projected onto patches.")
    path = page_file(out_dir, overwrite=overwrite)
    shown = {patch.prototype: patch for patch in patches}
    values = {
        "model": model,
        "cards": {name: _cards(evidence, name, shown) for name in CLASSES if name in evidence.prototype_class},
        "simulated": any(patch.simulated for patch in patches),
        "colours": {name: css(colour) for name, colour in zip(CLASSES, CLASS_COLOURS, strict=True)} | NOT_BLACK,
        "research_use": RESEARCH_USE,
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    write_whole(path, page(PAGE, values))
    return path


def _cards(evidence: Evidence, class_name: str, patches: Mapping[int, Patch]) -> list[Card]:
    """Of a class, the prototype that explains most first."""
    members = [p for p in evidence.prototypes if p.class_name == class_name]
    members.sort(key=lambda p: -(p.explained_share or 0))
    return [_card(evidence, p, patches.get(p.index)) for p in members]


def _card(evidence: Evidence, prototype: Prototype, patch: Patch | None) -> Card:
    name = prototype_name(prototype)
    return Card(
        prototype=prototype,
        name=name[:1].upper() + name[1:],
        weight=float(evidence.weight[CLASSES.index(prototype.class_name), prototype.index]),
        chart=[_chart_row(prototype, modality) for modality in MODALITIES],
        surroundings={name: share for name, share in prototype.surroundings.items() if share >= NOTICEABLE_SHARE},
        patch=_patch_picture(evidence, prototype, patch) if patch else None,
    )


# -- chart ---------------------------------------------------------------------------------------------------------

CHART_LIMIT = 4.0  # z-scores; what lies beyond is drawn at the edge


def _chart_row(prototype: Prototype, modality: str) -> ChartRow:
    value = prototype.profile.get(modality, 0.0)
    contrast = prototype.contrast.get(modality)
    other_place = None if contrast is None else _place(value - contrast)
    return ChartRow(MODALITY_NAMES[modality], value, _place(value), other_place)


def _place(value: float) -> float:
    return float(np.clip(value / CHART_LIMIT, -1, 1))


# -- images --------------------------------------------------------------------------------------------------------

WINDOW = (-2.5, 4.5)  # z-scores shown as black and as white


def _patch_picture(evidence: Evidence, prototype: Prototype, patch: Patch) -> PatchPicture:
    side = patch.images.shape[1]
    width, height = patch.overview.shape
    return PatchPicture(
        overview=_grey(patch.overview),
        overview_size=(width, height),
        frame=(width - patch.corner[0] - side, height - patch.corner[1] - side),
        squares={MODALITY_NAMES[role]: _grey(image) for role, image in zip(MODALITIES, patch.images, strict=True)},
        side=side,
        outline=_outline(patch.similarity, _outline_level(evidence, prototype)),
        spot=(side - prototype.patch_size_mm) / 2,
        simulated_case=patch.case_id if patch.simulated else None,
    )


def _outline_level(evidence: Evidence, prototype: Prototype) -> float:
    """The similarity that half of the true voxels of its class exceed; where unknown, half of the largest one."""
    middle = prototype.similarity_at(50)
    return 0.5 * evidence.largest_similarity if middle is None else middle


def _outline(similarity: np.ndarray, level: float) -> str:
    """SVG path around what exceeds ``level``, as seen from the feet."""
    from skimage.measure import find_contours  # loads on first use

    shown = np.pad(_seen_from_feet(similarity), 1, constant_values=-1.0)  # closes outlines at the edge
    lines = (line - 0.5 for line in find_contours(shown, level))  # less the padding, plus half a pixel
    return "".join("M" + "L".join(f"{x:.1f} {y:.1f}" for y, x in line) for line in lines)


def _grey(image: np.ndarray) -> str:
    """Address of a grey picture; the same grey means the same z-score on all cards."""
    low, high = WINDOW
    grey = np.clip((image - low) / (high - low), 0, 1) * (image != 0)
    return png(_seen_from_feet(np.uint8(np.round(255 * grey))))


def _seen_from_feet(image: np.ndarray) -> np.ndarray:
    """(X, Y) with RAS axes -> rows and columns with the patient's right on the left and anterior at the top."""
    return np.ascontiguousarray(image[::-1, ::-1].T)
