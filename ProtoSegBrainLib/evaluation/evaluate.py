"""A folder of predictions against the experts' labels: a CSV with one row per case, a JSON summary beside it."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.files import write_whole
from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.codings import decode_label
from ProtoSegBrainLib.images.naming import list_cases
from ProtoSegBrainLib.images.volume import Volume, read_volume, same_grid
from ProtoSegBrainLib.labels import LABEL_CONVENTIONS, REGIONS
from ProtoSegBrainLib.progress import Progress
from ProtoSegBrainLib.result.metrics import CONVENTION, SCORED, RegionScore, evaluate_label
from ProtoSegBrainLib.result.prediction import what_is_not_found

logger = logging.getLogger(__name__)


ET_TYPICAL_ML = 3.0
"""Cases with less true enhancement are summarised apart: one false ET voxel costs them the whole score."""

METRICS = ("dice", "hausdorff95_mm", "sensitivity", "precision", "surface_dice", "lesion_dice")
_CARD = "_prediction.json"
PREDICTION_NAMES = ("{}_seg.nii.gz", "{}-seg.nii.gz", "{}.nii.gz", "{}_seg.nii", "{}.nii")


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
    """

    n_cases: int
    missing: tuple[str, ...]
    convention: str
    groups: dict[str, dict[str, RegionSummary]]


def evaluate(
    data_folder: Path | str, predictions_folder: Path | str, out_csv: Path | str, on_progress: Progress | None = None
) -> Summary:
    """Score every case of a data folder that has a prediction.

    Args:
        data_folder: A folder with a folder per case, label included, or the Decathlon's layout.
        predictions_folder: Holds `<case_id>_seg.nii.gz` (or `<case_id>.nii.gz`), or a folder `<case_id>` that does. The
            label coding is the one named in `<case_id>_prediction.json`, or else is told by the values.
        out_csv: Where the scores per case go; the summary goes beside it, ending in .json. Older ones are replaced.
        on_progress: Called with a fraction from 0 to 1 and what is being done.

    Returns:
        What the JSON file says.

    Raises:
        FileNotFoundError: No such folder, or no prediction for any case in it.
        ValueError: A case without label, a prediction on another grid than its case, or unknown label values.
    """
    folder, out_csv = Path(predictions_folder), Path(out_csv)
    if out_csv.suffix.lower() != ".csv":
        raise ValueError(f"Scores per case: expected a file name ending in .csv, got {out_csv}.")
    present, missing = pair_up(data_folder, folder)
    results = []
    for number, (place, file) in enumerate(present):
        results.append(score_case(read_case(place), file))
        if on_progress:
            on_progress((number + 1) / len(present), f"Scoring {results[-1].case_id}")
    cards = [file.with_name(f"{r.case_id}{_CARD}") for r, (_, file) in zip(results, present, strict=True)]
    for sentence in _what_is_not_found(cards):
        logger.warning("%s Its scores of TC and ET mean nothing.", sentence)
    summary = summarise(results, missing)
    _write(out_csv, _table(results))
    _write(out_csv.with_suffix(".json"), json.dumps(asdict(summary), indent=2) + "\n")
    return summary


def pair_up(data_folder: Path | str, predictions_folder: Path | str) -> tuple[list[tuple[Path, Path]], tuple[str, ...]]:
    """What ``read_case`` takes with the predicted label map, of every case that has one; ids of those that have none.

    Raises:
        FileNotFoundError: No such folder, or no prediction for any case in it.
    """
    folder = Path(predictions_folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder of predictions {folder}.")
    cases = list_cases(data_folder)
    files = {case_id: find_prediction(folder, case_id) for case_id, _ in cases}
    missing = tuple(case_id for case_id, file in files.items() if file is None)
    if len(missing) == len(cases):
        raise FileNotFoundError(
            f"{folder}: no prediction found for any of the {len(cases)} cases of {data_folder}; expected names such as "
            f"{PREDICTION_NAMES[0].format(cases[0][0])}."
        )
    if missing:
        logger.warning("no prediction for %d of %d cases: %s", len(missing), len(cases), ", ".join(missing))
    return [(place, file) for case_id, place in cases if (file := files[case_id])], missing


def find_prediction(folder: Path, case_id: str) -> Path | None:
    """The predicted label map of a case, in the folder or in its subfolder of the case's name."""
    places = (place / name.format(case_id) for place in (folder, folder / case_id) for name in PREDICTION_NAMES)
    return next((path for path in places if path.is_file()), None)


def score_case(case: Case, file: Path) -> CaseScores:
    """Score one predicted label map.

    Raises:
        ValueError: As in ``predicted_label``.
    """
    label = predicted_label(case, file)
    spacing_mm = Volume(label, case.affine).spacing_mm
    return CaseScores(case.case_id, {s.region: s for s in evaluate_label(label, np.asarray(case.label), spacing_mm)})


def predicted_label(case: Case, file: Path) -> np.ndarray:
    """(X, Y, Z) uint8 class indices of a predicted label map, on the grid of the case and its label.

    Raises:
        ValueError: The case has no label, or the prediction lies on another grid, is the expert's label itself, or has
            unknown label values.
    """
    if case.label is None:
        raise ValueError(f"Case {case.case_id} has no label to score {file} against.")
    if "label" in case.files and file.resolve() == Path(case.files["label"]).resolve():
        raise ValueError(f"{file} is the expert's label of case {case.case_id}; expected a folder of predictions.")
    volume = read_volume(file)
    if not same_grid(volume, case.label.shape, case.affine):
        raise ValueError(
            f"{file}: expected the grid of case {case.case_id}, shape {case.label.shape} and affine "
            f"{np.round(case.affine, 3).tolist()}; got shape {volume.shape} and affine "
            f"{np.round(volume.affine, 3).tolist()}. Map the prediction back to its input first."
        )
    try:
        label, _ = decode_label(volume.array, _coding(file, case))
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    return label


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


def _coding(file: Path, case: Case) -> str | None:
    """The label convention of a prediction, where its JSON file names it; the values 1 and 2 mean two things."""
    beside = file.with_name(f"{case.case_id}{_CARD}")
    if not beside.is_file():
        return "msd" if case.label_convention == "msd" else None
    try:
        convention = json.loads(beside.read_text(encoding="utf-8"))["label_coding"]["convention"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{beside}: expected the label coding of {file.name} under label_coding.convention."
        ) from error
    if convention not in LABEL_CONVENTIONS:
        raise ValueError(f"{beside}: unknown label convention {convention!r}; known: {', '.join(LABEL_CONVENTIONS)}.")
    return str(convention)


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
