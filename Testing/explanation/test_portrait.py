"""Portraits: every measure against numbers that can be worked out on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from portrait_cases import network, portrait_of_et, record, striped_case, view_of
from synthetic import AFFINE

from ProtoSegBrainLib.explanation import portrait
from ProtoSegBrainLib.explanation.portrait import portray
from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.evidence import Prototype
from ProtoSegBrainLib.patches.cases import TrainingCase
from ProtoSegBrainLib.training.prototypes import project_prototypes

BACKGROUND, NCR, ED, ET = range(4)


@pytest.fixture
def two_cases(monkeypatch: pytest.MonkeyPatch) -> list[TrainingCase]:
    """One ED and two ET prototypes on two cases of 10 x 10 x 10 voxels of the prototype grid.

    Case 0: similarities 0.000, 0.004, ... 3.996 to the ED prototype in ED voxels but for the last hundred, which are
    ET; 1 and 3 to the ET prototypes. Case 1: all of it lies outside the brain.
    """
    ramp = torch.arange(1000).reshape(10, 10, 10) * 0.004
    similarities = torch.stack([ramp, torch.full_like(ramp, 1.0), torch.full_like(ramp, 3.0)])
    classes = torch.where(torch.arange(1000).reshape(10, 10, 10) < 900, ED, ET)
    views = [view_of(0, similarities, classes), view_of(1, similarities + 9, torch.full_like(classes, -1))]
    monkeypatch.setattr(portrait, "look_at", lambda _, case: views[int(case.case_id[-1])])
    return [view.case for view in views]


def portrayed(cases: list[TrainingCase]) -> tuple[Prototype, ...]:
    net = network(prototypes_per_class=(0, 0, 1, 2), epsilon=0.01)
    with torch.no_grad():
        net.last_layer.weight[ET] = torch.tensor([0.0, 3.0, 1.0])
    return portray(net, cases, [record(0, "ED"), record(1, "ET"), record(2, "ET")])


def test_quantiles_are_those_of_true_voxels_in_the_brain(two_cases: list[TrainingCase]) -> None:
    first, second, third = portrayed(two_cases)
    np.testing.assert_allclose(first.similarity_quantiles, np.linspace(0, 3.6, 101), atol=0.006)
    np.testing.assert_allclose(second.similarity_quantiles, 1.0, atol=0.002)
    np.testing.assert_allclose(third.similarity_quantiles, 3.0, atol=0.002)


def test_evidence_is_shared_by_weight_times_similarity(two_cases: list[TrainingCase]) -> None:
    first, second, third = portrayed(two_cases)
    assert first.explained_share == 1
    assert (second.explained_share, third.explained_share) == (0.5, 0.5)  # 3 * 1 and 1 * 3


def test_purity_counts_the_strongest_voxels_of_all_cases(two_cases: list[TrainingCase], monkeypatch) -> None:
    assert portrayed(two_cases)[0].purity == 0  # the strongest of 1000 voxels is ET
    monkeypatch.setattr(portrait, "STRONGEST_SHARE", 0.2)
    assert portrayed(two_cases)[0].purity == pytest.approx(0.5, abs=0.01)  # a hundred ET above a hundred ED
    assert portrayed(two_cases)[2].purity == pytest.approx(0.1, abs=0.01)  # all alike: as ET in the brain


def test_a_class_without_voxels_leaves_its_prototypes_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    view = view_of(0, torch.ones(3, 4, 4, 4), torch.full((4, 4, 4), ED))
    monkeypatch.setattr(portrait, "look_at", lambda *_: view)
    _, second, _ = portrayed([view.case])
    assert second.similarity_quantiles == second.neighbours == ()
    assert second.explained_share is second.stability is None
    assert second.purity == 0


def test_neighbours_are_the_nearest_pure_patches_of_other_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    views = []
    for number, best in enumerate([3.9, 3.0, 2.0, 3.5, 3.7]):
        similarities = torch.zeros(3, 4, 4, 4)
        similarities[0, 1, 2, 3] = best
        similarities[0, 0, 0, 0] = 4.0  # more similar, but ET
        classes = torch.full((4, 4, 4), ED)
        classes[0, 0, 0] = ET
        views.append(view_of(number, similarities, classes))
    monkeypatch.setattr(portrait, "look_at", lambda _, case: views[int(case.case_id[-1])])
    net = network(prototypes_per_class=(0, 0, 1, 2))
    first, *_ = portray(net, [v.case for v in views], [record(0, "ED", "case_0", (2, 2, 2)), *portrait_of_et()])
    assert [n.case_id for n in first.neighbours] == ["case_4", "case_3", "case_1"]
    np.testing.assert_allclose([n.distance for n in first.neighbours], (0.3, 0.5, 1.0), atol=1e-4)
    np.testing.assert_allclose(first.neighbours[0].position_mm, (AFFINE @ [2.5, 4.5, 6.5, 1])[:3], atol=0.006)


# -- the prototype's own patch -----------------------------------------------------------------------------------------


def lesion_case() -> TrainingCase:
    """A brain from x = 2 to 37 of 40 with a lesion, FLAIR 5, on its left; normal tissue 1 left and 2 right of 20."""
    shape = (40, 30, 30)
    images, label = np.zeros((4, *shape), np.float16), np.zeros(shape, np.uint8)
    images[:, 2:20], images[:, 20:38] = 1, 2
    label[2:13, 9:20, 9:20] = ED
    images[3][label == ED] = 5
    return TrainingCase("case_0", torch.from_numpy(images), torch.from_numpy(label), AFFINE, {})


def own(case: TrainingCase, voxel: tuple[float, float, float]) -> dict[str, dict[str, float]]:
    prototype = replace(
        record(0, "ED", "case_0", voxel), profile=dict(zip(MODALITIES, (1.0, 1.0, 1.0, 5.0), strict=True))
    )
    return portrait._own_patch(case, prototype)


def test_contrast_is_against_the_mirrored_normal_tissue() -> None:
    assert own(lesion_case(), (7.5, 14.5, 14.5))["contrast"] == {"t1n": -1, "t1c": -1, "t2w": -1, "t2f": 3}


def test_without_normal_tissue_on_the_other_side_there_is_no_contrast() -> None:
    case = lesion_case()
    case.label[20:] = ED
    assert own(case, (7.5, 14.5, 14.5))["contrast"] == {}


def test_surroundings_are_shares_of_a_ball() -> None:
    assert own(lesion_case(), (7.5, 14.5, 14.5))["surroundings"]["ED"] > 0.85  # the ball is a little larger
    edge = own(lesion_case(), (12.5, 14.5, 14.5))["surroundings"]
    assert edge["ED"] == pytest.approx(0.5, abs=0.05)
    assert edge["background"] == pytest.approx(0.5, abs=0.05)
    surface = own(lesion_case(), (1.5, 14.5, 14.5))["surroundings"]
    assert surface["outside"] == pytest.approx(0.5, abs=0.2)  # the grid ends two voxels further out
    assert sum(surface.values()) == pytest.approx(1, abs=0.01)


# -- a whole network ---------------------------------------------------------------------------------------------------


def test_a_portrait_is_complete_and_leaves_network_and_record_as_they_were() -> None:
    net, cases = network(), [striped_case(number) for number in range(3)]
    prototypes = project_prototypes(net, cases)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    messages: list[float] = []
    portraits = portray(net, cases, prototypes, lambda fraction, _: messages.append(fraction))
    assert messages[-1] == 1
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())
    for old, new in zip(prototypes, portraits, strict=True):
        unmeasured = {name: getattr(old, name) for name in PORTRAIT_FIELDS}
        assert replace(new, **unmeasured) == old
        assert list(new.similarity_quantiles) == sorted(new.similarity_quantiles)
        assert len(new.similarity_quantiles) == 101
        assert len(new.neighbours) == 2
        assert old.case_id not in {neighbour.case_id for neighbour in new.neighbours}
        assert new.stability in (0, pytest.approx(1 / 3, abs=1e-4), pytest.approx(2 / 3, abs=1e-4), 1)
        assert new.surroundings[new.class_name] > 0.3
    for name in CLASSES:
        shares = [p.explained_share or 0 for p in portraits if p.class_name == name]
        assert sum(shares) == pytest.approx(1, abs=1e-3)


PORTRAIT_FIELDS = (
    *("similarity_quantiles", "contrast", "surroundings", "explained_share", "purity", "stability", "neighbours"),
)


def test_a_place_that_answers_no_more_is_not_stable(monkeypatch: pytest.MonkeyPatch) -> None:
    similarities = torch.zeros(3, 10, 10, 10)
    similarities[:, 1, 1, 1] = 4
    view = view_of(0, similarities, torch.full((10, 10, 10), ED))
    moved = torch.arange(1000.0).reshape(10, 10, 10).expand(3, -1, -1, -1)  # its neighbours: number 222 of 999 at best
    monkeypatch.setattr(portrait, "look_at", lambda *_: view)
    monkeypatch.setattr(portrait, "similarities_of", lambda *_: similarities[None])
    assert portrayed([view.case])[0].stability == 1
    monkeypatch.setattr(portrait, "similarities_of", lambda *_: moved[None])
    assert portrayed([view.case])[0].stability == 0


def test_portraits_need_a_case() -> None:
    with pytest.raises(ValueError, match="got none"):
        portray(network(), [], [])
