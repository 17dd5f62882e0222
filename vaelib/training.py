"""The training loop: epochs over images in memory, snapshots after each, resumable.

x is (B, 1, 28, 28) in [0, 1]; losses are nats per image, summed over pixels and latent dimensions.
"""

import pickle
import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from vaelib import InputError, data, latent, objective
from vaelib.config import TrainingConfig
from vaelib.models import VAE
from vaelib.run import DECIDES, HISTORY, Run, new_model, npz_bytes, provenance, torch_bytes, write

EVALUATED = 10_000  # images of each split that recon and KL are measured on after an epoch
EMBEDDED = 2_000  # test images encoded after each epoch
EVALUATION_BATCH = 500


def train(config: TrainingConfig) -> Run:
    """The finished run of this config.

    A finished run is returned as it is; an interrupted one goes on after its last whole epoch, to the
    weights, equal to the bit on one machine's CPU, that it would have reached undisturbed. One that was
    begun by other code, torch or images begins again. Shows a progress bar on a terminal. Raises
    InputError when the data cannot be had, the run's directory holds another config, or the loss is no
    longer a number.
    """
    run = Run.find(config)
    if run and run.finished:
        return run
    device = pick_device(config.device)
    images = data.load(config.dataset, config.data_root or None)
    made_of = provenance(config, images.checksum, device)
    if run is None or any(run.provenance[key] != made_of[key] for key in DECIDES):
        run = Run.create(config, made_of)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            _train(run, images, device)
    finally:
        torch.set_num_threads(threads)
    return run


def pick_device(name: str) -> torch.device:
    """The device of that name; auto is a CUDA GPU where there is one, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there[name]:
        present = ", ".join(key for key, value in there.items() if value)
        raise InputError(f"device {name!r} is not on this machine: accepted here are auto, {present}")
    return torch.device(name)


def _train(run: Run, images: data.ImageData, device: torch.device):
    config = run.config
    train_x, test_x = images.train_images.to(device), images.test_images.to(device)
    shown = {
        "train": train_x[data.one_per_class(images.train_labels)],
        "test": test_x[data.one_per_class(images.test_labels)],
    }
    model = new_model(config, float(images.train_images.float().mean() / 255)).to(device)
    if config.arch != "linear":
        # the layout that the CPU's convolutions are fastest in
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr, fused=device.type != "mps")
    epoch, history, snapshots = _resume(run, model, optimizer)

    bar = tqdm(total=config.epochs * len(train_x), initial=epoch * len(train_x), unit=" images", disable=None)
    bar.set_description(config.cell_id)
    with bar, _tensorboard(run, epoch) as events:
        while epoch < config.epochs:
            epoch += 1
            started = time.perf_counter()
            for seen in train_epoch(model, optimizer, train_x, config, epoch):
                bar.update(seen)
            trained = time.perf_counter()
            rows = []
            for split, x in (("train", train_x), ("test", test_x)):
                recon, kl = evaluate(model, x[:EVALUATED], config.latent_dim, seeded(config.seed, 0, device))
                loss = config.k1 * recon + config.k2 * kl
                rows.append(dict(epoch=epoch, split=split, recon=recon, kl=kl, loss=loss))
                for term in ("recon", "kl", "loss"):
                    events.add_scalar(f"{split}/{term}", rows[-1][term], epoch)
            rows[0]["seconds"], rows[1]["seconds"] = trained - started, time.perf_counter() - trained
            if not np.isfinite(rows[0]["loss"] + rows[1]["loss"]):
                raise InputError(
                    f"{run.path}: the loss is not a number after epoch {epoch}: "
                    f"lower lr {config.lr:g}, or the weights k1 {config.k1:g} and k2 {config.k2:g}"
                )
            history += rows
            snapshots.append(_snapshot(model, shown, test_x[:EMBEDDED]))
            bar.set_postfix_str(f"test {rows[1]['recon'] + rows[1]['kl']:.1f} nats")
            _save(run, model, optimizer, epoch, history, snapshots)
    _finish(run, model, history, snapshots, shown, images.test_labels[:EMBEDDED])


def train_epoch(model: VAE, optimizer, images: Tensor, config: TrainingConfig, epoch: int) -> Iterator[int]:
    """One pass over the images in a fresh order; yields the size of each batch once it is learnt from.

    All that is random in it follows from (seed, epoch), so that a resumed run needs no stored state.
    """
    device = images.device
    generator = seeded(config.seed, epoch, device)
    torch.manual_seed(seed_of(config.seed, epoch))  # dropout draws from the global generator
    model.train()
    order = torch.randperm(len(images), generator=generator, device=device)
    for batch in order.split(config.batch_size):
        x = data.as_float(images[batch])
        eps = torch.randn(len(x), config.latent_dim, generator=generator, device=device)
        given = data.corrupt(x, config.noise, generator) if config.noise else x
        with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bfloat16"):
            logits, mu, logvar = model(given, eps)
        recon = -objective.log_likelihood(logits, x)
        loss = objective.weighted_loss(recon, objective.kl_to_prior(mu, logvar), config.k1, config.k2)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield len(x)


@torch.inference_mode()
def evaluate(model: VAE, images: Tensor, latent_dim: int, generator: torch.Generator) -> tuple[float, float]:
    """Mean recon and KL of uint8 images in nats per image, z sampled once per image."""
    model.eval()
    recon = kl = 0.0
    eps = torch.randn(len(images), latent_dim, generator=generator, device=images.device)
    for batch, batch_eps in zip(images.split(EVALUATION_BATCH), eps.split(EVALUATION_BATCH), strict=True):
        x = data.as_float(batch)
        logits, mu, logvar = model(x, batch_eps)
        recon -= objective.log_likelihood(logits, x).double().sum()
        kl += objective.kl_to_prior(mu, logvar).double().sum()
    return float(recon) / len(images), float(kl) / len(images)


def seed_of(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence((seed, epoch)).generate_state(1, np.uint64)[0] >> 1)


def seeded(seed: int, epoch: int, device: torch.device) -> torch.Generator:
    """A generator of its own for each epoch of each seed; epoch 0 is the evaluations'."""
    return torch.Generator(device).manual_seed(seed_of(seed, epoch))


def _snapshot(model: VAE, shown: dict[str, Tensor], embedded: Tensor) -> dict[str, np.ndarray]:
    """Reconstructions from z = mu and embeddings, as arrays. The mean, so that frames change by learning alone."""
    model.eval()
    arrays = {}
    for split, images in shown.items():
        pixels = latent.decode(model, latent.encode(model, images)[0]) * 255
        arrays[f"{split}_recon"] = pixels.round().to(torch.uint8).cpu().numpy()
    return arrays | {"test_mu": latent.encode(model, embedded)[0].cpu().numpy()}


def _tensorboard(run: Run, epoch: int):
    from torch.utils.tensorboard import SummaryWriter  # a second to import: only where training happens

    return SummaryWriter(str(run.path), purge_step=epoch + 1)


def _resume(run: Run, model: VAE, optimizer) -> tuple[int, list[dict], list[dict]]:
    """The epoch reached, its history and snapshots, with model and optimizer as they then were."""
    file = run.path / "resume.pt"
    if not file.exists():
        return 0, [], []
    try:
        state = torch.load(file, weights_only=True, map_location=next(model.parameters()).device)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        snapshots = [{key: value.numpy(force=True) for key, value in shot.items()} for shot in state["snapshots"]]
        return state["epoch"], state["history"], snapshots
    except (RuntimeError, EOFError, KeyError, ValueError, TypeError, pickle.UnpicklingError) as error:
        raise InputError(f"{file} is damaged: remove it to train this run from the start") from error


def _save(run: Run, model: VAE, optimizer, epoch: int, history: list[dict], snapshots: list[dict]):
    shots = [{key: torch.from_numpy(value) for key, value in shot.items()} for shot in snapshots]
    state = dict(model=model.state_dict(), optimizer=optimizer.state_dict())
    write(run.path / "history.csv", pd.DataFrame(history)[HISTORY].to_csv(index=False).encode())
    write(run.path / "resume.pt", torch_bytes(state | dict(epoch=epoch, history=history, snapshots=shots)))


def _finish(run: Run, model: VAE, history: list[dict], snapshots: list[dict], shown: dict[str, Tensor], labels: Tensor):
    arrays = {key: np.stack([shot[key] for shot in snapshots]) for key in snapshots[0]}
    arrays |= {f"{split}_x": images[:, 0].cpu().numpy() for split, images in shown.items()}
    write(run.path / "snapshots.npz", npz_bytes(arrays | {"test_labels": labels.numpy()}))
    weights = {name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()}
    write(run.path / "model.safetensors", safetensors.torch.save(weights))
    (run.path / "resume.pt").unlink(missing_ok=True)
