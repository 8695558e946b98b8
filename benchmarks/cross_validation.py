"""Calibrate, predict, score and take apart the models of a cross-validation; writes what docs/results.md quotes.

Needs ``RUNS/fold_K/model.safetensors`` from ``protosegbrain train --fold K --out RUNS/fold_K`` for two folds or more.
Every case is predicted by the model that did not train on it, with the calibration chosen on the *other* folds. A model
in ``RUNS/all`` gets the calibration of all folds.

    python benchmarks/cross_validation.py --data DATA --splits DATA/splits.json --runs RUNS --out RUNS/scores

With ``--calibration-of MODEL`` nothing is chosen: every fold's model, of which one is enough then, gets the calibration
of that model.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ProtoSegBrainLib.evaluation.calibration import Observation, fit, observe
from ProtoSegBrainLib.evaluation.evaluate import Summary, evaluate
from ProtoSegBrainLib.images.case import read_case
from ProtoSegBrainLib.images.folders import list_cases
from ProtoSegBrainLib.labels import CLASSES
from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.network.model import ProtoSegNet
from ProtoSegBrainLib.network.weights import load_model, read_card, recalibrate
from ProtoSegBrainLib.patches.cases import TrainingCase, prepare_data, whole_window
from ProtoSegBrainLib.result.prediction_files import write_prediction
from ProtoSegBrainLib.segmentation.predict import PredictConfig, predict
from ProtoSegBrainLib.training.train import read_split
from ProtoSegBrainLib.training.validation import mean_dice


def main() -> None:
    """Run all steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--data", "--splits", "--runs", "--out"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--calibration-of", type=Path, help="a model whose calibration all get")
    parser.add_argument("--tta", action="store_true", help="average with the left-right flipped brain")
    options = parser.parse_args()
    models = {path.parent.name: path for path in sorted(options.runs.glob("fold_*/model.safetensors"))}
    least = 1 if options.calibration_of else 2
    if len(models) < least:
        raise SystemExit(f"{options.runs} holds {len(models)} trained folds; {least} are the least.")
    held_out = {name: read_split(options.splits, name.removeprefix("fold_"))[1] for name in models}
    cache = options.runs / "prepared"
    cases = {name: prepare_data(options.data, ids, cache) for name, ids in held_out.items()}
    if options.calibration_of:
        calibration = read_card(options.calibration_of).calibration
        for path in models.values():
            recalibrate(path, calibration)
    else:
        set_calibrations(models, cases, options.runs / "all" / "model.safetensors")
    predict_held_out(models, held_out, options)
    summary = evaluate(options.data, options.runs / "predictions", options.out / "cross_validation.csv")
    print(as_table(summary))
    report = {name: take_apart(load_model(path)[0], cases[name]) for name, path in models.items()}
    (options.out / "ablations.json").write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def set_calibrations(models: dict[str, Path], cases: dict[str, list[TrainingCase]], final: Path) -> None:
    """Each fold's model gets the calibration of the other folds; the final model that of all."""
    seen: dict[str, list[Observation]] = {}
    for group, (name, path) in enumerate(models.items()):
        network = load_model(path)[0]
        seen[name] = [observe(network, case, group) for case in tqdm(cases[name], desc=f"Observing {name}")]
    for name, path in models.items():
        recalibrate(path, fit([case for other in models if other != name for case in seen[other]]))
        print(name, *say(read_card(path).calibration), sep="\n  ")
    if final.exists():
        recalibrate(final, fit([case for observed in seen.values() for case in observed]))
        print("all", *say(read_card(final).calibration), sep="\n  ")


def say(calibration: Calibration) -> list[str]:
    """The numbers of a calibration that a person reads, a line each."""
    familiarity = calibration.familiarity
    return [
        f"temperature of {CLASSES}: {calibration.temperature}",
        f"minimum of ET {calibration.minimum_et_ml} ml, of a separate part {calibration.minimum_component_ml} ml",
        *(str(region) for region in calibration.reliability),
        f"familiarity from {familiarity.n if familiarity else 0} cases",
    ]


def predict_held_out(models: dict[str, Path], held_out: dict[str, list[str]], options: argparse.Namespace) -> None:
    """Segment each held-out case as the command line does, from its files."""
    cases = {case.case_id: case for case in list_cases(options.data)}
    for name, path in models.items():
        model = load_model(path)
        for case_id in tqdm(held_out[name], desc=name):
            prediction = predict(read_case(cases[case_id], with_label=False), model, PredictConfig(tta=options.tta))
            write_prediction(prediction, options.runs / "predictions", overwrite=True)


def as_table(summary: Summary) -> str:
    """The summary as a Markdown table."""
    lines = ["| cases | region | n (empty) | Dice mean | median | sd | HD95 mm mean | median | sd |", "|---" * 9 + "|"]
    for group, regions in summary.groups.items():
        for region, scores in regions.items():
            dice, distance = scores.metrics["dice"], scores.metrics["hausdorff95_mm"]
            agreement = f"{dice.mean:.3f} | {dice.median:.3f} | {dice.sd:.3f}"
            distances = f"{distance.mean:.1f} | {distance.median:.1f} | {distance.sd:.1f}"
            lines.append(f"| {group} | {region} | {scores.n} ({scores.n_empty}) | {agreement} | {distances} |")
    return "\n".join(lines)


def take_apart(network: ProtoSegNet, cases: list[TrainingCase]) -> dict[str, Any]:
    """Does the decision rest on the prototypes? Dice with them silenced or exchanged, and the sum of contributions."""
    silenced, exchanged = copy.deepcopy(network), copy.deepcopy(network)
    with torch.no_grad():
        silenced.last_layer.weight.zero_()
        # As many places as the largest class has prototypes: none stays in its class.
        shift = max(network.config.prototypes_per_class)
        exchanged.prototype_layer.prototype_vectors.copy_(network.prototype_layer.prototype_vectors.roll(shift, 0))
    return {
        "n": len(cases),
        "largest_error_of_the_sum_of_contributions": max(
            contribution_error(network, whole_window(case, network.size_multiple)) for case in cases[:3]
        ),
        "mean_dice": mean_dice(network, cases),
        "mean_dice_similarities_zeroed": mean_dice(silenced, cases),
        "mean_dice_prototypes_exchanged_between_classes": mean_dice(exchanged, cases),
        "tumour_voxels_similarities_zeroed": count_tumour(silenced, cases),
    }


@torch.inference_mode()
def contribution_error(network: ProtoSegNet, window: Tensor) -> float:
    """Largest |logit - (bias + sum of weight * similarity)| over a (1, 4, X, Y, Z) window, summed in float64."""
    output = network(window)
    similarities = output.similarities[0].flatten(1).double()
    weight, bias = network.last_layer.weight.double(), network.last_layer.bias.double()
    sums = weight @ similarities + bias[:, None]
    return float((sums - output.logits[0].flatten(1)).abs().max())


@torch.inference_mode()
def count_tumour(network: ProtoSegNet, cases: list[TrainingCase]) -> int:
    """Voxels of the prototype grid that are not background."""
    logits = (network(whole_window(case, network.size_multiple)).logits for case in cases)
    return int(np.sum([int((values.argmax(dim=1) > 0).sum()) for values in logits]))


if __name__ == "__main__":
    main()
