"""What a benchmark came to: scores of its networks over the cases that all of them predicted, costs and times.

So every row of its report rests on the same cases.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from ProtoSegBrainLib.evaluation.comparison import Difference, Estimate, difference, estimate
from ProtoSegBrainLib.evaluation.plan import SCORES_NAME, TIMES_NAME, Plan, Run, held_out, trained
from ProtoSegBrainLib.labels import REGIONS

METRICS = ("dice", "hausdorff95_mm", "lesion_dice", "surface_dice")
"""What is compared."""
MEAN = "mean"
"""Instead of a region: the mean over the three, case by case."""
COSTS = ("parameters", "minutes", "patches", "patches_per_second", "peak_memory_mib")
"""What ``train`` writes into a run's summary."""

COMMON = ("minutes", "patch_size", "batch_size", "seed")
"""What the runs of a benchmark must have in common to be compared."""

Scores = Mapping[str, Mapping[str, float]]
"""By case: metric_region -> score."""


@dataclass(frozen=True)
class Entry:
    """One network.

    Attributes:
        name: Its configuration's.
        learning_rate: The highest of its training.
        estimates: By metric and region that it finds (and ``MEAN``, where it finds all three), over the common cases.
        differences: The same minus the first network's; {} for that one itself.
        costs: Of its training, by ``COSTS``: means over the folds, of the memory the largest; None where unknown.
        times: By device: what ``timing.Times`` holds; {} where it was not timed.
    """

    name: str
    learning_rate: float
    estimates: dict[tuple[str, str], Estimate]
    differences: dict[tuple[str, str], Difference]
    costs: dict[str, float | None]
    times: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Outcome:
    """A benchmark's networks, and what they have in common.

    Attributes:
        entries: Of the networks that are trained, in the order of the plan.
        scores: By network, of each case that it predicted.
        folds: By fold, its held-out cases that every network predicted; only folds with any.
        times: By device: machine, date, cases, and the times of each network; {} where none was timed.
        trained_as: By ``COMMON``, how all of them were trained.
    """

    entries: tuple[Entry, ...]
    scores: dict[str, Scores]
    folds: dict[str, list[str]]
    times: dict[str, Any]
    trained_as: dict[str, Any]


def outcome_of(plan: Plan) -> Outcome:
    """Read what the runs of a plan left, and compare each network with the first.

    Raises:
        FileNotFoundError: No trained run, or no scores.
        ValueError: No case that all networks have predicted, or runs that were not trained alike.
    """
    runs = trained(plan)
    names = [name for name in plan.names if name in {run.network for run in runs}]
    scores: dict[str, Scores] = {name: _read_scores(plan.out / name / SCORES_NAME) for name in names}
    folds = _common_cases(plan, scores)
    case_ids = [case_id for members in folds.values() for case_id in members]
    times, trained_as = _read_times(plan.out / TIMES_NAME), _trained_as(runs)
    entries = tuple(_entry(name, runs, scores, case_ids, times) for name in scores)
    return Outcome(entries, scores, folds, times, trained_as)


def _read_scores(path: Path) -> dict[str, dict[str, float]]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; do the stage predict first.")
    with path.open(encoding="utf-8", newline="") as file:
        return {row.pop("case_id"): {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)}


def _read_times(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _trained_as(runs: Sequence[Run]) -> dict[str, Any]:
    """What the runs have in common, by ``COMMON``, as their cards say.

    Raises:
        ValueError: They differ in it.
    """
    from ProtoSegBrainLib.network.weights import read_card

    found: dict[str, dict[Any, list[str]]] = {name: {} for name in COMMON}
    for run in runs:
        config = read_card(run.model).training["config"]
        for name in COMMON:
            value = config["sampling"][name] if name == "patch_size" else config[name]
            found[name].setdefault(value, []).append(run.name)
    for name, values in found.items():
        if len(values) > 1:
            which = "; ".join(f"{value:g} for {' and '.join(names)}" for value, names in values.items())
            raise ValueError(
                f"The runs were not trained alike, {name}: {which}. Leave out the odd ones or train again."
            )
    return {name: next(iter(values)) for name, values in found.items()}


def _common_cases(plan: Plan, scores: Mapping[str, Scores]) -> dict[str, list[str]]:
    """By fold: its held-out cases that every network has predicted; only folds with any."""
    folds = {fold: [c for c in held_out(plan, fold) if all(c in s for s in scores.values())] for fold in plan.folds}
    folds = {fold: case_ids for fold, case_ids in folds.items() if case_ids}
    if not folds:
        raise ValueError(f"{plan.out}: no held-out case was predicted by all of {', '.join(scores)}.")
    return folds


def _entry(
    name: str,
    runs: Sequence[Run],
    scores: Mapping[str, Scores],
    case_ids: Sequence[str],
    times: Mapping[str, Any],
) -> Entry:
    from ProtoSegBrainLib.network.networks import regions_of
    from ProtoSegBrainLib.network.weights import read_card

    own_runs = [run for run in runs if run.network == name]
    card = read_card(own_runs[0].model)
    regions = regions_of(card.model)
    columns = {metric: _by_region(scores[name], case_ids, metric, regions) for metric in METRICS}
    first = next(iter(scores))
    reference = {metric: _by_region(scores[first], case_ids, metric, regions) for metric in METRICS}
    places = [(metric, region) for metric in METRICS for region in columns[metric]]
    return Entry(
        name,
        card.training["config"]["learning_rate"],
        {(m, r): estimate(columns[m][r]) for m, r in places},
        {} if name == first else {(m, r): difference(columns[m][r], reference[m][r]) for m, r in places},
        _costs(own_runs),
        {device: known["networks"][name] for device, known in times.items() if name in known["networks"]},
    )


def _by_region(scores: Scores, case_ids: Sequence[str], metric: str, regions: Sequence[str]) -> dict[str, list[float]]:
    """Scores of the cases, in order; with all three regions their mean, too."""
    columns = {region: [scores[case_id][f"{metric}_{region}"] for case_id in case_ids] for region in regions}
    if len(regions) == len(REGIONS):
        columns[MEAN] = [mean(values) for values in zip(*columns.values(), strict=True)]
    return columns


def _costs(runs: Sequence[Run]) -> dict[str, float | None]:
    summaries = [json.loads((run.folder / "summary.json").read_text(encoding="utf-8")) for run in runs]
    costs: dict[str, float | None] = {}
    for cost in COSTS:
        values = [summary[cost] for summary in summaries if summary.get(cost) is not None]
        costs[cost] = None if not values else max(values) if cost == "peak_memory_mib" else mean(values)
    return costs
