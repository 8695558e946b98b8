"""A folder of predictions against the experts' labels: a CSV with one row per case, a JSON summary beside it."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.evaluation.pairs import CARD, Pair, PairReading, over_pairs, pair_up
from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.images.volume import Volume
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.result.metrics import CONVENTION, SCORED, RegionScore, evaluate_label
from ProtoSegBrainLib.result.prediction import what_is_not_found

logger = logging.getLogger(__name__)


ET_TYPICAL_ML = 3.0
"""Cases with less true enhancement are summarised apart: one false ET voxel costs them the whole score."""

METRICS = ("dice", "hausdorff95_mm", "sensitivity", "precision", "surface_dice", "lesion_dice")


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case by region."""

    case_id: str
    scores: dict[str, RegionScore]


@dataclass(frozen=True)
class Statistics:
    """One metric of one region over the cases of a group; `sd` is the sample's, 0 for a single case."""

    mean: float
    median: float
    sd: float


@dataclass(frozen=True)
class RegionSummary:
    """One region over the cases of a group.

    Attributes:
        n: Cases.
        n_empty: Cases whose true region is empty; they count, by the convention.
        metrics: Statistics by name, see ``METRICS``.
    """

    n: int
    n_empty: int
    metrics: dict[str, Statistics]


@dataclass(frozen=True)
class Summary:
    """Scores of a set of predictions.

    Attributes:
        n_cases: Cases scored.
        missing: Cases of the data folder that have no prediction (a fold predicts a part of the cases).
        convention: How empty regions are scored.
        groups: Group ("all", "ET >= 3 ml", "ET < 3 ml", by true volume) -> region -> summary; only groups with cases.
        failed: Why cases with a prediction could not be scored, by case.
        warnings: What a user should know of the others, by case.
        codings: Of "labels" and "predictions": how many were read by which convention.
    """

    n_cases: int
    missing: tuple[str, ...]
    convention: str
    groups: dict[str, dict[str, RegionSummary]]
    failed: dict[str, str] = field(default_factory=dict)
    warnings: dict[str, tuple[str, ...]] = field(default_factory=dict)
    codings: dict[str, dict[str, int]] = field(default_factory=dict)


def evaluate(
    data_folder: Path | str,
    predictions_folder: Path | str,
    out_csv: Path | str,
    on_progress: Progress | None = None,
    *,
    reading: Reading | None = None,
    predicted_labels: str | None = None,
) -> Summary:
    """Score every case of a data folder that has a prediction.

    A case that cannot be scored stops no other; the summary says why. Where a label leaves a part out of its regions
    (the resection cavity of BraTS 2024), the truth there is background, and what is predicted there counts against it.

    Args:
        data_folder: A folder with a folder per case, label included, or the Decathlon's layout.
        predictions_folder: Holds `<case_id>_seg.nii.gz` (or `<case_id>.nii.gz`), or a folder `<case_id>` that does.
        out_csv: Where the scores per case go; the summary goes beside it, ending in .json. Older ones are replaced.
        on_progress: Called with a fraction from 0 to 1 and what is being done.
        reading: What the files of the cases leave open.
        predicted_labels: Coding of the predictions, a key of ``LABEL_CONVENTIONS``; by default the one named in
            `<case_id>_prediction.json`, or else told by the values.

    Returns:
        What the JSON file says.

    Raises:
        FileNotFoundError: No such folder, or no prediction for any case in it.
        ValueError: No case could be scored: without label, a prediction on another grid than its case, or unknown
            label values.
    """
    folder, out_csv = Path(predictions_folder), Path(out_csv)
    if out_csv.suffix.lower() != ".csv":
        raise ValueError(f"Scores per case: expected a file name ending in .csv, got {out_csv}.")
    present, missing = pair_up(data_folder, folder)
    scored = over_pairs(present, score_pair, PairReading(reading, predicted_labels), on_progress)
    for sentence in _what_is_not_found([file.with_name(f"{case.case_id}{CARD}") for case, file in present]):
        logger.warning("%s Its scores of TC and ET mean nothing.", sentence)
    summary = replace(
        summarise(scored.results, missing), failed=scored.failed, warnings=scored.warnings, codings=scored.codings
    )
    _write(out_csv, _table(scored.results))
    _write(out_csv.with_suffix(".json"), json.dumps(asdict(summary), indent=2) + "\n")
    return summary


def score_pair(pair: Pair) -> CaseScores:
    """Score one predicted label map."""
    case = pair.case
    spacing_mm = Volume(pair.predicted, case.affine).spacing_mm
    scores = evaluate_label(pair.predicted, np.asarray(case.label), spacing_mm)
    return CaseScores(case.case_id, {score.region: score for score in scores})


def _what_is_not_found(cards: Iterable[Path]) -> list[str]:
    """What the models of the predictions leave open, a sentence per model, by the JSON files beside the label maps."""
    models = [json.loads(card.read_text(encoding="utf-8")).get("model", {}) for card in cards if card.is_file()]
    sentences = {s for m in models for s in what_is_not_found(m.get("name", "?"), m.get("regions", tuple(REGIONS)))}
    return sorted(sentences)


def summarise(results: list[CaseScores], missing: tuple[str, ...] = ()) -> Summary:
    """Mean, median and standard deviation over all cases, and over those with and without typical enhancement."""
    typical = [result for result in results if result.scores["ET"].truth_ml >= ET_TYPICAL_ML]
    low = [result for result in results if result.scores["ET"].truth_ml < ET_TYPICAL_ML]
    groups = {"all": results, f"ET >= {ET_TYPICAL_ML:g} ml": typical, f"ET < {ET_TYPICAL_ML:g} ml": low}
    summaries = {
        name: {region: _summarise_region([result.scores[region] for result in group]) for region in SCORED}
        for name, group in groups.items()
        if group
    }
    return Summary(len(results), missing, CONVENTION, summaries)


def _summarise_region(scores: list[RegionScore]) -> RegionSummary:
    metrics = {}
    for metric in METRICS:
        values = np.array([getattr(score, metric) for score in scores])
        sd = float(values.std(ddof=1)) if len(values) > 1 else 0.0
        metrics[metric] = Statistics(float(values.mean()), float(np.median(values)), sd)
    return RegionSummary(len(scores), sum(score.truth_ml == 0 for score in scores), metrics)


def _table(results: list[CaseScores]) -> str:
    """One row per case, columns such as dice_WT; lengths in mm, volumes in ml."""
    columns = (*METRICS, "volume_ml", "truth_ml")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case_id", *(f"{column}_{region}" for column in columns for region in SCORED)])
    for result in results:
        values = (getattr(result.scores[region], column) for column in columns for region in SCORED)
        writer.writerow([result.case_id, *(f"{value:.5g}" for value in values)])
    return text.getvalue()


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text)
