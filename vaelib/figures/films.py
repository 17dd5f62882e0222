"""Figures that move: a frame for each epoch or step, as a player for a page or as a GIF to take along.

Frames are PIL images of few colours, so that a film stays small.
"""

import base64
import io
from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vaelib.figures.images import reconstructions_by_cell
from vaelib.figures.latent import scatter
from vaelib.figures.style import DPI, canvas, class_legend


def film(mu: np.ndarray, labels: np.ndarray, names: Sequence[str], title: str) -> list[Image.Image]:
    """A frame for each epoch of codes (epochs, N, 2), all on the same square."""
    mu = np.asarray(mu)
    extent = np.ceil(np.abs(mu).max())

    def draw(epoch: int) -> Figure:
        return moment(mu[epoch], labels, names, extent, f"{title}, epoch {epoch + 1}")

    return frames_of(draw, len(mu), colours=max(32, 12 + 2 * len(names)))


def moment(z: np.ndarray, labels: np.ndarray, names: Sequence[str], extent: float, title: str) -> Figure:
    """One frame of a film: codes (N, 2) on the square [-extent, extent]^2."""
    figure, ((axis,),) = canvas(3.6, 3.7)
    scatter(axis, z, labels, names)
    axis.set_title(title, fontsize=10)
    axis.tick_params(labelsize=8)
    axis.locator_params(nbins=5)
    axis.set(xlim=(-extent, extent), ylim=(-extent, extent), xlabel="$z_1$", ylabel="$z_2$")
    if not axis.texts:  # there was no room for names
        class_legend(figure, labels, names, "class")
    axis.set_aspect("equal")
    return figure


def sheets(originals: np.ndarray, by_arch: dict[str, dict[int, np.ndarray]]) -> list[Image.Image]:
    """A frame for each epoch: the originals (N, side, side), then a row for each latent_dim, a panel for each arch.

    by_arch maps arch to latent_dim to reconstructions (epochs, N, side, side).
    """
    epochs = len(next(iter(next(iter(by_arch.values())).values())))

    def draw(epoch: int) -> Figure:
        after = {arch: {d: shots[epoch] for d, shots in models.items()} for arch, models in by_arch.items()}
        return reconstructions_by_cell(originals, after)

    return frames_of(draw, epochs, colours=9)


def frames_of(draw, count: int, colours: int = 32) -> list[Image.Image]:
    """What draw(0), draw(1), ... show, as pictures of few colours: matplotlib figures or arrays of greys in [0, 1]."""
    frames = []
    for index in range(count):
        drawn = draw(index)
        if isinstance(drawn, Figure):
            buffer = io.BytesIO()
            drawn.savefig(buffer, format="png", dpi=DPI)
            plt.close(drawn)
            picture = Image.open(buffer).convert("RGB")
        else:
            picture = Image.fromarray((255 * drawn).round().astype(np.uint8)).convert("RGB")
        frames.append(picture.quantize(colours, Image.Quantize.MAXCOVERAGE, kmeans=1))
    return frames


def morph(pictures: np.ndarray, larger: int = 4) -> list[Image.Image]:
    """A frame for each of the pictures (N, side, side), floats in [0, 1], ink dark, so many times as large."""
    large = 1 - np.asarray(pictures).repeat(larger, axis=1).repeat(larger, axis=2)
    return frames_of(lambda index: large[index], len(large))


def gif(frames: list[Image.Image], milliseconds: int = 400) -> bytes:
    """An animated GIF without end; the last frame stays three times as long."""
    buffer = io.BytesIO()
    times = [milliseconds] * (len(frames) - 1) + [3 * milliseconds]
    frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:], duration=times, loop=0)
    return buffer.getvalue()


def player(frames: list[Image.Image], names: list[str], alt: str) -> str:
    """HTML that shows one frame at a time, with a slider and a button to play; it needs no script around it."""
    pictures = []
    for index, (frame, name) in enumerate(zip(frames, names, strict=True)):
        buffer = io.BytesIO()
        frame.save(buffer, "png", optimize=True)
        source = base64.b64encode(buffer.getvalue()).decode()
        hidden = "" if index == len(frames) - 1 else " hidden"
        pictures.append(f'<img src="data:image/png;base64,{source}" title="{name}" alt="{alt}, {name}"{hidden}>')
    last = len(frames) - 1
    show_one = (
        "const f=this.closest('figure'),v=+this.value;"
        "f.querySelectorAll('img').forEach((p,k)=>{p.hidden=k!==v});"
        "f.querySelector('output').value=f.querySelectorAll('img')[v].title"
    )
    play = (
        "const r=this.nextElementSibling,go=n=>{r.value=n;r.dispatchEvent(new Event('input'))};"
        "clearInterval(this.timer);go(0);"
        "this.timer=setInterval(()=>{if(+r.value<+r.max)go(+r.value+1);else clearInterval(this.timer)},500)"
    )
    return (
        f'<figure class="player" style="margin:0;max-width:{frames[0].width}px">{"".join(pictures)}'
        '<div style="display:flex;gap:0.6em;align-items:center">'
        f'<button type="button" onclick="{play}">Play</button>'
        f'<input type="range" min="0" max="{last}" value="{last}" aria-label="frame" style="flex:1"'
        f' oninput="{show_one}">'
        f"<output>{names[-1]}</output></div></figure>"
    )
