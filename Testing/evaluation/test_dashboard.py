"""The dashboard of a set of predictions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ProtoSegBrainLib.evaluation.dashboard import draw_dashboard


def words(panel) -> list[str]:
    return [text.get_text() for text in panel.texts]


def test_the_dashboard_shows_scores_confusion_and_ranks(agreements, tmp_path, drawn) -> None:
    path = draw_dashboard(agreements, tmp_path / "dashboard.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    scores, confusion, ranking = drawn[0].axes
    recalls = [case.recall("WT") for case in agreements]
    assert f"{np.mean(recalls):.2f}" in words(scores)
    assert "60.5%\n60.5 ml" in words(confusion)  # of ED: (90 + 2 + 100 + 50) of 400
    assert [tick.get_text() for tick in ranking.get_xticklabels()] == ["perfect", "good", "no_et", "bad"]
    assert f"{len(agreements)} cases" in drawn[0].get_suptitle()


def test_many_cases_are_ranked_without_names(agreements, tmp_path, drawn) -> None:
    draw_dashboard([replace(agreements[0], case_id=f"case_{n}") for n in range(70)], tmp_path / "dashboard.png")
    assert "case_3" not in [tick.get_text() for tick in drawn[0].axes[2].get_xticklabels()]


def test_a_single_empty_case_is_drawn(empty, tmp_path) -> None:
    assert draw_dashboard([empty], tmp_path / "picture.png").stat().st_size > 1000
