"""Pictures of a training run, from its log: the curves, and how the run went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.pictures.drawing import save_figure, say_instead, shade_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Entries = Sequence[Mapping[str, float]]

SMOOTH_ABOVE = 100
"""Points; longer curves get a running mean over a fiftieth of their length."""
SETS = {"training": "--", "held_out": "-"}
"""Where the log's values without augmentation come from, and their line."""
IN_DYNAMICS = ("minutes", "gradient_norm")


def draw_curves(entries: Entries, path: Path | str) -> Path:
    """A PNG of the losses, the Dice scores, the learning rate, and whatever else the log holds, a panel each.

    Names of one group ("loss/dice", "loss/ce") share a panel. Dice scores are those on fixed patches without
    augmentation; older logs have none, and a log without any line gives a picture that says so.
    """
    from matplotlib.figure import Figure  # slow to import, and needed only here; a bare Figure needs no display

    groups = _curve_groups(entries)
    figure = Figure(figsize=(9, 0.6 + 2.8 * max(1, len(groups))), layout="constrained")
    panels = figure.subplots(max(1, len(groups)), sharex=True, squeeze=False)[:, 0]
    if not groups:
        say_instead(panels[0], "This log has no lines yet.")
    for panel, (group, names) in zip(panels, groups.items(), strict=False):
        for name in names:
            _draw_series(panel, series(entries, name), **_look(name))
        if group == "loss":
            _logarithmic(panel)
        if group == "Dice":
            panel.set_ylim(0, 1)
        _finish(panel, group.replace("_", " "))
        panel.legend(fontsize="small", loc="center left", bbox_to_anchor=(1.01, 0.5))  # beside, not over, the curves
    panels[-1].set_xlabel("step")
    return save_figure(figure, path)


def draw_dynamics(entries: Entries, path: Path | str) -> Path:
    """A PNG of gradient norms, of the gap between training and held-out cases in loss and Dice, and of the speed.

    What an older log, or a run without held-out cases, lacks is said in its panel.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7.5), layout="constrained")
    (norms, speed), (losses, dices) = figure.subplots(2, 2)
    _draw_norms(norms, entries)
    _draw_speed(speed, entries)
    for panel, what, label in ((losses, ["loss"], "loss"), (dices, [f"dice_{r}" for r in REGIONS], "mean Dice")):
        _draw_gap(panel, entries, what)
        _finish(panel, label)
    for panel in (losses, dices):
        panel.set_xlabel("step")
    return save_figure(figure, path)


def series(entries: Entries, name: str) -> np.ndarray:
    """(N, 2) steps and values of one name, in the order of the log; what is missing or not finite is left out."""
    points = [(entry["step"], entry[name]) for entry in entries if np.isfinite(entry.get(name, np.nan))]
    return np.array(points, dtype=float).reshape(-1, 2)


def _curve_groups(entries: Entries) -> dict[str, list[str]]:
    """Names by panel: losses first, then Dice, learning rate, and other groups in the order of the log."""
    names = list(dict.fromkeys(name for entry in entries for name in entry if name != "step"))
    groups: dict[str, list[str]] = {"loss": [], "Dice": [], "learning_rate": []}
    for name in names:
        group, _, rest = name.partition("/")
        if group in SETS:
            if rest.startswith("dice"):
                groups["Dice"].append(name)
        elif group not in IN_DYNAMICS:
            groups.setdefault(group, []).append(name)
    return {group: members for group, members in groups.items() if members}


def _look(name: str) -> dict[str, object]:
    """Line, colour and legend of a curve."""
    group, _, rest = name.partition("/")
    if group in SETS:
        region = rest.removeprefix("dice_")
        colour = {"color": shade_of(region)} if region in REGIONS else {}
        return {"linestyle": SETS[group], "label": f"{region}, {_spoken(group)}", **colour}
    if name == "loss/total":
        return {"color": "black", "linewidth": 2, "label": "total"}
    return {"label": (rest or group).replace("_", " ")}


def _draw_series(panel: Axes, points: np.ndarray, **look: object) -> None:
    """A curve; a long one as its running mean over the pale raw values."""
    if len(points) <= SMOOTH_ABOVE:
        panel.plot(*points.T, marker=".", **look)  # type: ignore[arg-type]
        return
    width = len(points) // 50
    mean = np.convolve(points[:, 1], np.full(width, 1 / width), mode="valid")
    middle = (width - 1) // 2
    (line,) = panel.plot(points[middle : middle + len(mean), 0], mean, **look)  # type: ignore[arg-type]
    panel.plot(*points.T, linewidth=0.5, alpha=0.25, color=line.get_color(), zorder=0)


def _draw_norms(panel: Axes, entries: Entries) -> None:
    points = series(entries, "gradient_norm")
    if len(points):
        _draw_series(panel, points, color="tab:purple", label="before clipping")
        _logarithmic(panel)
    else:
        say_instead(panel, "This log has no gradient norms.")
    _finish(panel, "gradient norm")


def _draw_speed(panel: Axes, entries: Entries) -> None:
    points = series(entries, "minutes")
    passed = np.diff(points, axis=0) if len(points) else points
    timed = passed[:, 1] > 0
    if timed.any():
        rates = np.column_stack([points[1:, 0], passed[:, 0] / np.where(timed, passed[:, 1], 1)])[timed]
        _draw_series(panel, rates, color="tab:brown", label="between two lines of the log")
        whole = passed[:, 0].sum() / passed[:, 1].sum()
        panel.axhline(whole, color="0.5", linestyle=":", label=f"all in all: {whole:.0f}")
        panel.set_ylim(bottom=0)
    else:
        say_instead(panel, "This log has no times.")
    _finish(panel, "steps per minute")


def _draw_gap(panel: Axes, entries: Entries, what: Sequence[str]) -> None:
    """The mean of some values on training and on held-out cases, and what lies between."""
    sets = {name: _mean_series([series(entries, f"{name}/{value}") for value in what]) for name in SETS}
    lacking = " or ".join(_spoken(name) for name, points in sets.items() if not len(points))
    for name, points in sets.items():
        if len(points):
            panel.plot(*points.T, SETS[name], marker=".", color="tab:blue", label=f"{_spoken(name)} cases")
    if not panel.lines:
        say_instead(panel, f"This log has no values of {lacking} cases.")
    elif lacking:
        panel.set_title(f"no {lacking} cases", fontsize=10)
    else:
        seen, unseen = sets["training"], sets["held_out"]
        between = np.interp(seen[:, 0], *unseen.T)
        panel.fill_between(seen[:, 0], seen[:, 1], between, color="tab:blue", alpha=0.15)
        panel.set_title(f"gap at the end: {abs(seen[-1, 1] - between[-1]):.3f}", fontsize=10)


def _mean_series(parts: Sequence[np.ndarray]) -> np.ndarray:
    """(N, 2): the mean over series that have the same steps; empty where one is missing or has others."""
    same = all(np.array_equal(part[:, 0], parts[0][:, 0]) for part in parts)
    return np.mean(parts, axis=0) if same else np.empty((0, 2))


def _logarithmic(panel: Axes) -> None:
    """The parts of a loss differ by factors of a hundred; a term may be zero, or, rarely, negative."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in panel.lines])
    if (values > 0).all():
        panel.set_yscale("log")


def _finish(panel: Axes, label: str) -> None:
    panel.set_ylabel(label)
    panel.grid(alpha=0.3)
    if panel.get_legend_handles_labels()[0]:
        panel.legend(fontsize="small", ncols=2)


def _spoken(name: str) -> str:
    return name.replace("_", "-")
