"""The report of a result for a person: one HTML file that needs nothing else, on a screen or on paper.

Its numbers are those of ``findings``, which stand in ``prediction.json`` too.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from ProtoSegBrainLib.explanation.findings import coarse_brain, findings
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import Volume, canonical
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, MODALITIES, MODALITY_NAMES, REGION_NAMES, REGIONS
from ProtoSegBrainLib.network.evidence import Evidence, no_prototypes
from ProtoSegBrainLib.pictures.mesh import surfaces
from ProtoSegBrainLib.pictures.slices import (
    HEAT,
    PLANES,
    Slice,
    css,
    grey_layer,
    heat_layer,
    line_layer,
    outline_layer,
    picture,
    slices_through,
)
from ProtoSegBrainLib.result.prediction import RESEARCH_USE, Prediction
from ProtoSegBrainLib.result.uncertainty import entropy

SHOWN = {"WT": ("t2f", "ED"), "TC": ("t2w", "NCR"), "ET": ("t1c", "ET")}
"""Modality that shows a region best, and the class whose colour its outline has."""
MOST_PROTOTYPES = 3
"""Listed per region; the others are counted."""
GREY_PERCENTILES = (1, 99.5)
ZOOM_MARGIN_MM = 20.0
"""Around the tumour, in the maps."""
BRIGHTEST = {"Uncertainty": (1.0, "1 largest"), "Disagreement": (0.5, "0.5 or more")}
"""End of a map's colours, and what the colour bar says there."""
NONE = "–"
MEANING = {
    "Interval": "in this share of scans like those the model was calibrated on, the true volume lies inside it.",
    "Expected Dice": "the overlap with an expert's outline to be expected for this result; 1 is perfect, "
    "experts reach .74 to .85 among themselves, by region (Menze et al. 2015).",
    "Foci": "separate parts of at least 0.1 ml.",
    "Diameters": "the longest line across the enhancing tumour in one axial slice and the longest at right angles to "
    "it, between outer edges (RANO); measurable from 10 mm on in both. Drawn on the axial T1ce slice.",
    "Similarity": "how alike this place and the prototype's training patch are to the network; shown voxel by voxel as "
    "the network computed it. The same colours mean the same in every report of this model.",
    "Share": "how much of the evidence for a region comes from a prototype: weight times similarity, summed over it. "
    "Pure: share of the places most like it in training that are of its class.",
    "Probability": "of a class, for each voxel; calibrated where the model was calibrated.",
    "Uncertainty": "entropy of the four classes' probabilities; 0 certain, 1 all equally likely.",
    "Disagreement": "between the results for the scan and its mirror image; 0 none, 1 each sure of another class.",
}


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


def write_report(case: Case, prediction: Prediction, path: str | os.PathLike[str]) -> Path:
    """Write the report of a result as one HTML file, whole or not at all.

    Args:
        case: The images the result belongs to.
        prediction: Of this case; what it lacks in ``findings`` is computed here.
        path: Of the file; its folder must exist.

    Raises:
        ValueError: The result lies on another grid than the case.
    """
    if prediction.label.shape != case.images.shape[1:] or not np.allclose(prediction.affine, case.affine, atol=1e-3):
        raise ValueError(
            f"The result of {prediction.case_id}, {prediction.label.shape}, and the images of {case.case_id}, "
            f"{case.images.shape[1:]}, lie on different grids; give the case that was segmented."
        )
    said = prediction.findings or findings(prediction)
    scene = _scene(case, prediction, said)
    sections = [
        _header(prediction),
        _summary(prediction, said),
        _anatomy(scene, prediction, said),
        _reasons(scene, prediction, said),
        _solid(scene, prediction, said),
        _origin(prediction),
    ]
    write_whole(path, _page(prediction, sections))
    return Path(path)


# --- the page ---


def _page(prediction: Prediction, sections: Sequence[str]) -> str:
    title = f"{prediction.case_id}: brain tumour segmentation"
    body = "\n".join(section for section in sections if section)
    return (
        '<!DOCTYPE html>\n<html lang="en-GB">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_beside('report.css')}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _beside(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _section(title: str, content: str, kind: str = "") -> str:
    return f'<section class="{kind}">\n<h2>{escape(title)}</h2>\n{content}\n</section>'


def _header(prediction: Prediction) -> str:
    mark = ' <span class="simulated">SIMULATED, NO PATIENT</span>' if prediction.simulated else ""
    model = f"{prediction.model['name']} ({str(prediction.model.get('identity', ''))[:12]})"
    by = " by prototypes" if prediction.evidence.prototype_class else ""
    day = datetime.date.today()
    return (
        f"<header><div><h1>{escape(prediction.case_id)}{mark}</h1><p>Brain tumour segmentation{by}</p></div>"
        f'<div class="origin">Report of {day.day} {day:%B %Y}<br>Model {escape(model)}</div></header>\n'
        f'<p class="research">{escape(RESEARCH_USE)}</p>'
    )


# --- numbers and words ---


def _summary(prediction: Prediction, said: Mapping[str, Any]) -> str:
    left = f"{_volume_table(prediction, said['regions'])}\n{_warnings(prediction)}"
    return _section("Findings", f'<div class="columns"><div>{left}</div>\n<div>{_words(said)}</div></div>')


def _volume_table(prediction: Prediction, regions: Mapping[str, Mapping[str, Any]]) -> str:
    coverage = next((region["coverage"] for region in regions.values() if region["coverage"]), None)
    interval = f"{coverage:.0%} interval" if coverage else "Interval"
    rows = [
        f'<tr><td>{_swatch(SHOWN[name][1])}{REGION_NAMES[name]} <span class="quiet">{name}</span></td>'
        f'<td class="number large">{_ml(prediction.volumes_ml[name])}</td>'
        f'<td class="number">{_interval(region["interval_ml"])}</td>'
        f'<td class="number">{_dice(region["predicted_dice"])}</td><td class="number">{region["foci"]}</td></tr>'
        for name, region in regions.items()
    ]
    heads = "".join(f'<th class="number">{head}</th>' for head in ("Volume", interval, "Expected Dice", "Foci"))
    volumes = prediction.volumes_ml
    parts = (
        f'<p class="quiet">Whole tumour = core + oedema (ED, {_ml(volumes["ED"])}). '
        f"Core = enhancing + necrotic / non-enhancing part (NCR, {_ml(volumes['NCR'])}).</p>"
    )
    return f"<table><tr><th>Region</th>{heads}</tr>{''.join(rows)}</table>\n{parts if len(regions) > 1 else ''}"


def _words(said: Mapping[str, Any]) -> str:
    location, unlike = said["location"], said["out_of_distribution"]
    entries = {
        "Location": location["sentence"] if location else "No tumour was found.",
        "Enhancing diameters": _diameters(said["enhancing_diameters_mm"], "ET" in said["regions"]),
        "Like the training scans?": unlike["sentence"],
    }
    pairs = "".join(f"<dt>{escape(name)}</dt><dd>{_marked(text, name, unlike)}</dd>" for name, text in entries.items())
    return f"<dl>{pairs}</dl>"


def _marked(text: str, name: str, unlike: Mapping[str, Any]) -> str:
    if unlike["flag"] and name.startswith("Like"):
        return f'<div class="notice" style="margin: 0"><p>{escape(text)}</p></div>'
    return escape(text)


def _warnings(prediction: Prediction) -> str:
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in prediction.warnings)
    return f'<div class="notice">{sentences}</div>' if sentences else ""


def _diameters(diameters: Mapping[str, Any] | None, is_looked_for: bool) -> str:
    if not is_looked_for:
        return "Not known: this model does not tell enhancing tumour apart."
    if diameters is None:
        return "No enhancing tumour."
    size = f"{diameters['longest']:.0f} × {diameters['perpendicular']:.0f} mm"
    if not diameters["measurable"]:
        return f"{size}: too small to be measured after RANO (below 10 mm)."
    return f"{size}, product {diameters['product_mm2']:.0f} mm² (RANO, largest axial slice)."


def _ml(volume: float) -> str:
    return f"{volume:.1f} ml"


def _interval(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.1f} to {interval[1]:.1f} ml" if interval else NONE


def _dice(dice: float | None) -> str:
    return NONE if dice is None else f"{dice:.2f}"


# --- pictures ---


def _scene(case: Case, prediction: Prediction, said: Mapping[str, Any]) -> _Scene:
    images = {
        role: canonical(Volume(case.images[MODALITIES.index(role)], case.affine)).array for role, _ in SHOWN.values()
    }
    label = canonical(Volume(prediction.label, prediction.affine))
    brain = canonical(Volume(prediction.probabilities[0] < 1, prediction.affine)).array
    indices = _slice_indices(label, brain, said["enhancing_diameters_mm"])
    limits = {role: _grey_limits(image) for role, image in images.items()}
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


def _grey_limits(image: np.ndarray) -> tuple[float, float]:
    some = image[::2, ::2, ::2]
    some = some[some != 0]
    low, high = np.percentile(some, GREY_PERCENTILES) if some.size else (0, 1)
    return float(low), float(high)


def _anatomy(scene: _Scene, prediction: Prediction, said: Mapping[str, Any]) -> str:
    """Three planes by three regions, each on the modality that shows it best."""
    figures = []
    for view in scene.views:
        for region in prediction.regions:
            role, owner = SHOWN[region]
            mask = np.isin(view.cut(scene.label.array), REGIONS[region])
            layers = [grey_layer(view, scene.images[role], scene.limits[role])]
            layers.append(outline_layer(view, mask, CLASS_COLOURS[CLASSES.index(owner)]))
            if region == "ET" and view.plane == PLANES[0]:
                layers += _diameter_lines(view, said["enhancing_diameters_mm"])
            caption = f"{view.plane.name} {MODALITY_NAMES[role]}, {REGION_NAMES[region].lower()}"
            figures.append(_figure(picture(view, layers, caption), f"{_swatch(owner)}{caption}"))
    return _section("Segmentation", f'<div class="grid planes">{"".join(figures)}</div>')


def _diameter_lines(view: Slice, diameters: Mapping[str, Any] | None) -> list[str]:
    if not diameters or not diameters["measurable"]:
        return []  # the slice was chosen by another rule
    return [line_layer(view, diameters[ends]) for ends in ("longest_ends", "perpendicular_ends")]


def _reasons(scene: _Scene, prediction: Prediction, said: Mapping[str, Any]) -> str:
    """Similarity to the prototype that says most for each class, uncertainty, and the prototypes of each region.

    Of a model without prototypes the probabilities, and a sentence that it cannot say why.
    """
    has_prototypes = bool(prediction.evidence.prototype_class)
    figures = [_similarity_map(scene, prediction, each) for each in _leading_prototypes(prediction, said)]
    if not has_prototypes:
        figures += _probability_maps(scene, prediction)
    figures += [_certainty_map(scene, *map_) for map_ in _certainties(scene.views[0], prediction).items()]
    columns = {4: " four", 5: " five"}.get(len(figures), "")
    maps = f'<div class="grid{columns}">{"".join(figures)}</div>'
    largest = max((entry["share"] for entries in said["prototypes"].values() for entry in entries), default=1.0)
    lists = "".join(
        _deciding(name, entries, largest, prediction.evidence)
        for name, entries in said["prototypes"].items()
        if entries
    )
    deciding = f'<div class="prototypes">{lists}</div>' if lists else ""
    text = "Prototypes by their share of the evidence for each region:" if lists else ""
    if not has_prototypes:
        text = no_prototypes(prediction.model["name"])
    text = f'<p class="quiet">{escape(text)}</p>' if text else ""
    return _section("Why, and how sure" if has_prototypes else "How sure", f"{maps}\n{text}\n{deciding}", "why")


def _leading_prototypes(prediction: Prediction, said: Mapping[str, Any]) -> list[int]:
    """For each tumour class the prototype with the largest share of the evidence, or the class's first."""
    owners = prediction.evidence.prototype_class
    by_share = [entry["prototype"] for entry in said["prototypes"]["WT"]]
    ranked = [*by_share, *range(len(owners))]
    return [next(index for index in ranked if owners[index] == name) for name in CLASSES[1:] if name in owners]


def _similarity_map(scene: _Scene, prediction: Prediction, index: int) -> str:
    view, evidence = scene.views[0], prediction.evidence
    values = view.sample(Volume(prediction.similarities[index], prediction.similarity_affine))
    most = evidence.largest_similarity
    marks = f'<span class="low">0 unlike</span><span class="high">{most:.1f} the same</span>'
    owner = evidence.prototype_class[index]
    typical = evidence.prototypes[index].similarity_at(50) if evidence.prototypes else None
    note = ""
    if typical is not None:
        marks += f'<i style="left: {100 * typical / most:.1f}%"></i>'
        note = f"; the mark: half of the true {owner} voxels in training are more alike"
    caption = f"{_swatch(owner)}Similarity to prototype {index} ({owner}){note}."
    return _figure(_heat_picture(scene, values, (0, most), f"Similarity to prototype {index}"), _bar(marks) + caption)


def _probability_maps(scene: _Scene, prediction: Prediction) -> list[str]:
    view = scene.views[0]
    marks = '<span class="low">0</span><span class="high">1</span>'
    figures = []
    for name, channel in prediction.tumour_probabilities.items():
        values = view.cut(canonical(Volume(channel, prediction.affine)).array)
        image = _heat_picture(scene, values, (0, 1), f"Probability of {name}")
        owner = name if name in CLASSES else SHOWN[name][1]
        figures.append(_figure(image, f"{_bar(marks)}{_swatch(owner)}Probability of {name}"))
    return figures


def _certainties(view: Slice, prediction: Prediction) -> dict[str, np.ndarray]:
    """Maps of what is unsure, (rows, columns) of the picture, by name."""
    channels = [view.cut(canonical(Volume(p, prediction.affine)).array) for p in prediction.probabilities]
    maps = {"Uncertainty": entropy(np.stack(channels))}
    if prediction.disagreement is not None:
        maps["Disagreement"] = view.cut(canonical(Volume(prediction.disagreement, prediction.affine)).array)
    return maps


def _certainty_map(scene: _Scene, name: str, values: np.ndarray) -> str:
    most, words = BRIGHTEST[name]
    marks = f'<span class="low">0 none</span><span class="high">{words}</span>'
    return _figure(_heat_picture(scene, values, (0, most), name), f"{_bar(marks)}{name}")


def _heat_picture(scene: _Scene, values: np.ndarray, limits: tuple[float, float], name: str) -> str:
    view = scene.views[0]
    view = view.around(view.cut(scene.label.array) > 0, ZOOM_MARGIN_MM)
    grey = grey_layer(view, scene.images["t1c"], scene.limits["t1c"])
    return picture(view, [grey, heat_layer(view, values, view.cut(scene.brain), limits)], name)


def _bar(marks: str) -> str:
    """A colour bar."""
    colours = ", ".join(map(css, HEAT))
    return f'<div class="bar" style="background: linear-gradient(to right, {colours})">{marks}</div>'


def _deciding(region: str, prototypes: Sequence[Mapping[str, Any]], largest: float, evidence: Evidence) -> str:
    shown, others = prototypes[:MOST_PROTOTYPES], prototypes[MOST_PROTOTYPES:]
    entries = "".join(_prototype(entry, largest, evidence) for entry in shown)
    rest = sum(entry["share"] for entry in others)
    more = f'<p class="quiet">{len(others)} others: {rest:.0%}</p>' if others else ""
    return f"<div><h3>{REGION_NAMES[region]}</h3>{entries}{more}</div>"


def _prototype(entry: Mapping[str, Any], largest: float, evidence: Evidence) -> str:
    colour = css(CLASS_COLOURS[CLASSES.index(entry["class"])])
    width = f'style="width: {100 * entry["share"] / largest:.1f}%; background: {colour}"'
    origin = f" · from training case {entry['case_id']}" if entry["case_id"] else ""
    name = f"<div>{escape(entry['name'])}</div>" if entry["name"] else ""
    return (
        f'<div class="prototype"><div class="share"><div><div {width}></div></div>{entry["share"]:.0%}</div>{name}'
        f'<div class="quiet">Prototype {entry["prototype"]} ({escape(entry["class"])}){escape(origin)}'
        f"{escape(_card_facts(entry, evidence))}</div></div>"
    )


def _card_facts(entry: Mapping[str, Any], evidence: Evidence) -> str:
    """What the training cases say of a prototype, where they were asked (``portrait``)."""
    card = evidence.prototypes[entry["prototype"]] if evidence.prototypes else None
    if card is None or card.purity is None or card.explained_share is None:
        return ""
    return f" · {card.purity:.0%} pure · {card.explained_share:.0%} of all {card.class_name} in training"


def _figure(image: str, caption: str) -> str:
    return f"<figure>{image}<figcaption>{caption}</figcaption></figure>"


def _swatch(owner: str) -> str:
    return f'<span class="swatch" style="background: {css(CLASS_COLOURS[CLASSES.index(owner)])}"></span>'


# --- surfaces, meaning, origin ---


def _solid(scene: _Scene, prediction: Prediction, said: Mapping[str, Any]) -> str:
    """The surfaces to be turned with the mouse, beside what the numbers mean."""
    meaning = "".join(
        f"<dt>{name}</dt><dd>{text}</dd>" for name, text in MEANING.items() if name not in _unused(prediction)
    )
    words = f'<div><h3>What the numbers mean</h3><dl class="quiet">{meaning}</dl></div>'
    traces = surfaces(scene.label, coarse_brain(prediction)).replace("<", "\\u003c")
    right = said["location"] is not None and said["location"]["midline_mm"] > 0
    plot = (
        f'<div><div id="solid" class="on-screen" data-side="{"right" if right else "left"}"></div>'
        '<img id="solid-on-paper" alt="Surfaces of the tumour">'
        '<p class="quiet on-screen">Turn with the mouse, zoom with its wheel, click a name to hide it.</p></div>'
    )
    scripts = (
        f'<script type="application/json" id="surfaces">{traces}</script>\n'
        f"<script>{_plotly()}</script>\n<script>\n{_beside('report.js')}</script>"
    )
    return _section("Three-dimensional view", f'<div class="solid">{plot}\n{words}</div>\n{scripts}')


def _unused(prediction: Prediction) -> set[str]:
    """Words of ``MEANING`` that do not occur."""
    unused = {"Probability"} if prediction.evidence.prototype_class else {"Similarity", "Share"}
    unused |= set() if "ET" in prediction.regions else {"Diameters"}
    return unused | ({"Disagreement"} if prediction.disagreement is None else set())


def _plotly() -> str:
    """The drawing library itself, so that the report works offline."""
    return resources.files("plotly").joinpath("package_data/plotly.min.js").read_text(encoding="utf-8")


def _origin(prediction: Prediction) -> str:
    seconds = sum(prediction.timings_s.values())
    model = f"{prediction.model['name']}, weights {prediction.model.get('identity', 'unknown')}"
    return (
        f"<footer>{escape(RESEARCH_USE)} Model {escape(model)}. Computed in {seconds:.1f} s on "
        f"{escape(prediction.device)}. Positions are RAS mm of the scan. The same numbers stand in "
        f"{escape(prediction.case_id)}_prediction.json.</footer>"
    )
