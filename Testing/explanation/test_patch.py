"""Patches that show a prototype: the right place of the right case, in the middle of the square."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from portrait_cases import network, portrait_of_et, record, striped_case, view_of
from synthetic import AFFINE

from ProtoSegBrainLib.explanation import patch as module
from ProtoSegBrainLib.explanation.patch import own_patches, simulated_patches
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.training.prototypes import project_prototypes


def test_a_prototypes_own_patch_lies_in_the_middle_of_its_square() -> None:
    net, cases = network(), [striped_case(number) for number in range(3)]
    prototypes = project_prototypes(net, cases)
    patches = {patch.prototype: patch for patch in own_patches(net, cases, prototypes)}
    assert sorted(patches) == list(range(8))
    for prototype in prototypes:
        patch = patches[prototype.index]
        case = next(case for case in cases if case.case_id == prototype.case_id)
        x, y, z = np.floor((np.linalg.inv(AFFINE) @ [*prototype.position_mm, 1])[:3] + 0.01).astype(int)
        middle = slice(19, 21)
        np.testing.assert_array_equal(patch.images[:, middle, middle], case.images[:, x : x + 2, y : y + 2, z].numpy())
        assert patch.corner == (x - 19, y - 19)
        np.testing.assert_allclose(patch.position_mm, prototype.position_mm, atol=0.011)
        assert patch.similarity[middle, middle].mean() > 0.4 * net.prototype_layer.max_similarity()
        assert not patch.simulated


def test_the_simulated_patch_is_the_nearest_of_its_class(monkeypatch: pytest.MonkeyPatch) -> None:
    views = []
    for number, best in enumerate([3.0, 3.5]):
        similarities = torch.zeros(3, 4, 4, 4)
        similarities[0, number + 1, 2, 3] = best
        views.append(view_of(number, similarities, torch.full((4, 4, 4), CLASSES.index("ED"))))
    monkeypatch.setattr(module, "look_at", lambda _, case: views[int(case.case_id[-1])])
    patches = simulated_patches(network(), (view.case for view in views), [record(0, "ED"), *portrait_of_et()])
    assert [(patch.prototype, patch.case_id, patch.simulated) for patch in patches] == [(0, "case_1", True)]
    np.testing.assert_allclose(patches[0].position_mm, (AFFINE @ [4.5, 4.5, 6.5, 1])[:3], atol=0.006)
