"""What is drawn for a report: which slices, which prototypes, from which side."""

from dataclasses import replace

import numpy as np
from by_hand import without_prototypes

from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.images.volume import Volume, canonical
from ProtoSegBrainLib.pictures.report_pictures import _slice_indices, report_pictures


def test_measured_diameters_decide_the_axial_slice(prediction):
    """Elsewhere it is where the regions are largest; the drawn lines must lie in the slice they were measured in."""
    label = canonical(Volume(prediction.label, prediction.affine))
    brain = np.ones(label.shape, bool)
    diameters = {"measurable": True, "longest_ends": [(-8.0, -10.0, 2 * 5.0), (0, 0, 0)]}
    assert _slice_indices(label, brain, diameters)[2] == 5
    assert _slice_indices(label, brain, None)[2] in range(14, 18)


def test_the_prototype_that_says_most_for_each_class_is_shown_on_the_scale_of_the_model(case, prediction):
    drawn = report_pictures(case, prediction, prediction.findings)
    assert [(each.prototype, each.class_name) for each in drawn.similarities] == [(1, "NCR"), (2, "ED"), (3, "ET")]
    assert {each.heat.most for each in drawn.similarities} == {prediction.evidence.largest_similarity}
    assert {each.typical for each in drawn.similarities} == {0.5}
    assert drawn.probabilities == {}
    assert drawn.disagreement is None


def test_without_prototypes_there_are_probabilities(case, prediction):
    mute = without_prototypes(prediction)
    drawn = report_pictures(case, mute, findings(mute))
    assert drawn.similarities == []
    assert list(drawn.probabilities) == ["NCR", "ED", "ET"]


def test_the_surfaces_are_seen_from_the_side_of_the_tumour(case, prediction):
    for midline_mm, side in ((12.0, "right"), (-12.0, "left")):
        said = prediction.findings | {"location": {"midline_mm": midline_mm}}
        assert report_pictures(case, prediction, said).seen_from == side
    nothing = replace(prediction, label=np.zeros_like(prediction.label))
    assert report_pictures(case, nothing, findings(nothing)).seen_from == "left"
