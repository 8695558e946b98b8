"""The prototype network: backbone -> 3D ASPP -> light decoder -> embedding -> prototype layer -> last layer.

Shapes: B batch, X Y Z voxels of the input (1 mm), x y z voxels of the prototype grid (``prototype_stride`` mm),
C embedding channels, P prototypes, K = 4 classes.

No path from image to logits avoids the similarities: ``logits = last_layer(similarities)`` and nothing else, on the
prototype grid. Trilinear weights sum to one, so upsampling the logits equals classifying upsampled similarities.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.blocks import BLOCKS, NORMS, ConvNormAct, Stem
from ProtoSegBrainLib.network.last_layer import LastLayer
from ProtoSegBrainLib.network.prototype_layer import PrototypeLayer
from ProtoSegBrainLib.network.segmentation_net import NetworkOutput, SegmentationNet, without_prototypes
from ProtoSegBrainLib.records import require

MOST_LEVELS, MOST_BLOCKS, MOST_CHANNELS = 8, 64, 4096
"""Ten times what anybody trains, and more."""


@dataclass(frozen=True)
class ModelConfig:
    """All that is needed to build a ``ProtoSegNet``."""

    backbone: str = field(default="resnet", metadata={"help": "block of the backbone: resnet, plain or efficient"})
    stem_stride: int = field(default=2, metadata={"help": "stride of the stem, 1 or 2"})
    widths: tuple[int, ...] = field(default=(32, 64, 128), metadata={"help": "channels per level; each level halves"})
    blocks: tuple[int, ...] = field(default=(1, 2, 2), metadata={"help": "blocks per level"})
    norm: str = field(default="batch", metadata={"help": "batch, group or instance (field notes: batch is best)"})
    aspp_rates: tuple[int, ...] = field(default=(1, 2, 4), metadata={"help": "dilation of each ASPP branch"})
    aspp_channels: int = field(default=64, metadata={"help": "channels of each ASPP branch"})
    aspp_pointwise: bool = field(default=False, metadata={"help": "add a 1x1x1 branch to the ASPP"})
    aspp_pooling: bool = field(default=False, metadata={"help": "add a global-pooling branch (breaks exact tiling)"})
    prototype_stride: int = field(default=2, metadata={"help": "voxels of the input per voxel of the prototype grid"})
    embedding_channels: int = field(default=32, metadata={"help": "channels of embedding and prototypes"})
    prototypes_per_class: tuple[int, ...] = field(
        default=(6, 5, 5, 5),
        metadata={"help": "prototypes of background, NCR, ED, ET; all 0: a plain 1x1x1 head in their place"},
    )
    prototype_size: int = field(default=1, metadata={"help": "edge of a prototype on its grid: 1, 3 or 5"})
    similarity: str = field(default="log", metadata={"help": "log (of squared L2 distance) or cosine"})
    epsilon: float = field(default=0.01, metadata={"help": "epsilon of log((d + 1) / (d + epsilon))"})
    reach: float | None = field(
        default=1.5,
        metadata={
            "help": "squared distance from which a log-similarity is 0 (2 is orthogonal); None: nowhere",
            "older": None,
        },
    )
    class_connected: bool = field(
        default=True, metadata={"help": "non-negative weights from a prototype to its own class only"}
    )
    checkpointing: bool = field(default=False, metadata={"help": "recompute activations to save memory"})

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        require(self.backbone in BLOCKS, f"backbone must be one of {sorted(BLOCKS)}, not {self.backbone!r}")
        require(self.norm in NORMS, f"norm must be one of {sorted(NORMS)}, not {self.norm!r}")
        require(self.similarity in ("log", "cosine"), f"similarity must be log or cosine, not {self.similarity!r}")
        require(self.stem_stride in (1, 2), f"stem_stride must be 1 or 2, not {self.stem_stride}")
        require(
            0 < len(self.widths) == len(self.blocks) and min(self.widths) > 0 and min(self.blocks) >= 0,
            f"widths and blocks need one positive number per level each, not {self.widths} and {self.blocks}",
        )
        require(
            len(self.aspp_rates) > 0 and min(self.aspp_rates) > 0,
            f"aspp_rates needs at least one positive rate, not {self.aspp_rates}",
        )
        self._refuse_what_is_too_large()
        require(self.prototype_size in (1, 3, 5), f"prototype_size must be 1, 3 or 5, not {self.prototype_size}")
        require(0 < self.epsilon < 1, f"epsilon must lie between 0 and 1, not {self.epsilon}")
        require(
            self.reach is None or 0 < self.reach <= 4, f"reach must lie between 0 and 4, or be None, not {self.reach}"
        )
        require(
            len(self.prototypes_per_class) == len(CLASSES) and min(self.prototypes_per_class) >= 0,
            f"prototypes_per_class needs {len(CLASSES)} counts (of {CLASSES}), not {self.prototypes_per_class}",
        )
        require(
            self.prototype_stride in self.level_strides,
            f"prototype_stride must be one of {self.level_strides}, not {self.prototype_stride}",
        )

    def _refuse_what_is_too_large(self) -> None:
        """No machine holds it, and building it would take the memory before any other check."""
        require(len(self.widths) <= MOST_LEVELS, f"widths: at most {MOST_LEVELS} levels, not {len(self.widths)}")
        require(len(self.aspp_rates) <= MOST_BLOCKS, f"aspp_rates: at most {MOST_BLOCKS}, not {len(self.aspp_rates)}")
        for name, most in (("widths", MOST_CHANNELS), ("blocks", MOST_BLOCKS), ("aspp_rates", MOST_CHANNELS)):
            largest = max(getattr(self, name))
            require(largest <= most, f"{name}: at most {most}, not {largest}")
        for name in ("aspp_channels", "embedding_channels"):
            count = getattr(self, name)
            require(0 < count <= MOST_CHANNELS, f"{name} must lie between 1 and {MOST_CHANNELS}, not {count}")
        count = sum(self.prototypes_per_class)
        require(count <= MOST_CHANNELS, f"prototypes_per_class: at most {MOST_CHANNELS} together, not {count}")

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Stride of each backbone level, finest first."""
        return tuple(self.stem_stride * 2**level for level in range(len(self.widths)))

    @property
    def prototype_class(self) -> tuple[int, ...]:
        """Class index of each of the P prototypes."""
        return tuple(k for k, count in enumerate(self.prototypes_per_class) for _ in range(count))


class Backbone(nn.Module):
    """Levels of blocks, each at half the resolution of the one before; returns the features of every level."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        block = BLOCKS[config.backbone]
        self.stem = Stem(len(MODALITIES), config.widths[0], config.stem_stride, config.norm)
        self.levels = nn.ModuleList()
        for level, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            # 2x2x2 at stride 2 keeps voxel centres aligned, as in the stem.
            down = [ConvNormAct(config.widths[level - 1], width, config.norm, size=2, stride=2)] if level else []
            self.levels.append(nn.Sequential(*down, *(block(width, config.norm) for _ in range(count))))
        self.checkpointing = config.checkpointing

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = []
        for level in self.levels:
            x = _run(level, x, self.checkpointing and self.training)
            features.append(x)
        return features


def _run(module: nn.Module, x: Tensor, checkpointing: bool) -> Tensor:
    if not checkpointing:
        return module(x)
    return checkpoint(module, x, use_reentrant=False, context_fn=lambda: (nullcontext(), _still_statistics(module)))


@contextmanager
def _still_statistics(module: nn.Module) -> Iterator[None]:
    """The second forward of a checkpoint sees the same batch; it must not move the running statistics again."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm3d | nn.SyncBatchNorm)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


class ASPP(nn.Module):
    """3D atrous spatial pyramid: parallel dilated convolutions, fused by 1x1x1 (Chen et al. 2017, DeepLabv3)."""

    def __init__(self, inputs: int, config: ModelConfig) -> None:
        super().__init__()
        width, norm = config.aspp_channels, config.norm
        branches = [ConvNormAct(inputs, width, norm, rate=rate) for rate in config.aspp_rates]
        if config.aspp_pointwise:
            branches.append(ConvNormAct(inputs, width, norm, size=1))
        self.branches = nn.ModuleList(branches)
        # No normalisation here: one value per channel has no statistics at batch size 1.
        self.pooling = nn.Conv3d(inputs, width, 1) if config.aspp_pooling else None
        fused = width * (len(branches) + config.aspp_pooling)
        self.outputs = inputs if config.prototype_stride < config.level_strides[-1] else width
        self.fuse = ConvNormAct(fused, self.outputs, norm, size=1)

    def forward(self, x: Tensor) -> Tensor:
        outputs = [branch(x) for branch in self.branches]
        if self.pooling is not None:
            pooled = F.relu(self.pooling(x.mean(dim=(2, 3, 4), keepdim=True)))
            outputs.append(pooled.expand(-1, -1, *x.shape[2:]))
        return self.fuse(torch.cat(outputs, dim=1))


class Decoder(nn.Module):
    """Light decoder up to the prototype grid.

    Per level a 2x2x2 transposed convolution, the backbone's features beside it, one 3x3x3 convolution.
    """

    def __init__(self, inputs: int, config: ModelConfig) -> None:
        super().__init__()
        self.finest = config.level_strides.index(config.prototype_stride)
        self.ups, self.joins = nn.ModuleList(), nn.ModuleList()
        self.outputs = inputs
        for width in reversed(config.widths[self.finest : -1]):
            self.ups.append(nn.ConvTranspose3d(self.outputs, width, 2, stride=2))
            self.joins.append(ConvNormAct(2 * width, width, config.norm))
            self.outputs = width

    def forward(self, x: Tensor, features: Sequence[Tensor]) -> Tensor:
        skips = reversed(features[self.finest : -1])
        for up, join, skip in zip(self.ups, self.joins, skips, strict=True):
            x = join(torch.cat([up(x), skip], dim=1))
        return x


class FeatureNet(SegmentationNet):
    """Backbone -> 3D ASPP -> light decoder: all but the head, which decides."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = Backbone(config)
        self.aspp = ASPP(config.widths[-1], config)
        self.decoder = Decoder(self.aspp.outputs, config)

    def decoded(self, x: Tensor) -> Tensor:
        self.check_size(x)
        levels = self.backbone(x)
        return self.decoder(self.aspp(levels[-1]), levels)

    @property
    def size_multiple(self) -> int:  # type: ignore[override]
        """The stride of the coarsest level."""
        return self.config.level_strides[-1]

    @property
    def stride(self) -> int:  # type: ignore[override]
        """Input voxels per voxel of the prototype grid."""
        return self.config.prototype_stride

    @property
    def receptive_field(self) -> int:  # type: ignore[override]
        """Counted from the configuration."""
        config = self.config
        strides = config.level_strides
        radius = BLOCKS[config.backbone].radius
        reach = strides[0] + sum(s * n * radius for s, n in zip(strides, config.blocks, strict=True))
        reach += max(config.aspp_rates) * strides[-1]
        reach += sum(fine for fine in strides if config.prototype_stride <= fine < strides[-1])
        reach += (config.prototype_size // 2) * config.prototype_stride
        return math.ceil((reach + strides[-1]) / self.size_multiple) * self.size_multiple


class ProtoSegNet(FeatureNet):
    """The whole network: its features decide through their similarities to the prototypes and through nothing else."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        require(sum(config.prototypes_per_class) > 0, "prototypes_per_class must name at least one prototype")
        self.embedding = nn.Conv3d(self.decoder.outputs, config.embedding_channels, 1)
        self.prototype_layer = PrototypeLayer(
            len(config.prototype_class),
            config.embedding_channels,
            config.prototype_size,
            similarity=config.similarity,
            epsilon=config.epsilon,
            reach=config.reach,
        )
        self.last_layer = LastLayer(
            config.prototype_class, config.class_connected, self.prototype_layer.max_similarity()
        )
        self.voxelwise = config.prototype_size == 1
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def decide(self, decoded: Tensor) -> NetworkOutput:
        return self.compare(self.embedding(decoded).float())

    def compare(self, features: Tensor) -> NetworkOutput:
        """The embedding (B, C, x, y, z), or for prototypes of one voxel any part of it -> the outputs there."""
        with torch.autocast(features.device.type, enabled=False):
            similarities, distances = self.prototype_layer(features)
            return NetworkOutput(self.last_layer(similarities), similarities, distances)

    def embed(self, x: Tensor) -> Tensor:
        """(B, 4, X, Y, Z) -> the embedding that is compared with the prototypes: unit vectors (B, C, x, y, z)."""
        return F.normalize(self.features(x), dim=1)

    def features(self, x: Tensor) -> Tensor:
        """The embedding before it is brought to unit length, float32."""
        return self.embedding(self.decoded(x)).float()

    @property
    def prototype_stride(self) -> int:
        """Input voxels per voxel of the prototype grid."""
        return self.config.prototype_stride

    @property
    def prototype_class(self) -> tuple[int, ...]:
        """Class index of each of the P prototypes."""
        return self.config.prototype_class


class PlainNet(FeatureNet):
    """The same network with a plain 1x1x1 head in place of the prototypes: shows what explaining costs."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        self.head = nn.Conv3d(self.decoder.outputs, len(CLASSES), 1)
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def decide(self, decoded: Tensor) -> NetworkOutput:
        return without_prototypes(self.head(decoded).float())


def with_reach(network: ProtoSegNet, reach: float | None) -> ProtoSegNet:
    """A copy whose log-similarities end at another distance; within both reaches the logits stay what they were.

    There the similarities change by a constant, which the bias takes up.
    """
    changed = ProtoSegNet(replace(network.config, reach=reach))
    changed.load_state_dict(network.state_dict())
    with torch.no_grad():
        constant = changed.prototype_layer.zero - network.prototype_layer.zero
        changed.last_layer.bias.add_(changed.last_layer.weight.sum(dim=1), alpha=constant)
    return changed.train(network.training)
