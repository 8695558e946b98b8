"""What the best of all networks could score whose logits lie on a grid of 2 mm: the label itself, put there and back.

Twice: as the shares of the classes in each voxel of that grid, which is what a loss on that grid teaches, and as those
logits that fit the label best once they are upsampled, which is what a loss on the grid of the images teaches.

    python benchmarks/ceiling.py --data DATA --splits DATA/splits.json --cache runs/prepared
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ProtoSegBrainLib.images.volume import bounding_box
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.segmentation_net import upsample
from ProtoSegBrainLib.patches.cases import TrainingCase, class_shares, prepare_data
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.training.losses import cross_entropy_loss
from ProtoSegBrainLib.training.train import read_split

LEAST_SHARE = 0.02
STEPS = 40


def main() -> None:
    """Print a table of mean and median Dice."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--splits", "--cache"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--stride", type=int, default=2, help="voxels of the image per voxel of the grid")
    options = parser.parse_args()
    training, held_out = read_split(options.splits, "0")
    cases = prepare_data(options.data, sorted([*training, *held_out]), options.cache)
    ways = {"shares of the classes": shares_alone, "logits that fit best": best_logits}
    scores: dict[str, list[list[float]]] = {name: [] for name in ways}
    for case in tqdm(cases):
        label = around_tumour(case, options.stride)
        for name, way in ways.items():
            found = upsample(way(label, options.stride), label.shape[1:]).argmax(dim=1)
            scores[name].append([region_dice(found, label, classes) for classes in REGIONS.values()])
    print(f"| n = {len(cases)} | {' | '.join(REGIONS)} | median |", "|---" * 5 + "|", sep="\n")
    for name, values in scores.items():
        mean, median = (" | ".join(f"{v:.3f}" for v in f(values, axis=0)) for f in (np.mean, np.median))
        print(f"| {name} | {mean} | {median.replace(' | ', ' / ')} |")


def around_tumour(case: TrainingCase, stride: int) -> Tensor:
    """(1, X, Y, Z) classes in a box around the tumour that lies on the coarse grid, with two of its voxels around."""
    box = bounding_box(case.label.numpy())
    if box is None:
        raise ValueError(f"Case {case.case_id} has no tumour.")
    low = [max(0, side.start // stride - 2) * stride for side in box]
    high = [-(-(side.stop + 2 * stride) // stride) * stride for side in box]
    label = torch.nn.functional.pad(case.label.long(), [0, stride] * 3)
    x, y, z = (slice(a, min(b, n // stride * stride)) for a, b, n in zip(low, high, label.shape, strict=True))
    return label[None, x, y, z]


def shares_alone(label: Tensor, stride: int) -> Tensor:
    """Logits whose softmax is the share of each class, at least 2 %."""
    return class_shares(label, stride).clamp(min=LEAST_SHARE).log()


def best_logits(label: Tensor, stride: int) -> Tensor:
    """The same, improved by gradient descent on the cross-entropy of what they are upsampled to."""
    logits, truth = shares_alone(label, stride).requires_grad_(), class_shares(label, 1)
    optimiser = torch.optim.Adam([logits], 0.3)
    for _ in range(STEPS):
        optimiser.zero_grad()
        cross_entropy_loss(upsample(logits, label.shape[1:]), truth).backward()
        optimiser.step()
    return logits.detach()


def region_dice(found: Tensor, label: Tensor, classes: tuple[int, ...]) -> float:
    """Both empty counts 1."""
    return dice(*(np.isin(values.numpy(), classes) for values in (found, label)))


if __name__ == "__main__":
    main()
