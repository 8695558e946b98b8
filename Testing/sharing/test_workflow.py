"""A step of the workflow on its own."""

import numpy as np
import pytest
import torch

from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.result.decision import remove_small_components
from ProtoSegBrainLib.sharing.workflow import rules_of


@pytest.mark.parametrize(("sizes", "left"), [((3, 20), 20), ((3, 5), 5), ((), 0)])
def test_a_bundle_drops_small_parts_but_never_the_largest(sizes, left):
    """As ``remove_small_components``: of parts of these sizes in mm³, those below 10 go."""
    monai = pytest.importorskip("monai")
    (rule,) = rules_of(Calibration(minimum_component_ml=0.01))
    label = torch.zeros(1, 32, 8, 8)
    for row, size in enumerate(sizes):
        label[0, :size, 4 * row, 0] = 1 + row
    label = monai.data.MetaTensor(label, affine=torch.eye(4))
    step = monai.bundle.ConfigParser({"step": {**rule, "keys": "pred"}}).get_parsed_content("step")
    kept = step({"pred": label})["pred"]
    assert int((kept > 0).sum()) == left
    found, _ = remove_small_components(label[0].numpy().astype(np.uint8), np.eye(4), 0.01)
    np.testing.assert_array_equal(kept[0].numpy(), found)
