"""The command simulate."""

import pytest

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.simulation.raw import RawConfig, simulate_raw
from ProtoSegBrainLib.simulation.simulate import simulate_case


def test_simulate_writes_a_case_once(run, monkeypatch, tmp_path):
    monkeypatch.setattr(
        "ProtoSegBrainLib.simulation.simulate.simulate_case", lambda seed: simulate_case(seed, (32, 32, 24))
    )
    code, answer = run("simulate", "--out", tmp_path, "--seed", 7)
    assert code == 0
    assert answer == {"case_id": "simulated_7", "folder": str(tmp_path / "simulated_7"), "simulated": True}
    assert len(list((tmp_path / "simulated_7").glob("*.nii.gz"))) == 5
    assert run("simulate", "--out", tmp_path, "--seed", 7)[0] == 2


@pytest.fixture
def coarse(monkeypatch):
    """Raw heads of few voxels."""
    monkeypatch.setattr(
        "ProtoSegBrainLib.simulation.raw.simulate_raw", lambda seed: simulate_raw(seed, RawConfig(voxel_mm=4))
    )


def test_simulate_writes_a_raw_head_and_says_how_it_moved(coarse, tmp_path, capsys):
    assert main(["simulate", "--raw", "--out", str(tmp_path), "--seed", "7"]) == 0
    folder = tmp_path / "simulated_raw_7"
    first, *series, last = capsys.readouterr().out.splitlines()
    assert first == f"Simulated raw study simulated_raw_7, no patient, in {folder}"
    assert [line.split()[0] for line in series] == ["T1", "T1ce", "T2", "FLAIR"]
    assert ["in place" in line for line in series] == [False, True, False, False]
    assert last == f"Label, brain and the true motions are in {folder / 'truth'}."
    assert len(list(folder.glob("*.nii.gz"))) == 4


def test_simulate_writes_a_raw_head_as_dicom(run, coarse, tmp_path):
    pytest.importorskip("pydicom")
    code, answer = run("simulate", "--raw", "--dicom", "--out", tmp_path, "--seed", 7)
    assert code == 0
    assert (answer["case_id"], answer["raw"]) == ("simulated_raw_7", True)
    assert [each["modality"] for each in answer["series"]] == ["T1", "T1ce", "T2", "FLAIR"]
    assert answer["series"][0]["moved_mm"] > 4
    folder = tmp_path / "simulated_raw_7"
    assert len(list(folder.glob("series_*/*.dcm"))) > 100
    assert not list(folder.glob("*.nii.gz"))
    assert run("simulate", "--dicom", "--out", tmp_path, "--seed", 7)[0] == 2
