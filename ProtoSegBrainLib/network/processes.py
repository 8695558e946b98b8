"""Several processes that train one network together; ``torchrun`` starts them and says so in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ProtoSegBrainLib.network.segmentation_net import SegmentationNet


class Processes:
    """The group as one of its members sees it, who joins it here; without ``torchrun`` a group of one.

    Args:
        device: On which this process computes.

    Attributes:
        rank: Number of this process, from 0.
        count: How many there are.
    """

    def __init__(self, device: str) -> None:
        self.device, self.rank, self.count = device, 0, 1
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return
        if not dist.is_initialized():
            dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
        self.rank, self.count = dist.get_rank(), dist.get_world_size()

    def with_common_statistics(self, network: SegmentationNet) -> SegmentationNet:
        """On several GPUs BatchNorm takes its statistics over all of them."""
        if self.count > 1 and self.device.startswith("cuda"):
            return nn.SyncBatchNorm.convert_sync_batchnorm(network)
        return network

    def with_common_gradients(self, network: nn.Module) -> nn.Module:
        """What to call in place of the network, so that gradients are means over all processes."""
        return DistributedDataParallel(network) if self.count > 1 else network

    def apart(self, forward: nn.Module) -> AbstractContextManager[None]:
        """A context in which gradients are not exchanged yet; ``forward`` is ``with_common_gradients``."""
        return forward.no_sync() if isinstance(forward, DistributedDataParallel) else nullcontext()

    def mean(self, values: list[float]) -> list[float]:
        """The same numbers in every process, the means of those that each brings."""
        if self.count == 1:
            return values
        tensor = torch.tensor(values, device=self.device)
        dist.all_reduce(tensor)
        return (tensor / self.count).tolist()

    @torch.no_grad()
    def take_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Put what process 0 has into the tensors of all."""
        if self.count == 1:
            return
        for tensor in tensors:
            shared = tensor.detach().contiguous()
            dist.broadcast(shared, 0)
            tensor.copy_(shared)

    def leave(self) -> None:
        """End the group, all together: a process that ends while another still talks to it may take that down."""
        if dist.is_initialized():
            dist.barrier()
            dist.destroy_process_group()
