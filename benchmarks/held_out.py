"""Dice of models' most probable classes on the held-out cases of a fold, case by case, before any calibrated rule.

python benchmarks/held_out.py --data DATA --splits DATA/splits.json --fold K --cache runs/prepared MODEL.safetensors ...
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.patches.cases import prepare_data
from ProtoSegBrainLib.training.train import read_split
from ProtoSegBrainLib.training.validation import mean_dice


def main() -> None:
    """Print a line per case, mean and median of each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--splits", "--cache"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--fold", required=True)
    parser.add_argument("models", type=Path, nargs="+")
    options = parser.parse_args()
    cases = prepare_data(options.data, read_split(options.splits, options.fold)[1], options.cache)
    for path in options.models:
        network = load_model(path)[0].eval()
        print(f"{path}: {' / '.join(REGIONS)}")
        scores = []
        for case in cases:
            scores.append(list(mean_dice(network, [case]).values()))
            print(f"  {case.case_id}: {as_text(scores[-1])}")
        print(f"  mean {as_text(np.mean(scores, axis=0))}, median {as_text(np.median(scores, axis=0))}")


def as_text(values: list[float] | np.ndarray) -> str:
    """Three decimals each."""
    return " / ".join(f"{value:.3f}" for value in values)


if __name__ == "__main__":
    main()
