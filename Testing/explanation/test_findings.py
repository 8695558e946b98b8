import json
from dataclasses import replace

import numpy as np
import pytest
from by_hand import evidence_for, prediction_for, without_prototypes

from ProtoSegBrainLib.explanation.findings import doubts, findings
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.result.prediction import FINDINGS
from ProtoSegBrainLib.result.prediction_files import read_prediction, write_prediction

# Voxels of 2 mm on the case's grid, 4 mm on the prototypes'; left and back are positive along i and j.
AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
OWNERS = ("background", "ED", "ET", "ET")


@pytest.fixture
def prediction():
    """Two blocks in a brain of 80 x 96 x 64 mm: ED all around, in it ET, which prototype 3 carries three times of 2."""
    maps = np.zeros((4, 20, 24, 16), np.float32)
    maps[0] = 1
    maps[1, 2:8, 4:10, 6:10] = 3
    maps[2:, 3:6, 5:9, 7:9] = np.array([1.5, 4.5])[:, None, None, None]
    brain = np.zeros((40, 48, 32), bool)
    brain[1:39, 1:47, 1:31] = True
    return prediction_for(maps, evidence_for(OWNERS), AFFINE, brain)


def test_every_part_is_there_and_is_plain_json(prediction):
    found = findings(prediction)
    assert tuple(found) == FINDINGS
    assert json.loads(json.dumps(found)) == found


def test_regions_say_the_volumes_of_the_prediction(prediction):
    regions = findings(prediction)["regions"]
    assert {name: region["volume_ml"] for name, region in regions.items()} == pytest.approx(
        {name: prediction.volumes_ml[name] for name in ("WT", "TC", "ET")}
    )
    assert [region["foci"] for region in regions.values()] == [1, 1, 1]


def test_diameters_are_those_of_the_enhancing_tumour(prediction):
    found = findings(prediction)["enhancing_diameters_mm"]
    inside = np.argwhere(prediction.label == CLASSES.index("ET"))
    width, depth, _ = (np.ptp(inside, axis=0) + 1) * 2
    assert np.hypot(width - 2, depth) - 0.01 <= found["longest"] <= np.hypot(width, depth)
    assert found["product_mm2"] == pytest.approx(found["longest"] * found["perpendicular"], rel=1e-3)
    assert found["measurable"] is True


def test_the_side_is_the_patients(prediction):
    """The blocks lie at low i, where x is largest: the patient's right; at low j: in front."""
    location = findings(prediction)["location"]
    assert location["side"] == "right"
    assert location["midline_mm"] > 10
    assert location["front"] > 0.5
    assert location["centre_mm"][0] == pytest.approx(-2 * np.argwhere(prediction.label)[:, 0].mean(), abs=0.01)


def test_prototypes_are_named_and_ordered_by_share(prediction):
    cards = tuple(
        Prototype(index, name, f"case_{index}", (0, 0, 0), 2.0, {"t1c": 2.0}, 0.0) for index, name in enumerate(OWNERS)
    )
    known = findings(replace(prediction, evidence=replace(prediction.evidence, prototypes=cards)))["prototypes"]
    assert [entry["prototype"] for entry in known["ET"]] == [3, 2]
    assert [entry["share"] for entry in known["ET"]] == pytest.approx([0.75, 0.25], abs=0.01)
    assert known["ET"][0]["case_id"] == "case_3"
    assert "T1ce" in known["ET"][0]["name"]
    unknown = findings(prediction)["prototypes"]["ET"][0]
    assert (unknown["name"], unknown["case_id"], unknown["class"]) == (None, None, "ET")


def test_no_tumour_is_said_plainly(prediction):
    maps = np.zeros_like(prediction.similarities)
    maps[0] = 4
    found = findings(prediction_for(maps, prediction.evidence, AFFINE))
    assert found["location"] is None
    assert found["enhancing_diameters_mm"] is None
    assert found["prototypes"] == {"WT": [], "TC": [], "ET": []}
    assert [region["foci"] for region in found["regions"].values()] == [0, 0, 0]


def test_they_are_written_and_read_back(prediction, tmp_path):
    said = replace(prediction, findings=findings(prediction))
    path = write_prediction(said, tmp_path)["prediction"]
    summary = json.loads(path.read_text())
    assert {name: summary[name] for name in FINDINGS} == said.findings
    assert read_prediction(tmp_path).findings == said.findings
    write_prediction(prediction, tmp_path / "without")
    assert read_prediction(tmp_path / "without").findings == {}


def test_without_prototypes_all_but_the_prototypes_is_found(prediction):
    found, mute = findings(prediction), findings(without_prototypes(prediction))
    assert mute["prototypes"] == {"WT": [], "TC": [], "ET": []}
    for name in ("regions", "enhancing_diameters_mm", "location"):
        assert mute[name] == found[name]


def test_only_regions_that_the_model_finds_are_reported(prediction):
    everything = (prediction.label > 0).astype(np.uint8) * CLASSES.index("ED")
    found = findings(without_prototypes(replace(prediction, label=everything), regions=("WT",)))
    assert list(found["regions"]) == ["WT"]
    assert found["enhancing_diameters_mm"] is None
    assert found["location"]["side"] == "right"


def test_a_flagged_scan_is_probably_poor_and_says_why(prediction):
    found = findings(prediction)
    assert doubts(found) == ()
    for region, dice in zip(found["regions"].values(), (0.62, 0.4, None), strict=True):
        region["predicted_dice"] = dice
    found["out_of_distribution"] = {"flag": True, "reasons": ["T1 is empty in 70% of the brain", "T2 is noisy"]}
    assert doubts(found) == (
        "This result is probably poor: T1 is empty in 70% of the brain; T2 is noisy. "
        "The scan is unlike the training data; expected Dice WT .62, TC .40.",
    )
    for region in found["regions"].values():
        region["predicted_dice"] = None
    assert doubts(found)[0].endswith("The scan is unlike the training data.")
