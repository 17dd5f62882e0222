import base64
import io
import re

import numpy as np
import pytest
from PIL import Image, ImageSequence

from vaelib import figures
from vaelib.figures import films

DIGITS = tuple("0123456789")


@pytest.fixture
def mu():
    rng = np.random.default_rng(0)
    return np.cumsum(rng.standard_normal((4, 50, 2)), axis=0), rng.integers(0, 10, 50)


def dark(frame):
    return (np.asarray(frame.convert("L")) < 250).mean()


def test_a_film_has_a_frame_for_each_epoch_and_each_is_another(mu):
    frames = figures.film(*mu, DIGITS, "conv, d = 2")
    assert len(frames) == 4
    assert len({frame.convert("RGB").tobytes() for frame in frames}) == 4
    assert len({frame.size for frame in frames}) == 1
    assert all(dark(frame) > 0.01 for frame in frames)


def test_no_code_leaves_the_frame(mu):
    """The square that all frames share is that of the widest one."""
    import matplotlib.pyplot as plt

    seen = []
    original, films.moment = (
        films.moment,
        lambda z, labels, names, extent, title: seen.append((z, extent)) or plt.figure(),
    )
    try:
        figures.film(*mu, DIGITS, "")
    finally:
        films.moment = original
    assert all(np.abs(z).max() <= extent for z, extent in seen)


def test_a_gif_plays_every_frame_and_starts_again():
    greys = np.stack([np.full((20, 30), share) for share in (0.0, 0.5, 1.0)])
    moving = Image.open(io.BytesIO(figures.gif(figures.frames_of(lambda i: greys[i], 3), 100)))
    frames = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(moving)]
    assert [frame.mean().round() for frame in frames] == [0, 128, 255]
    assert moving.info["loop"] == 0
    assert moving.info["duration"] == 300  # the last one stays longest


def test_a_morph_shows_each_picture_enlarged_with_dark_ink():
    pictures = np.stack([np.full((8, 8), share) for share in (0.0, 1.0)])
    pictures[1, 0, 0] = 0
    first, second = (np.asarray(frame.convert("L")) for frame in figures.morph(pictures, larger=3))
    assert first.shape == (24, 24)
    assert first.min() == 255
    assert second[:3, :3].min() == 255
    assert second[3:].max() == second[:, 3:].max() == 0


def test_a_player_holds_every_frame_and_shows_the_last(mu):
    frames = figures.film(*mu, DIGITS, "conv, d = 2")
    names = [f"epoch {epoch}" for epoch in range(1, 5)]
    html = figures.player(frames, names, "The latent plane")
    images = re.findall(r"<img [^>]*>", html)
    assert ["hidden" in image.split("alt=")[1] for image in images] == [True, True, True, False]
    for image, frame, name in zip(images, frames, names, strict=True):
        stored = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", image)[1])))
        assert stored.convert("RGB").tobytes() == frame.convert("RGB").tobytes()
        assert f'alt="The latent plane, {name}"' in image
    assert 'type="range" min="0" max="3" value="3"' in html
    assert "http" not in html


def test_a_film_of_many_classes_has_a_colour_for_each():
    """A class in each place of a square, two frames of it; of the dots' colours none may be lost."""
    from matplotlib.colors import to_rgb

    labels = np.repeat(np.arange(47), 200)
    corners = np.stack([labels % 7, labels // 7], axis=1) - 3.0
    z = corners + np.random.default_rng(0).uniform(-0.25, 0.25, (len(labels), 2))
    names = [f"kind {k} of many" for k in range(47)]
    frame = np.asarray(figures.film(z[None], labels, names, "")[-1].convert("RGB")).reshape(-1, 3)
    seen = np.unique(frame, axis=0) / 255
    for colour in figures.class_colours(47):
        # dots are drawn at 0.6 on white, two on each other at 0.84
        distances = [np.abs(seen - (1 - share * (1 - np.array(to_rgb(colour))))).max(1).min() for share in (0.6, 0.84)]
        assert min(distances) < 0.12


def test_names_that_a_frame_has_no_room_for_are_in_a_legend():
    labels = np.arange(47)
    z = np.random.default_rng(0).standard_normal((47, 2))
    many = films.moment(z, labels, [f"kind {k} of many" for k in range(47)], 3.0, "")
    assert len(many.legends[0].get_texts()) == 47
    assert not films.moment(z[:10], labels[:10], DIGITS, 3.0, "").legends


@pytest.mark.parametrize(("side", "count"), [(28, 10), (12, 3)])
def test_sheets_show_every_model_after_each_epoch(side, count):
    rng = np.random.default_rng(0)
    recon = lambda: rng.random((3, count, side, side))  # noqa: E731
    by_arch = {"linear": {2: recon(), 10: recon()}, "conv": {2: recon()}}
    frames = figures.sheets(rng.random((count, side, side)), by_arch)
    assert len({frame.convert("RGB").tobytes() for frame in frames}) == len(frames) == 3
