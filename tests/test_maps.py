import numpy as np
import pytest
import torch
from scipy import stats

from vaelib import InputError, latent, models
from vaelib.config import TrainingConfig


def small(latent_dim, shape=(28, 28)):
    return models.build(TrainingConfig(arch="linear", latent_dim=latent_dim, encoder_widths=(8,)), shape).eval()


def decoded(model, *z):
    return model.decode(torch.tensor([z], dtype=torch.float))[0]


def test_a_latent_map_is_read_like_a_figure():
    """z1 grows to the right and z2 upwards."""
    model = small(2)
    grid = latent.latent_map(model, steps=5, extent=2.0)
    assert grid.shape == (5, 5, 28, 28)
    for row, column, z in ((0, 0, (-2, 2)), (0, 4, (2, 2)), (4, 0, (-2, -2)), (2, 3, (1, 0))):
        torch.testing.assert_close(grid[row, column], decoded(model, *z))


@pytest.mark.parametrize("arch", ["linear", "conv", "convbn"])
def test_only_two_dimensions_have_a_map(arch):
    with pytest.raises(InputError, match="needs latent_dim 2, this model has 3"):
        latent.latent_map(models.build(TrainingConfig(arch=arch, latent_dim=3)).eval())


@pytest.mark.parametrize("steps", [1, 2, 15])
def test_a_quantile_map_has_scipys_quantiles(steps):
    places = latent.places(steps, extent=None)
    np.testing.assert_allclose(places, stats.norm.ppf((np.arange(steps) + 0.5) / steps), atol=1e-12)
    # Each place stands for the same share of the prior.
    edges = stats.norm.ppf(np.arange(steps + 1) / steps)
    assert ((edges[:-1] < places) & (places < edges[1:])).all()


def test_a_quantile_map_decodes_its_places():
    model = small(2)
    grid, places = latent.latent_map(model, 4, extent=None), latent.places(4, None)
    for row, column in ((0, 0), (1, 3), (3, 2)):
        torch.testing.assert_close(grid[row, column], decoded(model, places[column], places[3 - row]))


def test_traversals_move_one_dimension_and_leave_the_others(generator):
    model = small(4)
    z, values = torch.randn(4, generator=generator), torch.tensor([-3.0, 0.5, 2.0])
    pictures = latent.traversals(model, z, [2, 0], values)
    assert pictures.shape == (2, 3, 28, 28)
    moved = z.clone()
    moved[0] = 0.5
    torch.testing.assert_close(pictures[1, 1], model.decode(moved[None])[0])


def test_the_costliest_dimensions_come_first(digits):
    model = small(6)
    kl = models.kl_by_dimension(*model.encode(digits.test_images))
    pictures, names = latent.costliest_traversals(model, digits.test_images, 3, torch.linspace(-2, 2, 5), most=4)
    assert pictures.shape == (4, 5, 28, 28)
    order = np.argsort(-kl.numpy())[:4]
    assert [name.split(":")[0] for name in names] == [f"$z_{{{j + 1}}}$" for j in order]
    mu = model.encode(digits.test_images[3:4])[0][0].clone()
    mu[order[0]] = -2.0
    np.testing.assert_allclose(pictures[0, 0], model.decode(mu[None])[0], rtol=1e-4)


def test_the_costliest_reconstructions_of_a_class(digits):
    """By torch's divergence of the pictures' pixels, of Bernoulli means both."""
    model = small(3)
    gallery = latent.costliest(model, digits.test_images, digits.test_labels, count=2)
    assert gallery.shape == (10, 4, 28, 28)
    x, p = digits.test_images[:, 0].double() / 255, model.reconstruct(digits.test_images).double()
    divergence = torch.distributions.kl_divergence(torch.distributions.Bernoulli(x), torch.distributions.Bernoulli(p))
    cost = divergence.flatten(1).sum(1)
    own = (digits.test_labels == 7).nonzero()[:, 0]
    worst = own[cost[own].argsort(descending=True)[:2]]
    np.testing.assert_allclose(gallery[7, ::2], x[worst])
    np.testing.assert_allclose(gallery[7, 1::2], p[worst], rtol=1e-5)


def test_a_class_of_few_images_ends_in_black_pictures(digits):
    images, labels = digits.test_images[:4], torch.tensor([0, 1, 1, 1])
    gallery = latent.costliest(small(2), images, labels, count=3)
    assert gallery.shape == (2, 6, 28, 28)
    np.testing.assert_allclose(gallery[0, 0], images[0, 0] / 255)
    assert gallery[0, 1].max() > 0
    assert gallery[0, 2:].max() == 0
    assert gallery[1].max((1, 2)).min() > 0


class Sure:
    """Stands for a classifier of so many classes, whatever the picture."""

    def __init__(self, *probabilities):
        self.each = torch.tensor(probabilities)

    def probabilities(self, images):
        return self.each.expand(len(images), -1)


@pytest.mark.parametrize(
    ("probabilities", "names", "expected"),
    [
        ([0.1] * 7 + [0.25, 0.05, 0.0], "0123456789", "7 (25%)"),
        ([0.36, 0.64], ("T-shirt", "Ankle boot"), "Ankle boot (64%)"),
        ([0.0] * 46 + [1.0], [f"letter {i}" for i in range(47)], "letter 46 (100%)"),
    ],
)
def test_the_centre_names_the_class_that_is_decoded_there(probabilities, names, expected):
    assert latent.centre(small(3), Sure(*probabilities), names) == expected


def test_the_probabilities_at_the_centre_are_means_over_pictures():
    """Of a classifier that is sure of each picture, half of them of either class."""

    class Turns:
        def probabilities(self, images):
            return torch.eye(2)[torch.arange(len(images)) % 2]

    assert latent.centre_probabilities(small(3), Turns(), count=10).tolist() == [0.5, 0.5]
    assert latent.centre(small(3), Sure(0.2, 0.8), "ab") == "b (80%)"


def test_the_centre_is_within_its_radius():
    codes = []
    model = small(3)
    model.decode, decode = lambda z: (codes.append(z), decode(z))[1], model.decode
    latent.centre(model, Sure(1.0), ["one"], radius=0.1, count=4000)
    assert codes[0].shape == (4000, 3)
    assert stats.kstest(codes[0].flatten().numpy() / 0.1, "norm").pvalue > 0.001


def test_pictures_have_the_side_of_the_model(generator):
    model = small(2, (32, 32))
    images = torch.randint(256, (6, 1, 32, 32), generator=generator, dtype=torch.uint8)
    assert latent.latent_map(model, 3).shape == (3, 3, 32, 32)
    assert latent.traversals(model, torch.zeros(2), [0, 1], torch.zeros(4)).shape == (2, 4, 32, 32)
    assert latent.costliest_traversals(model, images, 0, torch.zeros(4))[0].shape == (2, 4, 32, 32)
    gallery = latent.costliest(model, images, torch.arange(6) // 2, count=1)
    assert gallery.shape == (3, 2, 32, 32)
    for row, own in zip(gallery, images.split(2), strict=True):
        assert any(np.allclose(row[0], image[0] / 255) for image in own)
