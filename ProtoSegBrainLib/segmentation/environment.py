"""What there is to compute with: versions, devices and their memory, the model. For the record of a bug, and for help.

It says what is missing instead of failing on it.
"""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("protosegbrain", "torch", "numpy", "scipy", "nibabel", "SimpleITK", "safetensors", "isal", "scikit-image")
"""By their names in the package index; of these a segmentation needs all but the first."""


def environment(model: Path | None = None) -> dict[str, Any]:
    """Versions, devices and model, in plain types for JSON.

    Args:
        model: Weights; None for the bundled ones.

    Returns:
        python, platform: What runs.
        packages: Version by name of ``PACKAGES``; None where it is not installed.
        torch: Version, build ("cpu", "CUDA 12.4", "ROCm 6.2") and number of threads; None where it cannot be loaded.
        devices: Name, description, memory and free memory in GB (None if unknown) of all that torch can compute on,
            the one that "auto" takes first.
        model: Name, identity (SHA-256, checked) and path; None where it cannot be loaded.
        problems: Sentences on what is missing or broken; empty if a case can be segmented.
    """
    packages = {name: _version(name) for name in PACKAGES}
    problems = [f"{name} is not installed." for name in PACKAGES[1:] if packages[name] is None]
    found: dict[str, Any] = {"torch": None, "devices": [], "model": None}
    if packages["torch"] is not None:
        try:
            found |= {"torch": _torch(), "devices": _devices()}
            found["model"] = _model(model)
        except (ImportError, OSError, ValueError, RuntimeError) as error:  # a broken build, damaged weights
            sentence = str(error) if isinstance(error, (ValueError, FileNotFoundError)) else None
            problems.append(sentence or f"{type(error).__name__}: {error}")
    about = {"python": platform.python_version(), "platform": platform.platform(), "packages": packages}
    return {**about, **found, "problems": problems}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    import torch

    build = "cpu"
    if torch.version.cuda:
        build = f"CUDA {torch.version.cuda}"
    elif torch.version.hip:
        build = f"ROCm {torch.version.hip}"
    return {"version": torch.__version__, "build": build, "threads": torch.get_num_threads()}


def _devices() -> list[dict[str, Any]]:
    import torch

    devices = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        name = torch.cuda.get_device_name(index)
        devices.append(_device(f"cuda:{index}", name, total, free))
    if torch.backends.mps.is_available():
        devices.append(_device("mps", "Apple GPU", None, None))
    cores = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    return [*devices, _device("cpu", cores, _memory("SC_PHYS_PAGES"), _memory("SC_AVPHYS_PAGES"))]


def _device(name: str, description: str, memory: int | None, free: int | None) -> dict[str, Any]:
    in_gb = {key: None if n is None else round(n / 1e9, 1) for key, n in (("memory_gb", memory), ("free_gb", free))}
    return {"name": name, "description": description, **in_gb}


def _memory(pages: str) -> int | None:
    """Bytes of the computer's memory, by the system's name of the count of pages; None where it has none."""
    try:
        return os.sysconf(pages) * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows; macOS
        return None


def _model(path: Path | None) -> dict[str, Any]:
    from ProtoSegBrainLib.network.weights import BUNDLED, load_model

    _, card = load_model(path)
    return {"name": card.name, "identity": card.identity, "path": str(path or BUNDLED)}
