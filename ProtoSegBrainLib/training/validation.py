"""How good a network is while it learns: loss and Dice on patches, Dice of whole cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.device import at_precision, half_precision_of
from ProtoSegBrainLib.network.inference import run_network
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet, upsample
from ProtoSegBrainLib.patches.cases import TrainingCase, class_shares
from ProtoSegBrainLib.patches.sampling import Batch
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.training.losses import LossConfig, segmentation_losses


@torch.no_grad()
def patch_scores(
    network: SegmentationNet, batches: Iterable[Batch], loss: LossConfig, precision: torch.dtype
) -> dict[str, float]:
    """Mean loss, and Dice of WT, TC and ET with all patches taken together (both empty: 1).

    Args:
        network: In evaluation mode.
        batches: On any device, all of one size.
        loss: What is counted in ``loss``.
        precision: Of the convolutions.
    """
    device = next(network.parameters()).device
    losses, predicted, true = [], [], []
    for batch in batches:
        images, label = (part.to(device) for part in batch)  # held-out cases stay in the computer's memory
        with at_precision(precision, device):
            logits = upsample(network(images).logits, label.shape[1:])
        truth = network.teachable(class_shares(label, 1))
        losses.append(float(sum(segmentation_losses(loss, logits, truth).values())))
        predicted.append(logits.argmax(dim=1).cpu().numpy())
        true.append(truth.argmax(dim=1).cpu().numpy())
    found, there = np.stack(predicted), np.stack(true)
    scores = {f"dice_{name}": dice(np.isin(found, k), np.isin(there, k)) for name, k in REGIONS.items()}
    return {"loss": float(np.mean(losses)), **scores}


def mean_dice(network: SegmentationNet, cases: Sequence[TrainingCase]) -> dict[str, float]:
    """Mean Dice of WT, TC and ET over prepared cases; both empty counts 1."""
    scores: dict[str, list[float]] = {region: [] for region in REGIONS}
    for case in cases:
        predicted, truth = predict_classes(network, case), case.label.cpu().numpy()
        for region, classes in REGIONS.items():
            scores[region].append(dice(np.isin(predicted, classes), np.isin(truth, classes)))
    return {region: round(float(np.mean(values)), 4) for region, values in scores.items()}


@torch.no_grad()
def predict_classes(network: SegmentationNet, case: TrainingCase) -> np.ndarray:
    """(X, Y, Z) uint8 classes of a prepared case: argmax of the upsampled logits, nothing else."""
    device = next(network.parameters()).device  # held-out cases stay in the computer's memory
    _, logits = run_network(network, case.images.float().to(device), half_precision_of(device))
    whole = upsample(logits[None], [n * network.stride for n in logits.shape[1:]])
    box = tuple(slice(n) for n in case.label.shape)
    return whole.argmax(dim=1)[0][box].to(torch.uint8).cpu().numpy()
