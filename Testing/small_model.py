"""A model file small enough to segment in a moment; its weights are random."""

from __future__ import annotations

from pathlib import Path

import torch

from ProtoSegBrainLib.model import ModelConfig, ProtoSegNet
from ProtoSegBrainLib.weights import ModelCard, save_model

SMALL = ModelConfig(
    widths=(4, 8), blocks=(1, 1), aspp_rates=(1,), aspp_channels=8, embedding_channels=4,
    prototypes_per_class=(1, 1, 1, 1),
)  # fmt: skip


def save_small_model(path: Path, seed: int = 0) -> Path:
    """Write it, with its card, which names it as the file."""
    torch.manual_seed(seed)
    save_model(path, ProtoSegNet(SMALL), ModelCard(path.stem, SMALL))
    return path
