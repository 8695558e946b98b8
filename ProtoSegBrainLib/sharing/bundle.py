"""A model as a folder that MONAI's programs load: the network as TorchScript, all before and after it as configuration.

The folder follows the MONAI bundle specification (https://docs.monai.io/en/latest/mb_specification.html) and needs
nothing of this library. Its steps are those of ``preprocess``, ``predict`` and ``decision`` in MONAI's words, so that
it gives the same labels; ``DIFFERENCES`` says where it does not. ``models/model.pt`` would be a pickle: it is left out.
"""

from __future__ import annotations

import json
import shutil
import uuid
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.images.preprocess import CLIP_PERCENTILE, MARGIN_VOXELS, SPACING_MM, SPACING_TOLERANCE_MM
from ProtoSegBrainLib.labels import CLASSES, LABEL_CONVENTIONS, MODALITIES, MODALITY_ALIASES, MODALITY_NAMES
from ProtoSegBrainLib.network.evidence import Calibration
from ProtoSegBrainLib.network.inference import OVERLAP
from ProtoSegBrainLib.network.model import SegmentationNet
from ProtoSegBrainLib.network.weights import ModelCard
from ProtoSegBrainLib.sharing.export import Export, to_torchscript

Config = dict[str, Any]
RESEARCH = "Research use only. Not a medical device; not for diagnosis or treatment."
SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
LAYOUT_VERSION = "1.0.0"
CODING = "brats2020"
TESTED_WITH = {"monai": "1.6.1", "pytorch-ignite": "0.5.5", "nibabel": "5.4.2", "scikit-image": "0.26.0"}
DIFFERENCES = """\
- Images that are not at 1 mm are resampled by MONAI, which fades the brain's rim into the zeros around it.
- Where every separate part of a tumour is below the minimum volume, all are removed; ProtoSegBrain keeps the largest.
- There are no similarity maps and no explanations here: those need ProtoSegBrain or its ONNX export."""


def write_bundle(model: tuple[SegmentationNet, ModelCard], folder: Path) -> Export:
    """Write the bundle, whole or not at all; returns the TorchScript network that lies in it.

    Args:
        model: Network, on the CPU and in evaluation mode, and card, as ``load_model`` gives them.
        folder: To make; it must not be there.

    Raises:
        FileExistsError: It is there, or cannot be made.
        RuntimeError: The exported network differs from torch.
    """
    network, card = model
    if folder.exists():
        raise FileExistsError(f"{folder} is already there; a bundle is a new folder: name another, or remove it first.")
    check_folder(folder.parent)
    export = to_torchscript(network)
    temporary = folder.with_name(f".{uuid.uuid4().hex}.partial")
    texts = {
        "configs/metadata.json": json.dumps(describe(network, card), indent=2),
        "configs/inference.json": json.dumps(inference(network, card), indent=2),
        "docs/README.md": _readme(network, card),
        "LICENSE": _licence(card),
    }
    try:
        for name, text in texts.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_text(text + "\n", encoding="utf-8")
        (temporary / "models").mkdir()
        (temporary / "models" / "model.ts").write_bytes(export.content)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return export


def describe(network: SegmentationNet, card: ModelCard) -> Config:
    """``metadata.json``: what the model is, what it takes and what it gives."""
    return {
        "schema": SCHEMA,
        "version": LAYOUT_VERSION,
        "changelog": {LAYOUT_VERSION: f"exported from {card.name} ({card.identity[:12] or 'never saved'})"},
        "monai_version": TESTED_WITH["monai"],
        "pytorch_version": torch.__version__.split("+")[0],
        "numpy_version": metadata.version("numpy"),
        "required_packages_version": {name: version for name, version in TESTED_WITH.items() if name != "monai"},
        "name": card.name,
        "task": "Brain tumour segmentation in four MRI modalities",
        "description": f"{_description(network)} {RESEARCH}",
        "authors": "ProtoSegBrain contributors",
        "copyright": "Apache-2.0; the terms of the training data apply to the weights, see LICENSE",
        "data_source": str(card.training.get("data", "not recorded")),
        "intended_use": RESEARCH,
        "references": [str(card.training.get("citation", "none recorded"))],
        "network_data_format": _data_format(network),
    }


def _data_format(network: SegmentationNet) -> Config:
    """Of the images that go into the network and of the logits that come out."""
    both: Config = {
        "type": "image",
        "num_channels": 4,
        "spatial_shape": [f"{network.size_multiple}*n"] * 3,
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": network.window is not None,
    }
    modalities = {str(index): MODALITY_NAMES[name] for index, name in enumerate(MODALITIES)}
    classes = {str(index): name for index, name in enumerate(CLASSES)}
    image = both | {"format": "magnitude", "modality": "MR", "channel_def": modalities}
    pred = both | {"format": "segmentation", "channel_def": classes}
    return {"inputs": {"image": image}, "outputs": {"pred": pred}}


def inference(network: SegmentationNet, card: ModelCard) -> Config:
    """``inference.json``: from folders of cases to label maps."""
    return {
        "imports": ["$import torch", "$from pathlib import Path"],
        "bundle_root": ".",
        "dataset_dir": "data",
        "output_dir": "predictions",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        # As BraTS 2021 names them: <case>_t1.nii.gz; other data sets give other ends.
        "suffixes": [MODALITY_ALIASES[name][1] for name in MODALITIES],
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


def _description(network: SegmentationNet) -> str:
    found = "necrotic or non-enhancing core (1), oedema (2) and enhancing tumour (4)"
    if getattr(network.config, "target", None) == "whole_tumour":
        found = "the whole tumour only, coded as oedema (2)"
    return f"Finds {found} in skull-stripped, co-registered T1, T1ce, T2 and FLAIR."


def _readme(network: SegmentationNet, card: ModelCard) -> str:
    return f"""\
# {card.name}

**{RESEARCH}**

{_description(network)}

A MONAI bundle, exported from ProtoSegBrain; SHA-256 of the weights it comes from: {card.identity or "never saved"}.

## Use

    pip install "monai[fire,ignite,nibabel,skimage]"
    python -m monai.bundle run --config_file configs/inference.json --dataset_dir DATA --output_dir OUT

in this folder. DATA holds one folder per case with `<case>_t1`, `_t1ce`, `_t2` and `_flair` as NIfTI on one grid; names
with other ends: `--suffixes "['t1n', 't1c', 't2w', 't2f']"`. OUT gets `<case>_seg.nii.gz` in the coding of BraTS
2017 to 2021.

The network (`models/model.ts`, TorchScript: load it from people you trust only) takes T1, T1ce, T2 and FLAIR in this
order, RAS axes, 1 mm, cropped to the brain, each z-scored over its voxels that are not 0, sizes multiples of
{network.size_multiple}; it gives logits of background, NCR, oedema and ET.

## Where it differs from ProtoSegBrain

{DIFFERENCES}"""


def _licence(card: ModelCard) -> str:
    return f"""\
{RESEARCH}

The network and this configuration come from ProtoSegBrain, licensed under the Apache License, Version 2.0:
https://www.apache.org/licenses/LICENSE-2.0

The weights were trained on: {card.training.get("data", "not recorded")}.
The terms of these data apply to the weights as well; for BraTS: non-commercial research.
Cite: {card.training.get("citation", "none recorded")}"""
