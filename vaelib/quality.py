"""How good samples are: distances and neighbourhoods between their features and those of real images.

Features are (N, size), of one network for both sets; see features.py.
"""

import contextlib
import io
import math
import warnings

import numpy as np
import torch
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy import stats
from scipy.linalg import LinAlgWarning
from torch import Tensor

from vaelib import InputError

NEIGHBOURS = 5
KID_SUBSETS = 50
KID_SUBSET = 1000
POINTS = 15  # numbers of images that a FID is extrapolated from
ROWS = 1000  # of a table of distances that is worked on at a time


def fid(features: Tensor, reference: Tensor) -> float:
    """Fréchet distance of two Gaussians fitted to the features, by pytorch-fid. Heusel et al. 2017.

    Biased upwards, the more the fewer images: compare it with that of real images of the same number. Warns where a
    set has no more images than features, as its covariance then is singular; InputError where none can be computed.
    """
    count, size = min(len(features), len(reference)), features.shape[1]
    if count <= size:
        warnings.warn(
            f"FID of {count:,} images by {size:,} features says more about their number than about the images: "
            f"give {size + 1:,} at least",
            stacklevel=2,
        )
    return frechet_distance(*moments(features), *moments(reference))


def moments(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean (size,) and covariance (size, size), in float64; InputError for fewer than two images."""
    if len(features) < 2:
        raise InputError(f"{len(features)} images: accepted are 2 at least, a covariance needs them")
    array = features.double().numpy()
    return array.mean(0), np.cov(array, rowvar=False)


def frechet_distance(mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray):
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): Dowson & Landau 1982; computed by pytorch-fid's own function."""
    with (
        warnings.catch_warnings(),
        np.errstate(invalid="ignore"),
        contextlib.redirect_stdout(io.StringIO()),  # it prints what it does about a singular product
    ):
        # it calls scipy in a way that scipy 1.18 will no longer know
        warnings.filterwarnings("ignore", "The `disp` argument", DeprecationWarning)
        warnings.filterwarnings("ignore", category=LinAlgWarning)
        try:
            return float(calculate_frechet_distance(mean, covariance, other_mean, other_covariance))
        except ValueError as error:  # LinAlgError is one
            raise InputError(f"no FID of these features: {error}; are there too few images, or some of nan?") from error


def fid_infinity(features: Tensor, reference: Tensor, seed: int = 0) -> float:
    """The FID of endlessly many samples: a line through FID against 1/N, at 1/N = 0. Chong & Forsyth 2020.

    N runs in 15 steps from a tenth of the samples, and more than there are features, to all of them, drawn anew for
    each. What the reference's own number of images adds remains.
    """
    rng = np.random.default_rng(seed)
    mean, covariance = moments(reference)
    # tr (C R)^(1/2) by the eigenvalues of R^(1/2) C R^(1/2): a reference has one root for all N
    scales, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(scales.clip(0)) @ axes.T
    least = min(max(len(features) // 10, features.shape[1] + 1), len(features) // 2)
    sizes = np.linspace(least, len(features), POINTS).astype(int)
    values = []
    for size in sizes:
        own_mean, own = moments(features[rng.permutation(len(features))[:size]])
        shared = np.sqrt(np.linalg.eigvalsh(root @ own @ root).clip(0)).sum()
        values.append(((mean - own_mean) ** 2).sum() + np.trace(covariance) + np.trace(own) - 2 * shared)
    return float(stats.linregress(1 / sizes, values).intercept)


def kid(features: Tensor, reference: Tensor, seed: int = 0) -> Tensor:
    """Kernel inception distance of each of 50 pairs of subsets of 1,000, (50,). Binkowski et al. 2018, sec. 4.

    The unbiased squared MMD under the kernel (x.y / size + 1)^3: in mean 0 for two sets of one distribution, at any
    N. A subset is at most half of the smaller set, or there would be nothing to choose from.
    """
    size = min(KID_SUBSET, len(features) // 2, len(reference) // 2)
    if size < 2:
        raise InputError(f"KID of {min(len(features), len(reference))} images: accepted are 4 at least")
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(KID_SUBSETS):
        x, y = (s[torch.randperm(len(s), generator=generator)[:size]].double() for s in (features, reference))
        values.append(squared_mmd(x, y))
    return torch.stack(values)


def squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased squared maximum mean discrepancy of two sets of one size under KID's kernel, a scalar."""
    n = len(x)
    xx, yy, xy = (((a @ b.T) / a.shape[1] + 1) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    return (xx.sum() - xx.trace() + yy.sum() - yy.trace()) / (n * (n - 1)) - 2 * xy.mean()


def neighbourhoods(features: Tensor, reference: Tensor, reference_radii: Tensor | None = None) -> dict[str, float]:
    """precision, recall, density and coverage, by the balls around each image that reach its 5th neighbour.

    precision  share of samples that lie in a real image's ball: Kynkäänniemi et al. 2019, eq. 1 and 2
    recall     share of real images that lie in a sample's ball
    density    how many real images' balls a sample lies in, over 5: Naeem et al. 2020, sec. 3
    coverage   share of real images with a sample in their ball

    reference_radii are radii(reference), for those who have them already.
    """
    real, fake = radii(reference) if reference_radii is None else reference_radii, radii(features)
    recalled = torch.zeros(len(reference), dtype=torch.bool)
    nearest = torch.full((len(reference),), math.inf)
    precise = inside = 0
    for start in range(0, len(features), ROWS):
        distances = torch.cdist(features[start : start + ROWS], reference)
        within = distances <= real
        precise += within.any(1).sum().item()
        inside += within.sum().item()
        recalled |= (distances <= fake[start : start + ROWS, None]).any(0)
        nearest = torch.minimum(nearest, distances.amin(0))
    return {
        "precision": precise / len(features),
        "recall": recalled.double().mean().item(),
        "density": inside / (NEIGHBOURS * len(features)),
        "coverage": (nearest <= real).double().mean().item(),
    }


def radii(features: Tensor) -> Tensor:
    """The distance of each image to its 5th nearest neighbour among the others, (N,).

    InputError where there are not that many others.
    """
    if len(features) <= NEIGHBOURS:
        raise InputError(f"{len(features)} images: accepted are {NEIGHBOURS + 1} at least, for {NEIGHBOURS} neighbours")
    # the nearest of all is the image itself
    nearest = [torch.cdist(part, features).topk(NEIGHBOURS + 1, largest=False).values for part in features.split(ROWS)]
    return torch.cat(nearest)[:, -1]


def controls(train_images: Tensor, test_images: Tensor, seed: int = 0) -> dict[str, Tensor]:
    """Sets whose place in a table is known beforehand, each with as many uint8 images as there are test images.

    A pipeline that ranks them in another order than common sense is broken.
    """
    count = len(test_images)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train_images), generator=generator)
    few = train_images[order[: max(1, count // 100)]]
    return {
        "the test images themselves": test_images[torch.randperm(count, generator=generator)],
        "training images": train_images[order[:count]],
        "a hundredth of them, copied": few.repeat(-(-count // len(few)), 1, 1, 1)[:count],
        "the mean image": train_images.float().mean(0, keepdim=True).round().to(torch.uint8).repeat(count, 1, 1, 1),
        "noise": torch.randint(256, test_images.shape, generator=generator, dtype=torch.uint8),
        "black images": torch.zeros_like(test_images),
    }
