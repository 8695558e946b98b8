from dataclasses import replace

import numpy as np
import pytest
from by_hand import without_prototypes
from pointed_case import COARSE, GRIDS, case, embedding, place, prediction

from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.correction.teach import TeachConfig, teach, untaught
from ProtoSegBrainLib.explanation.explain import explain, region_shares
from ProtoSegBrainLib.explanation.names import names_of
from ProtoSegBrainLib.explanation.whatif import whatif
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.result.prediction_files import read_prediction, write_prediction

MISSED, FAR = (4, 9, 4), (9, 3, 7)
"""In the piece that the model missed; a place that looks otherwise."""


@pytest.fixture
def before():
    return prediction()


def taught(before, *points, **settings):
    points = [Point(place(before, *voxel), name) for voxel, name in points]
    return teach(before, embedding(before), points, config=TeachConfig(**settings))


@pytest.mark.parametrize("grid", GRIDS)
def test_a_click_changes_what_looks_alike_and_nothing_else(grid):
    before = prediction(GRIDS[grid])
    after = taught(before, (MISSED, "ED"), sigma_mm=200.0)
    assert explain(before, place(before, *MISSED)).class_name == "background"
    changed = np.argwhere(after.label != before.label)
    assert (after.label[tuple(changed.T)] == CLASSES.index("ED")).all()
    # the piece of the third kind, a voxel more on each side where maps of 2 mm are brought to 1 mm
    assert (changed >= (5, 17, 5)).all()
    assert (changed <= (14, 22, 14)).all()
    for voxel in ((3, 9, 3), (6, 10, 6), MISSED):
        assert explain(after, place(after, *voxel)).class_name == "ED"
    assert explain(after, place(after, *FAR)).class_name == "background"


def test_every_logit_is_the_sum_of_all_contributions_the_persons_among_them(before):
    after = taught(before, (MISSED, "ED"), ((4, 5, 4), "ET"))
    for voxel in (MISSED, (4, 5, 4), FAR):
        found = explain(after, place(after, *voxel))
        for name, logit in found.logits.items():
            ours = [term.contribution for term in found.contributions if term.class_name == name]
            assert found.bias[name] + sum(ours) == pytest.approx(logit, abs=1e-5)
    terms = explain(after, place(after, *MISSED)).contributions
    assert any(term.prototype == 4 and term.contribution > 0 for term in terms)


def test_the_clicked_class_leads_by_the_margin(before):
    after = taught(before, (MISSED, "ED"), margin=3.0)
    logits = dict(zip(CLASSES, after.evidence.logits(after.similarities)[(slice(None), *MISSED)], strict=True))
    lead = logits.pop("ED") - max(logits.values())
    assert lead == pytest.approx(3, abs=1e-3)


def test_far_from_a_click_nothing_changes_however_alike(before):
    after = taught(before, ((3, 9, 3), "ED"), sigma_mm=1.0)
    far = np.linalg.norm(after.evidence.taught[0].position_mm - _places(after), axis=-1) > 4
    assert far.any()
    assert (after.similarities[4][far] == 0).all()


def _places(made):
    index = np.stack(np.meshgrid(*map(np.arange, COARSE), indexing="ij"), axis=-1)
    return index @ made.similarity_affine[:3, :3].T + made.similarity_affine[:3, 3]


def test_one_after_the_other_is_the_same_as_together(before):
    together = taught(before, (MISSED, "ED"), ((4, 5, 4), "NCR"))
    first = taught(before, (MISSED, "ED"))
    second = teach(first, embedding(before), [Point(place(before, 4, 5, 4), "NCR")])
    np.testing.assert_allclose(second.evidence.weight, together.evidence.weight, atol=1e-5)
    assert np.array_equal(second.label, together.label)
    assert [each.number for each in second.evidence.taught] == [1, 2]


def test_points_that_contradict_each_other_share_the_ground(before):
    """Both lie in the piece of one kind, 8 mm apart: each is right where it lies."""
    after = taught(before, ((3, 9, 3), "ED"), ((6, 10, 6), "ET"))
    apart = np.linalg.norm(np.subtract(*(each.position_mm for each in after.evidence.taught)))
    assert [each.sigma_mm for each in after.evidence.taught] == [pytest.approx(apart / 2, abs=1e-3)] * 2
    assert explain(after, place(after, 3, 9, 3)).class_name == "ED"
    assert explain(after, place(after, 6, 10, 6)).class_name == "ET"
    same = taught(before, ((3, 9, 3), "ED"), ((6, 10, 6), "ED"))
    assert {each.sigma_mm for each in same.evidence.taught} == {TeachConfig().sigma_mm}


def test_of_two_points_at_one_place_the_later_counts(before):
    after = taught(before, (MISSED, "ED"), (MISSED, "ET"))
    (only,) = after.evidence.taught
    assert only.class_name == "ET"


def test_a_painted_piece_is_one_prototype_of_its_mean(before):
    places = tuple(place(before, i, 9, k) for i in (3, 4, 5) for k in (3, 4, 5))
    after = teach(before, embedding(before), [Point(places[4], "ED", places)])
    (piece,) = after.evidence.taught
    assert piece.voxels == 9
    assert np.linalg.norm(piece.embedding) == pytest.approx(1, abs=1e-5)
    assert piece.sigma_mm > TeachConfig().sigma_mm
    assert explain(after, places[4]).class_name == "ED"


def test_without_its_points_the_result_is_the_models_own(before):
    after = taught(before, (MISSED, "ED"), ((4, 5, 4), "NCR"))
    again = untaught(after)
    assert np.array_equal(again.label, before.label)
    np.testing.assert_allclose(again.probabilities, before.probabilities, atol=1e-5)
    assert again.evidence.taught == ()
    assert untaught(before) is before
    off = whatif(after, [4, 5])
    assert np.array_equal(off.label, before.label)


def test_files_bring_the_points_back(before, tmp_path):
    after = taught(before, (MISSED, "ED"), ((4, 5, 4), "NCR"))
    write_prediction(after, tmp_path)
    read = read_prediction(tmp_path, after.case_id)
    assert read.evidence.taught == after.evidence.taught
    assert names_of(read.evidence)[5] == "your point 2"
    assert "Corrected by a person: 2 points" in read.warnings[-1]
    np.testing.assert_allclose(read.evidence.weight, after.evidence.weight)
    shares = region_shares(read, "WT")
    assert shares[4] > 0
    assert explain(read, place(read, *MISSED)).class_name == "ED"


@pytest.mark.parametrize(
    ("voxel", "said"),
    [((0, 0, 0), "lies outside the brain of case pointed"), ((99, 0, 0), "lies outside the image of case pointed")],
)
def test_a_point_outside_is_named(before, voxel, said):
    with pytest.raises(ValueError, match=said):
        taught(before, (voxel, "ED"))


def test_no_point_no_prototypes_and_other_images_are_told(before):
    with pytest.raises(ValueError, match="at least one point"):
        teach(before, embedding(before), [])
    with pytest.raises(ValueError, match="prototypes"):
        teach(without_prototypes(before), embedding(before), [Point(place(before, *MISSED), "ED")])
    other = case(before)
    other = replace(other, images=np.roll(other.images, 3, axis=1))
    with pytest.raises(ValueError, match="show another brain than the result"):
        teach(before, other, [Point(place(before, *MISSED), "ED")])
