"""The pictures of a report: planes through the tumour, maps of why and how sure, surfaces; no words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ProtoSegBrainLib.explanation.findings import coarse_brain
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume, canonical
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, MODALITIES, REGIONS
from ProtoSegBrainLib.pictures.mesh import surfaces
from ProtoSegBrainLib.pictures.slices import (
    PLANES,
    Picture,
    Slice,
    grey_layer,
    grey_limits,
    heat_layer,
    line_layer,
    outline_layer,
    picture,
    slices_through,
)
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.result.uncertainty import entropy

SHOWN = {"WT": ("t2f", "ED"), "TC": ("t2w", "NCR"), "ET": ("t1c", "ET")}
"""Modality that shows a region best, and the class whose colour its outline has."""
ZOOM_MARGIN_MM = 20.0
"""Around the tumour, in the maps."""
MOST_UNCERTAINTY, MOST_DISAGREEMENT = 1.0, 0.5
"""Ends of the maps' colours; more disagreement has the colour of the end."""


@dataclass(frozen=True)
class PlanePicture:
    """A region's outline on the modality that shows it best.

    Attributes:
        picture: To be drawn.
        plane: Name of the plane.
        modality: Which shows it.
        region: WT, TC or ET.
    """

    picture: Picture
    plane: str
    modality: str
    region: str


@dataclass(frozen=True)
class HeatMap:
    """Values around the tumour as colours over the axial slice, from 0 to ``most``.

    Attributes:
        picture: To be drawn.
        most: Value at the end of the colours.
    """

    picture: Picture
    most: float


@dataclass(frozen=True)
class SimilarityMap:
    """Where the scan resembles a prototype.

    Attributes:
        heat: The similarities.
        prototype: Its number.
        class_name: Its class.
        typical: Similarity that half of the true voxels of its class exceed in training; None if unknown.
    """

    heat: HeatMap
    prototype: int
    class_name: str
    typical: float | None


@dataclass(frozen=True)
class ReportPictures:
    """All pictures of a report.

    Attributes:
        planes: Axial, coronal, sagittal, each by region.
        similarities: To the prototype that says most for each class; none of a model without prototypes.
        probabilities: Of such a model alone, by what it tells apart.
        uncertainty: Entropy.
        disagreement: Between the views, where there were any.
        surfaces: See ``mesh.surfaces``.
        seen_from: Side on which the tumour lies, left or right.
    """

    planes: list[PlanePicture]
    similarities: list[SimilarityMap]
    probabilities: dict[str, HeatMap]
    uncertainty: HeatMap
    disagreement: HeatMap | None
    surfaces: list[dict[str, Any]]
    seen_from: str


def report_pictures(case: Case, prediction: Prediction, said: Mapping[str, Any]) -> ReportPictures:
    """Draw everything that a report shows.

    Args:
        case: The images the result belongs to, on its grid.
        prediction: Of this case.
        said: Its findings.
    """
    scene = _scene(case, prediction, said)
    right = said["location"] is not None and said["location"]["midline_mm"] > 0
    return ReportPictures(
        planes=_planes(scene, prediction, said),
        similarities=[_similarity(scene, prediction, each) for each in _leading_prototypes(prediction, said)],
        probabilities=_probabilities(scene, prediction),
        uncertainty=_uncertainty(scene, prediction),
        disagreement=_disagreement(scene, prediction),
        surfaces=surfaces(scene.label, coarse_brain(prediction)),
        seen_from="right" if right else "left",
    )


# -- the case ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Scene:
    """A case and its result on one grid with RAS axes.

    Attributes:
        images: (X, Y, Z) by modality.
        limits: What is black and what is white, by modality.
        label: Class indices.
        brain: Bool.
        views: Axial, coronal and sagittal slice.
    """

    images: dict[str, np.ndarray]
    limits: dict[str, tuple[float, float]]
    label: Volume
    brain: np.ndarray
    views: list[Slice]


def _scene(case: Case, prediction: Prediction, said: Mapping[str, Any]) -> _Scene:
    images = {
        role: canonical(Volume(case.images[MODALITIES.index(role)], case.affine)).array for role, _ in SHOWN.values()
    }
    label = canonical(Volume(prediction.label, prediction.affine))
    brain = canonical(Volume(prediction.probabilities[0] < 1, prediction.affine)).array
    indices = _slice_indices(label, brain, said["enhancing_diameters_mm"])
    limits = {role: grey_limits(image) for role, image in images.items()}
    return _Scene(images, limits, label, brain, slices_through(label, brain, indices))


def _slice_indices(label: Volume, brain: np.ndarray, diameters: Mapping[str, Any] | None) -> list[int]:
    """Where each region is large, and, across the axis, where the diameters were measured; else the widest brain."""
    masks = [np.isin(label.array, members) for members in REGIONS.values()] if label.array.any() else [brain]
    masks = [mask for mask in masks if mask.any()]
    indices = []
    for axis in range(3):
        areas = [mask.sum(axis=tuple(a for a in range(3) if a != axis)) for mask in masks]
        indices.append(int(np.argmax(sum(area / area.max() for area in areas))))
    if diameters and diameters["measurable"]:
        end = np.array([*diameters["longest_ends"][0], 1.0])
        indices[2] = int(np.rint((np.linalg.inv(label.affine) @ end)[2]))
    return indices


# -- planes --------------------------------------------------------------------------------------------------------


def _planes(scene: _Scene, prediction: Prediction, said: Mapping[str, Any]) -> list[PlanePicture]:
    """Three planes by the regions, each on the modality that shows it best."""
    planes = []
    for view in scene.views:
        for region in prediction.regions:
            role, owner = SHOWN[region]
            mask = np.isin(view.cut(scene.label.array), REGIONS[region])
            layers = [grey_layer(view, scene.images[role], scene.limits[role])]
            layers.append(outline_layer(view, mask, CLASS_COLOURS[CLASSES.index(owner)]))
            if region == "ET" and view.plane == PLANES[0]:
                layers += _diameter_lines(view, said["enhancing_diameters_mm"])
            planes.append(PlanePicture(picture(view, layers), view.plane.name, role, region))
    return planes


def _diameter_lines(view: Slice, diameters: Mapping[str, Any] | None) -> list[str]:
    if not diameters or not diameters["measurable"]:
        return []  # the slice was chosen by another rule
    return [line_layer(view, diameters[ends]) for ends in ("longest_ends", "perpendicular_ends")]


# -- maps over the axial slice -------------------------------------------------------------------------------------


def _leading_prototypes(prediction: Prediction, said: Mapping[str, Any]) -> list[int]:
    """For each tumour class the prototype with the largest share of the evidence, or the class's first."""
    owners = prediction.evidence.prototype_class
    by_share = [entry["prototype"] for entry in said["prototypes"]["WT"]]
    ranked = [*by_share, *range(len(owners))]
    return [next(index for index in ranked if owners[index] == name) for name in CLASSES[1:] if name in owners]


def _similarity(scene: _Scene, prediction: Prediction, index: int) -> SimilarityMap:
    evidence = prediction.evidence
    values = scene.views[0].sample(Volume(prediction.similarities[index], prediction.similarity_affine))
    typical = evidence.prototypes[index].similarity_at(50) if index < len(evidence.prototypes) else None
    heat = _heat_map(scene, values, evidence.largest_similarity_to(index))
    return SimilarityMap(heat, index, evidence.prototype_class[index], typical)


def _probabilities(scene: _Scene, prediction: Prediction) -> dict[str, HeatMap]:
    if prediction.evidence.prototype_class:
        return {}
    channels = prediction.tumour_probabilities.items()
    return {name: _heat_map(scene, _cut(scene, prediction, channel), 1.0) for name, channel in channels}


def _uncertainty(scene: _Scene, prediction: Prediction) -> HeatMap:
    channels = np.stack([_cut(scene, prediction, channel) for channel in prediction.probabilities])
    return _heat_map(scene, entropy(channels), MOST_UNCERTAINTY)


def _disagreement(scene: _Scene, prediction: Prediction) -> HeatMap | None:
    if prediction.disagreement is None:
        return None
    return _heat_map(scene, _cut(scene, prediction, prediction.disagreement), MOST_DISAGREEMENT)


def _cut(scene: _Scene, prediction: Prediction, array: np.ndarray) -> np.ndarray:
    """The axial slice, (rows, columns), of an array on the case's grid."""
    return scene.views[0].cut(canonical(Volume(array, prediction.affine)).array)


def _heat_map(scene: _Scene, values: np.ndarray, most: float) -> HeatMap:
    view = scene.views[0]
    view = view.around(view.cut(scene.label.array) > 0, ZOOM_MARGIN_MM)
    grey = grey_layer(view, scene.images["t1c"], scene.limits["t1c"])
    return HeatMap(picture(view, [grey, heat_layer(view, values, view.cut(scene.brain), (0, most))]), most)
