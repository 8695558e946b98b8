"""The report of a benchmark: tables in Markdown, and the same numbers and the scores of each case as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from math import isnan
from pathlib import Path
from statistics import mean, median
from typing import Any

from ProtoSegBrainLib.evaluation.comparison import RESAMPLES, Estimate
from ProtoSegBrainLib.evaluation.outcome import COSTS, MEAN, METRICS, Entry, Outcome, outcome_of
from ProtoSegBrainLib.evaluation.plan import Plan
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.labels import REGIONS

TITLES = {
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
COLUMNS = (
    *("network", "metric", "region", "n", "mean", "median", "low", "high"),
    *("difference", "difference_low", "difference_high", "p"),
)


def write_report(plan: Plan, path: Path) -> list[Path]:
    """Write the report, ending in .md, and beside it NAME.csv (statistics) and NAME_cases.csv (scores of each case).

    Raises:
        FileNotFoundError: As ``outcome_of``.
        ValueError: As ``outcome_of``; or another ending.
    """
    if path.suffix != ".md":
        raise ValueError(f"The report: expected a file name ending in .md, got {path}.")
    outcome = outcome_of(plan)
    texts = {
        path: _page(plan, outcome) + _again(plan, outcome, path.name),
        path.with_suffix(".csv"): _statistics_table(outcome.entries),
        path.with_name(f"{path.stem}_cases.csv"): _case_table(outcome),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    for place, text in texts.items():
        write_whole(place, text)
    return list(texts)


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


def _case_table(outcome: Outcome) -> str:
    columns = [f"{metric}_{region}" for metric in METRICS for region in REGIONS]
    rows = (
        [name, fold, case_id, *(known[case_id][column] for column in columns)]
        for name, known in outcome.scores.items()
        for fold, case_ids in outcome.folds.items()
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


def _page(plan: Plan, outcome: Outcome) -> str:
    sections = [
        "# Benchmark",
        _setting(plan, outcome),
        _headline(outcome.entries),
        "Difference: mean Dice minus that of the first row, case by case, with its bootstrap 95 % interval and the "
        "Wilcoxon signed-rank p (not corrected for the number of comparisons).",
        "## What it costs",
        _cost_table(outcome),
        _timing_note(outcome.times),
        "## What is equal, what is not",
        _fairness(outcome) + (f"\n- {plan.config.remark}" if plan.config.remark else ""),
    ]
    for metric, (title, _, meaning) in TITLES.items():
        sections += [f"## {title}", meaning, _metric_table(outcome.entries, metric)]
    return "\n\n".join(sections) + "\n"


def _setting(plan: Plan, outcome: Outcome) -> str:
    entries, folds = outcome.entries, outcome.folds
    n_cases = sum(map(len, folds.values()))
    absent = [name for name in plan.names if name not in {entry.name for entry in entries}]
    missing = f" Not trained, and so not in the tables: {', '.join(absent)}." if absent else ""
    which = "fold" if len(folds) == 1 else "folds"
    return (
        f"All figures are research figures. {len(entries)} networks, each trained for "
        f"{outcome.trained_as['minutes']:g} minutes with {which} {', '.join(folds)} of `{plan.splits.name}` held out, "
        f"on the {n_cases} held-out cases that all of them predicted. Empty regions: both empty = 1 or 0 mm; one empty "
        "= 0 or 373.13 mm (lesion-wise Dice has its own rules). Intervals: percentile bootstrap over the cases, "
        f"{RESAMPLES:,} resamples.{missing}"
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


def _cost_table(outcome: Outcome) -> str:
    entries, times = outcome.entries, outcome.times
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


def _fairness(outcome: Outcome) -> str:
    entries, trained_as = outcome.entries, outcome.trained_as
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
    digits = TITLES[metric][1]
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


def _again(plan: Plan, outcome: Outcome, name: str) -> str:
    flags = [f"--{name.replace('_', '-')} {value:g}" for name, value in outcome.trained_as.items()]
    return (
        "\n## Again\n\n```\n"
        f"protosegbrain benchmark --data DATA --splits {plan.splits.name} --networks {' '.join(plan.names)} \\\n"
        f"    --folds {' '.join(plan.folds)} {' '.join(flags)} --out RUNS --report {name}\n"
        "```\n"
    )
