"""The command series."""

import pytest
from dicom_study import objects, write_study

from ProtoSegBrainLib.commands.cli import main
from ProtoSegBrainLib.simulation.dicom_series import write_objects


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("series")
    write_study(place / "2026")
    write_study(place / "2025", date="20250131", but=("t2f",))
    other = objects(number=7, description="DWI\x1b[2J b1000", sequence=("EP",))
    other[3].SOPClassUID, other[3].SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.3"
    write_objects(place / "2026", other)
    return place


def test_the_table(folder, capsys):
    assert main(["series", str(folder)]) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[0].startswith("Study 1, 2025-01-31, UID 1.2.826")
    assert "Study 2, 2026-01-01, UID" in text
    (row,) = (line for line in text.splitlines() if "T1 MPRAGE" in line and "*" in line)
    assert row.split() == [
        "12",
        "T1",
        "MPRAGE",
        "+C",
        "T1ce",
        "*",
        "24x20x10",
        "1",
        "x",
        "1",
        "x",
        "1",
        "yes",
        "2026-01-01",
    ]
    assert "No series for FLAIR; where one of them is meant after all, name it with --flair SERIES." in text
    assert "diffusion" in text
    assert "Segmentation Storage (1)" in text
    assert "\x1b" not in text
    assert "Simulated" not in text  # the patient's name
    assert "SIMULATED" not in text


def test_one_study_as_json(folder, run):
    code, answer = run("series", folder, "--study", "2026-01-01")
    assert code == 0
    (study,) = answer["studies"]
    assert study["number"] == 2
    assert study["problem"] == ""
    assert study["case_id"].startswith("study_")
    assert answer["ignored"] == {"Segmentation Storage": 1}
    taken = {row["role"]: row for row in study["series"] if row["taken"]}
    assert {role: row["number"] for role, row in taken.items()} == {"t1n": 3, "t1c": 12, "t2w": 5, "t2f": 6}
    assert taken["t1c"]["contrast"] is True
    assert taken["t2w"]["contrast"] is False
    assert taken["t1c"]["size"] == [24, 20, 10]
    assert taken["t1c"]["spacing_mm"] == [1, 1, 1]


def test_a_faulty_series_is_said(tmp_path, capsys):
    write_study(tmp_path, but=("t2w",))
    series = objects()
    write_objects(tmp_path, series[:4] + series[5:])
    assert main(["series", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "T2, faulty" in text
    assert "1 slice is missing between image 4 and image 6" in text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("nowhere",), "There is no folder"), ((".",), "no DICOM file found"), ((), "required: DIR")],
)
def test_bad_input(arguments, said, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, answer = run("series", *arguments)
    assert code == 2
    assert said in answer["error"]


def test_a_study_that_is_not_there(folder, run):
    code, answer = run("series", folder, "--study", "9")
    assert code == 2
    assert "holds no study '9'; there is: 1 (2025-01-31, 3 of the four images); 2 (" in answer["error"]
