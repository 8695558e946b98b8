import json

import numpy as np
import pytest
from made_up_visits import motion, visit

from ProtoSegBrainLib.followup.follow import follow
from ProtoSegBrainLib.followup.followup_files import SUMMARY, check_new, read_followup, write_followup
from ProtoSegBrainLib.images.formats import read_volume
from ProtoSegBrainLib.preparation.transforms import read_transform


@pytest.fixture(scope="module")
def followup():
    return follow([visit(date="2024-03-01"), visit(6, 3, date="2024-06-01", noise=1, moved=motion())])


def test_maps_lie_on_the_grids_of_both_scans_and_the_summary_names_all(followup, tmp_path):
    files = write_followup(followup, tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {path.name for path in files.values()}
    for each in followup.maps:
        for volume, date in ((each.on_earlier, "2024-03-01"), (each.on_later, "2024-06-01")):
            written = read_volume(tmp_path / "out" / f"change_{each.region}_2024-03-01_to_2024-06-01_on_{date}.nii.gz")
            np.testing.assert_array_equal(written.array, volume.array)
            np.testing.assert_allclose(written.affine, volume.affine, atol=1e-4)
    moved = read_transform(tmp_path / "out" / "2024-06-01_to_2024-03-01.tfm")
    np.testing.assert_allclose(moved, followup.registrations[1].motion, atol=1e-6)
    summary = read_followup(tmp_path / "out")
    assert summary["regions"]["WT"]["volumes_ml"] == list(followup.regions["WT"].volumes_ml)
    assert "research use" in summary["statement"].lower()


def test_a_follow_up_is_replaced_whole_and_only_when_asked(followup, tmp_path):
    write_followup(followup, tmp_path)
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"already holds a follow-up.*--overwrite"):
        write_followup(followup, tmp_path)
    write_followup(follow([visit(), visit(6, 3, noise=1)]), tmp_path, overwrite=True)
    names = {path.name for path in tmp_path.iterdir()}
    assert "note.txt" in names
    assert not any("2024" in name for name in names)


def test_a_report_that_fails_leaves_nothing(followup, tmp_path):
    def fails(_followup, _path):
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full"):
        write_followup(followup, tmp_path, write_report=fails)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_follow_up_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no follow-up in"):
        read_followup(tmp_path)
    (tmp_path / SUMMARY).write_text(json.dumps({"visits": []}))
    with pytest.raises(ValueError, match="it lacks"):
        read_followup(tmp_path)
    (tmp_path / SUMMARY).write_text("[]")
    with pytest.raises(ValueError, match="is not a follow-up"):
        read_followup(tmp_path)
    with pytest.raises(FileExistsError):
        check_new(tmp_path, overwrite=False)
