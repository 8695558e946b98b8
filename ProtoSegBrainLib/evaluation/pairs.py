"""A case and what was predicted for it: which file that is, in which coding, and on which grid.

A pair that cannot be read stops no other: it is an entry with its reason.
"""

from __future__ import annotations

import itertools
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from ProtoSegBrainLib.errors import BAD_INPUT
from ProtoSegBrainLib.images.case import Case, read_case
from ProtoSegBrainLib.images.checks import sentences_of
from ProtoSegBrainLib.images.codings import BY_VALUES, READ_OTHERWISE, classes_of, label_values, written_values
from ProtoSegBrainLib.images.folders import CaseFiles, list_cases
from ProtoSegBrainLib.images.formats import read_volume
from ProtoSegBrainLib.images.study import Reading
from ProtoSegBrainLib.images.volume import same_grid
from ProtoSegBrainLib.labels import CLASSES, LABEL_CONVENTIONS, listed
from ProtoSegBrainLib.progress import Progress

logger = logging.getLogger(__name__)

Result = TypeVar("Result")
Files = tuple[CaseFiles, Path]
"""A case and its predicted label map, before either is opened."""

CARD = "_prediction.json"
PREDICTION_NAMES = ("{}_seg.nii.gz", "{}-seg.nii.gz", "{}.nii.gz", "{}_seg.nii", "{}.nii")
CLEARLY_BETTER = 0.2
"""By which another coding must raise the mean Dice of the classes to be named."""


@dataclass(frozen=True)
class PairReading:
    """How the files of pairs are read.

    Attributes:
        case: Images and labels; None: as ``read_case`` does by itself.
        predicted_labels: Coding of the predictions; None: the one named in the JSON file beside each, or else told by
            its values.
    """

    case: Reading | None = None
    predicted_labels: str | None = None


@dataclass(frozen=True, eq=False)
class Pair:
    """A case with its label, and what was predicted for it.

    Attributes:
        case: With its label.
        predicted: (X, Y, Z) uint8 class indices on the case's grid.
        convention: By which the prediction was read.
        warnings: Of both.
    """

    case: Case
    predicted: np.ndarray
    convention: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcomes(Generic[Result]):
    """What came of the pairs, in their order.

    Attributes:
        results: Of those that could be read.
        failed: Why the others could not, by case.
        warnings: What a user should know of those that were read, by case; only cases with some.
        codings: Of "labels" and of "predictions": how many were read by which convention.
    """

    results: list[Result]
    failed: dict[str, str]
    warnings: dict[str, tuple[str, ...]]
    codings: dict[str, dict[str, int]]

    @property
    def sentences(self) -> list[str]:
        """Failures and warnings for a person: each sentence once, with the cases that it is of."""
        failed = {case_id: (f"failed: {reason}",) for case_id, reason in self.failed.items()}
        return sentences_of({**failed, **self.warnings})


# -- which files ---------------------------------------------------------------------------------------------------


def pair_up(data_folder: Path | str, predictions_folder: Path | str) -> tuple[list[Files], tuple[str, ...]]:
    """Each case that has a predicted label map, with it; ids of those that have none.

    Raises:
        FileNotFoundError: No such folder, or no prediction for any case in it.
    """
    folder = Path(predictions_folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"There is no folder of predictions {folder}.")
    cases = list_cases(data_folder)
    files = {case.case_id: find_prediction(folder, case.case_id) for case in cases}
    missing = tuple(case_id for case_id, file in files.items() if file is None)
    if len(missing) == len(files):
        raise FileNotFoundError(
            f"{folder}: no prediction found for any of the {len(cases)} cases of {data_folder}; expected names such as "
            f"{PREDICTION_NAMES[0].format(cases[0].case_id)}."
        )
    if missing:
        logger.warning("no prediction for %d of %d cases: %s", len(missing), len(cases), ", ".join(missing))
    return [(case, file) for case in cases if (file := files[case.case_id])], missing


def find_prediction(folder: Path, case_id: str) -> Path | None:
    """The predicted label map of a case, in the folder or in its subfolder of the case's name."""
    places = (place / name.format(case_id) for place in (folder, folder / case_id) for name in PREDICTION_NAMES)
    return next((path for path in places if path.is_file()), None)


# -- reading -------------------------------------------------------------------------------------------------------


def over_pairs(
    pairs: Sequence[Files],
    work: Callable[[Pair], Result],
    reading: PairReading | None = None,
    on_progress: Progress | None = None,
) -> Outcomes[Result]:
    """Read every pair and do the work on it, two at a time.

    Raises:
        ValueError: None could be read.
    """

    def one(files: Files) -> tuple[Pair, Result] | str:
        try:
            pair = read_pair(*files, reading)
        except BAD_INPUT as error:
            return str(error)
        return _without_images(pair), work(pair)

    outcomes: Outcomes[Result] = Outcomes([], {}, {}, {})
    labels: Counter[str] = Counter()
    predictions: Counter[str] = Counter()
    with ThreadPoolExecutor(2) as pool:
        for number, ((files, _), came) in enumerate(zip(pairs, pool.map(one, pairs), strict=True), start=1):
            if isinstance(came, str):
                outcomes.failed[files.case_id] = came
            else:
                pair, result = came
                outcomes.results.append(result)
                labels[str(pair.case.label_convention)] += 1
                predictions[pair.convention] += 1
                if pair.warnings:
                    outcomes.warnings[files.case_id] = pair.warnings
            if on_progress:
                on_progress(number / len(pairs), f"Comparing {files.case_id}")
    if not outcomes.results:
        raise ValueError(" ".join(dict.fromkeys(outcomes.failed.values())))
    outcomes.codings.update(labels=dict(labels), predictions=dict(predictions))
    for sentence in outcomes.sentences:
        logger.warning("%s", sentence)
    return outcomes


def read_pair(files: CaseFiles, file: Path, reading: PairReading | None = None) -> Pair:
    """Read a case with its label, and the label map that was predicted for it.

    Raises:
        FileNotFoundError: A modality is missing.
        ValueError: The case cannot be read or has no label, or the prediction lies on another grid, is the expert's
            label itself, or has unknown label values.
    """
    reading = reading or PairReading()
    case = read_case(files, reading=reading.case)
    if case.label is None:
        raise ValueError(f"Case {case.case_id} has no label to score {file} against.")
    if "label" in case.files and file.resolve() == Path(case.files["label"]).resolve():
        raise ValueError(f"{file} is the expert's label of case {case.case_id}; expected a folder of predictions.")
    volume = read_volume(file, reading.case.geometry if reading.case else None)
    if not same_grid(volume, case.label.shape, case.affine):
        raise ValueError(
            f"{file}: expected the grid of case {case.case_id}, shape {case.label.shape} and affine "
            f"{np.round(case.affine, 3).tolist()}; got shape {volume.shape} and affine "
            f"{np.round(volume.affine, 3).tolist()}. Map the prediction back to its input first."
        )
    named = reading.predicted_labels or _named_beside(file, case.case_id)
    try:
        values, convention = label_values(volume.array, named)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from error
    voxels, of_label = _counted(np.asarray(case.label), values), str(case.label_convention)
    if not named:
        convention = _likely(voxels, convention, of_label)
    doubted = any(sentence.startswith(READ_OTHERWISE) for sentence in case.warnings)
    label_named = reading.case is not None and reading.case.labels is not None
    doubts = [] if doubted else _doubts(voxels, convention, of_label, predicted=not named, label=not label_named)
    return Pair(case, classes_of(values, convention), convention, (*case.warnings, *doubts))


def _named_beside(file: Path, case_id: str) -> str | None:
    """The label convention of a prediction, where its JSON file names it."""
    beside = file.with_name(f"{case_id}{CARD}")
    if not beside.is_file():
        return None
    try:
        convention = json.loads(beside.read_text(encoding="utf-8"))["label_coding"]["convention"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{beside}: expected the label coding of {file.name} under label_coding.convention."
        ) from error
    if convention not in LABEL_CONVENTIONS:
        raise ValueError(f"{beside}: unknown label convention {convention!r}; known: {', '.join(LABEL_CONVENTIONS)}.")
    return str(convention)


def _likely(voxels: np.ndarray, by_values: str, of_label: str) -> str:
    """Of the codings that a prediction may have: the label's own, or that of the values; which agrees with the label.

    Args:
        voxels: From ``_counted``.
        by_values: What the values alone would say.
        of_label: How the label was read.
    """
    first, second = (by_values, of_label) if of_label in BY_VALUES else (of_label, by_values)
    dice = _dice_by_coding(voxels)
    if first not in dice:
        return second
    return second if dice.get(second, 0) - dice[first] > CLEARLY_BETTER else first


def _without_images(pair: Pair) -> Pair:
    """What is kept of a pair while others are read."""
    nothing = np.zeros((0, 0, 0), np.uint8)
    case = Case(pair.case.case_id, nothing, pair.case.affine, None, pair.case.label_convention)
    return Pair(case, nothing, pair.convention, pair.warnings)


# -- agreement under other codings -------------------------------------------------------------------------------


def _counted(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Voxels by true class (rows) and predicted value (columns); those without either are not counted."""
    somewhere = (truth > 0) | (values > 0)
    n, m = len(CLASSES), 1 + max(max(table) for table in LABEL_CONVENTIONS.values())
    pairs = truth[somewhere].astype(np.int64) * m + values[somewhere]
    return np.bincount(pairs, minlength=n * m).reshape(n, m)


def _doubts(voxels: np.ndarray, convention: str, of_label: str, *, predicted: bool, label: bool) -> list[str]:
    """A sentence where label and prediction would agree far better in another coding.

    Args:
        voxels: From ``_counted``.
        convention: How the prediction was read.
        of_label: How the label was read.
        predicted: Whether the prediction may be in another coding.
        label: Whether the label may be.
    """
    found = _by_class(voxels, LABEL_CONVENTIONS[convention])
    now = _mean_dice(found)
    ways = {f"--predicted-labels {name}": dice for name, dice in _dice_by_coding(voxels).items()} if predicted else {}
    ways |= {f"--labels {name}": dice for name, dice in _dice_by_label(found, of_label).items()} if label else {}
    orders = {order: _mean_dice(found[:, [0, *order]]) for order in itertools.permutations(range(1, len(CLASSES)))}
    order = max(orders, key=lambda each: orders[each])
    best = max(ways, key=lambda way: ways[way], default="")
    if not best or max(ways[best], orders[order]) - now <= CLEARLY_BETTER:
        return []
    if orders[order] - ways[best] <= CLEARLY_BETTER:
        told = f"The prediction was read as {convention}, the label as {of_label}"
        return [f"{told}; with {best}, mean Dice of the classes would be {ways[best]:.2f} instead of {now:.2f}."]
    moved = [f"{CLASSES[other]} is {CLASSES[true]}" for true, other in enumerate(order, 1) if true != other]
    return [
        f"Prediction and label seem to differ in their coding: if what is predicted as {listed(moved)}, mean Dice of "
        f"the classes is {orders[order]:.2f} instead of {now:.2f}."
    ]


def _dice_by_coding(voxels: np.ndarray) -> dict[str, float]:
    """Mean Dice by each coding that the predicted values may have."""
    present = {int(value) for value in np.flatnonzero(voxels.sum(axis=0))}
    tables = {name: table for name, table in LABEL_CONVENTIONS.items() if present <= set(table)}
    return {name: _mean_dice(_by_class(voxels, table)) for name, table in tables.items()}


def _dice_by_label(found: np.ndarray, of_label: str) -> dict[str, float]:
    """The same of the label, where its values are known from its classes."""
    table = LABEL_CONVENTIONS[of_label]
    if len(set(table.values())) < len(table):
        return {}
    values = written_values(of_label)
    present = {values[index] for index in np.flatnonzero(found.sum(axis=1))}
    dice = {}
    for name, other in LABEL_CONVENTIONS.items():
        if present <= set(other):
            turned = np.zeros_like(found)
            for index, value in enumerate(values):
                turned[other.get(value, 0)] += found[index]
            dice[name] = _mean_dice(turned)
    return dice


def _by_class(voxels: np.ndarray, table: Mapping[int, int]) -> np.ndarray:
    """By true and predicted class, from true class and predicted value."""
    found = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    for value, index in table.items():
        found[:, index] += voxels[:, value]
    return found


def _mean_dice(found: np.ndarray) -> float:
    """Over the classes that are there, predicted or true."""
    both, sizes = np.diag(found)[1:], (found.sum(axis=0) + found.sum(axis=1))[1:]
    there = sizes > 0
    return float((2 * both[there] / sizes[there]).mean()) if there.any() else 1.0
