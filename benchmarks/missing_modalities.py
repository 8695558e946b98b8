"""What Dice to expect without each modality: a table of docs/results.md.

The network was trained with modality dropout. Each held-out case is segmented as it is and with one modality set to 0,
by the model of ``RUNS/fold_K`` that did not train on it, at that model's minimum volumes.

    python benchmarks/missing_modalities.py --data DATA --splits DATA/splits.json --runs RUNS --out RUNS/scores
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ProtoSegBrainLib.evaluation.calibration import decide_observed, observe
from ProtoSegBrainLib.labels import MODALITIES, MODALITY_NAMES, REGIONS
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.weights import ModelCard, load_model
from ProtoSegBrainLib.patches.cases import TrainingCase, prepare_data
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.training.train import read_split

MISSING = ("none", *MODALITIES)
Scores = dict[str, dict[str, list[float]]]


def main() -> None:
    """Measure, print the table, write the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--splits", "--runs", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--cases", type=int, default=None, help="number of held-out cases per fold (default: all)")
    options = parser.parse_args()
    scores: Scores = {name: {region: [] for region in REGIONS} for name in MISSING}
    for path in sorted(options.runs.glob("fold_*/model.safetensors")):
        held_out = read_split(options.splits, path.parent.name.removeprefix("fold_"))[1][: options.cases]
        model = load_model(path)
        for case in tqdm(prepare_data(options.data, held_out, options.runs / "prepared"), desc=path.parent.name):
            add_case(scores, model, case)
    print(as_table(scores))
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "missing_modalities.json").write_text(json.dumps(scores, indent=1) + "\n")


def add_case(scores: Scores, model: tuple[ProtoSegNet, ModelCard], case: TrainingCase) -> None:
    """Dice of a case with all modalities and without each."""
    network, card = model
    truth = case.label.numpy()
    for name in MISSING:
        images = case.images.clone()
        if name in MODALITIES:
            images[MODALITIES.index(name)] = 0
        label = decide_observed(observe(network, replace(case, images=images)), card.calibration).label
        for region, members in REGIONS.items():
            scores[name][region].append(dice(np.isin(label, members), np.isin(truth, members)))


def as_table(scores: Scores) -> str:
    """Mean and standard deviation of the Dice, as Markdown."""
    n = len(scores["none"]["WT"])
    lines = [f"Mean Dice (sd), n = {n}", "", f"| missing | {' | '.join(REGIONS)} |", "|---" * (len(REGIONS) + 1) + "|"]
    for name, regions in scores.items():
        values = " | ".join(f"{np.mean(dices):.3f} ({np.std(dices, ddof=1):.3f})" for dices in regions.values())
        lines.append(f"| {MODALITY_NAMES.get(name, name)} | {values} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
