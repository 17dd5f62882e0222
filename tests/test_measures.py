import pytest
import torch

from vaelib import data, features, measures, quality


@pytest.mark.parametrize(("draws", "counts"), [(1, [1]), (50, [1, 10, 50]), (1000, [1, 10, 100, 1000]), (64, [1, 64])])
def test_the_bounds_are_of_powers_of_ten_and_of_all_draws(draws, counts):
    assert measures.powers_of_ten(draws) == counts


def test_inception_goes_the_same_way(finished_run, digits, tmp_path, monkeypatch):
    """With a network of eight features in its place: the real one takes minutes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    class Small(torch.nn.Module):
        def forward(self, x):
            return [torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)[:, :8, None, None]]

    network = features.Inception(Small(), "0")
    sets = measures.samples(finished_run.model(), digits, 2, 1)
    content = measures.of_samples(sets, digits, network, 1)
    assert content["prior_fid"]["n"] == 1
    assert content["prior_fid"]["value"] > content["real_fid"]["value"]
    assert "prior_fid_1024" not in content  # of 360 images


def test_sets_are_as_large_as_the_split_and_of_its_classes(finished_run, digits):
    sets = measures.samples(finished_run.model(), digits, 2, 2)
    assert {name: len(draws) for name, draws in sets.items()} == {
        "prior": 2, "mixture": 2, "classes": 1, "reconstructions": 1
    }  # fmt: skip
    for name, draws in sets.items():
        for pictures in draws:
            assert abs(len(pictures) - 360) <= 5, name
    assert not sets["prior"][0].equal(sets["prior"][1])


def test_the_legacy_fid_is_of_1024_at_random():
    """A test file in the order of its writers must not decide it."""
    generator = torch.Generator().manual_seed(0)
    ordered = torch.cat([torch.randn(1000, 4, generator=generator), torch.randn(1000, 4, generator=generator) + 3])

    class Given:
        sha256 = "given"

        def features(self, images):
            return images.reshape(len(images), -1)[:, :4]

    everything = torch.zeros(2000, 1, 28, 28)
    everything[:, 0, 0, :4] = ordered
    labels = torch.zeros(2000, dtype=torch.long)
    split = data.ImageData("given", everything, labels, everything, labels)
    shuffled = everything[torch.randperm(2000, generator=generator), 0]
    found = measures.of_samples({"prior": [shuffled]}, split, Given(), 1)
    assert found["prior_fid_1024"]["value"] < 0.2
    assert quality.fid(ordered[:1024], ordered) > 1
