"""Names of prototypes can be told from the numbers."""

from __future__ import annotations

from dataclasses import replace

import pointed_case
import pytest
from by_hand import AVERAGE, prototype

from ProtoSegBrainLib.correction.points import Point
from ProtoSegBrainLib.correction.teach import teach
from ProtoSegBrainLib.explanation.names import channel_name, names_of, prototype_name
from ProtoSegBrainLib.network.evidence import Prototype


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (prototype("ET", {"NCR": 0.3}, t1c=2.0, t1n=-1.0), "bright on T1ce, dark on T1: enhancing rim"),
        (prototype("ET", {"ET": 0.9}, t1c=3.0), "very bright on T1ce: enhancing solid tumour"),
        (prototype("ET", {"ED": 0.9}, t2f=1.0), "bright on FLAIR: faintly enhancing tumour beside oedema"),
        (prototype("ET", t1c=1.0), "bright on T1ce: enhancing tumour"),
        (prototype("NCR", t2w=3.0, t2f=-1.0), "very bright on T2, dark on FLAIR: fluid-like core"),
        (prototype("NCR", t1n=1.0), "bright on T1: core with short T1 (blood or protein?)"),
        (prototype("NCR", {"ET": 0.2}, t1n=-1.0), "dark on T1: necrotic core inside an enhancing rim"),
        (prototype("NCR"), "necrotic or non-enhancing core"),
        (prototype("ED", {"background": 0.4}, t2f=2.0), "bright on FLAIR: edge of the oedema"),
        (
            prototype("ED", {"ET": 0.1, "NCR": 0.1}, t2f=2.0, t2w=1.5),
            "bright on FLAIR and T2: oedema at the tumour core",
        ),
        (prototype("ED"), "faint oedema"),
        (prototype("background"), "outside the brain"),
        (prototype("background", {"outside": 0.5, "background": 0.5}), "outside the brain, at its surface"),
        (prototype("ET", {"background": 0.3}, t1c=1.0), "bright on T1ce: enhancing tumour at its edge"),
        (prototype("background", t1n=0.7, t1c=0.3, t2w=-0.5, t2f=-0.3), "white-matter-like tissue"),
        (
            prototype("background", {"outside": 0.2, "ED": 0.2}, t1n=-0.4, t1c=-0.4, t2f=0.2),
            "grey-matter-like tissue at the brain's surface beside the tumour",
        ),
    ],
)
def test_a_name_says_looks_and_tissue(record: Prototype, name: str) -> None:
    assert prototype_name(record) == name


def test_tumour_is_compared_with_the_other_side_and_background_with_the_mean() -> None:
    contrast = AVERAGE | {"t2f": 2.0}
    assert prototype_name(replace(prototype("ED", t1c=3.0), contrast=contrast)) == "bright on FLAIR: oedema"
    healthy = replace(prototype("background", t1n=0.7, t1c=0.3, t2w=-0.5), contrast=contrast)
    assert prototype_name(healthy) == "white-matter-like tissue"


def test_points_of_a_person_are_called_theirs():
    before = pointed_case.prediction()
    points = [Point(pointed_case.place(before, *voxel), "ED") for voxel in ((4, 9, 4), (4, 5, 4))]
    evidence = teach(before, pointed_case.embedding(before), points).evidence
    assert names_of(evidence) == {4: "your point 1", 5: "your point 2"}
    assert channel_name(evidence, 3) == "prototype 3"
