import re
import shutil

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import small_config, write_npz
from matplotlib.colors import to_hex
from PIL import Image, ImageSequence

from vaelib import data, figures, latent, training
from vaelib.cli import main
from vaelib.cli.draw import What
from vaelib.training import Classifier, Run, train_classifier

GREYS = 1 / 32 + 1e-6  # Pictures in a figure are rounded to seventeen greys.


def lines(capsys):
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


@pytest.fixture(scope="module")
def runs(finished_run, tmp_path_factory):
    """Paths of runs of 2, 1, 3 and 5 dimensions on the digits, by their number, with a classifier beside them."""
    root = tmp_path_factory.mktemp("draw") / "runs"
    paths = {d: training.train(small_config(root, epochs=1, latent_dim=d)).path for d in (1, 3, 5)}
    for path in paths.values():
        # After one epoch all pictures look alike. Weights four times as large tell them apart.
        weights = safetensors.torch.load_file(path / "model.safetensors")
        larger = {name: 4 * tensor for name, tensor in weights.items()}
        (path / "model.safetensors").write_bytes(safetensors.torch.save(larger))
    shutil.copytree(finished_run.path, root / "digits" / finished_run.path.name)
    train_classifier("digits", epochs=1, runs_root=str(root))
    return paths | {2: root / "digits" / finished_run.path.name}


@pytest.fixture
def drawn(runs, monkeypatch, tmp_path):
    """A function that draws a figure of the run of that many dimensions, and returns it in place of a file."""
    seen = []
    monkeypatch.setattr(figures, "saved", lambda figure, kind: (seen.append(figure), b"")[1])

    def draw(latent_dim, what, *more, run=None):
        path = run or runs[latent_dim]
        assert main(["draw", str(path), what, f"--out={tmp_path / f'{len(seen)}.png'}", *more]) == 0
        return seen[-1]

    return draw


def pictures(figure, rows, columns, side=28, gap=2):
    """What a figure of tiled pictures shows, ink 1, (rows, columns, side, side)."""
    array = 1 - np.asarray(figure.axes[0].images[0].get_array())
    step = side + gap
    assert array.shape == (rows * step - gap, columns * step - gap)
    return np.stack(
        [[array[i * step : i * step + side, j * step : j * step + side] for j in range(columns)] for i in range(rows)]
    )


def firsts(images, *labels):
    """The first test image of each label, and the next one where a label comes again."""
    found = [np.flatnonzero(images.test_labels == label)[labels[:k].count(label)] for k, label in enumerate(labels)]
    return images.test_images[found]


def test_help_teaches_every_figure(capsys):
    assert main(["draw", "--help"]) == 0
    out = lines(capsys)[0]
    for what in What:
        assert any(line.startswith(f"  {what.value} ") for line in out)
    assert max(map(len, (line for line in out if "|" not in line))) < 80
    assert "For example: vaelib draw" in "\n".join(out)


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_a_file_is_of_the_kind_that_its_name_ends_in(suffix, start, runs, tmp_path, capsys):
    files = [tmp_path / "new" / f"{name}{suffix}" for name in "ab"]
    for file in files:
        assert main(["draw", str(runs[2]), "losses", f"--out={file}"]) == 0
        assert lines(capsys) == ([str(file)], [])
    assert files[0].read_bytes().startswith(start)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert sorted(tmp_path.rglob("*")) == [tmp_path / "new", *files]


def test_a_figure_is_named_by_its_run(runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", str(runs[2]), "reconstructions"]) == 0
    assert lines(capsys)[0] == [f"{runs[2].name}-reconstructions.png"]
    assert [file.name for file in tmp_path.iterdir()] == [f"{runs[2].name}-reconstructions.png"]


@pytest.mark.parametrize("what", ["losses", "all"])
def test_nothing_is_overwritten(what, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    mine = tmp_path / f"{runs[2].name}-{'figures' if what == 'all' else 'losses.png'}"
    mine.write_text("mine")
    assert main(["draw", str(runs[2]), what]) == 2
    assert lines(capsys) == ([], [f"vaelib: {mine.name} is already there: give another --out, or move it away"])
    assert mine.read_text() == "mine"


def test_the_losses_are_those_of_the_history(runs, drawn):
    history = Run.load(runs[2]).history()
    recon = drawn(2, "losses").axes[0]
    for split in ("train", "test"):
        (line,) = (line for line in recon.lines if line.get_label() == split)
        np.testing.assert_allclose(line.get_ydata(), history[history.split == split].recon)
        assert to_hex(line.get_color()) == figures.arch_colour("linear").lower()


@pytest.mark.parametrize("split", ["test", "train"])
def test_reconstructions_are_of_the_split_asked_for(split, runs, drawn, digits):
    shown = pictures(drawn(2, "reconstructions", f"--split={split}"), 3, 10, gap=4)
    images, labels = (getattr(digits, f"{split}_{kind}") for kind in ("images", "labels"))
    first = images[[np.flatnonzero(labels == label)[0] for label in range(10)]]
    np.testing.assert_allclose(shown[0], first[:, 0] / 255)
    np.testing.assert_allclose(shown[2], Run.load(runs[2]).model().reconstruct(first), atol=1 / 255)


def test_all_samples_that_were_asked_for_are_shown(runs, drawn):
    shown = pictures(drawn(2, "samples", "--count=13", "--seed=4"), 2, 12).reshape(24, 28, 28)
    np.testing.assert_allclose(shown[:13], Run.load(runs[2]).model().sample(13, 4), atol=1e-6)
    assert np.abs(shown[13:]).max() == 0
    assert pictures(drawn(2, "samples", "--count=400"), 20, 20).any((2, 3)).all()


def test_a_map_decodes_the_plane(runs, drawn):
    shown = pictures(drawn(2, "map", "--steps=5", "--extent=1.5"), 5, 5, gap=0)
    model = Run.load(runs[2]).model()
    expected = model.decode([[z1, z2] for z2 in np.linspace(1.5, -1.5, 5) for z1 in np.linspace(-1.5, 1.5, 5)])
    np.testing.assert_allclose(shown.reshape(25, 28, 28), expected, atol=1e-6)
    by_share = pictures(drawn(2, "map", "--steps=4", "--extent=quantiles"), 4, 4, gap=0)
    quartile = torch.distributions.Normal(0, 1).icdf(torch.tensor([0.125, 0.875]))  # of the first and the last quarter
    corner = model.decode([[quartile[0], quartile[1]]])[0]
    np.testing.assert_allclose(by_share[0, 0], corner, atol=GREYS)


def test_embeddings_in_the_plane_are_the_codes(runs, drawn, digits):
    dots = drawn(2, "embeddings", "--points=40").axes[0].collections[0].get_offsets()
    expected = Run.load(runs[2]).model().encode(digits.test_images[:40])[0].numpy()
    np.testing.assert_allclose(dots[np.lexsort(dots.T)], expected[np.lexsort(expected.T)], atol=1e-6)


def test_embeddings_of_three_dimensions_are_a_cloud_from_two_sides(drawn):
    axes = drawn(3, "embeddings", "--points=40").axes
    assert [axis.name for axis in axes] == ["3d", "3d"]
    assert [axis.azim for axis in axes] == [-60, 30]


def test_embeddings_of_more_are_flattened_in_two_ways(runs, drawn, digits):
    left, right = drawn(5, "embeddings", "--points=40", "--perplexity=7").axes
    z = Run.load(runs[5]).model().encode(digits.test_images[:40])[0].numpy()
    planes = {"t-SNE": (left, latent.tsne(z, 7)), "principal components": (right, latent.pca(z))}
    for name, (axis, expected) in planes.items():
        assert axis.get_title() == f"linear, d = 5, {name}"
        dots = axis.collections[0].get_offsets()
        np.testing.assert_allclose(dots[np.lexsort(dots.T)], expected[np.lexsort(expected.T)], rtol=1e-4, atol=1e-4)


def test_a_cloud_that_turns_needs_no_network(runs, digits, tmp_path, capsys):
    out = tmp_path / "cloud.html"
    assert main(["draw", str(runs[3]), "embeddings", f"--out={out}", "--points=30"]) == 0
    html = out.read_text()
    assert html.startswith("<!DOCTYPE html>")
    assert not re.search(r"<(script|link)[^>]*(src|href)=", html)
    assert "Plotly.newPlot" in html
    shown = html.rpartition("Plotly.newPlot")[2]
    assert shown.count('"mode":"markers"') == len(digits.test_labels[:30].unique())
    lines(capsys)
    assert main(["draw", str(runs[5]), "embeddings", f"--out={tmp_path / 'x.html'}"]) == 2
    assert "need latent_dim 3, this model has 5: accepted is a file that ends in .png" in lines(capsys)[1][0]


def test_a_traversal_starts_from_the_class_asked_for(runs, drawn, digits):
    model = Run.load(runs[5]).model()
    for more, label in ((["--from=3"], 3), ([], 7)):
        figure = drawn(5, "traversals", *more)
        code = model.encode(firsts(digits, label))[0][0]
        first = int(re.match(r"\$z_{(\d)}", figure.axes[0].get_yticklabels()[0].get_text())[1]) - 1
        moved = code.repeat(11, 1)
        moved[:, first] = torch.linspace(-3, 3, 11)
        np.testing.assert_allclose(pictures(figure, 5, 11)[0], model.decode(moved), atol=GREYS)
        assert figure.axes[0].get_title() == f"linear, d = 5, from {label}"


def test_an_interpolation_ends_at_the_images_asked_for(runs, drawn, digits):
    for more, pair in (([], (1, 8)), (["--from=3"], (3, 8)), (["--from=3", "--to=3"], (3, 3))):
        x = firsts(digits, *pair)
        shown = pictures(drawn(5, "interpolation", *more), 3, 11)[:, [0, -1]]
        again = Run.load(runs[5]).model().reconstruct(x).numpy()
        np.testing.assert_allclose(shown, [x[:, 0].numpy() / 255, again, again], atol=GREYS)


def test_a_transition_turns_one_class_into_the_other_in_each_row(runs, drawn, digits):
    figure = drawn(5, "transition", "--from=4", "--to=9", "--steps=6")
    model = Run.load(runs[5]).model()
    above, beside, below, across = model.encode(firsts(digits, 4, 9, 4, 9))[0]
    share = torch.linspace(0, 1, 6)
    codes = [
        [(1 - r) * ((1 - c) * above + c * beside) + r * ((1 - c) * below + c * across) for c in share] for r in share
    ]
    expected = model.decode(torch.stack([torch.stack(row) for row in codes]).flatten(0, 1)).unflatten(0, (6, 6))
    np.testing.assert_allclose(pictures(figure, 6, 6, gap=1), expected, atol=GREYS)
    assert figure.axes[0].get_title() == "linear, d = 5: 4 to 9"


def test_the_evolution_of_a_plane_is_its_codes_after_each_epoch(runs, drawn):
    mu = Run.load(runs[2]).snapshots()["test_mu"]
    shown = drawn(2, "evolution").axes
    assert [axis.get_title() for axis in shown] == ["linear, d = 2, epoch 1", "linear, d = 2, epoch 2"]
    for axis, codes in zip(shown, mu, strict=True):
        dots = axis.collections[0].get_offsets()
        np.testing.assert_allclose(dots[np.lexsort(dots.T)], codes[np.lexsort(codes.T)], atol=1e-6)


@pytest.mark.parametrize("held_out", [0, 3])
def test_the_evolution_of_more_dimensions_is_how_pictures_sharpen(held_out, drawn, tmp_path):
    """Of three held-out images, those of the classes they have."""
    run = training.train(small_config(tmp_path / "runs", latent_dim=4, epochs=17, batch_size=1000, held_out=held_out))
    shots = run.snapshots()
    figure = drawn(4, "evolution", run=run.path)
    images = data.load("digits")
    labels = (data.hold_out(images, held_out) if held_out else images).test_labels.unique().tolist()
    shown = pictures(figure, len(labels), 10)
    np.testing.assert_allclose(shown[:, 0], shots["test_x"] / 255, atol=GREYS)
    np.testing.assert_allclose(shown[:, 1:], shots["test_recon"][::2].swapaxes(0, 1) / 255, atol=GREYS)
    axis = figure.axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [str(label) for label in labels]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["image", *map(str, range(1, 18, 2))]


@pytest.mark.parametrize(("latent_dim", "epochs"), [(2, 2), (5, 1)])
def test_an_evolution_moves(latent_dim, epochs, runs, tmp_path):
    film, player = tmp_path / "film.gif", tmp_path / "player.html"
    for out in (film, player):
        assert main(["draw", str(runs[latent_dim]), "evolution", f"--out={out}"]) == 0
    with Image.open(film) as moving:
        assert moving.n_frames == epochs
    html = player.read_text()
    assert html.count("<img ") == epochs
    assert f"<output>epoch {epochs}</output>" in html
    assert html.startswith("<!DOCTYPE html>")
    assert "http" not in html


def test_the_film_of_an_interpolation_is_a_closed_walk_through_all_classes(runs, tmp_path, digits):
    out = tmp_path / "walk.gif"
    assert main(["draw", str(runs[5]), "interpolation", f"--out={out}"]) == 0
    frames = []
    with Image.open(out) as moving:
        for frame in ImageSequence.Iterator(moving):  # Pictures in a row that look the same are one that stays longer.
            frames += [np.asarray(frame.convert("L"))[::4, ::4]] * (frame.info["duration"] // 120)
    model = Run.load(runs[5]).model()
    codes = model.encode(firsts(digits, *range(10)))[0]
    walk = torch.cat([codes[k] + step / 8 * (codes[(k + 1) % 10] - codes[k]) for k in range(10) for step in range(8)])
    expected = 1 - model.decode(walk.unflatten(0, (80, 5))).numpy()
    assert len(frames) == 82  # The last one stays three times as long.
    assert np.abs(expected - np.roll(expected, 8, axis=0)).max() > 0.3  # Classes do not look alike.
    np.testing.assert_allclose(np.stack(frames[:80]) / 255, expected, atol=0.06)  # A frame has 32 greys.


def test_the_confusion_is_counted_image_by_image(runs, drawn, digits):
    figure = drawn(2, "confusion")
    network = Classifier.load(runs[2].parent / "classifier-s0")
    before, after = (
        network.names(x) for x in (digits.test_images, Run.load(runs[2]).model().reconstruct(digits.test_images))
    )
    shade = figure.axes[0].images[0].get_array().filled(np.nan)
    for was in range(10):
        for to in set(range(10)) - {was}:
            share = (after[before == was] == to).mean() if (before == was).any() else 0
            assert shade[was, to] == pytest.approx(share)


def test_without_a_classifier_the_command_that_makes_it_is_said(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "saved", lambda figure, kind: b"drawn")
    assert main(["draw", str(run.path), "confusion", f"--out={tmp_path / 'x.png'}"]) == 2
    root = run.path.parents[1]
    expected = (
        f"no trained classifier in {root}/digits/classifier-s0: "
        f"vaelib classifier --dataset digits --runs-root {root} makes it"
    )
    assert lines(capsys) == ([], [f"vaelib: {expected}"])
    assert main(["draw", str(run.path), "all", f"--out={tmp_path / 'all'}", "--points=40"]) == 0
    out, err = lines(capsys)
    assert f"vaelib: no confusion.png: {expected}" in err
    assert str(tmp_path / "all" / "losses.png") in out


def test_a_classifier_elsewhere_is_taken_where_it_is_given(run, runs, drawn):
    given = drawn(2, "confusion", f"--classifier={runs[2].parent / 'classifier-s0'}", run=run.path)
    beside = drawn(2, "confusion")
    np.testing.assert_array_equal(*(figure.axes[0].images[0].get_array() for figure in (given, beside)))


@pytest.mark.parametrize("latent_dim", [1, 2, 3, 5])
def test_all_is_every_figure_that_the_model_has(latent_dim, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "saved", lambda figure, kind: (figure.draw_without_rendering(), b"drawn")[1])
    out = tmp_path / "new" / "figures"
    given = ["--points=40", "--steps=4", "--from=3"]
    assert main(["draw", str(runs[latent_dim]), "all", f"--out={out}", *given]) == 0
    expected = {f"{what.value}.png" for what in What} - {"all.png"} | {"evolution.gif"}
    expected = expected | {"embeddings.html"} if latent_dim == 3 else expected
    left_out = []
    if latent_dim != 2:
        expected.remove("map.png")
        left_out = [f"vaelib: no map.png: a latent map needs latent_dim 2, this model has {latent_dim}"]
    shown, err = lines(capsys)
    assert shown == [str(out / name) for name in sorted(expected)]
    assert {file.name for file in out.iterdir()} == expected
    assert err == left_out
    assert list(tmp_path.iterdir()) == [out.parent]
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--from=ten"], "class 'ten': accepted for digits is one of 0, 1,"),
        (["--classifier=nowhere"], "nowhere holds no trained classifier"),
        (["--extent=wide"], "extent wide: accepted is quantiles, or a number above 0 and up to 100"),
        (["--perplexity=5"], "perplexity 5: 2 dimensions are drawn as they are"),
        (["--out=figures.png"], "out figures.png: accepted for all is the name of a folder"),
    ],
)
def test_a_wrong_option_of_all_leaves_nothing(more, message, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(figures, "saved", lambda figure, kind: b"drawn")
    assert main(["draw", str(runs[2]), "all", "--points=40", *more]) == 2
    out, err = lines(capsys)
    assert out == []
    assert len(err) == 1
    assert message in err[0]
    assert list(tmp_path.iterdir()) == []


def test_all_that_is_interrupted_leaves_nothing(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "saved", lambda figure, kind: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["draw", str(runs[2]), "all", f"--out={tmp_path / 'all'}"]) == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["portrait"], "portrait"),
        (
            ["losses", "--from=3"],
            "losses does not use --from: accepted with traversals, interpolation, transition, all",
        ),
        (["map", "--count=3"], "map does not use --count: accepted with samples, all"),
        (["samples", "--classifier=x"], "samples does not use --classifier: accepted with confusion, all"),
        (["interpolation", "--to=3", "--out=x.gif"], "interpolation as .gif does not use --to"),
        (["losses", "--out=x.gif"], "out x.gif: accepted for losses is a file that ends in .png, .svg, .pdf"),
        (["evolution", "--out=x.jpg"], "ends in .png, .svg, .pdf, .gif, .html"),
        (["embeddings", "--out=x"], "ends in .png, .svg, .pdf, .html"),
        (["map", "--steps=1"], "--steps"),
        (["losses"], "nowhere is no run"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_exit_code_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", "nowhere", *arguments]) == 2
    out, err = lines(capsys)
    assert out == []
    assert len(err) == 1
    assert message in err[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("latent_dim", "arguments", "message"),
    [
        (3, ["map"], "a latent map needs latent_dim 2, this model has 3"),
        (2, ["map", "--extent=nan"], "extent nan: accepted is quantiles, or a number"),
        (2, ["map", "--extent=0"], "extent 0: accepted"),
        (3, ["embeddings", "--perplexity=5"], "perplexity 5: 3 dimensions are drawn as they are"),
        (5, ["embeddings", "--points=9", "--perplexity=9"], "perplexity 9: accepted is less than the number of codes"),
        (2, ["transition", "--to=ten"], "class 'ten': accepted for digits is one of 0, 1"),
    ],
)
def test_what_the_model_does_not_have_is_one_line(latent_dim, arguments, message, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["draw", str(runs[latent_dim]), *arguments]) == 2
    out, err = lines(capsys)
    assert out == []
    assert len(err) == 1
    assert message in err[0]
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_run_has_no_figures(run, tmp_path, capsys):
    (run.path / "model.safetensors").unlink()
    assert main(["draw", str(run.path), "losses", f"--out={tmp_path / 'x.png'}"]) == 2
    assert "is not finished" in lines(capsys)[1][0]


def test_own_images_have_figures_with_their_own_classes(clothes, drawn, tmp_path, monkeypatch, capsys):
    """Images of 12x12; of 1, 7 and 8 the set has none, so that paths lead from the first class to the last."""
    monkeypatch.chdir(tmp_path)
    file = write_npz(tmp_path / "clothes.npz", clothes)
    run = training.train(small_config(tmp_path / "runs", dataset=str(file), latent_dim=3, epochs=1, batch_size=9))
    figure = drawn(3, "transition", "--steps=3", run=run.path)
    assert figure.axes[0].get_title() == "linear, d = 3: hat to shoe"
    again = run.model().reconstruct(firsts(data.load(file), 0, 2)).numpy()
    np.testing.assert_allclose(pictures(figure, 3, 3, side=12, gap=1)[0, [0, 2]], again, atol=GREYS)
    assert drawn(3, "traversals", run=run.path).axes[0].get_title() == "linear, d = 3, from hat"
    lines(capsys)
    assert main(["draw", str(run.path), "transition", "--from=scarf"]) == 2
    assert lines(capsys)[1] == ["vaelib: class 'scarf': accepted for clothes is one of hat, shirt, shoe"]
    file.unlink()
    out = tmp_path / "figures"
    assert main(["draw", str(run.path), "all", f"--out={out}"]) == 0
    assert {file.name for file in out.iterdir()} == {
        "evolution.gif", "losses.png", "reconstructions.png", "samples.png",
    }  # fmt: skip
    assert "vaelib: no transition.png: dataset" in "\n".join(lines(capsys)[1])
