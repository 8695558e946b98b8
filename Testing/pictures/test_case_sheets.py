"""Sheets, sweeps and tables of single cases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.labels import MODALITIES
from ProtoSegBrainLib.pictures import case_sheets
from ProtoSegBrainLib.pictures.case_sheets import Compared, compared, draw_sheet, slice_table, upright, write_sweep
from ProtoSegBrainLib.pictures.drawing import colour_of


@pytest.fixture
def shown(a_case: Case) -> Compared:
    """The small simulated case; what was predicted lacks the enhancement and lies two voxels off."""
    label = np.asarray(a_case.label)
    return compared(a_case, np.roll(np.where(label == 3, 1, label), 2, axis=0).astype(np.uint8))


@pytest.fixture
def healthy(shown: Compared) -> Compared:
    return replace(shown, truth=np.zeros_like(shown.truth), predicted=np.zeros_like(shown.truth))


def test_a_case_is_turned_to_ras() -> None:
    label = np.zeros((4, 5, 6), np.uint8)
    label[0, 0, 0] = 1  # left, posterior, superior axes: the first voxel lies right, anterior, inferior
    images = np.arange(4 * label.size, dtype=np.float32).reshape(4, *label.shape)
    case = Case("lps", images, np.diag([-1.0, -2.0, 3.0, 1.0]), label)
    turned = compared(case, label)
    assert np.argwhere(turned.truth).tolist() == [[3, 4, 0]] == np.argwhere(turned.predicted).tolist()
    assert turned.spacing_mm == (1, 2, 3)
    assert turned.image("t2w")[3, 4, 0] == images[MODALITIES.index("t2w"), 0, 0, 0]


def test_the_patients_right_is_left_and_the_front_is_up() -> None:
    plane = np.zeros((4, 5))
    plane[3, 4] = 1  # right, front
    assert np.argwhere(upright(plane)).tolist() == [[0, 0]]


def test_dice_is_of_the_whole_volume(shown: Compared) -> None:
    truth, predicted = shown.truth > 0, shown.predicted > 0
    assert shown.dice("WT") == pytest.approx(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))
    assert shown.dice("ET") == 0


def test_a_sheet_has_regions_by_modalities_with_both_outlines(shown: Compared, tmp_path, drawn) -> None:
    path = draw_sheet(shown, "The worst case", tmp_path / "sheet.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    panels = drawn[0].axes
    assert [panel.get_title() for panel in panels[:4]] == ["FLAIR", "T1", "T1ce", "T2"]
    assert len(panels) == 12
    outlines = [len(panel.collections) for panel in panels]
    assert outlines == [2] * 8 + [1] * 4  # no enhancement was predicted
    assert f"Dice {shown.dice('TC'):.3f}" in panels[4].get_ylabel()
    assert shown.case_id in drawn[0].get_suptitle()


def test_each_row_shows_the_slice_with_most_of_its_region(shown: Compared, tmp_path, drawn) -> None:
    truth = shown.truth.copy()
    truth[:, :, 5][truth[:, :, 5] == 0] = 3
    draw_sheet(replace(shown, truth=truth), "A case", tmp_path / "sheet.png")
    assert "slice 5" in drawn[0].axes[8].get_ylabel()


def test_a_sheet_without_tumour_says_so(healthy: Compared, tmp_path, drawn) -> None:
    draw_sheet(healthy, "The best case", tmp_path / "sheet.png")
    assert all("neither true nor predicted" in panel.get_ylabel() for panel in drawn[0].axes[::4])


def test_a_sweep_runs_through_the_brain(shown: Compared, tmp_path) -> None:
    with Image.open(write_sweep(shown, tmp_path / "sweep.gif")) as sweep:
        levels = np.flatnonzero(shown.images.any(axis=(0, 1, 2)))
        assert sweep.n_frames == levels[-1] - levels[0] + 1
        x, y, _ = (part.stop - part.start for part in shown.brain_box)
        assert sweep.size[0] == pytest.approx(3 * case_sheets.FRAME_ROWS * x / y, abs=3)
    assert [file.name for file in tmp_path.iterdir()] == ["sweep.gif"]


def test_a_sweep_shows_truth_and_prediction_in_colour(shown: Compared) -> None:
    grey = np.full((2, 2), 100, np.uint8)
    coloured = case_sheets._coloured(grey, np.array([[0, 3], [2, 1]]))
    assert coloured[0, 0].tolist() == [100, 100, 100]
    red, green, blue = coloured[0, 1]
    assert blue > green > red  # as the colour of ET
    fullest = int(np.argmax((shown.truth > 0).sum(axis=(0, 1))))
    frame = np.asarray(case_sheets._frame(shown, fullest).convert("RGB"), int)
    third = frame.shape[1] // 3
    saturated = [np.ptp(part[20:-20], axis=-1).max() > 40 for part in np.split(frame[:, : 3 * third], 3, axis=1)]
    assert saturated == [False, True, True]


def test_a_sweep_that_is_too_large_loses_slices(shown: Compared, tmp_path, monkeypatch) -> None:
    full = write_sweep(shown, tmp_path / "full.gif")
    monkeypatch.setattr(case_sheets, "MOST_BYTES", full.stat().st_size // 3)
    small = write_sweep(shown, tmp_path / "small.gif")
    assert small.stat().st_size <= case_sheets.MOST_BYTES
    with Image.open(full) as long, Image.open(small) as short:
        assert 1 < short.n_frames <= long.n_frames // 2


def test_a_table_has_a_row_per_region_and_slice(shown: Compared) -> None:
    table = slice_table(shown, slices=3)
    assert table.columns == ("case", "region", "slice", "Dice in the slice", "FLAIR", "T1", "T1ce", "T2")
    assert [row[1] for row in table.rows] == ["WT"] * 3 + ["TC"] * 3 + ["ET"] * 3
    level, score, flair = table.rows[1][2], table.rows[1][3], table.rows[1][4]
    truth, predicted = (label[:, :, level] > 0 for label in (shown.truth, shown.predicted))
    assert score == pytest.approx(2 * (truth & predicted).sum() / (truth.sum() + predicted.sum()))
    mask, colour = flair.masks["prediction"]
    assert mask.sum() == predicted.sum()
    assert colour == colour_of("WT")
    assert mask.shape == flair.grey.shape


def test_a_table_without_tumour_is_empty(healthy: Compared) -> None:
    assert slice_table(healthy).rows == []
