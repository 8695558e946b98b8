"""Processes that train together bring the same numbers, gradients and prototypes."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from torch import nn

from ProtoSegBrainLib.network.processes import Processes

pytestmark = pytest.mark.usefixtures("one_thread")


def test_one_process_is_a_group_of_its_own() -> None:
    alone, network, values = Processes("cpu"), nn.Linear(2, 2), torch.ones(3)
    assert (alone.rank, alone.count) == (0, 1)
    assert alone.with_common_gradients(network) is network
    assert alone.mean([1.0, 2.5]) == [1.0, 2.5]
    with alone.apart(network):
        alone.take_from_first([values])
    assert torch.equal(values, torch.ones(3))
    alone.leave()


def test_two_processes_share_means_gradients_and_tensors(tmp_path: Path) -> None:
    with socket.socket() as a_socket:
        a_socket.bind(("127.0.0.1", 0))
        port = a_socket.getsockname()[1]
    torch.multiprocessing.spawn(one_of_two, (port, tmp_path), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["count"] == second["count"] == 2
    assert first["mean"] == second["mean"] == [0.5, 3.0]
    assert torch.equal(first["taken"], torch.zeros(3))
    assert torch.equal(second["taken"], torch.zeros(3))
    assert (first["apart"], second["apart"]) == (1.0, 2.0)
    assert first["together"] == second["together"] == 1.5 + 1.5  # DDP averages what was gathered apart, too


def one_of_two(rank: int, port: int, out: Path) -> None:
    """What torchrun does, without its supervisor."""
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes, network = Processes("cpu"), nn.Linear(1, 1, bias=False)
    assert processes.rank == rank
    taken = torch.full((3,), float(rank))
    processes.take_from_first([taken])
    forward, image = processes.with_common_gradients(network), torch.full((1, 1), rank + 1.0)
    with processes.apart(forward):
        forward(image).sum().backward()
    apart = float(network.weight.grad)
    forward(image).sum().backward()
    result = {"mean": processes.mean([float(rank), 3.0]), "taken": taken, "count": processes.count}
    torch.save(result | {"apart": apart, "together": float(network.weight.grad)}, out / f"{rank}.pt")
    processes.leave()
