"""One epoch of steps: draw a batch, go forward and backward, move by Adam.

x is (B, 1, h, w) in [0, 1]. On a CUDA GPU the step is recorded once and replayed: models this small leave a
GPU waiting for Python otherwise. Nothing in an epoch is copied back from the device.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from vaelib.config import TrainingConfig, warm_up
from vaelib.data import sets
from vaelib.models import objective
from vaelib.models.vae import VAE
from vaelib.training.device import pick_precision, seed_of, seeded

Step = Callable[[Tensor, Tensor], None]


def new_optimizer(model: VAE, config: TrainingConfig, device: torch.device) -> torch.optim.Adam:
    """Adam (Kingma & Ba 2015) in one kernel for all weights; on CUDA with its rate on the device."""
    replayed = can_be_replayed(config, device)
    lr = torch.tensor(config.lr, device=device) if replayed else config.lr
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, fused=device.type != "mps", capturable=replayed)
    # The steps before a recording and the last, smaller batch run without a graph on purpose: torch shall not warn.
    optimizer._warned_capturable_if_run_uncaptured = True
    return optimizer


def learning_rate(config: TrainingConfig, progress: float) -> float:
    """The rate at a share of all steps, 0 to 1. onecycle: a straight rise, then half a cosine to 0 (Smith 2018)."""
    rise = warm_up(config.schedule)
    if rise is None:
        return config.lr
    if progress < rise:
        return config.lr * progress / rise
    return config.lr * 0.5 * (1 + math.cos(math.pi * (progress - rise) / (1 - rise)))


def kl_weight(config: TrainingConfig, epochs: float) -> float:
    """The weight of the KL after so many epochs, a whole number or not: a straight rise to k2 (Bowman et al. 2016)."""
    return config.k2 * min(1, epochs / config.kl_warmup) if config.kl_warmup else config.k2


def train_epoch(
    model: VAE,
    optimizer: torch.optim.Adam,
    images: Tensor,
    config: TrainingConfig,
    epoch: int,
    replays: dict | None = None,
    losses: Tensor | None = None,
) -> Iterator[int]:
    """One pass over uint8 images in a fresh order; yields the size of each batch once it is learnt from.

    All that is random in it follows from (seed, epoch), so that a resumed run needs no stored state. replays
    holds what is recorded for the GPU from one epoch to the next. losses, (steps, 2), are overwritten with the recon
    and KL of each batch, nats per image, as the weights were before they learnt from it.
    """
    device = images.device
    generator = seeded(config.seed, epoch, device)
    torch.manual_seed(seed_of(config.seed, epoch))  # Dropout draws from the global generator.
    latest = None if losses is None else losses.new_empty(2)
    if replays is not None:  # A recorded step writes to the same place in every epoch.
        latest = replays.setdefault("losses", latest)
    k2 = config.k2
    if config.kl_warmup:
        # A recorded step reads the weight from the device, from the same place in every epoch.
        k2 = torch.zeros((), device=device)
        k2 = k2 if replays is None else replays.setdefault("k2", k2)
    step = new_step(model, optimizer, images, config, generator, latest, k2)
    replayed = replays is not None and can_be_replayed(config, device)
    model.train()
    order = torch.randperm(len(images), generator=generator, device=device)
    batches = order.split(config.batch_size)
    for index, batch in enumerate(batches):
        passed = epoch - 1 + (index + 0.5) / len(batches)
        set_rate(optimizer, learning_rate(config, passed / config.epochs))
        if config.kl_warmup:
            k2.fill_(kl_weight(config, passed))
        eps = torch.randn(len(batch), config.latent_dim, generator=generator, device=device)
        if replayed and len(batch) == config.batch_size:
            if "step" not in replays:
                replays["step"] = Replay(step, model, optimizer, batch, eps)
            replays["step"](batch, eps)
        else:
            step(batch, eps)
        if losses is not None:
            losses[index] = latest
        yield len(batch)


def new_step(
    model: VAE,
    optimizer,
    images: Tensor,
    config: TrainingConfig,
    generator: torch.Generator,
    losses: Tensor | None = None,
    k2: float | Tensor | None = None,
) -> Step:
    """A function of a batch's indices and its eps that learns from these images.

    losses, (2,), are overwritten with the batch's recon and KL, nats per image. k2 is the weight of the KL where it
    is not config.k2; a tensor may be changed between two steps.
    """
    k2 = config.k2 if k2 is None else k2
    kind = images.device.type
    bfloat16 = pick_precision(config.precision, images.device) == "bfloat16"

    def step(batch: Tensor, eps: Tensor):
        x = sets.as_float(images[batch])
        given = sets.corrupt(x, config.noise, generator) if config.noise else x
        with torch.autocast(kind, torch.bfloat16, enabled=bfloat16):
            logits, mu, logvar = model(given, eps)
        if losses is not None:
            with torch.no_grad():
                terms = -objective.log_likelihood(logits, x), objective.kl_to_prior(mu, logvar)
                losses.copy_(torch.stack(terms).mean(1))
        optimizer.zero_grad()
        objective.backward(logits, mu, logvar, x, config.k1, k2)
        optimizer.step()

    return step


def can_be_replayed(config: TrainingConfig, device: torch.device) -> bool:
    """Whether a recorded step would draw nothing at random itself: no noise, no dropout."""
    return device.type == "cuda" and not config.noise and config.arch != "convbn"


class Replay:
    """A step recorded as a CUDA graph for batches of one size; calling it learns from such a batch.

    With record=False it goes through the same motions without a graph, on any device.
    """

    def __init__(self, step: Step, model: VAE, optimizer, batch: Tensor, eps: Tensor, record: bool = True):
        self.batch, self.eps = batch.clone(), eps.clone()
        self.run = lambda: step(self.batch, self.eps)
        held = [(tensor, tensor.clone()) for tensor in model.state_dict().values()]
        moments = {p: {key: tensor.clone() for key, tensor in state.items()} for p, state in optimizer.state.items()}
        if record:
            # Kernels choose and allocate in their first runs, which must not become part of the recording.
            aside = torch.cuda.Stream()
            aside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(aside):
                for _ in range(3):
                    self.run()
            torch.cuda.current_stream().wait_stream(aside)
            self.graph = torch.cuda.CUDAGraph()
            optimizer.zero_grad()
            with torch.cuda.graph(self.graph):
                self.run()
            self.run = self.graph.replay
        else:
            self.run()
        # These steps have changed the weights. They are restored in place, because the graph holds their addresses.
        with torch.no_grad():
            for tensor, before in held:
                tensor.copy_(before)
            for p, state in optimizer.state.items():
                for key, tensor in state.items():
                    tensor.copy_(moments[p][key]) if p in moments else tensor.zero_()

    def __call__(self, batch: Tensor, eps: Tensor):
        self.batch.copy_(batch)
        self.eps.copy_(eps)
        self.run()


def set_rate(optimizer: torch.optim.Optimizer, rate: float):
    """Gives all weights this learning rate, in place where a recorded step reads it from the device."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
