"""Volumes and prototypes of a result as rows: plain data for a panel, table nodes for a scene."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import vtk

from ProtoSegBrainLib.explanation.explain import region_shares
from ProtoSegBrainLib.explanation.names import names_of
from ProtoSegBrainLib.labels import CLASS_COLOURS, CLASSES, REGION_NAMES, REGIONS
from ProtoSegBrainLib.network.evidence import no_prototypes
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainScene.heatmap import bestSimilarities

CLASS_NAMES = {"NCR": "Necrotic / non-enhancing core", "ED": "Oedema", "ET": REGION_NAMES["ET"]}
ROWS = ("WT", "TC", "ET", "ED", "NCR")
"""Of the table of volumes, in order: the regions, then the parts of which they consist."""
NONE = "–"


@dataclass(frozen=True)
class VolumeRow:
    """A region or class and its volume.

    Attributes:
        key: WT, TC, ET, ED or NCR.
        name: The same for people.
        volumeMl: In the result that is shown.
        intervalMl: In which the true volume lies in ``coverage`` of scans; None if unknown, as of a what-if.
        coverage: 0 to 1; None without an interval.
        expectedDice: Overlap with an expert's outline; None if unknown.
        foci: Number of separate parts; None if unknown.
    """

    key: str
    name: str
    volumeMl: float
    intervalMl: tuple[float, float] | None = None
    coverage: float | None = None
    expectedDice: float | None = None
    foci: int | None = None

    @property
    def texts(self) -> tuple[str, str, str, str]:
        """Name, volume, interval and expected Dice as a table shows them."""
        low, high = self.intervalMl or (0.0, 0.0)
        return (
            f"{self.name} ({self.key})",
            f"{self.volumeMl:.1f} ml",
            f"{low:.1f} to {high:.1f} ml" if self.intervalMl else NONE,
            NONE if self.expectedDice is None else f"{self.expectedDice:.2f}",
        )


@dataclass(frozen=True)
class PrototypeRow:
    """A prototype and what it does in a case.

    Attributes:
        index: Its number.
        className: The class it speaks for.
        colour: Of the class, red, green, blue, 0 to 255.
        name: In plain words; "" where nothing is known of it.
        share: Of the evidence for the tumour of this case, 0 to 1; 0 for prototypes of background.
        bestSimilarity: Of the place in the brain most like it, 0 to 1 (of the largest possible).
        percentile: Per cent of its class's training voxels that are less like it than that place; None if unknown.
        isOn: Whether it has a weight; False where a what-if turned it off.
    """

    index: int
    className: str
    colour: tuple[int, int, int]
    name: str
    share: float
    bestSimilarity: float
    percentile: float | None
    isOn: bool

    @property
    def texts(self) -> tuple[str, str, str, str, str]:
        """Number, class, name, share and percentile as a table shows them."""
        percentile = NONE if self.percentile is None else f"{self.percentile:.0f}%"
        return str(self.index), self.className, self.name, f"{self.share:.0%}", percentile


def volumeRows(prediction: Prediction) -> list[VolumeRow]:
    """Volumes of regions and classes; the classes have neither interval nor expected Dice.

    Of a model that does not find all regions, those that it finds.
    """
    regions = prediction.findings.get("regions", {})
    keys = ROWS if len(prediction.regions) == len(REGIONS) else prediction.regions
    return [_volumeRow(prediction, key, regions.get(key)) for key in keys]


def warningsOf(prediction: Prediction) -> list[str]:
    """Sentences a user should read beside the volumes; that the scan is unlike the training data comes first."""
    unlike = prediction.findings.get("out_of_distribution")
    return [*([unlike["sentence"]] if unlike and unlike["flag"] else []), *prediction.warnings]


def prototypeRows(prediction: Prediction) -> list[PrototypeRow]:
    """All prototypes, those with the largest share of the evidence first; [] for a model that has none.

    The rows of the result that was last asked for are kept: scene and panel ask after each other.
    """
    if _latest.of() is not prediction:
        _latest.of, _latest.rows = weakref.ref(prediction), _prototypeRows(prediction)
    return list(_latest.rows)


def findBest(prediction: Prediction) -> None:
    """Half of the work of ``prototypeRows``, which then takes half as long."""
    _best(prediction)


def fillVolumeTable(node: Any, prediction: Prediction) -> None:
    """Make a table node say what ``volumeRows`` says, one sentence of warning per further row."""
    rows = [row.texts for row in volumeRows(prediction)]
    rows += [(sentence, "", "", "") for sentence in warningsOf(prediction)]
    _fill(node, ("Region", "Volume", "Interval", "Expected Dice"), rows)


def fillPrototypeTable(node: Any, prediction: Prediction) -> None:
    """Make a table node say what ``prototypeRows`` says, or that the model has no prototypes."""
    heads = ("Prototype", "Class", "Looks like", "Share of the evidence", "Percentile of its best match")
    rows = [row.texts for row in prototypeRows(prediction)]
    _fill(node, heads, rows or [(no_prototypes(prediction.model["name"]), "", "", "", "")])


class _Latest:
    """Rows, and of which result; the best similarities, and of which maps: a what-if has the same."""

    def __init__(self) -> None:
        self.of: Callable[[], Prediction | None] = lambda: None
        self.rows: list[PrototypeRow] = []
        self.maps: Callable[[], np.ndarray | None] = lambda: None
        self.best = np.empty(0)


_latest = _Latest()


def _prototypeRows(prediction: Prediction) -> list[PrototypeRow]:
    evidence = prediction.evidence
    names = names_of(evidence)
    shares = region_shares(prediction, "WT")
    best = _best(prediction)
    rows = [
        PrototypeRow(
            index=index,
            className=owner,
            colour=CLASS_COLOURS[CLASSES.index(owner)],
            name=names.get(index, ""),
            share=shares.get(index, 0.0),
            bestSimilarity=float(best[index]) / evidence.largest_similarity_to(index),
            percentile=evidence.percentile(index, float(best[index])),
            isOn=bool(evidence.weight[:, index].any()),
        )
        for index, owner in enumerate(evidence.prototype_class)
    ]
    return sorted(rows, key=lambda row: (-row.share, row.index))


def _best(prediction: Prediction) -> np.ndarray:
    maps = prediction.similarities
    if _latest.maps() is not maps:
        _latest.maps, _latest.best = weakref.ref(maps), bestSimilarities(prediction)
    return _latest.best


def _volumeRow(prediction: Prediction, key: str, said: Any) -> VolumeRow:
    name = REGION_NAMES.get(key) or CLASS_NAMES[key]
    if said is None:
        return VolumeRow(key, name, prediction.volumes_ml[key])
    low, high = said["interval_ml"] or (0.0, 0.0)
    return VolumeRow(
        key=key,
        name=name,
        volumeMl=prediction.volumes_ml[key],
        intervalMl=(low, high) if said["interval_ml"] else None,
        coverage=said["coverage"],
        expectedDice=said["predicted_dice"],
        foci=said["foci"],
    )


def _fill(node: Any, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    table = vtk.vtkTable()
    for number, head in enumerate(heads):
        column = vtk.vtkStringArray()
        column.SetName(head)
        for row in rows:
            column.InsertNextValue(row[number])
        table.AddColumn(column)
    node.SetAndObserveTable(table)
