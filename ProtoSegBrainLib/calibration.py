"""Calibration of a model from cases it has not seen: temperature and the minimum volume of enhancing tumour.

Both are chosen on out-of-fold predictions. To report a fold, calibrate on the others; for the final model, on all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ProtoSegBrainLib.dataset import TrainingCase, padded_label, whole_window
from ProtoSegBrainLib.evidence import Calibration
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.losses import class_shares
from ProtoSegBrainLib.metrics import dice
from ProtoSegBrainLib.model import ProtoSegNet, upsample

ET = CLASSES.index("ET")
VOXELS_PER_CASE = 20_000
MINIMUM_ET_CHOICES_ML = (0.0, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True)
class UnseenCase:
    """What calibration needs of one case and a model that did not train on it.

    Attributes:
        case_id: Of the case.
        logits: (n, K) of voxels of the prototype grid drawn from the brain.
        shares: (n, K) share of each class in those voxels.
        et_ml: Predicted volume of enhancing tumour.
        et_dice: Dice of the predicted enhancing tumour; both empty counts 1.
        et_dice_without: Dice if all of it were removed: 1 if the case has none, else 0.
    """

    case_id: str
    logits: Tensor
    shares: Tensor
    et_ml: float
    et_dice: float
    et_dice_without: float


@torch.inference_mode()
def observe(network: ProtoSegNet, case: TrainingCase) -> UnseenCase:
    """Run a case through a model that did not train on it."""
    window = whole_window(case, network.size_multiple)
    logits = network(window).logits
    shares = class_shares(padded_label(case, window), network.prototype_stride)[0]
    brain = F.max_pool3d((window != 0).any(dim=1).float(), network.prototype_stride)[0].flatten() > 0
    voxels = brain.nonzero()[:, 0]
    generator = torch.Generator().manual_seed(0)
    drawn = voxels[torch.randperm(len(voxels), generator=generator)[:VOXELS_PER_CASE]]
    box = tuple(slice(n) for n in case.label.shape)
    predicted = (upsample(logits, window.shape[2:])[0].argmax(dim=0)[box] == ET).numpy()
    truth = (case.label == ET).numpy()
    return UnseenCase(
        case_id=case.case_id,
        logits=logits[0].flatten(1).T[drawn].clone(),
        shares=shares.flatten(1).T[drawn].clone(),
        et_ml=float(predicted.sum()) / 1000,
        et_dice=dice(predicted, truth),
        et_dice_without=float(not truth.any()),
    )


def fit_temperature(cases: Sequence[UnseenCase], iterations: int = 60) -> tuple[float, ...]:
    """The temperature that minimises the cross-entropy over the drawn voxels (Guo et al. 2017).

    One for all classes: the logits are sums of non-negative evidence, so a temperature of its own would favour or
    suppress a class instead of calibrating it, and change labels. The search is on the logarithm: it stays positive.
    """
    logits = torch.cat([case.logits for case in cases])
    shares = torch.cat([case.shares for case in cases])
    log_temperature = torch.zeros((), requires_grad=True)
    optimiser = torch.optim.LBFGS([log_temperature], lr=0.5, max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(logits / log_temperature.exp(), shares)
        loss.backward()
        return loss

    optimiser.step(closure)
    return (round(float(log_temperature.detach().exp()), 4),) * logits.shape[1]


def choose_minimum_et_ml(cases: Sequence[UnseenCase]) -> float:
    """The minimum volume with the best mean ET Dice; of equals the smallest, as less is changed."""
    best, best_score = 0.0, -1.0
    for minimum in MINIMUM_ET_CHOICES_ML:
        scores = [c.et_dice_without if 0 < c.et_ml < minimum else c.et_dice for c in cases]
        if np.mean(scores) > best_score + 1e-9:
            best, best_score = minimum, float(np.mean(scores))
    return best


def calibrate(models: Sequence[tuple[ProtoSegNet, Sequence[TrainingCase]]]) -> Calibration:
    """Calibration from models, each with cases it has not seen.

    Raises:
        ValueError: No cases.
    """
    seen = [observe(network, case) for network, cases in models for case in cases]
    if not seen:
        raise ValueError("Calibration needs at least one case that a model has not seen; none was given.")
    return Calibration(fit_temperature(seen), choose_minimum_et_ml(seen))
