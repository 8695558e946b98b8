"""What do fewer bits for the stored kernels cost? The same model at 16 and at 8 bits, on whole cases, from their files.

At 8 bits each kernel has a scale per output channel; what is stored in float32 (prototypes, last layer, norms) stays.

    python benchmarks/stored_precision.py --data DATA --cases CASE_ID CASE_ID ... [--model MODEL.safetensors]
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import torch

from ProtoSegBrainLib.explanation.explain import explain
from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict

LARGEST = 127


def main() -> None:
    """Print sizes, then for each case Dice with the expert at both precisions and between the two labels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", required=True)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    network, card = load_model(options.model)
    smaller, kernels, rows = at_8_bits(network)
    count = sum(value.numel() for value in network.state_dict().values())
    print(f"{count / 1e6:.2f} million numbers, {kernels / 1e6:.2f} of them in {rows} rows of kernels")
    print(f"16 bits {(2 * kernels + 4 * (count - kernels)) / 1e6:.2f} MB, ", end="")
    print(f"8 bits {(kernels + 4 * (count - kernels + rows)) / 1e6:.2f} MB")
    print(f"case: expert and 16 bits | expert and 8 bits | 16 and 8 bits ({' / '.join(REGIONS)}) | error of the sum")
    table = []
    for case_id in options.cases:
        case = read_case(options.data / case_id)
        config = PredictConfig(precision="float32")
        half, eighth = (predict(case, (model, card), config) for model in (network, smaller))
        truth = np.asarray(case.label)
        scores = [scores_of(half.label, truth), scores_of(eighth.label, truth), scores_of(eighth.label, half.label)]
        table.append(scores)
        errors = f"{error_of_the_sum(half):.1e}, {error_of_the_sum(eighth):.1e}"
        print(f"{case_id}: {' | '.join(map(as_text, scores))} | {errors}", flush=True)
    print(f"mean: {' | '.join(map(as_text, np.mean(table, axis=0)))}")


@torch.no_grad()
def at_8_bits(network: torch.nn.Module) -> tuple[torch.nn.Module, int, int]:
    """A copy whose kernels have 255 values per output channel; how many numbers and channels these kernels have."""
    smaller, kernels, rows = copy.deepcopy(network), 0, 0
    for name, value in smaller.state_dict().items():
        if value.ndim == 5 and not name.startswith("prototype_layer"):
            scale = value.abs().amax(dim=(1, 2, 3, 4), keepdim=True).clamp(min=1e-12) / LARGEST
            value.copy_((value / scale).round() * scale)
            kernels, rows = kernels + value.numel(), rows + len(value)
    return smaller, kernels, rows


def scores_of(label: np.ndarray, other: np.ndarray) -> list[float]:
    """Dice per region."""
    return [dice(np.isin(label, members), np.isin(other, members)) for members in REGIONS.values()]


def error_of_the_sum(prediction: Prediction) -> float:
    """Largest difference between a logit and bias plus contributions, in the middle of the tumour."""
    voxel = np.argwhere(prediction.label > 0).mean(axis=0)
    explanation = explain(prediction, (prediction.affine @ [*voxel, 1.0])[:3])
    sums = dict(explanation.bias)
    for term in explanation.contributions:
        sums[term.class_name] += term.contribution
    return max(abs(sums[name] - logit) for name, logit in explanation.logits.items())


def as_text(values: list[float] | np.ndarray) -> str:
    """Three decimals each."""
    return " / ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
