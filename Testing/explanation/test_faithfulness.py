"""The table of measures: how cases add up, by hand, and one run over tiny cases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from by_hand import evidence_for
from synthetic import TINY, training_case

from ProtoSegBrainLib.explanation.faithfulness import (
    DEFINITIONS,
    FaithfulnessConfig,
    Observed,
    check_output,
    measure,
    projection_gap,
    summarise,
    write_measures,
)
from ProtoSegBrainLib.explanation.mapscores import RISK_POINTS
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.weights import ModelCard

EVIDENCE = evidence_for(["background", "ET"])
QUICK = FaithfulnessConfig(deletion_cases=1, levels=3, margin_mm=4, device="cpu")


def seen(**changes) -> Observed:
    """One case of a model with two prototypes, both present, highlighting parts 5 and 1."""
    case = Observed(
        scores={"dice": 0.5},
        present=np.array([True, True]),
        peak=np.array([1.0, 1.0]),
        purity=np.array([1.0, 0.5]),
        part=np.array([5, 1]),
        leads=np.array([90, 10]),
        decided=np.array([90, 10]),
        dice_without=np.array([0.4, 0.1]),
        risk=np.zeros(RISK_POINTS),
        per_prototype={"stability": np.array([1.0, 0.0])},
    )
    return replace(case, **changes)


def test_mean_sd_and_n_leave_out_what_is_undefined() -> None:
    cases = [seen(scores={"dice": 0.5}), seen(scores={"dice": 0.7}), seen(scores={"dice": np.nan}), seen(scores={})]
    entry = summarise(cases, EVIDENCE)["dice"]
    assert (entry["mean"], entry["sd"], entry["n"]) == (0.6, pytest.approx(np.sqrt(0.02), abs=1e-6), 2)
    nothing = summarise([seen(scores={"dice": np.nan})], EVIDENCE)
    assert nothing["dice"]["mean"] is None
    assert (nothing["incremental_deletion.random"]["n"], nothing["spatial_misalignment"]["n"]) == (0, 0)


def test_voxel_purity_takes_the_ten_most_active_cases() -> None:
    """Ten cases of peak 2 and purity .8, and one of peak 1 and purity 0, which is left out."""
    cases = [seen(peak=np.array([2.0, 2.0]), purity=np.array([0.8, 0.8])) for _ in range(10)]
    cases.append(seen(peak=np.array([1.0, 1.0]), purity=np.array([0.0, 0.0])))
    assert summarise(cases, EVIDENCE)["voxel_purity"]["mean"] == pytest.approx(0.8)


def test_a_prototype_is_consistent_that_highlights_one_part_in_four_of_five_cases() -> None:
    """The first does; the second does in three of four, as its class is absent from the fifth."""
    parts = [(5, 1), (5, 1), (5, 1), (5, 0), (3, 0)]
    cases = [seen(part=np.array(pair)) for pair in parts]
    cases[-1] = replace(cases[-1], present=np.array([True, False]))
    entry = summarise(cases, EVIDENCE)["consistency"]
    assert (entry["mean"], entry["n"]) == (0.5, 2)


def test_a_prototype_is_alive_that_leads_a_hundredth_of_its_class() -> None:
    cases = [
        seen(leads=np.array([1, 0]), decided=np.array([150, 10])),
        seen(leads=np.array([2, 0]), decided=np.array([150, 0])),
    ]
    assert summarise(cases, EVIDENCE)["prototypes_alive"]["mean"] == 0.5


def test_dice_without_each_is_listed_and_pairs_are_pooled() -> None:
    table = summarise([seen(), seen(dice_without=np.array([0.6, 0.3]))], EVIDENCE)
    assert table["dice_without_each"]["each"] == [0.5, 0.2]
    assert (table["stability"]["mean"], table["stability"]["n"]) == (0.5, 4)


def test_area_under_the_risk() -> None:
    """Half of the curve 0, then 1."""
    risk = np.array([0.0] * 10 + [1.0] * 11)
    entry = summarise([seen(risk=risk)], EVIDENCE)["risk_coverage"]
    assert entry["mean"] == pytest.approx((0.5 + 10) / 20)
    assert len(entry["curve"]) == RISK_POINTS


def test_projection_gap_is_what_the_card_says() -> None:
    regions = {"WT": 0.8, "TC": 0.7, "ET": 0.6}
    metrics = {
        "dice_before_projection": regions,
        "dice_after_refit": {name: value - 0.01 for name, value in regions.items()},
        "n": 10,
        "monitored": "held out",
    }
    card = ModelCard("m", TINY, metrics=metrics)
    assert projection_gap(card) == {"mean": pytest.approx(0.01), "sd": None, "n": 10, "of": "held out"}
    assert projection_gap(ModelCard("m", TINY))["n"] == 0


@pytest.fixture(scope="module")
def table() -> dict:
    """Of two tiny cases and a network that was not trained."""
    torch.manual_seed(0)
    network = ProtoSegNet(TINY).eval()
    return measure((network, ModelCard("tiny", TINY)), [training_case(0), training_case(1, (2, 1))], QUICK)


def test_every_key_of_the_definitions_is_measured_and_no_other(table: dict) -> None:
    keys = {key.split(".")[0] for key in table}
    assert keys == set(DEFINITIONS)
    for name in ("NCR", "ED", "ET"):
        assert {f"{key}.{name}" for key in ("purity", "purity_background", "purity_shell")} <= set(table)
    for name in ("random", "grad_cam"):
        assert {f"incremental_deletion.{name}", f"incremental_insertion.{name}"} <= set(table)
    assert {
        "error_auroc.entropy",
        "error_auroc.prototype_distance",
        *(f"qu_brats.{r}" for r in ("WT", "TC", "ET")),
    } <= set(table)


def test_every_entry_has_mean_sd_and_n_and_fits_into_json(table: dict) -> None:
    assert all({"mean", "sd", "n", "of"} <= set(entry) for entry in table.values())
    assert table["purity.ET"]["n"] == 1  # the second case has none
    assert table["incremental_deletion"]["n"] <= 1  # one case was asked for
    assert table["stability"]["n"] == 3 * (8 + 6)  # three changes, two prototypes per class that is there
    json.dumps(table, allow_nan=False)


def test_the_network_that_is_measured_is_left_as_it_was() -> None:
    network = ProtoSegNet(TINY)
    measure((network, ModelCard("tiny", TINY)), [training_case(0)], replace(QUICK, deletion_cases=0))
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_without_cases_or_with_impossible_settings_there_is_nothing_to_measure() -> None:
    with pytest.raises(ValueError, match="none was given"):
        measure((ProtoSegNet(TINY), ModelCard("tiny", TINY)), [])
    with pytest.raises(ValueError, match="levels: expected 2 or more"):
        FaithfulnessConfig(levels=1)


def test_the_file_is_refused_before_the_work_and_written_whole(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.json"):
        check_output(tmp_path / "table.csv")
    with pytest.raises(FileNotFoundError, match="no folder"):
        check_output(tmp_path / "nowhere" / "table.json")
    check_output(tmp_path / "table.json")
    write_measures(tmp_path / "table.json", {"cases": ["a"]}, {"dice": {"mean": 0.5, "sd": 0.0, "n": 1}})
    content = json.loads((tmp_path / "table.json").read_text())
    assert (content["dice"]["mean"], content["cases"], content["definitions"]["dice"]) == (
        0.5,
        ["a"],
        DEFINITIONS["dice"],
    )
    assert [path.name for path in tmp_path.iterdir()] == ["table.json"]
