import base64
import io
import re

import numpy as np
import pytest
from PIL import Image, ImageSequence

from vaelib import films


@pytest.fixture
def mu():
    rng = np.random.default_rng(0)
    return np.cumsum(rng.standard_normal((4, 50, 2)), axis=0), rng.integers(0, 10, 50)


def dark(frame):
    return (np.asarray(frame.convert("L")) < 250).mean()


def test_a_film_has_a_frame_for_each_epoch_and_each_is_another(mu):
    frames = films.film(*mu, "conv, d = 2")
    assert len(frames) == 4
    assert len({frame.convert("RGB").tobytes() for frame in frames}) == 4
    assert len({frame.size for frame in frames}) == 1
    assert all(dark(frame) > 0.01 for frame in frames)


def test_no_code_leaves_the_frame(mu):
    """The square that all frames share is that of the widest one."""
    import matplotlib.pyplot as plt

    seen = []
    original, films.moment = films.moment, lambda z, labels, extent, title: seen.append((z, extent)) or plt.figure()
    try:
        films.film(*mu, "")
    finally:
        films.moment = original
    assert all(np.abs(z).max() <= extent for z, extent in seen)


def test_a_gif_plays_every_frame_and_starts_again():
    greys = np.stack([np.full((20, 30), share) for share in (0.0, 0.5, 1.0)])
    moving = Image.open(io.BytesIO(films.gif(films.frames_of(lambda i: greys[i], 3), 100)))
    frames = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(moving)]
    assert [frame.mean().round() for frame in frames] == [0, 128, 255]
    assert moving.info["loop"] == 0
    assert moving.info["duration"] == 300  # the last one stays longest


def test_a_player_holds_every_frame_and_shows_the_last(mu):
    frames = films.film(*mu, "conv, d = 2")
    names = [f"epoch {epoch}" for epoch in range(1, 5)]
    html = films.player(frames, names, "The latent plane")
    images = re.findall(r"<img [^>]*>", html)
    assert ["hidden" in image.split("alt=")[1] for image in images] == [True, True, True, False]
    for image, frame, name in zip(images, frames, names, strict=True):
        stored = Image.open(io.BytesIO(base64.b64decode(re.search(r"base64,([^\"]+)", image)[1])))
        assert stored.convert("RGB").tobytes() == frame.convert("RGB").tobytes()
        assert f'alt="The latent plane, {name}"' in image
    assert 'type="range" min="0" max="3" value="3"' in html
    assert "http" not in html


def test_sheets_show_every_model_after_each_epoch():
    rng = np.random.default_rng(0)
    recon = lambda: rng.random((3, 10, 28, 28))  # noqa: E731
    frames = films.sheets(rng.random((10, 28, 28)), {"linear": {2: recon(), 10: recon()}, "conv": {2: recon()}})
    assert len({frame.convert("RGB").tobytes() for frame in frames}) == len(frames) == 3
