"""Prototype cards: names that can be told from the numbers, and a page that shows them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from by_hand import evidence_for

from ProtoSegBrainLib.explanation.names import prototype_name
from ProtoSegBrainLib.explanation.patch import Patch
from ProtoSegBrainLib.network.evidence import Calibration, Evidence, Neighbour, Prototype
from ProtoSegBrainLib.pictures.cards import write_cards

AVERAGE = {"t1n": 0.0, "t1c": 0.0, "t2w": 0.0, "t2f": 0.0}


def prototype(class_name: str, surroundings: dict[str, float] | None = None, **profile: float) -> Prototype:
    return Prototype(
        0, class_name, "case_1", (1.5, -2.0, 3.25), 2.0, AVERAGE | profile, 0.0, surroundings=surroundings or {}
    )


def evidence_with(*prototypes: Prototype) -> Evidence:
    records = tuple(replace(record, index=index) for index, record in enumerate(prototypes))
    return replace(evidence_for([record.class_name for record in records], weight=2.0), prototypes=records)


# -- names -------------------------------------------------------------------------------------------------------------


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


# -- page --------------------------------------------------------------------------------------------------------------


def test_the_page_shows_what_is_known_and_loads_nothing(tmp_path: Path) -> None:
    known = replace(
        prototype("ET", {"ET": 0.75, "NCR": 0.25}, t1c=3.0),
        case_id="case <1>",
        contrast=AVERAGE | {"t1c": 2.0},
        explained_share=0.31,
        purity=0.98,
        stability=0.5,
        neighbours=(Neighbour("case_2", (1.0, 2.0, 3.0), 0.125),),
        similarity_quantiles=tuple(np.linspace(0, 4, 101)),
    )
    page = write_cards(evidence_with(known, prototype("ED")), tmp_path / "new", "tiny & small").read_text()
    for words in ("tiny &amp; small", "case &lt;1&gt;", "31%", "98%", "50%", "distance 0.125", "0.4 to 3.6", "2.0"):
        assert words in page
    assert page.count('class="other"') == 4  # the ring of the other side, for the one that has a contrast
    assert page.count('class="own"') == 8
    assert "None" not in page
    assert "http" not in page
    assert "<script" not in page


def test_cards_of_a_class_stand_together_the_strongest_first(tmp_path: Path) -> None:
    weak, strong = (replace(prototype("ET"), explained_share=share) for share in (0.2, 0.8))
    page = write_cards(evidence_with(weak, prototype("NCR"), strong), tmp_path).read_text()
    assert re.findall(r'class="number">(\d+)', page) == ["1", "2", "0"]


def test_a_page_is_not_overwritten_unasked_and_needs_prototypes(tmp_path: Path) -> None:
    evidence = evidence_with(prototype("ET"))
    write_cards(evidence, tmp_path)
    with pytest.raises(FileExistsError, match="--overwrite"):
        write_cards(evidence, tmp_path)
    write_cards(evidence, tmp_path, overwrite=True)
    with pytest.raises(ValueError, match="never projected"):
        write_cards(evidence_for(["ET"]), tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_the_outline_lies_where_the_similarity_is_high_as_seen_from_the_feet(tmp_path: Path) -> None:
    similarity = np.zeros((10, 10), np.float32)
    similarity[6:8, 8:10] = 4.0  # right, the second pair from the edge; anterior, at the edge
    patch = Patch(
        prototype=0,
        case_id="simulated_1",
        position_mm=(0.0, 0.0, 0.0),
        images=np.ones((4, 10, 10), np.float32),
        similarity=similarity,
        overview=np.ones((20, 30), np.float32),
        corner=(3, 5),
        simulated=True,
    )
    page = write_cards(evidence_with(prototype("ET")), tmp_path, patches=[patch]).read_text()
    path = re.findall(r'd="M([^"]*)" class="outline"', page)
    points = np.array([point.split() for point in path[0].split("L")], float)
    assert len(path) == 4
    # Columns count from the patient's right: 10 - 8 to 10 - 6. Rows count from anterior: 0 to 2.
    np.testing.assert_allclose(points.mean(axis=0), (3, 1), atol=0.2)
    assert 'x="7" y="15" width="10" height="10" class="frame"' in page  # 20 - 3 - 10, 30 - 5 - 10
    assert page.count("SIMULATED, no patient") == 1
    assert "All images on this page are simulated" in page


def test_a_model_without_prototypes_has_no_cards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"This model \(mute\) has no prototypes, so it cannot say why\."):
        write_cards(Evidence.none(2, Calibration()), tmp_path / "cards", "mute")
    assert not (tmp_path / "cards").exists()
