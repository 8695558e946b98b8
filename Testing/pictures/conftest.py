"""A case with a small tumour and its result, for report and pictures."""

from dataclasses import replace

import numpy as np
import pytest
from by_hand import evidence_for, prediction_for

from ProtoSegBrainLib.explanation.findings import findings
from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.network.evidence import Prototype

AFFINE = np.diag([-2.0, -2.0, 2.0, 1.0])
OWNERS = ("background", "NCR", "ED", "ET")


@pytest.fixture
def prediction():
    maps = np.zeros((4, 20, 24, 16), np.float32)
    maps[0] = 1
    maps[2, 2:8, 4:10, 6:10] = 3
    maps[3, 3:7, 5:9, 7:9] = 5
    maps[1, 4:6, 6:8, 7:9] = 9
    brain = np.zeros((40, 48, 32), bool)
    brain[1:39, 1:47, 1:31] = True
    cards = tuple(
        Prototype(n, name, f"training_{n}", (0, 0, 0), 2.0, {"t1c": 2.0}, 0.0, (0.1, 0.5, 2.0))
        for n, name in enumerate(OWNERS)
    )
    evidence = replace(evidence_for(OWNERS), prototypes=cards)
    made = prediction_for(maps, evidence, AFFINE, brain)
    return replace(made, findings=findings(made))


@pytest.fixture
def case(prediction):
    brain = prediction.probabilities[0] < 1
    images = np.random.default_rng(0).uniform(1, 2, (4, *brain.shape)).astype(np.float32) * brain
    return Case(prediction.case_id, images, AFFINE)
