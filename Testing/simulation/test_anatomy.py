"""The head made of formulas: where its tumour lies, and what each voxel is made of."""

from __future__ import annotations

import numpy as np
import pytest

from ProtoSegBrainLib.simulation.anatomy import Head, Tumour, draw_head


def head(seed: int, tumour: Tumour | None = "high_grade") -> Head:
    return draw_head(np.random.default_rng(seed), (60, 60, 40), tumour)


def test_sides_and_sizes_vary() -> None:
    heads = [head(seed) for seed in range(8)]
    centres = [np.argwhere(each.label)[:, 0].mean() + each.space.slices[0].start for each in heads]
    assert min(centres) < 28 < 32 < max(centres)
    sizes = [np.count_nonzero(each.label) for each in heads]
    assert max(sizes) > 1.5 * min(sizes)
    assert all({1, 2, 3} <= set(np.unique(each.label)) for each in heads)


@pytest.mark.parametrize("tumour", ["high_grade", "low_grade", None])
def test_every_tissue_has_a_share_of_each_voxel(tumour: Tumour | None) -> None:
    drawn = head(2, tumour)
    shares = np.stack(list(drawn.fractions.values()))
    assert shares.shape[1:] == drawn.brain.shape == drawn.label.shape
    assert shares.min() >= 0
    assert shares.max() <= 1
    assert shares[:, drawn.brain].sum(axis=0).min() > 0.7  # nearly all of the brain is something
    tumours = {"high_grade": {"ED", "NCR", "ET"}, "low_grade": {"ED", "low-grade core"}, None: set()}
    assert {"ED", "NCR", "ET", "low-grade core"} & set(drawn.fractions) == tumours[tumour]
