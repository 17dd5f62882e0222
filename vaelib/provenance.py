"""Where a run came from: data, code, versions, machine."""

import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from vaelib import __version__, models
from vaelib.config import TrainingConfig

PROVENANCE = ["data_sha256", "code_sha256", "effective_beta", "parameters", "device", "precision", "torch", "commit"]
# what decides the weights beside the settings: an unfinished run of another kind is begun again
DECIDES = ("data_sha256", "code_sha256", "device", "precision", "torch")


def provenance(config: TrainingConfig, data_sha256: str, device: torch.device, precision: str) -> dict[str, Any]:
    """Where a run came from: data, versions, commit, machine; and what its settings amount to."""
    return {
        "data_sha256": data_sha256,
        "code_sha256": code_sha256(),
        "effective_beta": config.effective_beta,
        "parameters": models.count_parameters(models.build(config)),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": precision,
        "processor": f"{platform.machine()}, {os.cpu_count()} cores",
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "vaelib": __version__,
        "commit": commit(),
    }


def begun_by(path: Path) -> str:
    """The code_sha256 that a run's directory names; empty where it names none."""
    try:
        return str(json.loads((path / "config.json").read_text())["provenance"]["code_sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def code_sha256() -> str:
    """sha256 of the modules that decide a run's weights."""
    here = Path(__file__).parent
    modules = ("config", "settings", "data", "layers", "models", "objective", "step", "training")
    return hashlib.sha256(b"".join((here / f"{module}.py").read_bytes() for module in modules)).hexdigest()


def commit() -> str:
    """The git commit of this code, with a + where files differ from it; empty outside a checkout."""
    command = ["git", "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    except OSError:  # no git on this machine
        return ""
