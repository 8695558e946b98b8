"""What a benchmark found: tables in Markdown, and the same numbers and the scores of each case as CSV.

Networks are compared on the held-out cases that all of them have predicted, so that every row rests on the same cases.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from statistics import mean, median
from typing import Any

from ProtoSegBrainLib.evaluation.comparison import RESAMPLES, Difference, Estimate, difference, estimate
from ProtoSegBrainLib.evaluation.plan import SCORES_NAME, TIMES_NAME, Plan, Run, held_out, trained
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.labels import REGIONS

METRICS = {
    "dice": ("Dice", 3, "Twice the overlap over the sum of both volumes. Higher is better."),
    "hausdorff95_mm": ("HD95 (mm)", 1, "95th percentile of the distances between the surfaces. Lower is better."),
    "lesion_dice": (
        "Lesion-wise Dice",
        3,
        "BraTS 2023: each lesion counts alike, false ones count 0. Higher is better.",
    ),
    "surface_dice": ("Surface Dice at 1 mm", 3, "Share of both surfaces within 1 mm of the other. Higher is better."),
}
"""Title, digits and meaning of what is compared."""
MEAN = "mean"
"""Instead of a region: the mean over the three, case by case."""
COLUMNS = (
    *("network", "metric", "region", "n", "mean", "median", "low", "high"),
    *("difference", "difference_low", "difference_high", "p"),
)
COSTS = ("parameters", "minutes", "patches", "patches_per_second", "peak_memory_mib")
"""What ``train`` writes into a run's summary."""

COMMON = ("minutes", "patch_size", "batch_size", "seed")
"""What the runs of a benchmark must have in common to be compared."""

Scores = Mapping[str, Mapping[str, float]]
"""By case: metric_region -> score."""


@dataclass(frozen=True)
class Entry:
    """One network in the report.

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


def write_report(plan: Plan, path: Path) -> list[Path]:
    """Write the report, ending in .md, and beside it NAME.csv (statistics) and NAME_cases.csv (scores of each case).

    Raises:
        FileNotFoundError: No trained run, or no scores.
        ValueError: Another ending; no case that all networks have predicted; runs that were not trained alike.
    """
    if path.suffix != ".md":
        raise ValueError(f"The report: expected a file name ending in .md, got {path}.")
    runs = trained(plan)
    names = [name for name in plan.names if name in {run.network for run in runs}]
    scores = {name: _read_scores(plan.out / name / SCORES_NAME) for name in names}
    folds = _common_cases(plan, scores)
    case_ids = [case_id for members in folds.values() for case_id in members]
    times, trained_as = _read_times(plan.out / TIMES_NAME), _trained_as(runs)
    entries = [_entry(name, runs, scores, case_ids, times) for name in scores]
    texts = {
        path: _markdown(plan, entries, folds, times, trained_as) + _again(plan, trained_as, path.name),
        path.with_suffix(".csv"): _statistics_table(entries),
        path.with_name(f"{path.stem}_cases.csv"): _case_table(scores, folds),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    for place, text in texts.items():
        write_whole(place, text)
    return list(texts)


# -- what is known -------------------------------------------------------------------------------------------------


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


# -- the CSV files -------------------------------------------------------------------------------------------------


def _statistics_table(entries: Sequence[Entry]) -> str:
    """A row per network, metric and region; costs and times have a mean (of times: a median, too) and no region."""
    rows: list[dict[str, Any]] = []
    for entry in entries:
        for (metric, region), found in entry.estimates.items():
            row = {"network": entry.name, "metric": metric, "region": region, "n": found.n, "mean": found.mean}
            row |= {"median": found.median, "low": found.low, "high": found.high}
            if against := entry.differences.get((metric, region)):
                away = against.estimate
                row |= {"difference": away.mean, "difference_low": away.low, "difference_high": away.high}
                row |= {"p": against.p}
            rows.append(row)
        rows += [{"network": entry.name, "metric": cost, "mean": value} for cost, value in entry.costs.items()]
        for device, known in entry.times.items():
            for kind in ("seconds", "processor_seconds"):
                of_cases = {"n": len(known[kind]), "mean": mean(known[kind]), "median": median(known[kind])}
                rows.append({"network": entry.name, "metric": f"{kind}_per_case_{device}", **of_cases})
            memory = {"metric": f"peak_memory_mib_{device}", "mean": known["peak_memory_mib"]}
            rows.append({"network": entry.name, **memory})
    return _csv(COLUMNS, ([row.get(column) for column in COLUMNS] for row in rows))


def _case_table(scores: Mapping[str, Scores], folds: Mapping[str, Sequence[str]]) -> str:
    columns = [f"{metric}_{region}" for metric in METRICS for region in REGIONS]
    rows = (
        [name, fold, case_id, *(known[case_id][column] for column in columns)]
        for name, known in scores.items()
        for fold, case_ids in folds.items()
        for case_id in case_ids
    )
    return _csv(["network", "fold", "case_id", *columns], rows)


def _csv(columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if _is_unknown(v) else f"{v:.6g}" if isinstance(v, float) else v for v in row])
    return text.getvalue()


# -- the page ------------------------------------------------------------------------------------------------------


def _markdown(
    plan: Plan,
    entries: Sequence[Entry],
    folds: Mapping[str, Sequence[str]],
    times: Mapping[str, Any],
    trained_as: Mapping[str, Any],
) -> str:
    sections = [
        "# Benchmark",
        _setting(plan, entries, folds, trained_as),
        _headline(entries),
        "Difference: mean Dice minus that of the first row, case by case, with its bootstrap 95 % interval and the "
        "Wilcoxon signed-rank p (not corrected for the number of comparisons).",
        "## What it costs",
        _cost_table(entries, times),
        _timing_note(times),
        "## What is equal, what is not",
        _fairness(entries, trained_as) + (f"\n- {plan.config.remark}" if plan.config.remark else ""),
    ]
    for metric, (title, _, meaning) in METRICS.items():
        sections += [f"## {title}", meaning, _metric_table(entries, metric)]
    return "\n\n".join(sections) + "\n"


def _setting(
    plan: Plan, entries: Sequence[Entry], folds: Mapping[str, Sequence[str]], trained_as: Mapping[str, Any]
) -> str:
    n_cases = sum(map(len, folds.values()))
    absent = [name for name in plan.names if name not in {entry.name for entry in entries}]
    missing = f" Not trained, and so not in the tables: {', '.join(absent)}." if absent else ""
    which = "fold" if len(folds) == 1 else "folds"
    return (
        f"All figures are research figures. {len(entries)} networks, each trained for {trained_as['minutes']:g} minutes"
        f" with {which} {', '.join(folds)} of `{plan.splits.name}` held out, on the {n_cases} held-out cases that all"
        " of them predicted. Empty regions: both empty = 1 or 0 mm; one empty = 0 or 373.13 mm (lesion-wise Dice has"
        f" its own rules). Intervals: percentile bootstrap over the cases, {RESAMPLES:,} resamples.{missing}"
    )


def _headline(entries: Sequence[Entry]) -> str:
    rows = []
    for entry in entries:
        dices = [_mean_of(entry, region) for region in (MEAN, *REGIONS)]
        rows.append([f"`{entry.name}`", *dices, _difference(entry, ("dice", MEAN), 3)])
    table = _table(["network", "Dice, mean of the three", *REGIONS, "difference [95 %], p"], rows)
    return f"{table}\n\n{_sentence(entries)}"


def _sentence(entries: Sequence[Entry]) -> str:
    """Who leads in mean Dice, and how the reference compares with the best of the others."""
    first, *others = (entry for entry in entries if ("dice", MEAN) in entry.estimates)
    if not others:
        return f"Only `{first.name}` finds all three regions."
    best = max(others, key=lambda entry: entry.estimates["dice", MEAN].mean)
    own, other = (entry.estimates["dice", MEAN].mean for entry in (first, best))
    verb = "is ahead of" if own > other else "is behind" if own < other else "equals"
    return f"`{first.name}` {verb} the best of the others, `{best.name}`: mean Dice {own:.3f} and {other:.3f}."


def _cost_table(entries: Sequence[Entry], times: Mapping[str, Any]) -> str:
    header = ["network", "parameters", "minutes", "patches", "patches/s", "memory, training (MiB)"]
    for device in times:
        header += [f"s per case, {device}", "× first row", "processor s", "memory (MiB)"]
    rows = []
    for entry in entries:
        row = [f"`{entry.name}`"]
        row += [_number(entry.costs[cost], digits) for cost, digits in zip(COSTS, (0, 1, 0, 2, 0), strict=True)]
        for device in times:
            row += _time_cells(entry, entries[0], device)
        rows.append(row)
    return _table(header, rows)


def _time_cells(entry: Entry, first: Entry, device: str) -> list[str]:
    if device not in entry.times:
        return ["–"] * 4
    known = entry.times[device]
    seconds = median(known["seconds"])
    ratio = seconds / median(first.times[device]["seconds"]) if device in first.times else None
    cells = [_number(seconds, 2), _number(ratio, 1), _number(median(known["processor_seconds"]), 2)]
    return [*cells, _number(known["peak_memory_mib"], 0)]


def _timing_note(times: Mapping[str, Any]) -> str:
    if not times:
        return "The networks were not timed."
    notes = [
        f"{device}: {known['machine']}, {known['date']}, median over {len(known['cases'])} of the cases; "
        + ", ".join(f"{name} in {each['device'].split()[-1]}" for name, each in known["networks"].items())
        for device, known in times.items()
    ]
    return (
        "Seconds per case: from the files of a case to the files of its result, without the start of Python and the "
        "loading of the model; after a warm-up, the networks in turn, a process each. Processor s: the same, summed "
        "over the threads; a busy machine disturbs it less. "
        + ". ".join(notes)
        + ". Memory: the most that the process held (training: the GPU's where it trained there)."
    )


def _fairness(entries: Sequence[Entry], trained_as: Mapping[str, Any]) -> str:
    seen = [entry.costs["patches"] for entry in entries if entry.costs["patches"]]
    rates = ", ".join(f"`{entry.name}` {entry.learning_rate:g}" for entry in entries)
    points = [
        f"- Equal: cases and folds, {trained_as['minutes']:g} minutes of training, patches of "
        f"{trained_as['patch_size']}³ voxels, {trained_as['batch_size']} a step, how they are drawn and augmented, "
        f"seed {trained_as['seed']}, averaged weights; prediction from the files as `segment` does it, without "
        "calibration, test-time augmentation or minimum volumes.",
        "- Each network's own: loss, optimiser, schedule, the whole brain in one window or in several, learning rate "
        f"(raised where it was made for days of training: {rates}).",
        "- Networks with prototypes spend a share of their minutes on projecting the prototypes and fitting the last "
        "layer again; the others train to the end.",
        "- One run each: what another seed would change is not in the intervals.",
    ]
    if seen:
        points.append(
            f"- Within the same minutes the networks see between {min(seen):,.0f} and {max(seen):,.0f} patches; on "
            "faster machines, or with more minutes, large networks may come out better than here."
        )
    return "\n".join(points)


def _metric_table(entries: Sequence[Entry], metric: str) -> str:
    digits = METRICS[metric][1]
    rows = []
    for region in (*REGIONS, MEAN):
        for entry in entries:
            if found := entry.estimates.get((metric, region)):
                interval = f"{found.mean:.{digits}f}{_interval(found, digits)}"
                cells = [interval, f"{found.median:.{digits}f}", _difference(entry, (metric, region), digits)]
                rows.append([region, f"`{entry.name}`", *cells])
    return _table(["region", "network", "mean [95 %]", "median", "difference [95 %], p"], rows)


def _mean_of(entry: Entry, region: str) -> str:
    found = entry.estimates.get(("dice", region))
    return f"{found.mean:.3f}" if found else "–"


def _difference(entry: Entry, place: tuple[str, str], digits: int) -> str:
    against = entry.differences.get(place)
    if against is None:
        return "–"
    p = "p –" if isnan(against.p) else f"p {against.p:.3f}" if against.p >= 0.001 else "p < .001"
    return f"{against.estimate.mean:+.{digits}f}{_interval(against.estimate, digits)}, {p}"


def _interval(found: Estimate, digits: int) -> str:
    return "" if isnan(found.low) else f" [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _is_unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and isnan(value))


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(header), *lines[1:]])


def _again(plan: Plan, trained_as: Mapping[str, Any], name: str) -> str:
    flags = [f"--{name.replace('_', '-')} {value:g}" for name, value in trained_as.items()]
    return (
        "\n## Again\n\n```\n"
        f"protosegbrain benchmark --data DATA --splits {plan.splits.name} --networks {' '.join(plan.names)} \\\n"
        f"    --folds {' '.join(plan.folds)} {' '.join(flags)} --out RUNS --report {name}\n"
        "```\n"
    )
