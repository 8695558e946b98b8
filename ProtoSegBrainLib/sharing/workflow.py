"""The steps of a bundle, from folders of cases to label maps: those of this library in MONAI's words.

They are those of ``preprocess``, ``predict`` and ``decision``, so that they give the same labels; where they do not,
``words.DIFFERENCES`` says so.
"""

from __future__ import annotations

from typing import Any

from ProtoSegBrainLib.images.preprocess import CLIP_PERCENTILE, MARGIN_VOXELS, SPACING_MM, SPACING_TOLERANCE_MM
from ProtoSegBrainLib.labels import CLASSES, LABEL_CONVENTIONS, MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.network.calibration import Calibration
from ProtoSegBrainLib.network.inference import OVERLAP
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.network.weights import ModelCard

Config = dict[str, Any]
CODING = "brats2020"


def workflow(network: SegmentationNet, card: ModelCard) -> Config:
    """``inference.json``: from folders of cases to label maps."""
    return {
        "imports": ["$import torch", "$from pathlib import Path"],
        "bundle_root": ".",
        "dataset_dir": "data",
        "output_dir": "predictions",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        # As BraTS 2021 names them: <case>_t1.nii.gz; other data sets give other ends.
        "suffixes": [MODALITY_NAMES[role].lower() for role in MODALITIES],
        "cases": "$sorted(folder for folder in Path(@dataset_dir).iterdir() if folder.is_dir())",
        "datalist": "$[{'image': [str(next(c.glob(f'*[_-]{s}.nii*'))) for s in @suffixes]} for c in @cases]",
        "network_def": {
            "_target_": "torch.jit.load",
            "f": "$str(Path(@bundle_root) / 'models' / 'model.ts')",
            "map_location": "@device",
        },
        "preprocessing": {"_target_": "Compose", "transforms": _before(network)},
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": _inferer(network),
        "postprocessing": {"_target_": "Compose", "transforms": _after(card)},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network_def",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def _before(network: SegmentationNet) -> list[Config]:
    """As ``preprocess.prepare``: RAS, 1 mm, brain crop, z-score; then padded as in ``inference``."""
    near = {"min_pixdim": SPACING_MM - SPACING_TOLERANCE_MM, "max_pixdim": SPACING_MM + SPACING_TOLERANCE_MM}
    own = f"c[c != 0][::7].quantile({CLIP_PERCENTILE / 100:g})"  # of the voxels that are not 0, every 7th
    clip = f"$lambda x: torch.stack([c.clamp(max=float({own})) if c.any() else c for c in x])"
    return [
        {"_target_": "LoadImaged", "keys": "image", "ensure_channel_first": True},
        {"_target_": "CopyItemsd", "keys": "image", "names": "brain"},
        {"_target_": "Lambdad", "keys": "brain", "func": "$lambda x: (x != 0).any(dim=0, keepdim=True)"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [SPACING_MM] * 3, "mode": "bilinear"}
        | {name: [value] * 3 for name, value in near.items()},
        {
            "_target_": "CropForegroundd",
            "keys": "image",
            "source_key": "image",
            "select_fn": "$lambda x: x != 0",
            "margin": MARGIN_VOXELS,
            "allow_smaller": True,
        },
        {"_target_": "Lambdad", "keys": "image", "func": clip},
        {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True, "channel_wise": True},
        {"_target_": "DivisiblePadd", "keys": "image", "k": network.size_multiple, "method": "end"},
    ]


def _inferer(network: SegmentationNet) -> Config:
    """The whole brain at one go, or blended windows for a network that needs them."""
    if network.window is None:
        return {"_target_": "SimpleInferer"}
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": [network.window] * 3,
        "overlap": OVERLAP,
        "mode": "gaussian",
    }


def _after(card: ModelCard) -> list[Config]:
    """As ``predict`` and ``decision``: calibrated probabilities on the grid of the files, label, rules, file."""
    slope = f"(1 / torch.tensor({list(card.calibration.temperature)}, device=x.device))[x.argmax(0)]"
    coding = LABEL_CONVENTIONS[CODING]
    recode = {"_target_": "MapLabelValued", "orig_labels": list(coding.values()), "target_labels": list(coding)}
    save = {
        "_target_": "SaveImaged",
        "output_dir": "@output_dir",
        "output_postfix": "seg",
        "output_dtype": "uint8",
        "separate_folder": False,
        # Named as the case's folder: <case>_seg.nii.gz
        "output_name_formatter": "$lambda x, _: {'subject': Path(x['filename_or_obj']).parent.name, 'idx': None}",
    }
    steps: list[Config] = [
        {"_target_": "Lambdad", "func": f"$lambda x: (x * {slope}).softmax(0)"},
        {"_target_": "Invertd", "transform": "@preprocessing", "orig_keys": "image", "nearest_interp": False},
        {"_target_": "AsDiscreted", "argmax": True},
        {"_target_": "MaskIntensityd", "mask_key": "brain"},
        *rules_of(card.calibration),
        recode,
        save,
    ]
    return [{"keys": "pred", **step} for step in steps]


def rules_of(calibration: Calibration) -> list[Config]:
    """As ``remove_small_components`` and ``remove_small_enhancement``, where the model was calibrated for them."""
    rules: list[Config] = []
    if calibration.minimum_component_ml > 0:
        size = f"min_size={1000 * calibration.minimum_component_ml:g}, by_measure=True"
        removed = f"monai.transforms.RemoveSmallObjects({size}, independent_channels=False, connectivity=3)(x)"
        largest = "monai.transforms.KeepLargestConnectedComponent(independent=False, connectivity=3)(x)"
        func = f"$lambda x: (lambda kept: kept if kept.any() else {largest})({removed})"
        rules.append({"_target_": "Lambdad", "func": func})
    if calibration.minimum_et_ml > 0:
        et, ncr = CLASSES.index("ET"), CLASSES.index("NCR")
        few = f"(x == {et}).sum() * float(x.affine[:3, :3].det().abs()) < {1000 * calibration.minimum_et_ml:g}"
        rules.append({"_target_": "Lambdad", "func": f"$lambda x: x.where((x != {et}) | ~({few}), {ncr})"})
    return rules
