"""The pictures of a data set: a sheet of its cases; its volumes and where its tumours lie."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.checking.case import BRAIN, COMMON_BOX, TUMOUR, CheckedCase
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.pictures.drawing import RESEARCH_USE, colour_of, outlined, save_figure, say_instead, shade_of
from ProtoSegBrainLib.pictures.slices import PLANES, Plane, heat

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS, ROWS = 4, 6
"""Cases on a page."""
PAPER, INK = "#101014", "#f0f0f0"
SIGNAL = {"error": "#ff6b5e", "warning": "#ffb84d", "note": INK, "": INK}
LONGEST_LINE = 64
FOOT_INCHES = 0.4
FRAME = (196, 160)
"""Rows and columns of one picture of a case, mm: every brain is shown in the same size."""
OUTER_TO_INNER = tuple(CLASSES.index(name) for name in ("ED", "NCR", "ET"))
SHOWN_VOLUMES = ("WT", "TC", "NCR", "ED", "ET")
MARGIN = 4
"""Voxels around the box of the brain."""
LEAST_ML = 0.01
"""Lower end of the scale of volumes; a class that a case has not is drawn there."""


def draw_cases(cases: Sequence[CheckedCase], folder: Path) -> list[Path]:
    """Write ``cases.png``, then ``cases_2.png`` and so on: FLAIR and T1ce of each case with the label's outlines.

    Pages of an earlier check that are no longer needed are removed.
    """
    per_page = COLUMNS * ROWS
    pages = [cases[start : start + per_page] for start in range(0, len(cases), per_page)]
    for older in folder.glob("cases_[0-9]*.png"):
        older.unlink()
    return [
        _draw_page(
            page, folder / ("cases.png" if number == 1 else f"cases_{number}.png"), f"page {number}/{len(pages)}"
        )
        for number, page in enumerate(pages, start=1)
    ]


def draw_data_set(cases: Sequence[CheckedCase], path: Path) -> Path:
    """Write the distribution of the volumes, and the share of cases with tumour at each place of the brain."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 5), layout="constrained", facecolor="white")
    widths = [COMMON_BOX[plane.axis == 0] for plane in PLANES]
    panels = figure.subplots(1, 1 + len(PLANES), width_ratios=(1.6 * max(COMMON_BOX), *widths))
    _draw_volumes(panels[0], cases)
    _draw_places(figure, panels[1:], cases)
    figure.supxlabel(RESEARCH_USE, fontsize=8, color="0.4", x=0.01, ha="left")
    return save_figure(figure, path)


# -- the sheet of cases --------------------------------------------------------------------------------------------


def _draw_page(cases: Sequence[CheckedCase], path: Path, number: str) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    rows = -(-len(cases) // COLUMNS)
    height = 2.9 * rows + FOOT_INCHES
    foot = FOOT_INCHES / height
    layout = ConstrainedLayoutEngine(rect=(0, foot, 1, 1 - foot))
    figure = Figure(figsize=(4.1 * COLUMNS, height), layout=layout, facecolor=PAPER)
    panels = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel in panels[len(cases) :]:
        panel.set_axis_off()
    for panel, case in zip(panels, cases, strict=False):
        _draw_case(panel, case)
    for place, name in enumerate(CLASSES[1:]):
        figure.text(0.01 + 0.035 * place, foot / 3, f"— {name}", color=shade_of(name), fontsize=10)
    text = f"left FLAIR, right T1ce, the slice with the most tumour   |   {number}   |   {RESEARCH_USE.lower()}"
    figure.text(0.14, foot / 3, text, color=INK, fontsize=10)
    return save_figure(figure, path, dpi=90)


def _draw_case(panel: Axes, case: CheckedCase) -> None:
    panel.set_title(case.case_id, color=SIGNAL[case.severity], fontsize=10)
    panel.set_xticks([])
    panel.set_yticks([])
    rows, columns = FRAME
    pixels = np.zeros((rows, 2 * columns, 3), np.uint8)
    if case.view is not None:
        outlines = [(_framed(case.view.label == index), colour_of(CLASSES[index])) for index in OUTER_TO_INNER]
        pixels = np.hstack([outlined(_framed(grey), outlines) for grey in case.view.images])
    panel.imshow(pixels)
    panel.set_xlabel(_caption(case), color=SIGNAL[case.severity], fontsize=8)


def _framed(plane: np.ndarray) -> np.ndarray:
    """A plane in the middle of ``FRAME``; what is larger loses its rim."""
    frame = np.zeros(FRAME, plane.dtype)
    here, there = [], []
    for size, room in zip(plane.shape, FRAME, strict=True):
        shared = min(size, room)
        here.append(slice((size - shared) // 2, (size - shared) // 2 + shared))
        there.append(slice((room - shared) // 2, (room - shared) // 2 + shared))
    frame[tuple(there)] = plane[tuple(here)]
    return frame


def _caption(case: CheckedCase) -> str:
    """The first of its worst problems, or its volumes; notes are left to the table."""
    told = [problem for problem in case.problems if problem.severity == case.severity != "note"]
    if not told:
        return _volumes(case)
    more = f" (+{len(told) - 1})" if len(told) > 1 else ""
    text = f"{told[0].severity}{more}: {told[0].text}"
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 1]}…"


def _volumes(case: CheckedCase) -> str:
    named = [f"{name} {case.facts[f'{name}_ml']:.1f}" for name in CLASSES[1:] if f"{name}_ml" in case.facts]
    return f"{'   '.join(named)} ml" if named else ""


# -- the data set --------------------------------------------------------------------------------------------------


def _draw_volumes(panel: Axes, cases: Sequence[CheckedCase]) -> None:
    """Each case a dot, the median a line, the middle half a bar; volumes of 0 stand apart at the lower end."""
    labelled = [case.facts for case in cases if "WT_ml" in case.facts]
    panel.set_title(f"Volumes of {len(labelled)} labelled cases", fontsize=11)
    if not labelled:
        say_instead(panel, "No case has a readable label.")
        return
    spread = np.random.default_rng(0).uniform(-0.3, 0.3, len(labelled))  # so that dots do not cover each other
    for place, name in enumerate(SHOWN_VOLUMES):
        ml = np.array([facts[f"{name}_ml"] for facts in labelled])
        shown = np.maximum(ml, LEAST_ML)
        colour = shade_of(name)
        low, middle, high = np.maximum(np.percentile(ml, (25, 50, 75)), LEAST_ML)
        panel.bar(place, high - low, 0.7, bottom=low, color=colour, alpha=0.18)
        panel.hlines(middle, place - 0.35, place + 0.35, color=colour, linewidth=2)
        panel.scatter(place + spread[ml > 0], shown[ml > 0], s=11, color=colour, alpha=0.75)
        panel.scatter(place + spread[ml == 0], shown[ml == 0], s=14, facecolors="none", edgecolors=[colour])
    names = [f"{name}\n{int(sum(facts[f'{name}_ml'] > 0 for facts in labelled))} cases" for name in SHOWN_VOLUMES]
    panel.set_xticks(range(len(SHOWN_VOLUMES)), names)
    panel.set_yscale("log")
    panel.set_ylabel("ml (a ring at the lower end: none)")
    panel.grid(axis="y", alpha=0.3)


def _draw_places(figure: Figure, panels: Sequence[Axes], cases: Sequence[CheckedCase]) -> None:
    """Share of cases with tumour, the largest along the line of sight, over the outline of the average brain."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import ListedColormap, Normalize
    from scipy import ndimage

    places = [case.place for case in cases if case.place is not None]
    if not places:
        for panel in panels:
            say_instead(panel, "No case has a readable label.")
        return
    share = np.pad(np.mean([place == TUMOUR for place in places], axis=0), MARGIN)
    brain = np.pad(np.mean([place >= BRAIN for place in places], axis=0), MARGIN)
    brain = ndimage.gaussian_filter(brain, 1)  # so that no point stands out at which every brain touches its box
    colours = ListedColormap(heat(np.linspace(0, 1, 256)) / 255)
    scale = Normalize(0, max(float(share.max()), 1 / len(places)))
    for panel, plane in zip(panels, PLANES, strict=True):
        seen = panel.imshow(_towards(share.max(axis=plane.axis)), cmap=colours, norm=scale, interpolation="bilinear")
        rim = panel.contour(_towards(brain.max(axis=plane.axis)), levels=[0.5], colors="0.4", linewidths=1)
        seen.set_clip_path(rim.get_paths()[0], panel.transData)
        _name_sides(panel, plane)
    figure.colorbar(ScalarMappable(scale, colours), ax=list(panels), shrink=0.7, format="{x:.0%}").set_label(
        f"share of {len(places)} cases with tumour here (the largest along\n"
        "the line of sight), each brain fitted into one box",
        fontsize=9,
    )


def _towards(plane: np.ndarray) -> np.ndarray:
    """Two RAS axes -> rows and columns with the patient's right (or front) on the left, and up or front up."""
    return plane[::-1, ::-1].T


def _name_sides(panel: Axes, plane: Plane) -> None:
    panel.set_title(plane.name, fontsize=11)
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)
    for x, side, where in ((0.0, plane.left, "left"), (1.0, plane.right, "right")):
        panel.text(x, 0.5, side, ha=where, va="center", color="0.4", fontsize=9, transform=panel.transAxes)
