"""The command follow."""

import json
import shutil

import pytest

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.simulation.simulate import write_case
from ProtoSegBrainLib.simulation.two_dates import TwoDatesConfig, simulate_two_dates


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A patient at two dates."""
    folder = tmp_path_factory.mktemp("scans")
    dates = simulate_two_dates(1, (80, 80, 52), TwoDatesConfig(degrees=4.0, shift_mm=3.0))
    return [write_case(case, folder) for case in (dates.earlier, dates.later)]


@pytest.fixture(scope="module")
def done(scans, model, tmp_path_factory):
    out = tmp_path_factory.mktemp("followup") / "out"
    flags = ["--earlier", str(scans[0]), "--later", str(scans[1]), "--dates", "2024-03-01", "2024-06-01"]
    assert main(["follow", *flags, "--out", str(out), "--model", str(model), "--same-patient"]) == 0
    return out


def follow(run, scans, model, out, *more):
    return run("follow", "--earlier", scans[0], "--later", *scans[1:], "--out", out, "--model", model, *more)


def test_it_writes_numbers_maps_a_transform_and_a_report(done):
    names = {path.name for path in done.iterdir()}
    assert {"followup.json", "followup.html", "2024-06-01_to_2024-03-01.tfm", "2024-03-01", "2024-06-01"} <= names
    assert sum(name.startswith("change_") for name in names) == 6
    said = json.loads((done / "followup.json").read_text())
    assert [each["name"] for each in said["visits"]] == ["2024-03-01", "2024-06-01"]
    assert (done / "2024-06-01" / "simulated_1_later_seg.nii.gz").is_file()


def test_results_that_are_there_are_taken(run, scans, model, done, tmp_path):
    results = [str(done / "2024-03-01"), str(done / "2024-06-01")]
    code, answer = follow(run, scans, model, tmp_path / "out", "--same-patient", "--results", *results, "--no-report")
    assert code == 0, answer
    assert not (tmp_path / "out" / "scan_1").exists()
    assert "report" not in answer["files"]
    assert answer["regions"] == json.loads((done / "followup.json").read_text())["regions"]


def test_two_patients_are_refused(run, scans, data, model, tmp_path):
    code, answer = follow(run, [scans[0], data / "simulated_2"], model, tmp_path / "out")
    assert code == 2
    assert "look like two patients" in answer["error"]
    assert not (tmp_path / "out" / "followup.json").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--dates", "2024-03-01"], "expected one date for each of the 2 scans, got 1"),
        (["--dates", "2024-03-01", "2024-03-01"], "Two scans are dated 2024-03-01"),
        (["--dates", "2024-03-01", "soon"], "expected a date such as 2024-03-01; got 'soon'"),
    ],
)
def test_dates_that_make_no_order_are_told(run, scans, model, tmp_path, flags, said):
    code, answer = follow(run, scans, model, tmp_path / "out", *flags)
    assert code == 2
    assert said in answer["error"]


def test_one_scan_twice_and_a_folder_without_scans_are_told(run, scans, model, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(scans[0], copy)
    code, answer = follow(run, [scans[0], copy], model, tmp_path / "out")
    assert code == 2
    assert "are the same scan" in answer["error"]
    code, answer = follow(run, [scans[0], tmp_path / "nowhere"], model, tmp_path / "out")
    assert code == 2
    assert "nowhere" in answer["error"]


def test_an_earlier_follow_up_is_not_replaced(run, scans, model, done):
    code, answer = follow(run, scans, model, done)
    assert code == 2
    assert "already holds a follow-up" in answer["error"]
