"""A model as a folder that MONAI's programs load: the network as TorchScript, all before and after it as configuration.

The folder follows the MONAI bundle specification (https://docs.monai.io/en/latest/mb_specification.html) and needs
nothing of this library. ``models/model.pt`` would be a pickle: it is left out.
"""

from __future__ import annotations

import json
import shutil
import uuid
from importlib import metadata
from pathlib import Path

import torch

from ProtoSegBrainLib.files import check_folder
from ProtoSegBrainLib.labels import CLASSES, MODALITIES, MODALITY_NAMES
from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
from ProtoSegBrainLib.network.weights import ModelCard
from ProtoSegBrainLib.sharing.export import Export, to_torchscript
from ProtoSegBrainLib.sharing.words import RESEARCH, description, licence, readme
from ProtoSegBrainLib.sharing.workflow import Config, workflow

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
LAYOUT_VERSION = "1.0.0"
TESTED_WITH = {"monai": "1.6.1", "pytorch-ignite": "0.5.5", "nibabel": "5.4.2", "scikit-image": "0.26.0"}


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
        "configs/inference.json": json.dumps(workflow(network, card), indent=2),
        "docs/README.md": readme(network, card),
        "LICENSE": licence(card),
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
        "description": f"{description(network)} {RESEARCH}",
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
