import pytest
import torch

from vaelib.config import InputError
from vaelib.training import pick_device, pick_precision, seeded
from vaelib.training.device import seed_of

CPU = torch.device("cpu")


def test_auto_precision_follows_the_processor(monkeypatch):
    for there in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda there=there: there)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
        assert pick_precision("auto", CPU) == ("bfloat16" if there else "float32")
    assert pick_precision("auto", torch.device("cuda")) == "float32"
    assert pick_precision("bfloat16", CPU) == "bfloat16"


def test_auto_is_a_gpu_where_there_is_one(monkeypatch):
    for there in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert pick_device("auto").type == ("cuda" if there else "cpu")
        assert pick_device("cpu") == CPU


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_said():
    with pytest.raises(InputError, match=r"'cuda' is not on this machine: accepted here are auto, cpu"):
        pick_device("cuda")


def test_epochs_and_seeds_draw_differently():
    seeds = {seed_of(seed, epoch) for seed in range(30) for epoch in range(30)}
    assert len(seeds) == 900
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_same_seed_and_epoch_draw_the_same():
    draws = [torch.randn(5, generator=seeded(seed, epoch, CPU)) for seed, epoch in ((1, 2), (1, 2), (2, 1))]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
