"""How good samples are: distances and neighbourhoods between their features and those of real images.

Features are (N, size), of one network for both sets. Images are whatever data.as_images takes.
"""

import contextlib
import hashlib
import io
import math
import os
import shlex
import warnings
from pathlib import Path
from typing import Any, Protocol

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vaelib.config import DATASETS, InputError, dataset_name, expanded
from vaelib.data.files import read_array, read_pictures
from vaelib.data.mnist import cache_folder
from vaelib.data.sets import as_bytes, as_float, as_images, load
from vaelib.evaluation.inception import Inception
from vaelib.training.classifier import Classifier, is_trained, missing_classifier
from vaelib.training.run import Run

NEIGHBOURS = 5
KID_SUBSETS = 50
KID_SUBSET = 1000
POINTS = 15  # numbers of images that a FID is extrapolated from
ROWS = 1000  # of a table of distances that is worked on at a time
SOURCES = "an array, an .npy or .npz file, a folder of png or jpg, a run, or a split such as mnist:test"


class FeatureNetwork(Protocol):
    """What image sets are compared by: training.Classifier is one, inception.Inception another."""

    sha256: str  # of its weights

    def features(self, images: Tensor | np.ndarray) -> Tensor: ...

    def facts(self) -> dict[str, str]: ...


def frechet(features: Tensor, reference: Tensor) -> float:
    """Fréchet distance of two Gaussians fitted to the features, by pytorch-fid. Heusel et al. 2017.

    Biased upwards, the more the fewer images: compare it with that of real images of the same number. Warns where a
    set has no more images than features, as its covariance then is singular; InputError where none can be computed.
    """
    count, size = min(len(features), len(reference)), features.shape[1]
    if count <= size:
        warnings.warn(
            f"FID of {count:,} images by {size:,} features says more about their number than about the images: "
            f"give {size + 1:,} at least",
            stacklevel=1,  # All calls share this line, so that one warning says it.
        )
    return frechet_of_moments(*moments(features), *moments(reference))


def moments(features: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Mean (size,) and covariance (size, size), in float64; InputError for fewer than two images."""
    if len(features) < 2:
        raise InputError(f"{len(features)} images: accepted are 2 at least, a covariance needs them")
    array = features.double().numpy()
    return array.mean(0), np.cov(array, rowvar=False)


def frechet_of_moments(
    mean: np.ndarray, covariance: np.ndarray, other_mean: np.ndarray, other_covariance: np.ndarray
) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): Dowson & Landau 1982; computed by pytorch-fid's own function."""
    from pytorch_fid.fid_score import calculate_frechet_distance  # seconds to import: only where it is used
    from scipy.linalg import LinAlgWarning

    with (
        warnings.catch_warnings(),
        np.errstate(invalid="ignore"),
        contextlib.redirect_stdout(io.StringIO()),  # pytorch-fid prints what it does about a singular product
    ):
        # pytorch-fid calls scipy in a way that scipy 1.18 will no longer know.
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
    from scipy.stats import linregress  # a second to import: only where it is used

    rng = np.random.default_rng(seed)
    mean, covariance = moments(reference)
    # tr (C R)^(1/2) is taken from the eigenvalues of R^(1/2) C R^(1/2), as a reference has one root for all N.
    scales, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(scales.clip(0)) @ axes.T
    least = min(max(len(features) // 10, features.shape[1] + 1), len(features) // 2)
    sizes = np.linspace(least, len(features), POINTS).astype(int)
    values = []
    for size in sizes:
        own_mean, own = moments(features[rng.permutation(len(features))[:size]])
        shared = np.sqrt(np.linalg.eigvalsh(root @ own @ root).clip(0)).sum()
        values.append(((mean - own_mean) ** 2).sum() + np.trace(covariance) + np.trace(own) - 2 * shared)
    return float(linregress(1 / sizes, values).intercept)


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
    # The nearest of all is the image itself.
    nearest = [torch.cdist(part, features).topk(NEIGHBOURS + 1, largest=False).values for part in features.split(ROWS)]
    return torch.cat(nearest)[:, -1]


def sharpness(pictures: Tensor | np.ndarray) -> Tensor:
    """The variance over each picture of its response to a Laplace filter, (N,): the higher, the sharper.

    Of pictures in [0, 1], where the filter lies inside them. Tolstikhin et al. 2018, sec. 4, measure blurriness so.
    """
    laplace = torch.tensor([[0.0, 1, 0], [1, -4, 1], [0, 1, 0]])[None, None]
    batches = as_images(pictures).split(ROWS)
    return torch.cat([F.conv2d(as_float(batch), laplace).flatten(1).var(1, correction=0) for batch in batches])


def controls(train_images: Tensor | np.ndarray, test_images: Tensor | np.ndarray, seed: int = 0) -> dict[str, Tensor]:
    """Sets whose place in a table is known beforehand, each with as many uint8 images as there are test images.

    A pipeline that ranks them in another order than common sense is broken.
    """
    train_images, test_images = as_bytes(train_images), as_bytes(test_images)
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


def read_images(
    source: str | Path | Run | Tensor | np.ndarray,
    count: int | None = None,
    seed: int = 0,
    data_root: str | None = None,
) -> Tensor:
    """The images of that source, as data.as_images has them.

    Of a run they are count draws from the prior, 10,000 where no count is given; of anything else all, or count of
    them drawn at random. InputError for what is none of SOURCES, and for fewer than count images.
    """
    if isinstance(source, Tensor | np.ndarray):
        images, name = as_images(source), "the array"
    else:
        name = source.path if isinstance(source, Run) else str(source)
        path = Path(expanded(name))
        if (path / "config.json").is_file():
            return as_images(Run.load(path).model().sample(count or 10_000, seed))
        images = _read(str(name), path, data_root)
    if count is None:
        return images
    if count > len(images):
        raise InputError(f"count {count:,}: {name} has {len(images):,} images")
    return images[torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[:count]]


def _read(name: str, path: Path, data_root: str | None) -> Tensor:
    dataset, _, split = name.rpartition(":")
    if split in ("train", "test") and (dataset in DATASETS or Path(expanded(dataset)).exists()):
        known = load(dataset, data_root)
        return known.train_images if split == "train" else known.test_images
    if path.suffix in (".npy", ".npz") and path.is_file():
        return as_images(read_array(path), name)
    if path.is_dir():
        return as_images(read_pictures(path), name)
    raise InputError(f"{name} is not there, or is no image set: accepted is {SOURCES}")


def fid(
    a: str | Path | Run | Tensor | np.ndarray,
    b: str | Path | Run | Tensor | np.ndarray,
    *,
    features: str = "classifier",
    count: int | None = None,
    seed: int = 0,
    classifier: str | Path | None = None,
    inception_weights: str | Path | None = None,
    runs_root: str = "runs",
    data_root: str | None = None,
) -> dict[str, Any]:
    """Two sets of images held against each other: FID, KID, precision, recall, density, coverage.

    a and b are each an array, an .npy or .npz file, a folder of pictures, a run (10,000 draws from its prior, or
    count) or a split such as "digits:test"; count draws so many images of a at random. The features are those of a
    classifier: the one that is given, else the one of the image set that a or b names, else the only one under
    runs_root; or Inception's with features="inception". The result names the numbers of images and the network too: a
    FID means little without them, and little without what real images score, fid("mnist:train", "mnist:test",
    count=10_000). InputError for what is no image set, for sets that are too small, and where there is no network.
    """
    # The seeds differ, so that one run given twice is not the same draws twice.
    sets = [read_images(a, count, seed, data_root), read_images(b, None, seed + 1, data_root)]
    if sets[0].shape[2:] != sets[1].shape[2:]:
        one, other = ("x".join(map(str, images.shape[2:])) for images in sets)
        raise InputError(f"images of {one} and of {other} pixels: accepted are two sets of one size")
    if features == "inception":
        network = Inception.load(inception_weights)
    elif features == "classifier":
        network = Classifier.load(classifier or _classifier_for((a, b), runs_root))
    else:
        raise InputError(f"features {features!r}: accepted are classifier and inception")
    ours, theirs = map(network.features, sets)
    shares = neighbourhoods(ours, theirs)  # This comes first because it refuses sets that are too small for anything.
    return {
        "fid": frechet(ours, theirs),
        "fid_infinity": fid_infinity(ours, theirs, seed),
        "kid": kid(ours, theirs, seed).mean().item(),
        **shares,
        "images": [len(ours), len(theirs)],
        "network": network.facts(),
    }


def _classifier_for(sources: tuple, runs_root: str) -> Path:
    """The folder of the classifier that belongs to these sources; InputError where that cannot be told."""
    root = Path(expanded(runs_root))
    for source in sources:
        if isinstance(source, Run | str | os.PathLike):
            path = source.path if isinstance(source, Run) else Path(expanded(source))
            dataset, _, split = str(source).rpartition(":")
            is_run = (path / "config.json").is_file()
            if not is_run and split not in ("train", "test"):
                continue
            dataset = Run.load(path).config.dataset if is_run else dataset
            name = dataset_name(dataset)
            places = [path.resolve().parent / "classifier-s0"] * is_run + [root / name / "classifier-s0"]
            for folder in places:
                if is_trained(folder):
                    return folder
            # The command makes one beside the run, where evaluate looks too, unless that folder has another name.
            raise missing_classifier(places[0] if places[0].parent.name == name else places[-1], dataset)
    found = [folder for folder in sorted(root.glob("*/classifier-s0")) if is_trained(folder)]
    if len(found) != 1:
        there = f"{len(found)} classifiers" if found else "no classifier"
        raise InputError(
            f"{there} under {root.resolve()}: give the path of one, or make one with "
            f"vaelib classifier --dataset NAME --runs-root {shlex.quote(str(root.resolve()))}"
        )
    return found[0]


def remembered(network: FeatureNetwork, images: Tensor) -> Tensor:
    """The network's features of a set that is asked for again and again, such as the test images, (N, size).

    Computed once, and kept in the user's cache folder under the checksums of network and images. Where nothing can
    be kept it is computed each time, with a warning.
    """
    digest = hashlib.sha256(images.contiguous().numpy()).hexdigest()
    try:
        memory = joblib.Memory(cache_folder() / "features", verbose=0)
        recall = memory.cache(_features, ignore=["network", "images"])
        return torch.from_numpy(recall(network.sha256, digest, network, images))
    except OSError as error:
        warnings.warn(f"features are not kept for the next time: {error}", stacklevel=2)
        return network.features(images)


def _features(network_sha256: str, images_sha256: str, network: FeatureNetwork, images: Tensor):
    return network.features(images).numpy()
