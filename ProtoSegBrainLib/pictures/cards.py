"""The page of cards: each prototype of a model with its patches, profile and figures; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.explanation.names import prototype_name
from ProtoSegBrainLib.explanation.patch import Patch
from ProtoSegBrainLib.files import check_folder, write_whole
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.network.evidence import Evidence, Prototype, require_prototypes
from ProtoSegBrainLib.pictures.slices import css, png
from ProtoSegBrainLib.result.prediction import RESEARCH_USE

PAGE = "cards.html"
STYLE = Path(__file__).with_name("cards.css")

POOR = 0.5  # purity and stability below it are marked


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
    out_dir.mkdir(parents=True, exist_ok=True)
    write_whole(path, _page(evidence, model, shown))
    return path


def _page(evidence: Evidence, model: str, patches: Mapping[int, Patch]) -> str:
    simulated = any(patch.simulated for patch in patches.values())
    mark = '<p class="mark">All images on this page are simulated; they show no patient.</p>' if simulated else ""
    sections = "".join(_section(evidence, name, patches) for name in CLASSES if name in evidence.prototype_class)
    title = escape(f"Prototypes of {model}" if model else "Prototypes")
    return (
        f'<!DOCTYPE html><html lang="en-GB"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        f"<style>{STYLE.read_text(encoding='utf-8')}</style></head><body>"
        f"<header><h1>{title}</h1>{mark}{_LEGEND}</header>{sections}"
        f"<footer>{RESEARCH_USE}</footer></body></html>"
    )


def _section(evidence: Evidence, class_name: str, patches: Mapping[int, Patch]) -> str:
    members = [p for p in evidence.prototypes if p.class_name == class_name]
    members.sort(key=lambda p: -(p.explained_share or 0))
    cards = "".join(_card(evidence, p, patches.get(p.index)) for p in members)
    name = escape(_CLASS_TITLES.get(class_name, class_name))
    return f'<section style="--class:{_colour(class_name)}"><h2>{name}</h2><div class="cards">{cards}</div></section>'


def _card(evidence: Evidence, prototype: Prototype, patch: Patch | None) -> str:
    name = prototype_name(prototype)
    x, y, z = prototype.position_mm
    origin = f"{prototype.case_id} at {x:g}, {y:g}, {z:g} mm (RAS), {prototype.patch_size_mm:g} mm patch"
    return (
        f'<article><h3><span class="number">{prototype.index}</span> {escape(name[:1].upper() + name[1:])}</h3>'
        f'<p class="origin">Training patch: {escape(origin)}</p>'
        f"{_patch_row(evidence, prototype, patch) if patch else ''}"
        f'<div class="facts">{_profile_chart(prototype)}{_figures(evidence, prototype)}</div>'
        f"{_surroundings_bar(prototype)}{_neighbour_list(prototype)}</article>"
    )


def _figures(evidence: Evidence, prototype: Prototype) -> str:
    """The numbers of a card, those that are known."""
    own = CLASSES.index(prototype.class_name)
    class_name = prototype.class_name if own else "healthy"
    rows = [
        (f"of the evidence for {class_name}", _per_cent(prototype.explained_share)),
        ("purity", _per_cent(prototype.purity, POOR)),
        ("stability", _per_cent(prototype.stability, POOR)),
        ("weight in the decision", f"{evidence.weight[own, prototype.index]:.2f}"),
    ]
    low, middle, high = (prototype.similarity_at(per_cent) for per_cent in (10, 50, 90))
    if middle is not None:
        label = f"similarity of true {class_name} voxels<br>(80% lie in {low:.1f} to {high:.1f})"
        rows.append((label, f"{middle:.1f}"))
    cells = "".join(f"<tr><th>{value}</th><td>{label}</td></tr>" for label, value in rows if value)
    return f'<table class="figures">{cells}</table>'


def _per_cent(share: float | None, poor: float = 0.0) -> str:
    """Marked where it is lower than ``poor``; "" where unknown."""
    if share is None:
        return ""
    text = f"{share:.0%}"
    return f'<span class="poor">{text}</span>' if share < poor else text


def _neighbour_list(prototype: Prototype) -> str:
    if not prototype.neighbours:
        return ""
    items = (
        f"<li>{escape(n.case_id)} at {', '.join(f'{v:g}' for v in n.position_mm)} mm"
        f" <span>distance {f'{n.distance:.3f}' if n.distance >= 0.0005 else 'under 0.001'}</span></li>"
        for n in prototype.neighbours
    )
    return f'<div class="neighbours">Nearest in other training cases:<ol>{"".join(items)}</ol></div>'


def _colour(class_name: str) -> str:
    index = CLASSES.index(class_name)
    return css(CLASS_COLOURS[index]) if index else "#8a8f98"  # black is no colour for a heading


# -- charts --------------------------------------------------------------------------------------------------------

CHART_LIMIT = 4.0  # z-scores; what lies beyond is drawn at the edge


def _profile_chart(prototype: Prototype) -> str:
    """Per modality the patch (disc) and, where known, the normal tissue on the other side (ring)."""
    rows = []
    for row, modality in enumerate(MODALITIES):
        y, value = 20 + 22 * row, prototype.profile.get(modality, 0.0)
        rows.append(f'<text x="44" y="{y + 4}" text-anchor="end">{MODALITY_NAMES[modality]}</text>')
        rows.append(f'<line x1="50" x2="230" y1="{y}" y2="{y}" class="rail"/>')
        if modality in prototype.contrast:
            other = _chart_x(value - prototype.contrast[modality])
            rows.append(f'<line x1="{other:.1f}" x2="{_chart_x(value):.1f}" y1="{y}" y2="{y}" class="step"/>')
            rows.append(f'<circle cx="{other:.1f}" cy="{y}" r="4" class="other"/>')
        rows.append(f'<circle cx="{_chart_x(value):.1f}" cy="{y}" r="5" class="own"/>')
        rows.append(f'<text x="268" y="{y + 4}" text-anchor="end">{_signed(value)}</text>')
    zero = _chart_x(0)
    axis = f'<line x1="{zero}" x2="{zero}" y1="8" y2="98" class="zero"/>'
    ends = '<text x="50" y="112">darker</text><text x="230" y="112" text-anchor="end">brighter</text>'
    return f'<svg class="chart" viewBox="0 0 270 116" role="img">{axis}{"".join(rows)}{ends}</svg>'


def _signed(value: float) -> str:
    return f"{value:+.1f}" if abs(value) >= 0.05 else "0.0"


def _chart_x(value: float) -> float:
    return 140 + 90 * float(np.clip(value / CHART_LIMIT, -1, 1))


def _surroundings_bar(prototype: Prototype) -> str:
    """What lies around the patch, as one stacked bar."""
    shares = {name: share for name, share in prototype.surroundings.items() if share >= 0.005}
    if not shares:
        return ""
    colours = {name: _colour(name) for name in CLASSES} | {"background": "#d5d8dd", "outside": "#3b3f46"}
    words = {"background": "healthy", "outside": "outside the brain"}
    parts = "".join(
        f'<i style="width:{100 * share:.1f}%;background:{colours[name]}"></i>' for name, share in shares.items()
    )
    text = ", ".join(f"{words.get(name, name)} {share:.0%}" for name, share in shares.items())
    return f'<div class="around"><div class="bar">{parts}</div>Around it: {text}</div>'


# -- images --------------------------------------------------------------------------------------------------------

WINDOW = (-2.5, 4.5)  # z-scores shown as black and as white


def _patch_row(evidence: Evidence, prototype: Prototype, patch: Patch) -> str:
    """The whole slice with the square marked, then the square in four modalities with the activation outlined."""
    n = patch.images.shape[1]
    outline = _outline(patch.similarity, _outline_level(evidence, prototype))
    size = prototype.patch_size_mm
    start = (n - size) / 2
    centre = f'<rect x="{start:g}" y="{start:g}" width="{size:g}" height="{size:g}" class="spot"/>'
    squares = "".join(
        f'<figure><svg viewBox="0 0 {n} {n}">{_grey_image(image)}<path d="{outline}" class="outline"/>{centre}</svg>'
        f"<figcaption>{MODALITY_NAMES[modality]}</figcaption></figure>"
        for modality, image in zip(MODALITIES, patch.images, strict=True)
    )
    mark = (
        f"<p>SIMULATED, no patient: the most similar patch, in {escape(patch.case_id)}</p>" if patch.simulated else ""
    )
    return f'<div class="patches">{_overview(patch)}{squares}{mark}</div>'


def _overview(patch: Patch) -> str:
    width, height = patch.overview.shape
    n = patch.images.shape[1]
    x, y = width - patch.corner[0] - n, height - patch.corner[1] - n
    return (
        f'<figure><svg viewBox="0 0 {width} {height}">{_grey_image(patch.overview)}'
        f'<rect x="{x}" y="{y}" width="{n}" height="{n}" class="frame"/>'
        f'<text x="3" y="{height / 2}" class="side">R</text></svg><figcaption>FLAIR</figcaption></figure>'
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


def _grey_image(image: np.ndarray) -> str:
    """A grey image as an SVG element; the same grey means the same z-score on all cards."""
    low, high = WINDOW
    grey = np.clip((image - low) / (high - low), 0, 1) * (image != 0)
    width, height = image.shape
    address = png(_seen_from_feet(np.uint8(np.round(255 * grey))))
    return f'<image href="{address}" width="{width}" height="{height}"/>'


def _seen_from_feet(image: np.ndarray) -> np.ndarray:
    """(X, Y) with RAS axes -> rows and columns with the patient's right on the left and anterior at the top."""
    return np.ascontiguousarray(image[::-1, ::-1].T)


# -- words of the page ---------------------------------------------------------------------------------------------

_CLASS_TITLES = {
    "background": "Background: healthy brain and what lies outside",
    "NCR": "NCR: necrotic and non-enhancing core",
    "ED": "ED: oedema",
    "ET": "ET: enhancing tumour",
}

_LEGEND = """<p>The model labels every voxel by its likeness to these prototypes and by nothing else. Each is a patch of
a real training case. Within a class, the prototype that explains most comes first.</p>
<dl><dt>Chart</dt><dd>Brightness of the patch (disc) and of the normal tissue at the same place on the other side of
the brain (ring), in standard deviations from the brain's mean.</dd>
<dt>Evidence</dt><dd>Its share of all evidence (weight times similarity) for its class in the true voxels of that
class.</dd>
<dt>Purity</dt><dd>Of the 0.1% of brain voxels most similar to it, the share that truly have its class.</dd>
<dt>Stability</dt><dd>In how many cases the place it answers to most stays among its strongest when noise and a bias
field are added. Strongest: a tenth as many voxels as the case has of its class.</dd>
<dt>Distance</dt><dd>Of two patches in the model's eyes: 0 is the same, 2 is unrelated.</dd>
<dt>Images</dt><dd>Axial, the patient's right on the left, 40 mm wide. Tinted is what is more similar to the prototype
than half of its class's true voxels are; the small square is the patch itself.</dd></dl>
<p>All figures are measured on the training cases.</p>"""
