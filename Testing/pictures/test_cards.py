"""The page of cards: what is known of each prototype, and what is shown of its patch."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from by_hand import AVERAGE, evidence_for, prototype

from ProtoSegBrainLib.explanation.patch import Patch
from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.network.evidence import Evidence, Neighbour, Prototype
from ProtoSegBrainLib.pictures.cards import write_cards


def evidence_with(*prototypes: Prototype) -> Evidence:
    records = tuple(replace(record, index=index) for index, record in enumerate(prototypes))
    return replace(evidence_for([record.class_name for record in records], weight=2.0), prototypes=records)


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


def a_patch(similarity: np.ndarray, case_id: str = "simulated_1") -> Patch:
    return Patch(
        prototype=0,
        case_id=case_id,
        position_mm=(0.0, 0.0, 0.0),
        images=np.ones((4, 10, 10), np.float32),
        similarity=similarity,
        overview=np.ones((20, 30), np.float32),
        corner=(3, 5),
        simulated=True,
    )


def test_the_outline_lies_where_the_similarity_is_high_as_seen_from_the_feet(tmp_path: Path) -> None:
    similarity = np.zeros((10, 10), np.float32)
    similarity[6:8, 8:10] = 4.0  # right, the second pair from the edge; anterior, at the edge
    page = write_cards(evidence_with(prototype("ET")), tmp_path, patches=[a_patch(similarity)]).read_text()
    path = re.findall(r'd="M([^"]*)" class="outline"', page)
    points = np.array([point.split() for point in path[0].split("L")], float)
    assert len(path) == 4
    # Columns count from the patient's right: 10 - 8 to 10 - 6. Rows count from anterior: 0 to 2.
    np.testing.assert_allclose(points.mean(axis=0), (3, 1), atol=0.2)
    assert 'x="7" y="15" width="10" height="10" class="frame"' in page  # 20 - 3 - 10, 30 - 5 - 10
    assert page.count("SIMULATED, no patient") == 1
    assert "All images on this page are simulated" in page


def test_text_from_outside_is_text(tmp_path: Path) -> None:
    evil = '<b>x</b> & "y"'
    known = replace(prototype("ET"), case_id=evil, neighbours=(Neighbour(evil, (1.0, 2.0, 3.0), 0.125),))
    patch = a_patch(np.zeros((10, 10), np.float32), evil)
    page = write_cards(evidence_with(known), tmp_path, evil, [patch]).read_text()
    assert "<b>" not in page
    assert unescape(page).count(evil) == 5  # title, heading, training case, neighbour, case of the patch


def test_a_model_without_prototypes_has_no_cards(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"This model \(mute\) has no prototypes, so it cannot say why\."):
        write_cards(Evidence.none(2, Calibration()), tmp_path / "cards", "mute")
    assert not (tmp_path / "cards").exists()
