"""Where a run stands, as two files from which it goes on as if it had never been stopped.

``checkpoint-<step>.safetensors`` holds the tensors, ``checkpoint.json`` the numbers. The JSON, written last, names the
tensors that belong to it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from ProtoSegBrainLib.files import write_whole

CHECKPOINT = "checkpoint.json"


def write_checkpoint(
    folder: Path,
    step: int,
    networks: Mapping[str, nn.Module],
    optimiser: torch.optim.Optimizer,
    numbers: Mapping[str, Any],
) -> None:
    """Write all that a run must know again, in place of what its folder holds.

    Args:
        folder: Of the run; made if absent.
        step: How far it has come.
        networks: By the names under which their tensors are stored.
        optimiser: Whose state is stored.
        numbers: Whatever else, as JSON takes it.
    """
    tensors = {f"{name}.{k}": v for name, network in networks.items() for k, v in network.state_dict().items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{index}.{k}": torch.as_tensor(v) for k, v in state.items() if v is not None}
    folder.mkdir(parents=True, exist_ok=True)
    name = f"checkpoint-{step}.safetensors"
    safetensors.torch.save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, folder / name)
    write_whole(folder / CHECKPOINT, json.dumps({"tensors": name, "step": step, **numbers}, indent=1))
    for old in folder.glob("checkpoint-*.safetensors"):
        if old.name != name:
            old.unlink()


def read_checkpoint(
    folder: Path, networks: Mapping[str, nn.Module], optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """Put networks and optimiser back to the last checkpoint of a run; returns its numbers, ``step`` among them.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is of another network.
    """
    numbers: dict[str, Any] = json.loads((folder / CHECKPOINT).read_text())
    tensors = safetensors.torch.load_file(folder / numbers["tensors"])
    for name, network in networks.items():
        try:
            network.load_state_dict(_below(name, tensors))
        except RuntimeError as error:
            raise ValueError(
                f"{folder}: the run there trains another network; give --resume the flags it was started with."
            ) from error
    _restore(optimiser, _below("optimiser", tensors))
    return numbers


def _below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of one part of the run, by their names in it."""
    prefix = f"{name}."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _restore(optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """State by parameter and name (``3.momentum``), back into an optimiser of the same parameters."""
    content = optimiser.state_dict()
    content["state"] = {}
    for key, value in tensors.items():
        index, name = key.split(".")
        content["state"].setdefault(int(index), {})[name] = value
    optimiser.load_state_dict(content)
    # Files hold tensors in C order. A fused optimiser walks through memory, so its state must lie as its weights.
    for parameter, entries in optimiser.state.items():
        for name, value in entries.items():
            if value.shape == parameter.shape:
                entries[name] = torch.empty_like(parameter).copy_(value)
