import json

import numpy as np
import pytest
from pointed_case import GRIDS, case, embedding, place, prediction

from ProtoSegBrainLib.correction.corrected import NOTE, write_corrected_case
from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.correction.teach import teach
from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.folders import list_cases


@pytest.fixture
def corrected():
    before = prediction(GRIDS["oblique and anisotropic"] @ np.diag([2, 2, 2, 1]))  # as large as a head
    return teach(before, embedding(before), [Point(place(before, 4, 9, 4), "ED")])


def test_it_is_a_case_to_train_on(corrected, tmp_path):
    written = write_corrected_case(corrected, case(corrected), tmp_path)
    assert written == tmp_path / "pointed"
    (files,) = list_cases(tmp_path)
    again = read_case(files)
    assert np.array_equal(again.label, corrected.label)
    np.testing.assert_allclose(again.affine, corrected.affine, atol=1e-4)
    np.testing.assert_allclose(again.images, case(corrected).images, rtol=1e-6)
    note = json.loads((written / NOTE).read_text())
    assert "A person corrected" in note["label"]
    assert note["points"][0]["class"] == "ED"


def test_what_nobody_corrected_is_no_label(tmp_path):
    before = prediction()
    with pytest.raises(ValueError, match="was not corrected"):
        write_corrected_case(before, case(before), tmp_path)


def test_files_that_are_there_stay(corrected, tmp_path):
    write_corrected_case(corrected, case(corrected), tmp_path)
    with pytest.raises(FileExistsError, match="already holds files"):
        write_corrected_case(corrected, case(corrected), tmp_path)


def test_images_on_another_grid_are_refused(corrected, tmp_path):
    other = case(prediction())
    with pytest.raises(ValueError, match="another grid"):
        write_corrected_case(corrected, other, tmp_path)
