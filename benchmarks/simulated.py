"""A model on simulated brains with a tumour and without: Dice, tumour where there is none, and how many are flagged.

False is what lies more than five voxels outside the true tumour; of a healthy brain, everything.

    python benchmarks/simulated.py --brains 15                      # the bundled model
    python benchmarks/simulated.py --brains 15 --model MODEL.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage
from tqdm import tqdm

from ProtoSegBrainLib.images.case import Case
from ProtoSegBrainLib.images.volume import voxel_ml
from ProtoSegBrainLib.labels import REGIONS
from ProtoSegBrainLib.network.weights import load_model
from ProtoSegBrainLib.result.metrics import dice
from ProtoSegBrainLib.result.prediction import Prediction
from ProtoSegBrainLib.segmentation.predict import predict
from ProtoSegBrainLib.simulation.simulate import SimulationConfig, simulate_case

MARGIN_VOXELS = 5


def main() -> None:
    """Print one line per brain with a tumour, and a table of means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--brains", type=int, default=15, help="of each kind; seeds from 0")
    parser.add_argument("--model", type=Path, default=None, help="default: the bundled model")
    options = parser.parse_args()
    model = load_model(options.model)
    scores, false, healthy, flagged = [], [], [], {"tumour": 0, "healthy": 0}
    for seed in tqdm(range(options.brains)):
        case, without = simulate_case(seed), simulate_case(seed, config=SimulationConfig(tumour=None))
        found, painted = predict(case, model), predict(without, model)
        scores.append([region_dice(found, case, classes) for classes in REGIONS.values()])
        false.append(false_ml(found, case))
        healthy.append(false_ml(painted, without))
        for name, prediction in (("tumour", found), ("healthy", painted)):
            flagged[name] += is_flagged(prediction)
        tqdm.write(f"{seed}: {' / '.join(f'{v:.3f}' for v in scores[-1])}, false {false[-1]:.2f} ml")
    print("| WT / TC / ET | false, ml (largest) | healthy, ml (largest) | flagged, of tumour and healthy |")
    print("|---" * 4 + "|")
    volumes = [f"{np.mean(ml):.1f} ({max(ml):.1f})" for ml in (false, healthy)]
    means = " / ".join(f"{v:.3f}" for v in np.mean(scores, axis=0))
    print(f"| {means} | {' | '.join(volumes)} | {flagged['tumour']} and {flagged['healthy']} of {options.brains} |")


def region_dice(found: Prediction, case: Case, classes: tuple[int, ...]) -> float:
    """Both empty counts 1."""
    return dice(*(np.isin(np.asarray(label), classes) for label in (found.label, case.label)))


def false_ml(found: Prediction, case: Case) -> float:
    """Tumour that was found far from the true one."""
    true = np.asarray(case.label) > 0
    near = ndimage.binary_dilation(true, iterations=MARGIN_VOXELS) if true.any() else true
    return float(np.count_nonzero((found.label > 0) & ~near)) * voxel_ml(case.affine)


def is_flagged(prediction: Prediction) -> bool:
    """Whether the result says that the scan is unlike the training data."""
    return bool(prediction.findings["out_of_distribution"]["flag"])


if __name__ == "__main__":
    main()
