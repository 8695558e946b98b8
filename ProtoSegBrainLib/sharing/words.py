"""What a bundle says of itself in words: what its network finds, how to run it, whose terms apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ProtoSegBrainLib.network.segmentation_net import SegmentationNet
    from ProtoSegBrainLib.network.weights import ModelCard

RESEARCH = "Research use only. Not a medical device; not for diagnosis or treatment."
DIFFERENCES = """\
- Images that are not at 1 mm are resampled by MONAI, which fades the brain's rim into the zeros around it.
- Where every separate part of a tumour is below the minimum volume, all are removed; ProtoSegBrain keeps the largest.
- There are no similarity maps and no explanations here: those need ProtoSegBrain or its ONNX export."""


def description(network: SegmentationNet) -> str:
    """What the network finds, and in which images: a sentence."""
    found = "necrotic or non-enhancing core (1), oedema (2) and enhancing tumour (4)"
    if getattr(network.config, "target", None) == "whole_tumour":
        found = "the whole tumour only, coded as oedema (2)"
    return f"Finds {found} in skull-stripped, co-registered T1, T1ce, T2 and FLAIR."


def readme(network: SegmentationNet, card: ModelCard) -> str:
    """``docs/README.md``."""
    return f"""\
# {card.name}

**{RESEARCH}**

{description(network)}

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


def licence(card: ModelCard) -> str:
    """``LICENSE``: of the code, and of the data for the weights."""
    return f"""\
{RESEARCH}

The network and this configuration come from ProtoSegBrain, licensed under the Apache License, Version 2.0:
https://www.apache.org/licenses/LICENSE-2.0

The weights were trained on: {card.training.get("data", "not recorded")}.
The terms of these data apply to the weights as well; for BraTS: non-commercial research.
Cite: {card.training.get("citation", "none recorded")}"""
