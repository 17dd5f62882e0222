import numpy as np
import pytest
from conftest import small_config
from PIL import Image

from vaelib import latent, training
from vaelib.cli import main


def lines(capsys):
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


@pytest.mark.parametrize("more", [["--class=3"], ["--per-class"]])
def test_a_gaussian_is_fitted_to_as_many_codes_as_were_asked_for(more, run, digits, tmp_path):
    out = tmp_path / "few.npy"
    assert main(["generate", str(run.path), *more, "--codes=20", "--count=4", f"--out={out}"]) == 0
    classes = [3] if more == ["--class=3"] else list(range(10))
    drawn = np.load(out)
    np.testing.assert_array_equal(drawn, latent.sample_classes(run.model(), digits, classes, 4, 0, codes=20))
    assert not np.array_equal(drawn, latent.sample_classes(run.model(), digits, classes, 4, 0))


def read(path):
    """Grey values in [0, 1]."""
    with Image.open(path) as picture:
        return np.asarray(picture, float) / 255


def test_ink_is_white_unless_black_is_asked_for(run, tmp_path):
    """Twelve images, those of the grid in three rows of four."""
    expected = run.model().sample(12).numpy()
    for ink in ("white", "black", None):
        more = [f"--ink={ink}"] if ink else []
        for kind, out in (("png", "files"), ("jpg", "pictures"), ("grid", "grid.png")):
            path = tmp_path / f"{ink}" / out
            assert main(["generate", str(run.path), "--count=12", f"--format={kind}", f"--out={path}", *more]) == 0
        shown = 1 - expected if ink == "black" else expected
        files, pictures = (sorted((tmp_path / f"{ink}" / folder).iterdir()) for folder in ("files", "pictures"))
        np.testing.assert_allclose([read(file) for file in files], shown, atol=0.51 / 255)
        assert np.corrcoef(np.ravel([read(file) for file in pictures]), shown.ravel())[0, 1] > 0.95
        grid = read(tmp_path / f"{ink}" / "grid.png")
        np.testing.assert_allclose(grid[30:58, 60:88], shown[6], atol=0.51 / 255)
        assert (grid[28:30] == (ink == "black")).all()


def test_what_a_row_of_a_grid_lacks_has_no_ink(run, tmp_path):
    for ink, ground in (("white", 0), ("black", 1)):
        out = tmp_path / f"{ink}.png"
        command = ["generate", str(run.path), "--count=3", "--format=grid", f"--ink={ink}", f"--out={out}"]
        assert main(command) == 0
        assert (read(out)[30:, 30:] == ground).all()


def test_an_epochs_weights_are_drawn_with(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = training.train(small_config(tmp_path / "runs", keep_every=1))
    for epoch in (1, 2):
        assert main(["generate", str(run.path), "--count=3", f"--epoch={epoch}"]) == 0
        out = f"samples-{run.path.name}-epoch{epoch}.npy"
        assert lines(capsys)[0] == [out]
        np.testing.assert_array_equal(np.load(out), run.model(epoch=epoch).sample(3))
    assert not np.array_equal(np.load(out), run.model(epoch=1).sample(3))
    assert main(["generate", str(run.path), "--epoch=3"]) == 2
    assert "epoch" in lines(capsys)[1][0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--codes=5"], "codes 5: accepted with --class or --per-class"),
        (["--class=3", "--codes=1"], "--codes"),
        (["--ink=black"], "ink black: accepted with --format png, jpg and grid, as npy holds numbers"),
        (["--ink=white", "--format=npy"], "ink white: accepted with --format png, jpg and grid"),
        (["--ink=red", "--format=grid"], "--ink"),
        (["--epoch=0"], "--epoch"),
    ],
)
def test_an_option_that_says_nothing_is_refused(more, message, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert main(["generate", str(run.path), *more]) == 2
    out, err = lines(capsys)
    assert out == []
    assert len(err) == 1
    assert message in err[0]
    assert set(tmp_path.rglob("*")) == before
