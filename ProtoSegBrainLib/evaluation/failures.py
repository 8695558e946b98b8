"""Which cases fail: a picture of Dice by volume and by kind of case, and a table of the cases, the worst first."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.evaluation.agreement import KINDS, REST, Agreement, ranked
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.labels import REGION_NAMES, REGIONS
from ProtoSegBrainLib.pictures.drawing import RESEARCH_USE, save_figure, shade_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMED_FAILURES = 3
KIND_MARKS = {"small": ("v", 150), "multi-focal": ("s", 120), "little ET": ("D", 60), "no ET": ("o", 110)}
"""Marks and their areas, in points, large enough to stand around each other."""
LEAST_ML = 0.05
"""Volumes are drawn on a logarithmic scale; what is smaller, or nothing, stands at its left end."""

TICKS_ML = (0.1, 0.3, 1, 3, 10, 30, 100, 300)


def draw_failures(agreements: Sequence[Agreement], path: Path | str) -> Path:
    """A PNG: Dice of each region by its true volume, and of each kind of difficult case against the rest.

    Args:
        agreements: At least one.
        path: Of the picture.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 9.5), layout="constrained")
    by_volume, by_kind = figure.subplots(2, len(REGIONS), sharey=True)
    for panel, region in zip(by_volume, REGIONS, strict=True):
        _draw_by_volume(panel, agreements, region)
    for panel, region in zip(by_kind, REGIONS, strict=True):
        _draw_by_kind(panel, agreements, region)
    handles, labels = by_volume[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(KIND_MARKS))
    meanings = "; ".join(f"{kind}: {meaning}" for kind, meaning in KINDS.items())
    figure.supxlabel(f"By the true label, {meanings}.\n{RESEARCH_USE}.", fontsize=9, color="0.4")
    return save_figure(figure, path)


def write_failures(agreements: Sequence[Agreement], path: Path | str) -> Path:
    """A CSV with a row per case, the worst first: what kind of case it is, true volumes in ml, Dice."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = (f"{what}_{region}" for what in ("truth_ml", "dice") for region in REGIONS)
    writer.writerow(["case_id", "mean_dice", "kinds", "foci", *columns])
    for case in ranked(agreements)[::-1]:
        values = [case.true_ml(region) for region in REGIONS] + [case.dice(region) for region in REGIONS]
        shown = (f"{value:.5g}" for value in values)
        writer.writerow([case.case_id, f"{case.mean_dice:.5g}", "; ".join(case.kinds), case.foci, *shown])
    write_whole(path, text.getvalue())
    return Path(path)


def _of_kind(agreements: Sequence[Agreement], kind: str) -> list[Agreement]:
    return [case for case in agreements if (kind in case.kinds if kind != REST else not case.kinds)]


def _draw_by_volume(panel: Axes, agreements: Sequence[Agreement], region: str) -> None:
    """A point per case, inside the mark of its kind; a case of several kinds has several marks."""
    volumes = {case.case_id: max(case.true_ml(region), LEAST_ML) for case in agreements}
    panel.scatter(list(volumes.values()), [case.dice(region) for case in agreements], 20, color=shade_of(region))
    for kind, (mark, size) in KIND_MARKS.items():
        places = [(volumes[case.case_id], case.dice(region)) for case in _of_kind(agreements, kind)]
        x, y = zip(*places, strict=True) if places else ((), ())
        panel.scatter(x, y, size, marker=mark, facecolors="none", edgecolors="black", label=kind)
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    ticks = [tick for tick in TICKS_ML if low <= tick <= high]
    panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    panel.minorticks_off()
    worst = sorted(agreements, key=lambda case: case.dice(region))[:NAMED_FAILURES]
    middle = np.sqrt(min(volumes.values()) * max(volumes.values()))
    for number, case in enumerate(worst):
        volume, side = volumes[case.case_id], 1 if volumes[case.case_id] <= middle else -1
        place, offset = (volume, case.dice(region)), (9 * side, -10 if number % 2 else 5)
        end = "left" if side > 0 else "right"
        panel.annotate(case.case_id, place, offset, textcoords="offset points", ha=end, fontsize=7)
    nothing = f"; {LEAST_ML:g}: that or less" if LEAST_ML in volumes.values() else ""
    panel.set_xlabel(f"true volume, ml{nothing}")
    panel.set_ylim(-0.05, 1.05)
    panel.set_title(REGION_NAMES[region], fontsize=11)
    panel.set_ylabel("Dice")
    panel.grid(alpha=0.3)


def _draw_by_kind(panel: Axes, agreements: Sequence[Agreement], region: str) -> None:
    rng = np.random.default_rng(0)
    names = []
    for at, kind in enumerate((*KINDS, REST)):
        values = np.array([case.dice(region) for case in _of_kind(agreements, kind)])
        names.append(f"{kind}\nn = {len(values)}")
        if not len(values):
            continue
        panel.scatter(at + rng.uniform(-0.15, 0.15, len(values)), values, 18, color=shade_of(region), alpha=0.6)
        panel.hlines(values.mean(), at - 0.3, at + 0.3, color="black")
        panel.text(at + 0.32, values.mean(), f"{values.mean():.2f}", va="center", fontsize=9)
    panel.set_xticks(range(len(names)), names)
    panel.set_xlim(-0.5, len(names) - 0.3)
    panel.set_ylabel("Dice; the line is the mean")
    panel.grid(axis="y", alpha=0.3)
