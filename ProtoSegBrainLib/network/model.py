"""The prototype network: backbone -> 3D ASPP -> light decoder -> embedding -> prototype layer -> last layer.

Shapes: B batch, X Y Z voxels of the input (1 mm), x y z voxels of the prototype grid (``prototype_stride`` mm),
C embedding channels, P prototypes, K = 4 classes.

No path from image to logits avoids the similarities: ``logits = last_layer(similarities)`` and nothing else, on the
prototype grid. Trilinear weights sum to one, so upsampling the logits equals classifying upsampled similarities.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ProtoSegBrainLib.labels import CLASSES, MODALITIES

MAX_LOGIT_AT_START = 10.0


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
        metadata={"help": "squared distance from which a log-similarity is 0 (2 is orthogonal); None: nowhere"},
    )
    class_connected: bool = field(
        default=True, metadata={"help": "non-negative weights from a prototype to its own class only"}
    )
    checkpointing: bool = field(default=False, metadata={"help": "recompute activations to save memory"})

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        _require(self.backbone in BLOCKS, f"backbone must be one of {sorted(BLOCKS)}, not {self.backbone!r}")
        _require(self.norm in NORMS, f"norm must be one of {sorted(NORMS)}, not {self.norm!r}")
        _require(self.similarity in ("log", "cosine"), f"similarity must be log or cosine, not {self.similarity!r}")
        _require(self.stem_stride in (1, 2), f"stem_stride must be 1 or 2, not {self.stem_stride}")
        _require(
            0 < len(self.widths) == len(self.blocks) and min(self.widths) > 0 and min(self.blocks) >= 0,
            f"widths and blocks need one positive number per level each, not {self.widths} and {self.blocks}",
        )
        _require(
            len(self.aspp_rates) > 0 and min(self.aspp_rates) > 0,
            f"aspp_rates needs at least one positive rate, not {self.aspp_rates}",
        )
        _require(self.prototype_size in (1, 3, 5), f"prototype_size must be 1, 3 or 5, not {self.prototype_size}")
        _require(0 < self.epsilon < 1, f"epsilon must lie between 0 and 1, not {self.epsilon}")
        _require(
            self.reach is None or 0 < self.reach <= 4, f"reach must lie between 0 and 4, or be None, not {self.reach}"
        )
        _require(
            len(self.prototypes_per_class) == len(CLASSES) and min(self.prototypes_per_class) >= 0,
            f"prototypes_per_class needs {len(CLASSES)} counts (of {CLASSES}), not {self.prototypes_per_class}",
        )
        _require(
            self.prototype_stride in self.level_strides,
            f"prototype_stride must be one of {self.level_strides}, not {self.prototype_stride}",
        )

    @property
    def level_strides(self) -> tuple[int, ...]:
        """Stride of each backbone level, finest first."""
        return tuple(self.stem_stride * 2**level for level in range(len(self.widths)))

    @property
    def prototype_class(self) -> tuple[int, ...]:
        """Class index of each of the P prototypes."""
        return tuple(k for k, count in enumerate(self.prototypes_per_class) for _ in range(count))


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


class NetworkOutput(NamedTuple):
    """What one forward pass gives, all float32 on the grid of the logits; P is 0 for a network without prototypes."""

    logits: Tensor  # (B, K, x, y, z)
    similarities: Tensor  # (B, P, x, y, z)
    distances: Tensor  # (B, P, x, y, z), squared L2 on the unit sphere
    deep: tuple[Tensor, ...] = ()  # in training: logits of coarser decoder levels, for deep supervision


def without_prototypes(logits: Tensor, deep: tuple[Tensor, ...] = ()) -> NetworkOutput:
    """The output of a network that has no prototypes."""
    none = logits[:, :0]
    return NetworkOutput(logits, none, none, deep)


class SegmentationNet(nn.Module):
    """What training and inference need of a network: (B, 4, X, Y, Z) z-scored images -> class logits.

    ``forward`` is ``decide(decoded(x))``. What ``decide`` does is done voxel by voxel where ``voxelwise`` is true, so
    that it can take a part of the brain at a time.

    Attributes:
        stride: Voxels of the input per voxel of the logits.
        size_multiple: Input sizes must be multiples of this (pad with zeros).
        receptive_field: Voxels around a voxel of the logits that can change it, as a multiple of ``size_multiple``. A
            tile with this margin gives the whole brain's logits exactly, unless the network takes statistics of its
            window (a norm other than BatchNorm, global pooling).
        window: Edge in voxels of the windows of which a brain's logits are blended; None: they come at one go.
        voxelwise: See above.
    """

    stride: int
    size_multiple: int
    receptive_field: int
    window: int | None = None
    voxelwise = True

    @property
    def prototype_class(self) -> tuple[int, ...]:
        """Class index of each of the P prototypes; () where there are none."""
        return ()

    def decoded(self, x: Tensor) -> Tensor:
        """What the decision is made of: (B, 4, X, Y, Z) -> (B, D, x, y, z)."""
        raise NotImplementedError

    def decide(self, decoded: Tensor) -> NetworkOutput:
        """From what ``decoded`` gives, or from a part of it, to the output there."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> NetworkOutput:
        return self.decide(self.decoded(x))

    def teachable(self, truth: Tensor) -> Tensor:
        """The true shares (B, K, x, y, z), told apart as far as this network can."""
        return truth

    def check_size(self, x: Tensor) -> None:
        """Refuse images that the network cannot take.

        Raises:
            ValueError: Another number of modalities, or a size that is no multiple of ``size_multiple``.
        """
        if x.ndim != 5 or x.shape[1] != len(MODALITIES) or any(n % self.size_multiple for n in x.shape[2:]):
            raise ValueError(
                f"The network expects (B, {len(MODALITIES)}, X, Y, Z) with X, Y, Z multiples of {self.size_multiple}; "
                f"got {tuple(x.shape)}. Pad with zeros."
            )


class ConvNormAct(nn.Sequential):
    """Convolution, normalisation, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, norm: str, *, size: int = 3, stride: int = 1, rate: int = 1, groups: int = 1
    ) -> None:
        padding = 0 if size == stride else rate * (size // 2)
        super().__init__(
            nn.Conv3d(inputs, outputs, size, stride, padding, rate, groups, bias=False),
            NORMS[norm](outputs),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions around an identity (He et al. 2016)."""

    radius = 2

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        self.first = ConvNormAct(channels, channels, norm)
        self.second = nn.Sequential(nn.Conv3d(channels, channels, 3, padding=1, bias=False), NORMS[norm](channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.second(self.first(x)), inplace=True)


class PlainBlock(nn.Sequential):
    """Two 3x3x3 convolutions without a shortcut."""

    radius = 2

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__(ConvNormAct(channels, channels, norm), ConvNormAct(channels, channels, norm))


class SeparableBlock(nn.Module):
    """Inverted residual: expand, depthwise 3x3x3, project (Tan and Le 2019, without squeeze-and-excitation).

    Squeeze-and-excitation pools over the window, so a tile would no longer give the whole brain's logits.
    """

    radius = 1
    expansion = 4

    def __init__(self, channels: int, norm: str) -> None:
        super().__init__()
        wide = channels * self.expansion
        self.body = nn.Sequential(
            ConvNormAct(channels, wide, norm, size=1),
            ConvNormAct(wide, wide, norm, groups=wide),
            nn.Conv3d(wide, channels, 1, bias=False),
            NORMS[norm](channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


def _group_norm(channels: int) -> nn.Module:
    return nn.GroupNorm(math.gcd(channels, 8), channels)


def _batch_norm(channels: int) -> nn.Module:
    # 0.03: a batch holds few cases, so the running statistics must average over many steps.
    return nn.BatchNorm3d(channels, momentum=0.03)


def _instance_norm(channels: int) -> nn.Module:
    return nn.InstanceNorm3d(channels, affine=True)


BLOCKS: dict[str, type[ResidualBlock | PlainBlock | SeparableBlock]] = {
    "resnet": ResidualBlock,
    "plain": PlainBlock,
    "efficient": SeparableBlock,
}
NORMS = {"batch": _batch_norm, "group": _group_norm, "instance": _instance_norm}


class Stem(nn.Module):
    """First convolution, after moving each 2x2x2 block of voxels into channels when the stride is 2.

    Space-to-depth keeps the centre of an output voxel at the centre of its block (no half-voxel shift, which a
    strided 3x3x3 convolution has) and gives the matrix units full channels to work on.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, norm: str) -> None:
        super().__init__()
        self.stride = stride
        self.conv = ConvNormAct(inputs * stride**3, outputs, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(_space_to_depth(x, self.stride) if self.stride > 1 else x)


def _space_to_depth(x: Tensor, s: int) -> Tensor:
    """(B, C, X, Y, Z) -> (B, s*s*s*C, X/s, Y/s, Z/s), channels last in memory."""
    parts = [x[..., i::s, j::s, k::s].movedim(1, -1) for i, j, k in itertools.product(range(s), repeat=3)]
    return torch.cat(parts, dim=-1).movedim(-1, 1)


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


class PrototypeLayer(nn.Module):
    """Similarity of the features to P prototypes, both brought to unit length: the embedding lives on a sphere.

    With d the squared L2 distance, averaged over the prototype's voxels, so 0 <= d <= 4:
    ``log``: s = log((d + 1) / (d + epsilon)), bounded by log(1 / epsilon) (Chen et al. 2019, ProtoPNet), less its value
    at ``reach`` and 0 beyond: what a prototype is not like at all neither speaks for it nor shows in its map;
    ``cosine``: s = 1 - d / 4 = (1 + cos) / 2.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        count, size = len(config.prototype_class), config.prototype_size
        self.prototype_vectors = nn.Parameter(torch.randn(count, config.embedding_channels, size, size, size))
        self.similarity = config.similarity
        self.epsilon = config.epsilon
        self.zero = log_similarity_at(config.reach, config.epsilon)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, x, y, z) float32 -> similarities and distances, (B, P, x, y, z) each."""
        distances = self.distances(features)
        return self.similarities(distances), distances

    def unit_vectors(self) -> Tensor:
        """The prototypes (P, C, s, s, s), each voxel of unit length."""
        return F.normalize(self.prototype_vectors.float(), dim=1)

    def distances(self, features: Tensor) -> Tensor:
        """Squared L2 by its expansion |z|^2 - 2 z.p + |p|^2 = 2 - 2 z.p, never by broadcast.

        In float32, because the expansion cancels near 0. Beyond the border a patch finds zeros, which count as
        orthogonal to the prototype (a squared distance of 2).
        """
        vectors = -2 * self.unit_vectors()
        size = vectors.shape[-1]
        # The length alone, then one division: half the passes over memory of F.normalize, forwards and backwards.
        unit = features / torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp(min=1e-6)
        if size > 1:
            return F.relu(F.conv3d(unit, vectors / size**3, padding=size // 2) + 2)
        return F.relu(_per_voxel(unit, vectors.flatten(1), vectors.new_full((len(vectors),), 2.0)))

    def similarities(self, distances: Tensor) -> Tensor:
        """Squared distances -> similarities, same shape; falls steadily with the distance."""
        if self.similarity == "cosine":
            return 1 - distances / 4
        # log((d + 1) / (d + epsilon)), written with two passes over memory fewer.
        similarities = torch.log1p((1 - self.epsilon) / (distances + self.epsilon))
        return F.relu(similarities - self.zero) if self.zero else similarities

    def max_similarity(self) -> float:
        """Similarity at distance 0."""
        return 1.0 if self.similarity == "cosine" else math.log(1 / self.epsilon) - self.zero


def log_similarity_at(distance: float | None, epsilon: float) -> float:
    """log((d + 1) / (d + epsilon)); 0 for a distance of None, which is infinity."""
    return 0.0 if distance is None else math.log((distance + 1) / (distance + epsilon))


class LastLayer(nn.Module):
    """Class logits as a weighted sum of similarities: logit_k = bias_k + sum_p weight_kp s_p.

    With ``class_connected`` a prototype speaks for its own class only and never against one (weights >= 0), so a
    contribution weight * similarity reads as evidence. Summed in float64: in float32 the sum of a trained network,
    several tens, is off by up to 2e-5, and explanations promise an exact one.
    """

    prototype_class_identity: Tensor

    def __init__(self, config: ModelConfig, max_similarity: float) -> None:
        super().__init__()
        owners = torch.tensor(config.prototype_class)
        identity = F.one_hot(owners, len(CLASSES)).T.float()  # (K, P)
        self.register_buffer("prototype_class_identity", identity)
        self.class_connected = config.class_connected
        self.weight = nn.Parameter(identity * MAX_LOGIT_AT_START / max_similarity)
        self.bias = nn.Parameter(torch.zeros(len(CLASSES)))

    def forward(self, similarities: Tensor) -> Tensor:
        """(B, P, x, y, z) -> (B, K, x, y, z), both float32."""
        precise = torch.float32 if similarities.device.type == "mps" else torch.float64  # Apple's GPUs have no float64
        terms = (value.to(precise) for value in (similarities, self.weight, self.bias))
        return _per_voxel(*terms).to(similarities.dtype)

    @torch.no_grad()
    def constrain(self) -> None:
        """Put weights and bias back into the allowed set; called after every optimiser step.

        No bias exceeds background's: where nothing is like any prototype, no tumour may be found.
        """
        if self.class_connected:
            self.weight.clamp_(min=0).mul_(self.prototype_class_identity)
        self.bias.clamp_(max=self.bias[0].clone())


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
        _require(sum(config.prototypes_per_class) > 0, "prototypes_per_class must name at least one prototype")
        self.embedding = nn.Conv3d(self.decoder.outputs, config.embedding_channels, 1)
        self.prototype_layer = PrototypeLayer(config)
        self.last_layer = LastLayer(config, self.prototype_layer.max_similarity())
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


def _per_voxel(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """1x1x1 convolution as a matrix product over channels-last memory: (B, C, x, y, z) -> (B, D, x, y, z)."""
    return F.linear(x.movedim(1, -1), weight, bias).movedim(-1, 1)


def upsample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Trilinear, voxel centres kept (align_corners=False): (B, C, x, y, z) -> (B, C, *size)."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=tuple(size), mode="trilinear", align_corners=False)


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


Net = TypeVar("Net", bound=nn.Module)


def fuse_for_inference(network: Net) -> Net:
    """A copy in evaluation mode whose BatchNorms are folded into the convolutions before them; other norms stay."""
    fused = copy.deepcopy(network).eval()
    for module in list(fused.modules()):
        if isinstance(module, nn.Sequential):
            _fold_batch_norms(module)
    return fused


def _fold_batch_norms(sequence: nn.Sequential) -> None:
    for name, following in zip(list(sequence._modules), list(sequence._modules)[1:], strict=False):
        conv, norm = sequence._modules[name], sequence._modules[following]
        if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
            sequence._modules[name] = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
            sequence._modules[following] = nn.Identity()
