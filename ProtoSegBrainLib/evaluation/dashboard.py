"""A picture of how a set of predictions fares: scores by class and region, the confusion of classes, cases ranked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.evaluation.agreement import Agreement, ranked
from ProtoSegBrainLib.labels import CLASSES, REGION_NAMES, REGIONS
from ProtoSegBrainLib.pictures.drawing import RESEARCH_USE, save_figure, shade_of
from ProtoSegBrainLib.result.metrics import CONVENTION, SCORED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCORES = {"precision": Agreement.precision, "recall": Agreement.recall, "Dice": Agreement.dice}
MOST_NAMES = 60
"""More cases than this are ranked without their names."""


def draw_dashboard(agreements: Sequence[Agreement], path: Path | str) -> Path:
    """A PNG: precision, recall and Dice of each class and region, the confusion of classes, the cases ranked.

    Args:
        agreements: At least one.
        path: Of the picture.
    """
    from matplotlib.figure import Figure  # slow to import; a bare Figure needs no display

    figure = Figure(figsize=(15, 10.5), layout="constrained")
    panels = figure.subplot_mosaic([["scores", "scores", "confusion"], ["ranking"] * 3])
    _draw_class_scores(panels["scores"], agreements)
    _draw_confusion(panels["confusion"], agreements)
    _draw_ranking(panels["ranking"], agreements)
    means = ", ".join(f"{region} {np.mean([a.dice(region) for a in agreements]):.3f}" for region in REGIONS)
    figure.suptitle(f"{len(agreements)} cases, mean Dice {means}", fontsize=14)
    figure.supxlabel(f"{RESEARCH_USE}. Scores where a region is empty: {CONVENTION}.", fontsize=8, color="0.4")
    return save_figure(figure, path)


def _draw_class_scores(panel: Axes, agreements: Sequence[Agreement]) -> None:
    """For each class and region a bar (mean) and the cases as points, once for each score."""
    rng = np.random.default_rng(0)
    for at, name in enumerate(SCORED):
        for which, (score, of) in enumerate(SCORES.items()):
            values = np.array([of(case, name) for case in agreements])
            x = at + 0.27 * (which - 1)
            panel.bar(x, values.mean(), 0.25, color=shade_of(name), alpha=0.35 + 0.2 * which)
            panel.scatter(x + rng.uniform(-0.08, 0.08, len(values)), values, s=5, color="black", alpha=0.35, zorder=3)
            panel.text(x, 1.02, f"{values.mean():.2f}", ha="center", fontsize=8)
            panel.text(x, -0.02, score, ha="center", va="top", rotation=60, fontsize=8)
    panel.set_xticks(range(len(SCORED)), [f"\n\n\n{name}" for name in SCORED])
    panel.tick_params(axis="x", length=0)
    panel.set_ylim(0, 1.08)
    panel.set_title("Mean over the cases; a point is a case", fontsize=11)
    panel.grid(axis="y", alpha=0.3)


def _draw_confusion(panel: Axes, agreements: Sequence[Agreement]) -> None:
    """Share of the voxels of each true class that were given each class, and their volume per case."""
    millilitres = np.mean([case.voxels * case.voxel_ml for case in agreements], axis=0)
    totals = millilitres.sum(axis=1, keepdims=True)
    share = millilitres / np.where(totals > 0, totals, 1)
    panel.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (row, column), value in np.ndenumerate(share):
        volume = millilitres[row, column]
        text = f"{value:.1%}\n{volume:.0f} ml" if volume >= 100 else f"{value:.1%}\n{volume:.1f} ml"
        panel.text(column, row, text, ha="center", va="center", color="white" if value > 0.6 else "black", fontsize=9)
    panel.set_xticks(range(len(CLASSES)), CLASSES)
    panel.set_yticks(range(len(CLASSES)), CLASSES, rotation=90, va="center")
    panel.set_xlabel("predicted")
    panel.set_ylabel("true")
    panel.set_title("Of each true class, inside the brain; ml per case", fontsize=11)


def _draw_ranking(panel: Axes, agreements: Sequence[Agreement]) -> None:
    """All cases, the best on the left, with the Dice of each region."""
    cases = ranked(agreements)
    places = np.arange(len(cases))
    panel.bar(places, [case.mean_dice for case in cases], 0.8, color="0.88", label="mean of the three")
    for region in REGIONS:
        values = [case.dice(region) for case in cases]
        panel.plot(places, values, "o", markersize=5, color=shade_of(region), label=REGION_NAMES[region])
    if len(cases) <= MOST_NAMES:
        panel.set_xticks(places, [case.case_id for case in cases], rotation=40, ha="right", fontsize=8)
    else:
        panel.set_xlabel("case")
    panel.set_xlim(-0.7, len(cases) - 0.3)
    panel.set_ylim(-0.02, 1.02)
    panel.set_ylabel("Dice")
    panel.set_title("Cases, ranked", fontsize=11)
    panel.grid(axis="y", alpha=0.3)
    panel.legend(loc="lower left", fontsize="small", ncols=4)
