"""Figures that move: a frame for each epoch or step, as a player for a page or as a GIF to take along.

Frames are PIL images of few colours, so that a film stays small.
"""

import base64
import io

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from vaelib.latent_plots import scatter
from vaelib.plots import DPI, reconstructions_by_cell


def film(mu: np.ndarray, labels: np.ndarray, title: str) -> list[Image.Image]:
    """A frame for each epoch of codes (epochs, N, 2), all on the same square."""
    extent = np.ceil(np.abs(mu).max())
    return frames_of(lambda epoch: moment(mu[epoch], labels, extent, f"{title}, epoch {epoch + 1}"), len(mu))


def moment(z: np.ndarray, labels: np.ndarray, extent: float, title: str) -> Figure:
    """One frame of a film: codes (N, 2) on the square [-extent, extent]^2."""
    figure, axes = plt.subplots(figsize=(3.6, 3.7), dpi=DPI, facecolor="white", layout="constrained")
    scatter(axes, z, labels)
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal", xlabel="$z_1$", ylabel="$z_2$")
    axes.set_title(title, fontsize=10)
    axes.tick_params(labelsize=8)
    return figure


def sheets(originals: np.ndarray, by_arch: dict[str, dict[int, np.ndarray]]) -> list[Image.Image]:
    """A frame for each epoch: the originals (10, 28, 28), then a row for each latent_dim, a panel for each arch.

    by_arch maps arch to latent_dim to reconstructions (epochs, 10, 28, 28).
    """
    epochs = len(next(iter(next(iter(by_arch.values())).values())))
    return frames_of(
        lambda epoch: reconstructions_by_cell(
            originals, {arch: {d: shots[epoch] for d, shots in cells.items()} for arch, cells in by_arch.items()}
        ),
        epochs,
        colours=9,
    )


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
