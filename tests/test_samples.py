import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from scipy import linalg, ndimage, signal
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.neighbors import NearestNeighbors
from torchmetrics.image.fid import FrechetInceptionDistance
from torchvision.utils import save_image

from vaelib import InputError, data, fid
from vaelib.evaluation import read_images, samples
from vaelib.models import VAE
from vaelib.training import Classifier, train_classifier
from vaelib.training.classifier import Network


def two_sets(n=400, size=8, generator=None):
    """Of two Gaussians that differ in mean and covariance."""
    mix = torch.randn(size, size, generator=generator) / size**0.5
    one, other = torch.randn(2, n, size, generator=generator)
    return one, other @ mix + 0.5


class Flat(torch.nn.Module):
    """Pixels as features, for torchmetrics."""

    num_features = 16

    def forward(self, x):
        return x.flatten(1)[:, :16].float()


def test_fid_is_torchmetrics(generator):
    one = torch.randint(256, (300, 3, 8, 8), generator=generator, dtype=torch.uint8)
    other = torch.randint(200, (300, 3, 8, 8), generator=generator, dtype=torch.uint8)
    theirs = FrechetInceptionDistance(feature=Flat(), normalize=False).set_dtype(torch.float64)
    theirs.update(one, real=True)
    theirs.update(other, real=False)
    flat = Flat()
    assert samples.frechet(flat(one), flat(other)) == pytest.approx(theirs.compute().item(), rel=1e-6)


def test_fid_of_gaussians_is_the_closed_form(generator):
    a = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    c1, c2 = (a @ a.T).numpy(), np.diag([1.0, 2, 3, 4, 5])
    m1, m2 = np.arange(5.0), np.ones(5)
    root = linalg.sqrtm(c1)
    expected = ((m1 - m2) ** 2).sum() + np.trace(c1 + c2 - 2 * linalg.sqrtm(root @ c2 @ root)).real
    assert samples.frechet_of_moments(m1, c1, m2, c2) == pytest.approx(expected, rel=1e-8)


def test_fid_with_itself_is_zero_in_any_order(generator):
    one, other = two_sets(generator=generator)
    assert samples.frechet(one, one) == pytest.approx(0, abs=1e-6)
    shuffled = one[torch.randperm(len(one), generator=generator)]
    assert samples.frechet(shuffled, other) == pytest.approx(samples.frechet(one, other), rel=1e-9)


def test_fid_of_identical_images_is_that_of_a_point(generator):
    """All black: no covariance, and a singular product."""
    one, _ = two_sets(generator=generator)
    point = torch.full_like(one, 0.3)
    expected = ((one.double().mean(0) - 0.3) ** 2).sum() + one.double().var(0).sum()
    assert samples.frechet(point, one) == pytest.approx(expected.item(), rel=1e-5)


def test_fewer_images_than_features_are_warned_of(generator):
    few, many = torch.randn(5, 8, generator=generator), torch.randn(100, 8, generator=generator)
    with pytest.warns(UserWarning, match="5 images by 8 features .* give 9 at least"):
        samples.frechet(few, many)
    with (
        pytest.warns(UserWarning, match="1 images by 8"),
        pytest.raises(InputError, match=r"^1 images: accepted are 2"),
    ):
        samples.frechet(few[:1], many)


def test_features_that_are_not_numbers_are_refused(generator):
    one, other = two_sets(generator=generator)
    one[0, 0] = float("nan")
    with pytest.raises(InputError, match="no FID of these features"):
        samples.frechet(one, other)


def test_the_extrapolated_fid_has_lost_its_bias(generator):
    """Two samples of one distribution: the FID is all bias, near zero once N is taken to infinity."""
    one, other = torch.randn(4000, 20, generator=generator), torch.randn(100_000, 20, generator=generator)
    biased = samples.frechet(one, other)
    assert abs(samples.fid_infinity(one, other)) < 0.35 * biased


def test_the_extrapolated_fid_of_different_sets_is_near_the_fid_of_many(generator):
    one, other = two_sets(n=20_000, generator=generator)
    assert samples.fid_infinity(one[:2000], other) == pytest.approx(samples.frechet(one, other), rel=0.05)


def test_kid_is_scikit_learns_polynomial_kernel(generator):
    one, other = two_sets(n=60, generator=generator)
    xx, yy, xy = (
        polynomial_kernel(a.double(), b.double(), degree=3, gamma=1 / 8, coef0=1)
        for a, b in ((one, one), (other, other), (one, other))
    )
    n = 60
    expected = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (n * (n - 1)) - 2 * xy.mean()
    assert samples.squared_mmd(one.double(), other.double()).item() == pytest.approx(expected)


def test_kid_is_over_subsets_that_differ(generator):
    """Of few images too: fifty times the same would look like a number without an error."""
    one, other = two_sets(n=360, generator=generator)
    values = samples.kid(one, other)
    assert values.shape == (50,)
    assert values.std() > 0.01
    whole = samples.squared_mmd(one.double(), other.double())
    assert values.mean().item() == pytest.approx(whole.item(), abs=4 * values.std().item() / 50**0.5 + 0.05)


def test_kid_of_one_distribution_is_zero_at_any_n(generator):
    for n in (200, 1000):
        one, other = torch.randn(2, n, 10, generator=generator)
        values = samples.kid(one, other, seed=n)
        assert abs(values.mean().item()) < 0.1
    assert samples.kid(one, other + 1).mean().item() > 1


def by_scikit_learn(fake, real, k=5):
    """Precision, recall, density and coverage, from their definitions."""

    def reach(x):
        return NearestNeighbors(n_neighbors=k + 1).fit(x).kneighbors(x)[0][:, -1]

    distances = np.linalg.norm(fake[:, None] - real[None], axis=-1)
    return {
        "precision": (distances <= reach(real)[None]).any(1).mean(),
        "recall": (distances <= reach(fake)[:, None]).any(0).mean(),
        "density": (distances <= reach(real)[None]).sum() / (k * len(fake)),
        "coverage": (distances.min(0) <= reach(real)).mean(),
    }


def test_neighbourhoods_are_those_of_their_definitions(generator, monkeypatch):
    fake, real = two_sets(n=200, generator=generator)
    expected = by_scikit_learn(fake[:150].numpy(), real.numpy())
    assert samples.neighbourhoods(fake[:150], real) == pytest.approx(expected)
    monkeypatch.setattr(samples, "ROWS", 32)
    assert samples.neighbourhoods(fake[:150], real) == pytest.approx(expected)
    assert samples.neighbourhoods(fake[:150], real, samples.radii(real)) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "size"), [(2000, 4), pytest.param(10_000, 1000, marks=pytest.mark.slow)])
def test_two_sets_of_one_distribution_score_as_theory_says(n, size, generator):
    """One draw of 10,000 in 1,000 dimensions may have a density of .86 or of 1.15; both ways round it is 1 in mean."""
    one, other = torch.randn(2, n, size, generator=generator)
    found, turned = samples.neighbourhoods(one, other), samples.neighbourhoods(other, one)
    # Turned round, precision is recall.
    assert (found["precision"], found["recall"]) == (turned["recall"], turned["precision"])
    # A sample is as likely as any of the n others to be among an image's five nearest.
    assert (found["density"] + turned["density"]) / 2 == pytest.approx(1, abs=0.03)
    # Uncovered is an image whose five nearest of all are five of its own set: Naeem et al. 2020.
    assert (found["coverage"] + turned["coverage"]) / 2 == pytest.approx(1 - 0.5**5, abs=0.01)
    if size == 1000:  # In print are .477 and .471, of a draw that is not named.
        assert (found["precision"] + found["recall"]) / 2 == pytest.approx(0.474, abs=0.01)


def test_too_few_images_have_no_neighbourhood():
    with pytest.raises(InputError, match="5 images: accepted are 6 at least"):
        samples.radii(torch.zeros(5, 3))


def test_memorised_images_keep_precision_and_lose_recall(generator):
    real, other = torch.randn(2, 1000, 4, generator=generator)
    found = samples.neighbourhoods(other[:10].repeat(100, 1), real)
    honest = samples.neighbourhoods(other, real)
    assert found["recall"] < 0.1 < honest["recall"]
    assert found["coverage"] < 0.2 < honest["coverage"]


def test_sharpness_is_the_variance_of_scipys_laplace_filter(digits):
    laplace = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    pictures = digits.test_images[:20, 0].numpy() / 255
    expected = [signal.convolve2d(picture, laplace, mode="valid").var() for picture in pictures]
    np.testing.assert_allclose(samples.sharpness(pictures), expected, rtol=1e-5)
    np.testing.assert_allclose(samples.sharpness(digits.test_images[:20]), expected, rtol=1e-5)


def test_a_blurred_picture_is_less_sharp(digits):
    pictures = digits.test_images[:20, 0].numpy() / 255
    blurred = ndimage.gaussian_filter(pictures, (0, 1, 1))
    assert (samples.sharpness(blurred) < samples.sharpness(pictures)).all()
    assert samples.sharpness(np.full((2, 8, 8), 0.5)).tolist() == [0, 0]


def test_the_controls_are_what_their_names_say(digits):
    sets = samples.controls(digits.train_images, digits.test_images)
    assert {len(images) for images in sets.values()} == {360}
    assert {images.dtype for images in sets.values()} == {torch.uint8}
    assert sets["black images"].max() == 0
    known = {image.numpy().tobytes() for image in digits.train_images}
    for name in ("training images", "a hundredth of them, copied"):
        assert {image.numpy().tobytes() for image in sets[name]} <= known
    assert len(sets["a hundredth of them, copied"].flatten(1).unique(dim=0)) == 3
    assert len(sets["training images"].flatten(1).unique(dim=0)) == 360
    mean = digits.train_images.double().mean(0)
    assert (sets["the mean image"].double() - mean).abs().max() <= 0.5
    assert sets["noise"].double().mean().item() == pytest.approx(127.5, abs=1)
    assert (
        sets["the test images themselves"]
        .flatten(1)
        .sum(1)
        .sort()
        .values.equal(digits.test_images.flatten(1).sum(1).sort().values)
    )


def test_the_controls_of_bytes_and_floats_are_the_same(digits):
    train_x, test_x = digits.train_images[:400], digits.test_images[:50]
    expected = samples.controls(train_x, test_x)
    found = samples.controls((train_x[:, 0].float() / 255).numpy(), test_x.double() / 255)
    assert all(found[name].equal(images) for name, images in expected.items())


def test_the_controls_come_in_the_order_of_common_sense(digits):
    """By pixels, as features: even they tell real images from copies, and both from none."""
    sets = samples.controls(digits.train_images, digits.test_images)
    pool = torch.nn.AvgPool2d(7)
    features = {name: pool(images.float() / 255).flatten(1) for name, images in sets.items()}
    found = {name: samples.frechet(own, features["the test images themselves"]) for name, own in features.items()}
    assert found.pop("the test images themselves") == pytest.approx(0, abs=1e-6)
    training, copied, *none = found.values()
    assert training < copied / 5 < min(none)


def test_a_split_of_ten_images_comes_through(generator):
    """With 128 features, as the classifier has them: a number of no worth, but no traceback."""
    one, other = torch.randn(2, 10, 128, generator=generator)
    with pytest.warns(UserWarning, match=r"FID of 10 images by 128 features says more .* give 129 at least"):
        assert samples.frechet(one, other) > 0
    assert np.isfinite(samples.fid_infinity(one, other))
    assert samples.kid(one, other).isfinite().all()
    assert set(samples.neighbourhoods(one, other)) == {"precision", "recall", "density", "coverage"}
    images = torch.randint(256, (30, 1, 8, 8), generator=generator, dtype=torch.uint8)
    assert {len(own) for own in samples.controls(images[:20], images[20:]).values()} == {10}


GREY = np.random.default_rng(0).integers(256, size=(7, 28, 28), dtype=np.uint8)


def saved(path, array):
    np.save(path, array)
    return str(path)


def pictures(folder, array):
    folder.mkdir(parents=True)
    for index, picture in enumerate(array):
        Image.fromarray(picture).save(folder / f"{index:03}.png")
    return folder


def test_bytes_and_floats_are_read_alike(tmp_path):
    as_bytes = read_images(saved(tmp_path / "a.npy", GREY))
    as_floats = read_images(saved(tmp_path / "b.npy", GREY / 255))
    assert (as_bytes.dtype, as_floats.dtype) == (torch.uint8, torch.float32)
    assert as_bytes.shape == as_floats.shape == (7, 1, 28, 28)
    torch.testing.assert_close(data.as_float(as_bytes), as_floats)


def test_arrays_and_tensors_are_sources(generator):
    for source in (GREY, GREY[:, None], torch.from_numpy(GREY), GREY / 255, torch.from_numpy(GREY) / 255):
        torch.testing.assert_close(data.as_float(read_images(source)[:, 0]), torch.from_numpy(GREY) / 255)
    some = read_images(GREY, count=3, seed=1)
    assert {image.numpy().tobytes() for image in some} < {image.tobytes() for image in GREY}
    with pytest.raises(InputError, match="count 8: the array has 7 images"):
        read_images(GREY, count=8)


def test_one_array_of_an_npz_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", samples=GREY[:, None])
    assert read_images(tmp_path / "a.npz").numpy()[:, 0].tolist() == GREY.tolist()


def test_a_folder_is_read_in_the_order_of_names(tmp_path, monkeypatch):
    folder = pictures(tmp_path / "drawn", GREY)
    (folder / "notes.txt").write_text("not a picture")
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (folder, str(folder), "~/drawn"):
        assert read_images(source).numpy()[:, 0].tolist() == GREY.tolist()


def test_a_folder_that_torchvision_saved_is_read(tmp_path):
    """save_image writes grey pictures as RGB of three equal channels."""
    for index, picture in enumerate(GREY):
        save_image(torch.from_numpy(picture) / 255, tmp_path / f"{index}.png")
    with Image.open(tmp_path / "0.png") as picture:
        assert picture.mode == "RGB"
    assert read_images(tmp_path).numpy()[:, 0].tolist() == GREY.tolist()


def test_a_run_is_drawn_from(finished_run):
    expected = finished_run.model().sample(9, 3)
    for source in (finished_run, finished_run.path, str(finished_run.path)):
        torch.testing.assert_close(read_images(source, count=9, seed=3)[:, 0], expected)


def test_a_split_is_read(digits):
    assert read_images("digits:test").equal(digits.test_images)
    assert read_images("digits:train").equal(digits.train_images)


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_a_split_of_own_images_is_read(kind, tmp_path, digits):
    images, labels = digits.train_images[:60, 0].numpy(), digits.train_labels[:60].numpy() % 2
    if kind == "npz":
        source = tmp_path / "own.npz"
        np.savez(source, images=images, labels=labels)
    else:
        source = tmp_path / "own"
        for label in (0, 1):
            pictures(source / f"class {label}", images[labels == label])
    own = data.load(str(source))
    assert read_images(f"{source}:test").equal(own.test_images)
    assert read_images(f"{source}:train", count=20).shape == (20, 1, 28, 28)


def test_some_are_drawn_at_random(digits):
    some = read_images("digits:test", count=50, seed=1)
    known = [image.numpy().tobytes() for image in digits.test_images]
    places = [known.index(image.numpy().tobytes()) for image in some]
    assert len(some) == 50
    assert places != sorted(places)
    assert some.equal(read_images("digits:test", count=50, seed=1))
    with pytest.raises(InputError, match="count 361: digits:test has 360 images"):
        read_images("digits:test", count=361)


@pytest.mark.parametrize("source", ["nowhere", "nowhere.npy", "mnist:valid", "nowhere:test"])
def test_a_source_that_is_not_there_is_answered_with_what_is_accepted(source, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"^{source} is not there.* accepted is an array, an .npy or .npz"):
        read_images(source)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty has no png or jpg"):
        read_images("empty")


def test_what_is_no_set_of_images_is_refused_by_its_name(tmp_path):
    source = saved(tmp_path / "a.npy", np.stack([GREY] * 3, 3))
    with pytest.raises(InputError, match=rf"^{source} has the shape \(7, 28, 28, 3\)"):
        read_images(source)


@pytest.fixture(scope="module")
def runs_root(tmp_path_factory):
    """A folder of runs with two classifiers: the digits', and under the name of other images one of other weights."""
    root = tmp_path_factory.mktemp("classifiers") / "runs"
    found = train_classifier("digits", epochs=1, batch_size=128, runs_root=str(root))
    other = root / "other" / "classifier-s0"
    shutil.copytree(found.path, other)
    torch.manual_seed(0)
    safetensors.torch.save_file(Network(10).state_dict(), other / "model.safetensors")
    return root


@pytest.fixture(scope="module")
def digits_classifier(runs_root):
    return Classifier.load(runs_root / "digits" / "classifier-s0")


def test_fid_is_of_the_classifiers_features(digits, digits_classifier):
    some = digits.train_images[:300]
    found = fid(some, digits.test_images, classifier=digits_classifier.path)
    ours, theirs = (digits_classifier.features(images) for images in (some, digits.test_images))
    assert found["fid"] == pytest.approx(samples.frechet(ours, theirs), rel=1e-6)
    assert found["fid_infinity"] == pytest.approx(samples.fid_infinity(ours, theirs), rel=1e-6)
    assert found["kid"] == pytest.approx(samples.kid(ours, theirs).mean().item())
    assert {key: found[key] for key in ("precision", "recall", "density", "coverage")} == pytest.approx(
        samples.neighbourhoods(ours, theirs)
    )
    assert found["images"] == [300, 360]
    assert found["network"] == digits_classifier.facts()


def test_fid_of_every_kind_of_source_is_the_same(digits, digits_classifier, tmp_path):
    images = digits.train_images[:150, 0].numpy()
    np.savez(tmp_path / "a.npz", images)
    sources = [images, images / 255, torch.from_numpy(images)[:, None] / 255, tmp_path / "a.npz"]
    sources += [saved(tmp_path / "a.npy", images), str(pictures(tmp_path / "drawn", images))]
    each = [fid(source, "digits:test", classifier=digits_classifier.path) for source in sources]
    for found in each:
        assert found["fid"] == pytest.approx(each[0]["fid"], rel=1e-4)
        assert found["kid"] == pytest.approx(each[0]["kid"], rel=1e-4)
        assert found["images"] == [150, 360]


def test_fid_of_a_run_is_that_of_its_draws(finished_run, digits_classifier):
    path = digits_classifier.path
    expected = fid(finished_run.model().sample(200, 3), "digits:test", classifier=path, seed=3)
    for source in (finished_run, str(finished_run.path)):
        found = fid(source, "digits:test", classifier=path, count=200, seed=3)
        assert found["images"] == [200, 360]
        assert found["fid"] == pytest.approx(expected["fid"], rel=1e-6)


def test_a_run_held_against_itself_is_drawn_from_twice(finished_run, digits_classifier, monkeypatch, generator):
    drawn = []

    def sample(_, count, seed):
        drawn.append((count, seed))
        return torch.rand(150, 28, 28, generator=generator)

    monkeypatch.setattr(VAE, "sample", sample)
    fid(finished_run, finished_run.path, classifier=digits_classifier.path, count=150, seed=3)
    assert drawn == [(150, 3), (10_000, 4)]


def facts_of(folder):
    return Classifier.load(folder).facts()


def test_the_classifier_is_that_of_the_set_that_is_named(runs_root, digits, tmp_path):
    some = digits.train_images[:150]
    own = tmp_path / "other.npz"
    np.savez(own, images=digits.train_images[:, 0], labels=digits.train_labels)
    for a, b, name in (
        ("digits:test", some, "digits"),
        (some, "digits:test", "digits"),
        (some, f"{own}:train", "other"),
    ):
        found = fid(a, b, runs_root=runs_root, count=150)
        assert found["network"] == facts_of(runs_root / name / "classifier-s0")


def test_the_classifier_is_the_one_beside_a_run(run, runs_root, digits):
    some, others = digits.train_images[:150], runs_root / "other" / "classifier-s0"
    found = fid(run, some, runs_root=runs_root, count=150)
    assert found["network"] == facts_of(runs_root / "digits" / "classifier-s0")
    shutil.copytree(others, run.path.parent / "classifier-s0")
    for source in (run, run.path):
        assert fid(source, some, runs_root=runs_root, count=150)["network"] == facts_of(others)


def test_the_classifier_is_the_only_one_there_is(runs_root, digits, tmp_path, monkeypatch):
    a, b = digits.train_images[:150], digits.train_images[150:300]
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copytree(runs_root / "other", tmp_path / "runs" / "own")
    assert fid(a, b, runs_root="~/runs")["network"] == facts_of(runs_root / "other" / "classifier-s0")


def test_a_classifier_that_cannot_be_told_is_asked_for(runs_root, digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    some = digits.train_images[:10]
    for root, source, expected in (
        (str(runs_root), some, f"2 classifiers under {runs_root}: give the path of one.*vaelib classifier --dataset"),
        ("runs", some, f"no classifier under {tmp_path}/runs: give the path of one.*vaelib classifier --dataset"),
        ("runs", "digits:test", f"no trained classifier in {tmp_path}/runs/digits/classifier-s0: vaelib classifier"),
    ):
        with pytest.raises(InputError, match=f"^{expected}") as caught:
            fid(source, some, runs_root=root)
        assert "\n" not in str(caught.value)


def test_fid_of_two_sizes_is_refused(digits):
    with pytest.raises(InputError, match=r"^images of 28x28 and of 32x32 pixels: accepted are two sets of one size$"):
        fid(digits.test_images, np.full((10, 32, 32), 200, np.uint8))


def test_fid_of_too_few_images_or_by_unknown_features_is_refused(digits, digits_classifier):
    with pytest.raises(InputError, match="5 images: accepted are 6 at least"):
        fid(digits.train_images[:5], digits.test_images, classifier=digits_classifier.path)
    with pytest.raises(InputError, match="features 'resnet': accepted are classifier and inception"):
        fid(digits.train_images[:5], digits.test_images, features="resnet")


def test_fid_may_be_by_inception(digits, monkeypatch):
    """With means of blocks of pixels in its place, as the real one takes minutes."""

    class Blocks:
        @classmethod
        def load(cls, weights):
            assert weights == "given"
            return cls()

        def features(self, images):
            return torch.nn.functional.avg_pool2d(data.as_float(images), 7).flatten(1)

        def facts(self):
            return {"network": "blocks"}

    monkeypatch.setattr(samples, "Inception", Blocks)
    found = fid(digits.train_images, "digits:test", features="inception", inception_weights="given", count=300)
    assert (found["network"], found["images"]) == ({"network": "blocks"}, [300, 360])


class Counted:
    """Stands for a network, and counts what it was asked for."""

    sha256 = "one"

    def __init__(self):
        self.calls = []

    def features(self, images):
        self.calls.append(len(images))
        return images.flatten(1)[:, :5].float()


def test_features_of_a_set_are_computed_once(tmp_path, monkeypatch, digits):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    network, images = Counted(), digits.test_images[:20]
    expected = images.flatten(1)[:, :5].float()
    for _ in range(2):
        torch.testing.assert_close(samples.remembered(network, images), expected)
    assert network.calls == [20]
    assert samples.remembered(network, images[:19]).equal(expected[:19])
    network.sha256 = "other"
    samples.remembered(network, images)
    assert network.calls == [20, 19, 20]


def test_without_a_cache_folder_features_are_computed_each_time(monkeypatch, digits):
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    network = Counted()
    for _ in range(2):
        with pytest.warns(UserWarning, match="features are not kept for the next time: .*/dev/null"):
            found = samples.remembered(network, digits.test_images)
        assert found.equal(digits.test_images.flatten(1)[:, :5].float())
    assert network.calls == [360, 360]
