"""Curves and dynamics of a run, from its log."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ProtoSegBrainLib.pictures.run_figures import draw_curves, draw_dynamics, series


def log(steps: int) -> list[dict[str, float]]:
    """A log as train writes it: every line has losses, every fifth what is measured without augmentation."""
    entries = []
    for step in range(1, steps + 1):
        entry = {"step": step, "loss/total": 3 / step, "loss/cross_entropy": 1 / step, "learning_rate": 0.1}
        entry |= {"minutes": step / 4, "gradient_norm": 2.0}
        if step % 5 == 0:
            for name, dice in (("training", 0.9), ("held_out", 0.7)):
                entry |= {f"{name}/dice_{region}": dice for region in ("WT", "TC", "ET")} | {f"{name}/loss": 1 - dice}
        entries.append(entry)
    return entries


def said(panel) -> str:
    return " ".join(text.get_text() for text in panel.texts)


def test_curves_have_a_panel_for_losses_dice_and_learning_rate(tmp_path, drawn) -> None:
    path = draw_curves(log(20), tmp_path / "curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [(panel.get_ylabel(), len(panel.lines)) for panel in drawn[0].axes] == [
        ("loss", 2),
        ("Dice", 6),
        ("learning rate", 1),
    ]
    assert drawn[0].axes[1].lines[0].get_xdata().tolist() == [5, 10, 15, 20]
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]


def test_what_has_no_place_of_its_own_gets_a_panel(tmp_path, drawn) -> None:
    draw_curves([{"step": 0, "loss/dice": 1.0, "loss/ce": 0.0, "lr": 0.1}], tmp_path / "curves.png")
    assert [(panel.get_ylabel(), len(panel.lines)) for panel in drawn[0].axes] == [("loss", 2), ("lr", 1)]


def test_long_curves_are_smoothed(tmp_path, drawn) -> None:
    entries = [{"step": step, "loss/total": 1.0 + step % 2} for step in range(400)]
    draw_curves(entries, tmp_path / "curves.png")
    mean, raw = drawn[0].axes[0].lines
    assert np.allclose(mean.get_ydata(), 1.5)
    assert len(raw.get_ydata()) == 400


def test_dynamics_show_norms_speed_and_the_gap(tmp_path, drawn) -> None:
    draw_dynamics(log(20), tmp_path / "dynamics.png")
    norms, speed, losses, dices = drawn[0].axes
    assert set(norms.lines[0].get_ydata()) == {2.0}
    assert np.allclose(speed.lines[0].get_ydata(), 4.0)  # steps a minute
    assert dices.get_title() == losses.get_title() == "gap at the end: 0.200"
    assert [line.get_ydata()[-1] for line in dices.lines] == pytest.approx([0.9, 0.7])


def test_an_old_log_lacks_what_is_said(tmp_path, drawn) -> None:
    entries = [{"step": step, "loss/total": 1.0} for step in range(3)]
    draw_dynamics(entries, tmp_path / "dynamics.png")
    assert "no gradient norms" in said(drawn[0].axes[0])
    assert "no times" in said(drawn[0].axes[1])
    assert "training or held-out cases" in said(drawn[0].axes[2])


def test_a_run_on_all_cases_has_no_held_out_curve(tmp_path, drawn) -> None:
    entries = [{name: value for name, value in entry.items() if "held_out" not in name} for entry in log(20)]
    draw_dynamics(entries, tmp_path / "dynamics.png")
    assert len(drawn[0].axes[3].lines) == 1
    assert drawn[0].axes[3].get_title() == "no held-out cases"


@pytest.mark.parametrize("draw", [draw_curves, draw_dynamics])
@pytest.mark.parametrize("steps", [0, 1])
def test_short_logs_are_drawn(tmp_path, draw, steps) -> None:
    assert draw(log(steps), tmp_path / "picture.png").stat().st_size > 1000


def test_what_is_not_finite_is_left_out() -> None:
    entries = [{"step": 1, "a": 2.0}, {"step": 2, "a": math.nan}, {"step": 3}, {"step": 4, "a": 5.0}]
    assert series(entries, "a").tolist() == [[1, 2], [4, 5]]
    assert series(entries, "b").shape == (0, 2)
