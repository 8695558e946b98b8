"""The cases that fail, drawn and listed."""

from __future__ import annotations

import csv

from ProtoSegBrainLib.evaluation.failures import draw_failures, write_failures


def words(panel) -> list[str]:
    return [text.get_text() for text in panel.texts]


def test_failures_show_kinds_against_the_rest(agreements, tmp_path, drawn) -> None:
    path = draw_failures(agreements, tmp_path / "failures.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    by_kind = drawn[0].axes[3:]
    names = [tick.get_text() for tick in by_kind[0].get_xticklabels()]
    assert names == ["small\nn = 0", "multi-focal\nn = 0", "little ET\nn = 0", "no ET\nn = 1", "the rest\nn = 3"]
    assert words(by_kind[2])[0] == "1.00"  # ET of the case without any: none was found
    assert "bad" in words(drawn[0].axes[0])  # the worst are named


def test_a_single_empty_case_is_drawn(empty, tmp_path) -> None:
    assert draw_failures([empty], tmp_path / "picture.png").stat().st_size > 1000


def test_the_table_lists_the_worst_first(agreements, tmp_path) -> None:
    with write_failures(agreements, tmp_path / "failures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["case_id"] for row in rows] == ["bad", "no_et", "good", "perfect"]
    assert rows[1]["kinds"] == "no ET"
    assert float(rows[3]["dice_WT"]) == 1
    assert float(rows[0]["truth_ml_WT"]) == 110
