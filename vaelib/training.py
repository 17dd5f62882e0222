"""Training a run: its epochs, what is measured and kept after each, and going on after a stop.

x is (B, 1, 28, 28) in [0, 1]; losses are nats per image, summed over pixels and latent dimensions.
"""

import pickle
import time

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from vaelib import InputError, data, latent, models, objective
from vaelib.config import TrainingConfig
from vaelib.models import VAE
from vaelib.provenance import DECIDES, provenance
from vaelib.run import HISTORY, Run, npz_bytes, torch_bytes, write
from vaelib.step import new_optimizer, pick_device, pick_precision, seeded, train_epoch

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
    made_of = provenance(config, images.checksum, device, pick_precision(config.precision, device))
    if config.held_out:
        images = data.hold_out(images, config.held_out)
    if config.norm == "batch" and 1 in (config.batch_size, len(images.train_images) % config.batch_size):
        raise InputError(
            f"batch_size {config.batch_size}: batch norm cannot learn from a batch of one image, and the last of "
            f"{len(images.train_images):,} would be one"
        )
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


def _train(run: Run, images: data.ImageData, device: torch.device):
    config = run.config
    train_x, test_x = images.train_images.to(device), images.test_images.to(device)
    shown = {
        "train": train_x[data.one_per_class(images.train_labels)],
        "test": test_x[data.one_per_class(images.test_labels)],
    }
    model = models.build(config, float(images.train_images.float().mean() / 255)).to(device)
    optimizer = new_optimizer(model, config, device)
    replays = {}
    epoch, history, snapshots = _resume(run, model, optimizer)

    bar = tqdm(total=config.epochs * len(train_x), initial=epoch * len(train_x), unit=" images", disable=None)
    bar.set_description(config.cell_id)
    with bar, _tensorboard(run, epoch) as events:
        while epoch < config.epochs:
            epoch += 1
            started = time.perf_counter()
            for seen in train_epoch(model, optimizer, train_x, config, epoch, replays):
                bar.update(seen)
            trained = time.perf_counter()
            rows = []
            for split, x in (("train", train_x), (config.measured, test_x)):
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
            bar.set_postfix_str(f"{config.measured} {rows[1]['recon'] + rows[1]['kl']:.1f} nats")
            _save(run, model, optimizer, epoch, history, snapshots)
    _finish(run, model, history, snapshots, shown, images.test_labels[:EMBEDDED])


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
