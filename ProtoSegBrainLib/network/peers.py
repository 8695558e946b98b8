"""The networks that ours is measured against: those of other projects, from MONAI, in our training and inference.

They have no prototypes and cannot say why. Whatever their channels mean, they answer with logits of the four classes at
the resolution of the input, so that everything after them is the same for all.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ProtoSegBrainLib.labels import CLASSES, MODALITIES
from ProtoSegBrainLib.network.segmentation_net import NetworkOutput, SegmentationNet, without_prototypes

Architecture = Literal["unet", "segresnet", "resunet", "neuroseg"]
Target = Literal["classes", "regions", "whole_tumour"]
OUTPUTS = {"classes": len(CLASSES), "regions": 3, "whole_tumour": 1}
"""Channels of a network: the classes; sigmoids of WT, TC, ET; a sigmoid of WT."""
MOST_LEVELS, MOST_CHANNELS, LARGEST_WINDOW = 8, 4096, 4096
NEVER = -20.0
"""Logit of a class that a network does not know."""


@dataclass(frozen=True)
class PeerConfig:
    """All that is needed to build a ``PeerNet``."""

    architecture: Architecture = field(metadata={"help": "unet, segresnet, resunet or neuroseg"})
    channels: tuple[int, ...] = field(
        default=(32, 64, 128, 256, 512), metadata={"help": "channels per level (segresnet: the first counts)"}
    )
    dropout: float = field(default=0.0, metadata={"help": "dropout probability"})
    target: Target = field(
        default="classes", metadata={"help": "what it tells apart: classes, regions (three sigmoids) or whole_tumour"}
    )
    deep_supervision: int = field(default=0, metadata={"help": "resunet: coarser decoder levels that are trained, too"})
    window: int | None = field(
        default=None, metadata={"help": "edge in voxels of the windows at inference; default: the whole brain in one"}
    )

    def __post_init__(self) -> None:
        """Refuse what cannot be built, naming the field."""
        for name, kind in (("architecture", Architecture), ("target", Target)):
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, not {getattr(self, name)!r}")
        if not 2 <= len(self.channels) <= MOST_LEVELS or not all(1 <= n <= MOST_CHANNELS for n in self.channels):
            raise ValueError(
                f"channels needs 2 to {MOST_LEVELS} numbers between 1 and {MOST_CHANNELS}, not {self.channels}"
            )
        if self.architecture == "unet" and len(self.channels) != 5:
            raise ValueError(f"channels: the unet has five levels, not {len(self.channels)}")
        if self.deep_supervision and self.architecture != "resunet":
            raise ValueError(f"deep_supervision is for resunet, not for {self.architecture}")
        if not 0 <= self.deep_supervision <= len(self.channels) - 2:
            raise ValueError(f"deep_supervision must lie between 0 and {len(self.channels) - 2} for these channels")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie between 0 and 1, not {self.dropout}")
        if self.window is not None and (not 1 <= self.window <= LARGEST_WINDOW or self.window % self.size_multiple):
            raise ValueError(
                f"window must be a multiple of {self.size_multiple} up to {LARGEST_WINDOW}, not {self.window}"
            )

    @property
    def size_multiple(self) -> int:
        """Stride of the coarsest level."""
        return 8 if self.architecture == "segresnet" else 2 ** (len(self.channels) - 1)


class PeerNet(SegmentationNet):
    """One of the peers, with logits of the four classes."""

    stride = 1

    def __init__(self, config: PeerConfig) -> None:
        super().__init__()
        self.config = config
        try:
            self.network = BUILDERS[config.architecture](config)
        except ImportError as error:
            raise ValueError(
                f'The network {config.architecture} is built by MONAI: pip install "protosegbrain[peers]".'
            ) from error
        self.size_multiple = config.size_multiple
        self.window = config.window
        self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    @property
    def receptive_field(self) -> int:  # type: ignore[override]
        """Of a U-Net with two 3x3x3 convolutions a level, on the way down and up; the others have windows."""
        strides = [2**level for level in range(len(self.config.channels))]
        reach = 2 * sum(strides) + sum(strides[:-1]) + 2 * sum(strides[:-1]) + strides[-1]
        return -(-reach // self.size_multiple) * self.size_multiple

    def decoded(self, x: Tensor) -> Tensor:
        """The network's own channels, float32: (B, 4, X, Y, Z) -> (B, M, X, Y, Z); deep levels stacked in front."""
        self.check_size(x)
        return self.network(x).float()

    def teachable(self, truth: Tensor) -> Tensor:
        return whole_tumour_as_oedema(truth) if self.config.target == "whole_tumour" else truth

    def decide(self, decoded: Tensor) -> NetworkOutput:
        return without_prototypes(class_logits(decoded, self.config.target))

    def forward(self, x: Tensor) -> NetworkOutput:
        outputs = self.decoded(x)
        if outputs.ndim == 5:
            return self.decide(outputs)
        logits, *deep = (class_logits(level, self.config.target) for level in outputs.unbind(1))  # deep supervision
        return without_prototypes(logits, tuple(deep))


def whole_tumour_as_oedema(truth: Tensor) -> Tensor:
    """Class shares (B, 4, ...) with the whole tumour in the place of oedema, where ``class_logits`` puts it."""
    none = torch.zeros_like(truth[:, :1])
    return torch.cat([truth[:, :1], none, truth[:, 1:].sum(dim=1, keepdim=True), none], dim=1)


def class_logits(outputs: Tensor, target: Target) -> Tensor:
    """A network's channels (B, M, ...) -> logits of the four classes (B, 4, ...).

    Of nested regions with logits w, t, e (WT, TC, ET) the classes get 0, w, w + t, w + t + e in the order background,
    ED, NCR, ET: wherever the regions are nested the most probable class is what thresholds of 1/2 on the three sigmoids
    give, and the regions can be read back as differences (``region_logits``).
    """
    if target == "classes":
        return outputs
    background = torch.zeros_like(outputs[:, :1])
    if target == "whole_tumour":
        never = torch.full_like(background, NEVER)
        return torch.cat([background, never, outputs, never], dim=1)
    oedema, core, enhancing = outputs.cumsum(dim=1).split(1, dim=1)
    return torch.cat([background, core, oedema, enhancing], dim=1)


def _unet(config: PeerConfig) -> nn.Module:
    """3D U-Net (Cicek et al. 2016) with BatchNorm: max pooling, transposed convolutions, two convolutions a level."""
    from monai.networks.nets.basic_unet import BasicUNet, UpCat

    first, second = config.channels[:2]
    settings: dict[str, Any] = {"act": "relu", "norm": "batch", "dropout": config.dropout}
    outputs = OUTPUTS[config.target]
    network = BasicUNet(3, len(MODALITIES), outputs, features=(*config.channels, first), bias=True, **settings)
    # MONAI's last level does not halve the channels on the way up; a U-Net's does.
    network.upcat_1 = UpCat(3, second, first, first, bias=True, upsample="deconv", halves=True, **settings)
    return network


def _segresnet(config: PeerConfig) -> nn.Module:
    """SegResNet (Myronenko 2018, without its autoencoder branch) of MONAI's model zoo."""
    from monai.networks.nets import SegResNet

    return SegResNet(
        spatial_dims=3,
        in_channels=len(MODALITIES),
        out_channels=OUTPUTS[config.target],
        init_filters=config.channels[0],
        blocks_down=(1, 2, 2, 4),
        blocks_up=(1, 1, 1),
        dropout_prob=config.dropout or None,
    )


def _resunet(config: PeerConfig) -> nn.Module:
    """Residual U-Net with InstanceNorm and auxiliary heads at 1/2 and 1/4 (nnU-Net's building blocks)."""
    from monai.networks.nets import DynUNet

    levels = len(config.channels)
    network = DynUNet(
        spatial_dims=3,
        in_channels=len(MODALITIES),
        out_channels=OUTPUTS[config.target],
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=config.channels,
        dropout=config.dropout or None,
        norm_name=("INSTANCE", {"affine": True}),
        deep_supervision=config.deep_supervision > 0,
        deep_supr_num=max(config.deep_supervision, 1),
        res_block=True,
    )
    # The same layers once more, wired up. As a part of its own they would be stored twice.
    network.__dict__["skip_layers"] = network._modules.pop("skip_layers")
    return network


def _neuroseg(config: PeerConfig) -> nn.Module:
    """MONAI's U-Net with residual units (Kerfoot et al. 2018), strided from its first convolution on."""
    from monai.networks.nets import UNet

    return UNet(
        spatial_dims=3,
        in_channels=len(MODALITIES),
        out_channels=OUTPUTS[config.target],
        channels=config.channels,
        strides=(2,) * (len(config.channels) - 1),
        num_res_units=2,
        dropout=config.dropout,
    )


BUILDERS = {"unet": _unet, "segresnet": _segresnet, "resunet": _resunet, "neuroseg": _neuroseg}
