"""The report of a benchmark, on runs whose scores are known."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_model import PLAIN, SMALL, WHOLE

from ProtoSegBrainLib.evaluation.outcome import METRICS
from ProtoSegBrainLib.evaluation.plan import Plan
from ProtoSegBrainLib.evaluation.report import write_report
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.networks import NetworkConfig, build_network
from ProtoSegBrainLib.network.weights import ModelCard, save_model

CASE_IDS = [f"case_{number:02d}" for number in range(14)]
OURS = np.linspace(0.5, 0.9, 14)


@pytest.fixture
def known(tmp_path: Path) -> Plan:
    """Two networks with known scores of fourteen cases, one that finds the whole tumour only; nobody trained them."""
    (tmp_path / "splits.json").write_text(json.dumps({"folds": [CASE_IDS[:7], CASE_IDS[7:]]}))
    for case_id in CASE_IDS:
        (tmp_path / "data" / case_id).mkdir(parents=True)
        for name in ("flair", "t1", "t1ce", "t2", "seg"):
            (tmp_path / "data" / case_id / f"{case_id}_{name}.nii.gz").touch()
    plan = Plan(tmp_path / "data", tmp_path / "splits.json", tmp_path / "out", ("ours", "plain", "whole"), ("0", "1"))
    for name, config, worse in (("ours", SMALL, 0.0), ("plain", PLAIN, 0.1), ("whole", WHOLE, 0.2)):
        for fold in plan.folds:
            pretend_trained(plan.out / name / f"fold_{fold}", config, patches=100 + int(fold))
        write_scores(plan.out / name / "scores.csv", CASE_IDS, OURS - worse)
    return plan


def pretend_trained(folder: Path, config: NetworkConfig, patches: int, minutes: float = 20.0) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    made = {"minutes": minutes, "batch_size": 2, "seed": 0, "learning_rate": 1e-3, "sampling": {"patch_size": 96}}
    card = ModelCard(folder.parent.name, config, training={"config": made})
    save_model(folder / "model.safetensors", build_network(config), card)
    costs = {"parameters": 12345, "minutes": 20.1, "patches": patches, "patches_per_second": 0.5}
    (folder / "summary.json").write_text(json.dumps({**costs, "peak_memory_mib": 1000 + patches}))


def write_scores(path: Path, case_ids: Sequence[str], dices: np.ndarray) -> None:
    """WT as given, TC .1 below, ET .2 below; the same for all metrics."""
    columns = [f"{metric}_{region}" for metric in METRICS for region in REGIONS]
    rows = [[case_id, *[dice, dice - 0.1, dice - 0.2] * 4] for case_id, dice in zip(case_ids, dices, strict=True)]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["case_id", *columns], *rows])


def table(path: Path) -> dict[tuple[str, str, str], dict[str, str]]:
    return {(r["network"], r["metric"], r["region"]): r for r in csv.DictReader(path.open())}


def test_report_of_known_scores(known: Plan, tmp_path: Path) -> None:
    path = tmp_path / "docs" / "BENCHMARK.md"
    assert [each.name for each in write_report(known, path)] == [
        "BENCHMARK.md", "BENCHMARK.csv", "BENCHMARK_cases.csv",
    ]  # fmt: skip
    rows = table(path.with_suffix(".csv"))
    wt = rows["plain", "dice", "WT"]
    assert (wt["n"], float(wt["mean"])) == ("14", pytest.approx(0.6))
    assert float(wt["low"]) < 0.6 < float(wt["high"])
    assert [float(wt[name]) for name in ("difference", "difference_low", "difference_high")] == pytest.approx(
        [-0.1] * 3
    )
    assert float(wt["p"]) < 0.01
    assert float(rows["ours", "dice", "mean"]["mean"]) == pytest.approx(0.6)
    assert rows["ours", "dice", "mean"]["difference"] == ""
    assert float(rows["ours", "patches", ""]["mean"]) == 100.5
    assert float(rows["ours", "peak_memory_mib", ""]["mean"]) == 1101
    # What a network does not look for is not held against it.
    assert ("whole", "dice", "WT") in rows
    assert not {("whole", "dice", "TC"), ("whole", "lesion_dice", "mean")} & set(rows)
    page = path.read_text()
    assert "| `plain` | 0.500 | 0.600 | 0.500 | 0.400 | -0.100 [-0.100, -0.100], p < .001 |" in page
    assert "| `whole` | – | 0.500 | – | – | – |" in page
    assert "`ours` is ahead of the best of the others, `plain`: mean Dice 0.600 and 0.500." in page
    assert "between 100 and 100 patches" in page
    assert "The networks were not timed." in page
    cases = list(csv.DictReader(path.with_name("BENCHMARK_cases.csv").open()))
    assert len(cases) == 3 * 14
    assert cases[7]["fold"] == "1"


def test_report_says_when_ours_is_behind_and_how_much_slower_others_are(known: Plan) -> None:
    write_scores(known.out / "plain" / "scores.csv", CASE_IDS, OURS + 0.05)
    networks = {
        name: {
            "seconds": [1.0, slow, 9.0],
            "processor_seconds": [1.5, 2 * slow, 9.5],
            "peak_memory_mib": 500,
            "device": "cpu bfloat16",
        }
        for name, slow in (("ours", 2.0), ("plain", 5.0))
    }
    cpu = {"machine": "a machine, 2 cores", "date": "2026-01-01", "cases": CASE_IDS[:3], "networks": networks}
    (known.out / "times.json").write_text(json.dumps({"cpu": cpu}))
    page = write_report(known, known.out / "BENCHMARK.md")[0].read_text()
    assert "`ours` is behind the best of the others, `plain`: mean Dice 0.600 and 0.650." in page
    assert "| `plain` | 12,345 | 20.1 | 100 | 0.50 | 1,101 | 5.00 | 2.5 | 9.50 | 500 |" in page
    assert "| `whole` | 12,345 | 20.1 | 100 | 0.50 | 1,101 | – | – | – | – |" in page
    rows = table(known.out / "BENCHMARK.csv")
    assert float(rows["plain", "seconds_per_case_cpu", ""]["median"]) == 5


def test_only_cases_that_all_have_predicted_count(known: Plan) -> None:
    write_scores(known.out / "whole" / "scores.csv", CASE_IDS[:7], OURS[:7])
    rows = table(write_report(known, known.out / "BENCHMARK.md")[1])
    assert {row["n"] for key, row in rows.items() if key[1] == "dice"} == {"7"}
    assert float(rows["ours", "dice", "WT"]["mean"]) == pytest.approx(OURS[:7].mean())
    write_scores(known.out / "whole" / "scores.csv", [], np.array([]))
    with pytest.raises(ValueError, match="no held-out case was predicted by all of ours, plain, whole"):
        write_report(known, known.out / "BENCHMARK.md")


def test_a_network_that_is_not_trained_is_named(known: Plan) -> None:
    page = write_report(replace(known, networks=("ours", "plain", "absent")), known.out / "B.md")[0].read_text()
    assert "Not trained, and so not in the tables: absent." in page
    assert page.endswith(" --report B.md\n```\n")
    page = write_report(replace(known, networks=("absent", "plain", "ours")), known.out / "B.md")[0].read_text()
    assert "`plain` is behind the best of the others, `ours`" in page  # the first that there is


def test_unequal_runs_and_missing_scores_are_refused(known: Plan) -> None:
    with pytest.raises(ValueError, match=r"ending in \.md"):
        write_report(known, known.out / "BENCHMARK.txt")
    pretend_trained(known.out / "plain" / "fold_1", PLAIN, 100, minutes=40)
    with pytest.raises(ValueError, match=r"not trained alike, minutes: 20 for .*; 40 for plain, fold 1\."):
        write_report(known, known.out / "BENCHMARK.md")
    (known.out / "plain" / "scores.csv").unlink()
    with pytest.raises(FileNotFoundError, match="do the stage predict first"):
        write_report(known, known.out / "BENCHMARK.md")
    assert not (known.out / "BENCHMARK.md").exists()
