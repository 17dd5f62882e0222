import copy

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, kl_divergence

from vaelib import data, models
from vaelib.config import ARCHS, PRESETS, TrainingConfig
from vaelib.models import objective
from vaelib.training import seeded, step

CPU = torch.device("cpu")


def weights(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.mark.parametrize("arch", ARCHS)
@pytest.mark.parametrize("preset", PRESETS)
def test_the_loss_falls_on_64_images(arch, preset, digits):
    images = digits.train_images[:64]
    config = TrainingConfig(arch=arch, preset=preset, epochs=6, batch_size=16, lr=1e-3)
    model = models.build(config)
    optimizer = step.new_optimizer(model, config, CPU)

    def loss():
        recon, kl = objective.elbo_terms(model.eval(), images, seeded(0, 0, CPU))
        return (recon + kl).mean()

    before = loss()
    for epoch in range(1, 7):
        assert sum(step.train_epoch(model, optimizer, images, config, epoch)) == 64
    assert loss() < before - 20


def test_every_image_is_seen_once_an_epoch_in_a_fresh_order(monkeypatch):
    """Images that are constant and different name themselves; 10 of them in batches of 4 leave a partial one."""
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 28, 28)
    model = models.build(TrainingConfig(latent_dim=2, encoder_widths=(4,)))
    seen = []
    forward = model.forward
    monkeypatch.setattr(
        model, "forward", lambda x, eps: (seen.append((x[:, 0, 0, 0] * 255).round()), forward(x, eps))[1]
    )
    optimizer = torch.optim.Adam(model.parameters())
    orders = []
    for epoch in (1, 2):
        seen.clear()
        assert list(step.train_epoch(model, optimizer, images, TrainingConfig(batch_size=4), epoch)) == [4, 4, 2]
        orders.append(torch.cat(seen).int().tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(10))
    assert orders[0] != orders[1]


def test_one_step_is_adam_on_the_loss(digits):
    """Against autograd of the loss's value and torch's own Adam, with the same images and eps."""
    config = TrainingConfig(preset="textbook", encoder_widths=(16,), batch_size=8, k1=2.0, k2=0.5, precision="float32")
    images = digits.train_images[:8]
    ours, theirs = models.build(config), models.build(config)
    list(step.train_epoch(ours, step.new_optimizer(ours, config, CPU), images, config, 1))

    generator = seeded(0, 1, CPU)
    x = data.as_float(images[torch.randperm(8, generator=generator)])
    logits, mu, logvar = theirs(x, torch.randn(8, 2, generator=generator))
    recon, kl = -objective.log_likelihood(logits, x), objective.kl_to_prior(mu, logvar)
    optimizer = torch.optim.Adam(theirs.parameters(), lr=config.lr)
    (2.0 * recon + 0.5 * kl).mean().backward()
    optimizer.step()
    torch.testing.assert_close(weights(ours), weights(theirs), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("rise", [0.1, 0.3])
def test_the_one_cycle_schedule_is_torchs(rise):
    steps = 200
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=0.5, total_steps=steps + 1, pct_start=rise, div_factor=1e12, final_div_factor=1e-6,
        cycle_momentum=False,
    )  # fmt: skip
    config = TrainingConfig(lr=0.5, schedule=f"onecycle:{rise}")
    for index in range(steps):
        ours = step.learning_rate(config, index / steps)
        if index >= rise * steps:  # Torch's rise is half a cosine too.
            assert ours == pytest.approx(theirs.get_last_lr()[0], abs=0.5 / steps)
        optimizer.step()
        theirs.step()
    assert step.learning_rate(config, rise / 2) == 0.25
    assert step.learning_rate(config, rise) == 0.5
    assert step.learning_rate(config, 1.0) == 0


def test_a_constant_schedule_is_constant():
    config = TrainingConfig(preset="textbook")
    assert {step.learning_rate(config, share) for share in np.linspace(0, 1, 50)} == {1e-3}


def test_the_weight_of_the_kl_rises_in_a_straight_line():
    config = TrainingConfig(k2=3.0, kl_warmup=4)
    assert [step.kl_weight(config, epochs) for epochs in (0, 1, 2.5, 4, 9)] == [0, 0.75, 1.875, 3, 3]
    assert {step.kl_weight(TrainingConfig(k2=3.0), epochs) for epochs in (0, 0.5, 9)} == {3}


def test_a_step_in_the_warm_up_is_one_with_the_weight_of_that_moment(digits):
    """One batch an epoch: in the middle of the first of two epochs of warm-up the weight is a quarter of k2."""
    learnt = {}
    for settings in (dict(k2=2.0, kl_warmup=2), dict(k2=0.5), dict(k2=2.0)):
        config = TrainingConfig(encoder_widths=(8,), batch_size=32, **settings)
        model = models.build(config)
        list(step.train_epoch(model, step.new_optimizer(model, config, CPU), digits.train_images[:32], config, 1))
        learnt[tuple(settings.values())] = weights(model)
    assert torch.allclose(learnt[2.0, 2], learnt[(0.5,)], atol=1e-7)
    assert not torch.allclose(learnt[2.0, 2], learnt[(2.0,)], atol=1e-5)


def test_a_recorded_step_sees_the_weight_of_the_kl_rise(digits, monkeypatch):
    """As on a GPU: what is recorded in the first epoch is replayed in the next, when the weight is another."""
    config = TrainingConfig(encoder_widths=(8,), batch_size=16, kl_warmup=3, precision="float32")
    replay, learnt = step.Replay, []
    for replayed in (False, True):
        monkeypatch.setattr(step, "can_be_replayed", lambda *_, yes=replayed: yes)
        monkeypatch.setattr(step, "Replay", lambda *arguments: replay(*arguments, record=False))
        model, replays = models.build(config), {}
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        for epoch in (1, 2, 3):
            list(step.train_epoch(model, optimizer, digits.train_images[:40], config, epoch, replays))
        assert replays["k2"] == pytest.approx(step.kl_weight(config, 3 - 0.5 / 3))
        learnt.append(weights(model))
    assert torch.equal(*learnt)


@pytest.mark.parametrize("arch", ["linear", "conv"])
@pytest.mark.parametrize("learnt_before", [False, True])
def test_a_replayed_step_learns_what_a_plain_one_does(arch, learnt_before, digits):
    """The same weights to the bit, by way of the buffers and with what its first runs learnt taken back."""
    config = TrainingConfig(arch=arch, encoder_widths=(8,), batch_size=16)
    images = digits.train_images[:64]
    results = []
    for replayed in (False, True):
        model = models.build(config)
        optimizer = step.new_optimizer(model, config, CPU)
        learn = step.new_step(model, optimizer, images, config, torch.Generator())
        generator = torch.Generator().manual_seed(0)
        batches = [
            (torch.randperm(64, generator=generator)[:16], torch.randn(16, 2, generator=generator)) for _ in "123"
        ]
        if learnt_before:
            learn(*batches[0])
        if replayed:
            learn = step.Replay(learn, model, optimizer, *batches[1], record=False)
        for batch in batches[1:]:
            learn(*batch)
        results.append(weights(model))
    assert torch.equal(*results)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("arch", ["linear", "conv"])
def test_a_recorded_step_learns_what_a_plain_one_does(arch, digits):
    config = TrainingConfig(arch=arch, encoder_widths=(8,), batch_size=16, device="cuda")
    device = torch.device("cuda")
    images = digits.train_images[:70].to(device)
    results = []
    for replays in (None, {}):
        model = models.build(config).to(device)
        optimizer = step.new_optimizer(model, config, device)
        for epoch in (1, 2):
            assert sum(step.train_epoch(model, optimizer, images, config, epoch, replays)) == 70
        results.append(weights(model))
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_losses_are_those_of_the_weights_before_each_step(precision, digits):
    """Against torch.distributions, of the same images, eps and weights; 20 images leave a smaller last batch."""
    config = TrainingConfig(arch="conv", encoder_widths=(8,), batch_size=8, noise="gaussian:0.3", precision=precision)
    images, losses = digits.train_images[:20], torch.empty(3, 2)
    model = models.build(config)
    learning = step.train_epoch(model, step.new_optimizer(model, config, CPU), images, config, 1, None, losses)

    generator = seeded(0, 1, CPU)
    order = torch.randperm(20, generator=generator)
    for index, batch in enumerate(order.split(8)):
        before = copy.deepcopy(model)
        assert next(learning) == len(batch)
        eps = torch.randn(len(batch), 2, generator=generator)
        x = data.as_float(images[batch])
        given = data.sets.corrupt(x, config.noise, generator)
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            mu, logvar = before.posterior(given)
            logits = before.logits(mu + (0.5 * logvar).exp() * eps)
        pixels = Bernoulli(logits=logits, validate_args=False)
        recon = -pixels.log_prob(x).sum((1, 2, 3)).mean()
        kl = kl_divergence(Normal(mu, (0.5 * logvar).exp()), Normal(0, 1)).sum(1).mean()
        torch.testing.assert_close(losses[index], torch.stack([recon, kl]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("arch", ARCHS)
def test_losses_change_no_weight(arch, digits):
    config = TrainingConfig(arch=arch, preset="textbook", batch_size=16)
    results = []
    for losses in (None, torch.empty(4, 2)):
        model = models.build(config)
        list(
            step.train_epoch(
                model, step.new_optimizer(model, config, CPU), digits.train_images[:64], config, 1, None, losses
            )
        )
        results.append(weights(model))
    assert torch.equal(*results)


def test_without_losses_nothing_is_computed_for_them(digits, monkeypatch):
    monkeypatch.setattr(objective, "log_likelihood", lambda *_: pytest.fail("computed"))
    monkeypatch.setattr(objective, "kl_to_prior", lambda *_: pytest.fail("computed"))
    config = TrainingConfig(encoder_widths=(8,), batch_size=16)
    model = models.build(config)
    list(step.train_epoch(model, step.new_optimizer(model, config, CPU), digits.train_images[:32], config, 1))


def test_a_step_that_is_kept_for_later_epochs_gives_their_losses(digits, monkeypatch):
    """As on a GPU: what is recorded in the first epoch writes to one place, and the last, smaller batch does too."""
    config = TrainingConfig(encoder_widths=(8,), batch_size=16)
    images = digits.train_images[:40]
    replay = step.Replay
    results = []
    for replayed in (False, True):
        monkeypatch.setattr(step, "can_be_replayed", lambda *_, yes=replayed: yes)
        monkeypatch.setattr(step, "Replay", lambda *arguments: replay(*arguments, record=False))
        model = models.build(config)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        replays, epochs = {}, []
        for epoch in (1, 2):
            losses = torch.zeros(3, 2)
            list(step.train_epoch(model, optimizer, images, config, epoch, replays, losses))
            epochs.append(losses)
        assert ("step" in replays) == replayed
        results.append(torch.cat(epochs))
    assert (results[0] > 0).all()
    assert len(results[0].unique(dim=0)) == 6
    assert torch.equal(*results)


def test_what_draws_at_random_in_a_step_is_not_replayed():
    gpu = torch.device("cuda")
    assert step.can_be_replayed(TrainingConfig(), gpu)
    assert not step.can_be_replayed(TrainingConfig(), CPU)
    assert not step.can_be_replayed(TrainingConfig(noise="gaussian:0.3"), gpu)
    assert not step.can_be_replayed(TrainingConfig(arch="convbn"), gpu)


def test_noise_corrupts_the_input_and_not_the_target(digits, monkeypatch):
    images = digits.train_images[:32]
    given, target = [], []
    model = models.build(TrainingConfig(encoder_widths=(8,)))
    forward, backward = model.forward, objective.backward
    monkeypatch.setattr(model, "forward", lambda x, eps: (given.append(x), forward(x, eps))[1])
    monkeypatch.setattr(
        objective, "backward", lambda logits, mu, logvar, x, *k: (target.append(x), backward(logits, mu, logvar, x, *k))
    )
    optimizer = torch.optim.Adam(model.parameters())
    config = TrainingConfig(noise="salt-pepper:0.3", batch_size=32)
    list(step.train_epoch(model, optimizer, images, config, 1))
    clean = {image.numpy().tobytes() for image in data.as_float(images)}
    assert {image.numpy().tobytes() for image in target[0]} == clean
    changed = (given[0] != target[0]).float().mean()
    assert 0.15 < changed < 0.35
