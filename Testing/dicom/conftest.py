"""A source series of each kind, and a result on its grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from by_hand import evidence_for, prediction_for
from dicom_study import HEADERS, small_volume

from ProtoSegBrainLib.dicom.series import Series, read_folder
from ProtoSegBrainLib.dicom.stack import grid_of, without_copies
from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.result.prediction import Prediction, volumes_ml

KINDS = [(plane, enhanced) for plane in ("axial", "oblique", "sagittal", "coronal") for enhanced in (False, True)]


class Source(NamedTuple):
    """Where a series lies, the series, and a result on its grid."""

    folder: Path
    series: Series
    prediction: Prediction


def a_source(folder: Path, plane: str, enhanced: bool) -> Source:
    from ProtoSegBrainLib.simulation.dicom_series import write_series

    pytest.importorskip("highdicom")
    write_series(folder, small_volume(plane=plane), HEADERS["t1c"], enhanced=enhanced)
    (series,) = read_folder(folder).series
    return Source(folder, without_copies(series), a_result(series))


def a_result(series: Series) -> Prediction:
    """Blobs of all three classes that no flip maps onto themselves."""
    grid = grid_of(series)
    i, j, k = np.indices(grid.shape)
    label = np.zeros(grid.shape, np.uint8)
    label[(i > 4) & (i < 17) & (j > 3) & (j < 12) & (k > 2) & (k < 8)] = 2
    label[(i > 6) & (i < 14) & (j > 4) & (j < 9) & (k > 2) & (k < 6)] = 3
    label[(i == 8) & (j == 6) & (k == 4)] = 1
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.ones(4), grid.shape).astype(np.float32).transpose(3, 0, 1, 2)
    similarities = rng.uniform(0, 2, (2, *(n // 2 for n in grid.shape))).astype(np.float32)
    plain = prediction_for(similarities, evidence_for(["ED", "ET"]))
    made = replace(
        plain,
        case_id="p1",
        label=label,
        probabilities=probabilities,
        affine=grid.affine,
        similarity_affine=grid.affine @ np.diag([2.0, 2.0, 2.0, 1.0]),
        volumes_ml=volumes_ml(label, grid.affine),
    )
    return replace(made, findings=findings(made))


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}{' enhanced' * kind[1]}")
def source(request, tmp_path) -> Source:
    return a_source(tmp_path / "series", *request.param)


@pytest.fixture
def axial(tmp_path) -> Source:
    return a_source(tmp_path / "series", "axial", False)
