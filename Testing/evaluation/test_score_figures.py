"""The dashboard and the failures of a set of predictions."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from ProtoSegBrainLib.evaluation.agreement import Agreement
from ProtoSegBrainLib.evaluation.score_figures import draw_dashboard, draw_failures, ranked, write_failures


def agreement(case_id: str, found: int, et: int = 10) -> Agreement:
    """100 ml of oedema and some of ET, of which so many ml of each are found, the rest taken for background."""
    voxels = np.zeros((4, 4), np.int64)
    voxels[0, 0] = 1000
    for index, true in ((2, 100), (3, et)):
        voxels[index, index] = min(found, true)
        voxels[index, 0] = true - min(found, true)
    return Agreement(case_id, voxels, 1.0, 1)


CASES = [agreement("good", 90), agreement("bad", 2), agreement("perfect", 100), agreement("no_et", 50, et=0)]


def words(panel) -> list[str]:
    return [text.get_text() for text in panel.texts]


def test_cases_are_ranked_best_first() -> None:
    assert [case.case_id for case in ranked(CASES)] == ["perfect", "good", "no_et", "bad"]


def test_the_dashboard_shows_scores_confusion_and_ranks(tmp_path, drawn) -> None:
    path = draw_dashboard(CASES, tmp_path / "dashboard.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    scores, confusion, ranking = drawn[0].axes
    recalls = [case.recall("WT") for case in CASES]
    assert f"{np.mean(recalls):.2f}" in words(scores)
    assert "60.5%\n60.5 ml" in words(confusion)  # of ED: (90 + 2 + 100 + 50) of 400
    assert [tick.get_text() for tick in ranking.get_xticklabels()] == ["perfect", "good", "no_et", "bad"]
    assert f"{len(CASES)} cases" in drawn[0].get_suptitle()


def test_many_cases_are_ranked_without_names(tmp_path, drawn) -> None:
    draw_dashboard([agreement(f"case_{number}", number) for number in range(70)], tmp_path / "dashboard.png")
    assert "case_3" not in [tick.get_text() for tick in drawn[0].axes[2].get_xticklabels()]


def test_failures_show_kinds_against_the_rest(tmp_path, drawn) -> None:
    path = draw_failures(CASES, tmp_path / "failures.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    by_kind = drawn[0].axes[3:]
    names = [tick.get_text() for tick in by_kind[0].get_xticklabels()]
    assert names == ["small\nn = 0", "multi-focal\nn = 0", "little ET\nn = 0", "no ET\nn = 1", "the rest\nn = 3"]
    assert words(by_kind[2])[0] == "1.00"  # ET of the case without any: none was found
    assert "bad" in words(drawn[0].axes[0])  # the worst are named


@pytest.mark.parametrize("draw", [draw_dashboard, draw_failures])
def test_a_single_empty_case_is_drawn(tmp_path, draw) -> None:
    empty = Agreement("empty", np.diag([10, 0, 0, 0]), 0.001, 0)
    assert draw([empty], tmp_path / "picture.png").stat().st_size > 1000


def test_the_table_lists_the_worst_first(tmp_path) -> None:
    with write_failures(CASES, tmp_path / "failures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case_id"] for row in rows] == ["bad", "no_et", "good", "perfect"]
    assert rows[1]["kinds"] == "no ET"
    assert float(rows[3]["dice_WT"]) == 1
    assert float(rows[0]["truth_ml_WT"]) == 110
