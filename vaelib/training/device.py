"""What a training runs on, in which precision, and where its random numbers come from."""

import numpy as np
import torch

from vaelib.config import InputError


def pick_device(name: str) -> torch.device:
    """The device of that name; auto is a CUDA GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        present = ", ".join(key for key, value in there.items() if value)
        raise InputError(f"device {name!r} is not on this machine: accepted here are auto, {present}")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> str:
    """float32 or bfloat16; auto is bfloat16 on a CPU that multiplies it in hardware."""
    if name != "auto":
        return name
    hardware = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bfloat16" if device.type == "cpu" and hardware else "float32"


def seed_of(seed: int, epoch: int) -> int:
    """One number from a run's seed and an epoch, spread evenly over 63 bits."""
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> 1)


def seeded(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    """A generator of its own for each epoch of each seed; epoch 0 is the evaluations'."""
    return torch.Generator(device).manual_seed(seed_of(seed, epoch))
