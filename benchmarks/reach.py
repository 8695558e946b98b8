"""What does the zero of the similarity alone do to purity and Dice, without any training?

The same weights with several reaches (the bias takes up the constant), on the held-out cases of a fold.

    python benchmarks/reach.py --data DATA --splits DATA/splits.json --fold K --model runs/second_K/model.safetensors \
        --cache runs/prepared
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from ProtoSegBrainLib.explanation.faithfulness import brain_maps
from ProtoSegBrainLib.explanation.mapscores import grid_dice, purity
from ProtoSegBrainLib.network.model import with_reach
from ProtoSegBrainLib.network.weights import evidence_of, load_model
from ProtoSegBrainLib.patches.cases import prepare_data, whole_window
from ProtoSegBrainLib.training.train import read_split

REACHES = (None, 3.0, 2.0, 1.5, 1.0)


@torch.inference_mode()
def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--splits", "--model"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--fold", required=True)
    parser.add_argument("--cache", type=Path, required=True, help="folder for prepared cases")
    options = parser.parse_args()
    network, card = load_model(options.model)
    networks = {reach: with_reach(network, reach) for reach in REACHES}
    scores: dict[float | None, list[dict[str, float]]] = {reach: [] for reach in REACHES}
    held_out = read_split(options.splits, options.fold)[1]
    for case in tqdm(prepare_data(options.data, held_out, options.cache)):
        window = whole_window(case, network.size_multiple)
        for reach, changed in networks.items():
            maps, _ = brain_maps(changed, evidence_of(changed, card), case, window)
            scores[reach].append({**purity(maps), "dice": grid_dice(maps.predicted, maps.shares)})
    print(
        "| reach | mean Dice | purity NCR / ED / ET | purity_outside NCR / ED / ET (medians) |",
        "|---" * 4 + "|",
        sep="\n",
    )
    for reach, rows in scores.items():
        middle = {key: float(np.nanmedian([row[key] for row in rows])) for key in rows[0]}
        purities = (
            " / ".join(f"{middle[f'{key}.{c}']:.3g}" for c in ("NCR", "ED", "ET"))
            for key in ("purity", "purity_outside")
        )
        print(f"| {reach} | {np.mean([row['dice'] for row in rows]):.3f} | {' | '.join(purities)} |")


if __name__ == "__main__":
    main()
