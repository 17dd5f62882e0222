"""Training a run: its epochs, what is measured and kept after each, and going on after a stop.

x is (B, 1, h, w) in [0, 1]; losses are nats per image, summed over pixels and latent dimensions.
"""

import math
import pickle
import time

import numpy as np
import pandas as pd
import safetensors.torch
import torch
from torch import Tensor
from tqdm import tqdm

from vaelib.config import DATASETS, InputError, TrainingConfig
from vaelib.data import sets
from vaelib.models import objective
from vaelib.models.build import build
from vaelib.models.vae import VAE
from vaelib.training.device import pick_device, pick_precision, seeded
from vaelib.training.run import (
    DECIDES,
    HISTORY,
    STEPS,
    Run,
    epoch_file,
    events_in,
    npz_bytes,
    provenance_of,
    read_steps,
    recover,
    replace,
    shorter_runs,
    successor,
    torch_bytes,
    write,
)
from vaelib.training.step import new_optimizer, train_epoch

EVALUATED = 10_000  # images of each split that recon and KL are measured on after an epoch
EMBEDDED = 2_000  # test images encoded after each epoch
TERMS = ("recon", "kl", "loss")


def train(config: TrainingConfig | None = None, *, renew: bool = False, **settings) -> Run:
    """The finished run of a config, or of settings by name: ``train(dataset="digits", arch="conv", epochs=2)``.

    dataset is a known name, the path of own images, or an ImageData. A finished run is returned as it is; an
    interrupted one goes on after its last whole epoch, to the weights, equal to the bit on one machine's CPU, that it
    would have reached undisturbed. Where the learning rate is constant, a new run goes on in the same way from the run
    beside it that has fewer epochs and is alike in all else. An unfinished run of other code, torch or images begins
    again; with renew a finished one does so too, and stays as it is until its successor is whole. Shows a progress bar
    on a terminal. Raises InputError when the data cannot be had, the run's directory holds another config or other
    images, or the loss is no longer a number.
    """
    config, images = _asked(config, settings)
    recover(config.run_path)
    run = Run.find(config, renew=renew)
    if run and run.finished and not renew and images is None and config.dataset in DATASETS:
        return run
    device = pick_device(config.device)
    images = images or sets.load(config.dataset, config.data_root or None)
    made_of = provenance_of(config, images, device, pick_precision(config.precision, device))
    path = config.run_path
    if run and run.finished:
        if not renew and run.provenance["data_sha256"] != made_of["data_sha256"]:
            raise InputError(
                f"{path} learnt other images of that name: give another --runs-root or --name, or move it away"
            )
        if not renew or _made_alike(run, config, made_of):
            return run
        path = successor(path)
        run = Run.find(config, path, renew)
    if config.held_out:
        images = sets.hold_out(images, config.held_out)
    if config.norm == "batch" and 1 in (config.batch_size, len(images.train_images) % config.batch_size):
        raise InputError(
            f"batch_size {config.batch_size}: batch norm cannot learn from a batch of one image, and the last of "
            f"{len(images.train_images):,} would be one"
        )
    if run is None or not _made_alike(run, config, made_of):
        run = Run.create(config, made_of, path)
        _begin_where_a_shorter_one_ended(run)
    if not run.finished:
        run = run.with_extras(config)
        threads = torch.get_num_threads()
        torch.set_num_threads(config.threads)
        try:
            with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
                _train(run, images, device)
        finally:
            torch.set_num_threads(threads)
    if path != config.run_path:
        replace(config.run_path)
    return Run.load(config.run_path)


def _asked(config: TrainingConfig | None, settings: dict) -> tuple[TrainingConfig, sets.ImageData | None]:
    """The config that was asked for, and its images where they were given and not only named."""
    if config is not None:
        if settings:
            raise InputError(f"a config and {', '.join(settings)}: accepted is one of the two, a config or settings")
        return config, None
    images = settings.get("dataset")
    if not isinstance(images, sets.ImageData):
        return TrainingConfig.from_mapping(settings), None
    config = TrainingConfig.from_mapping(settings | {"dataset": images.dataset})
    if config.dataset in DATASETS and images.checksum != sets.load(config.dataset, config.data_root or None).checksum:
        raise InputError(f"images named {images.name} that are not that set: accepted is a name of their own")
    return config, images


def _begin_where_a_shorter_one_ended(run: Run):
    """Gives a new run what a finished one of fewer epochs has learnt and kept, where it is alike in all else.

    It must have kept what the new run is to keep. A rate that follows a schedule depends on the number of all epochs.
    """
    if run.config.schedule != "constant":
        return
    for shorter in shorter_runs(run.config):
        alike = all(shorter.provenance.get(key) == run.provenance[key] for key in DECIDES)
        epochs, every = shorter.config.epochs, run.config.keep_every
        if not alike or not (shorter.path / "resume.pt").is_file() or shorter.lacks(run.config, epochs):
            continue
        for epoch in range(every, epochs + 1, every) if every else ():
            _keep(run, epoch, shorter.weights_file(epoch).read_bytes())
        # The state comes last: a kill before it leaves a run that begins at the start.
        for name in ("steps.csv", "resume.pt") if run.config.log_steps else ("resume.pt",):
            write(run.path / name, (shorter.path / name).read_bytes())
        return


def _made_alike(run: Run, config: TrainingConfig, made_of: dict) -> bool:
    return not run.differences(config) and all(run.provenance.get(key) == made_of[key] for key in DECIDES)


def _train(run: Run, images: sets.ImageData, device: torch.device):
    config = run.config
    train_x, test_x = images.train_images.to(device), images.test_images.to(device)
    shown = {
        "train": train_x[sets.one_per_class(images.train_labels)],
        "test": test_x[sets.one_per_class(images.test_labels)],
    }
    model = build(config, images.shape, float(images.train_images.float().mean() / 255)).to(device)
    optimizer = new_optimizer(model, config, device)
    replays = {}
    steps_in_epoch = math.ceil(len(train_x) / config.batch_size)
    losses = torch.zeros(steps_in_epoch, 2, device=device) if config.log_steps else None
    epoch, history, snapshots = _resume(run, model, optimizer)

    bar = tqdm(total=config.epochs * len(train_x), initial=epoch * len(train_x), unit=" images", disable=None)
    bar.set_description(config.cell_id)
    with bar, _tensorboard(run, epoch, history) as events:
        while epoch < config.epochs:
            epoch += 1
            started = time.perf_counter()
            for seen in train_epoch(model, optimizer, train_x, config, epoch, replays, losses):
                bar.update(seen)
            trained = time.perf_counter()
            rows = []
            for split, x in (("train", train_x), (config.measured, test_x)):
                model.eval()
                terms = objective.elbo_terms(model, x[:EVALUATED], seeded(config.seed, 0, device))
                recon, kl = (term.mean().item() for term in terms)
                loss = config.k1 * recon + config.k2 * kl
                rows.append(dict(epoch=epoch, split=split, recon=recon, kl=kl, loss=loss))
                _add(events, split, rows[-1], epoch)
            rows[0]["seconds"], rows[1]["seconds"] = trained - started, time.perf_counter() - trained
            if not np.isfinite(rows[0]["loss"] + rows[1]["loss"]):
                raise InputError(
                    f"{run.path}: the loss is not a number after epoch {epoch}: "
                    f"lower lr {config.lr:g}, or the weights k1 {config.k1:g} and k2 {config.k2:g}"
                )
            history += rows
            snapshots.append(_snapshot(model, shown, test_x[:EMBEDDED]))
            bar.set_postfix_str(f"{config.measured} {rows[1]['recon'] + rows[1]['kl']:.1f} nats")
            if losses is not None:
                _log_steps(run, events, epoch, losses)
            if config.keep_every and epoch % config.keep_every == 0:
                _keep(run, epoch, _weights(model))
            _save(run, model, optimizer, epoch, history, snapshots)
    _finish(run, model, history, snapshots, shown, images.test_labels[:EMBEDDED])


def _snapshot(model: VAE, shown: dict[str, Tensor], embedded: Tensor) -> dict[str, np.ndarray]:
    """Reconstructions from z = mu and embeddings, as arrays. The mean, so that frames change by learning alone."""
    model.eval()
    arrays = {}
    for split, images in shown.items():
        pixels = model.reconstruct(images) * 255
        arrays[f"{split}_recon"] = pixels.round().to(torch.uint8).cpu().numpy()
    return arrays | {"test_mu": model.encode(embedded)[0].cpu().numpy()}


def _tensorboard(run: Run, epoch: int, history: list[dict]):
    """A writer of events that go on after that epoch. What was measured before is written where it is not there."""
    from torch.utils.tensorboard import SummaryWriter  # a second to import: only where training happens

    begun = bool(events_in(run.path))
    events = SummaryWriter(str(run.path), purge_step=epoch + 1)
    for row in [] if begun else history:
        _add(events, row["split"], row, row["epoch"])
    # TensorBoard now leaves out all earlier events with the number of a later epoch, and steps have such numbers.
    steps = _steps_until(run, epoch)
    for row in (steps[steps.step > epoch] if begun else steps).to_dict("records"):
        _add(events, "step", row, row["step"])
    return events


def _add(events, group: str, row: dict, number: int):
    for term in TERMS:
        events.add_scalar(f"{group}/{term}", row[term], number)


def _steps_until(run: Run, epoch: int) -> pd.DataFrame:
    """The rows of steps.csv up to that epoch; a kill may have left more, which are removed."""
    file = run.path / "steps.csv"
    steps = read_steps(file) if file.exists() else pd.DataFrame(columns=STEPS)
    steps = steps[steps.epoch <= epoch]
    if file.exists() or run.config.log_steps:
        write(file, steps.to_csv(index=False).encode())
    return steps


def _log_steps(run: Run, events, epoch: int, losses: Tensor):
    """Appends the recon and KL of each step of the epoch, (steps, 2), to what is kept of the steps."""
    config = run.config
    steps = pd.DataFrame(losses.numpy(force=True).astype(float), columns=["recon", "kl"])
    steps["loss"] = config.k1 * steps.recon + config.k2 * steps.kl
    steps["epoch"] = epoch
    steps["step"] = (epoch - 1) * len(steps) + 1 + steps.index
    with open(run.path / "steps.csv", "a", encoding="utf-8", newline="") as file:
        steps[STEPS].to_csv(file, index=False, header=False)
    for row in steps.to_dict("records"):
        _add(events, "step", row, row["step"])


def _keep(run: Run, epoch: int, weights: bytes):
    file = run.path / epoch_file(epoch)
    file.parent.mkdir(exist_ok=True)
    write(file, weights)


def _weights(model: VAE) -> bytes:
    """The weights as the content of a .safetensors file."""
    return safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in model.state_dict().items()})


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
    write(run.path / "model.safetensors", _weights(model))
    if run.config.schedule != "constant":
        (run.path / "resume.pt").unlink(missing_ok=True)
