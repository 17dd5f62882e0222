import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import write_npz
from PIL import Image

from vaelib import InputError, evaluation, training
from vaelib.cli import main


def lines(capsys):
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("split", ["train", "test"])
def test_true_images_are_written_as_generated_ones_are(split, folder, digits, capsys):
    assert main(["data", f"digits:{split}"]) == 0
    assert lines(capsys)[0] == [f"digits-{split}.npy"]
    array = np.load(f"digits-{split}.npy")
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, getattr(digits, f"{split}_images")[:, 0] / 255)
    again = evaluation.read_images(f"digits-{split}.npy")
    np.testing.assert_array_equal((again * 255).round(), getattr(digits, f"{split}_images"))


def test_the_first_are_taken_unless_they_are_drawn(folder, digits):
    for more, expected in (
        ([], digits.test_images[:7]),
        (["--seed=3"], evaluation.read_images("digits:test", 7, 3)),
        (["--class=4"], digits.test_images[digits.test_labels == 4][:7]),
    ):
        assert main(["data", "digits:test", "--count=7", "--out=x.npy", *more]) == 0
        np.testing.assert_allclose(np.load("x.npy"), expected[:, 0] / 255)
        Path("x.npy").unlink()
    assert main(["data", "digits:train", "--digit=4"]) == 0
    assert len(np.load("digits-train-4.npy")) == (digits.train_labels == 4).sum()


def test_pictures_have_the_ink_asked_for(folder, digits):
    expected = digits.test_images[:6, 0].numpy()
    for ink, shown in (("white", expected), ("black", 255 - expected)):
        assert main(["data", "digits:test", "--count=6", "--format=png", f"--ink={ink}", f"--out={ink}"]) == 0
        for file, image in zip(sorted(Path(ink).iterdir()), shown, strict=True):
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(file.read_bytes()))), image)
        grid = ["data", "digits:test", "--count=6", "--format=grid", f"--ink={ink}", f"--out={ink}.png"]
        assert main(grid) == 0
        picture = np.asarray(Image.open(io.BytesIO(Path(f"{ink}.png").read_bytes())))
        np.testing.assert_array_equal(picture[30:58, 60:88], shown[5])


def test_own_images_are_read_as_everywhere(folder, clothes):
    write_npz(folder / "own" / "clothes.npz", clothes)
    assert main(["data", "own/clothes.npz:train", "--class=shirt"]) == 0
    shirts = clothes.train_images[clothes.train_labels == 1]
    np.testing.assert_allclose(np.load("clothes-train-shirt.npy"), shirts[:, 0] / 255)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["digits"], "digits: accepted is NAME:train or NAME:test, such as mnist:test"),
        (["digits:valid"], "digits:valid: accepted is NAME:train or NAME:test"),
        ([":test"], ":test: accepted is NAME:train"),
        (["letters:test"], "dataset 'letters' is not there: accepted is one of mnist"),
        (["digits:test", "--count=361"], "count 361: accepted is 1 to the 360 images that are there"),
        (["digits:test", "--class=ten"], "class 'ten': accepted for digits is one of 0, 1"),
        (["digits:test", "--seed=1"], "seed 1: accepted with --count"),
        (["digits:test", "--ink=black"], "ink black: accepted with --format png, jpg and grid"),
        (["digits:test", "--format=grid", "--out=x.npy"], "accepted with --format grid is a file that ends in .png"),
        (["digits:test", "--out=mine.npy"], "mine.npy is already there: give another --out"),
    ],
)
def test_what_cannot_be_written_is_one_line_and_exit_code_2(arguments, message, folder, capsys):
    (folder / "mine.npy").write_text("mine")
    assert main(["data", *arguments]) == 2
    out, err = lines(capsys)
    assert out == []
    assert len(err) == 1
    assert message in err[0]
    assert [file.name for file in folder.iterdir()] == ["mine.npy"]
    assert (folder / "mine.npy").read_text() == "mine"


def test_what_fid_lacks_is_said_with_the_command_that_makes_it(finished_run, clothes, folder, capsys):
    """Where runs lie beside each other, one is made beside them."""
    root = folder / "kept" / "runs"
    shutil.copytree(finished_run.path, root / "digits" / "one")
    own = write_npz(folder / "my clothes.npz", clothes)
    np.save("images.npy", clothes.test_images[:, 0])
    for sources, dataset, there in (
        (["digits:train", "digits:test"], "digits", folder / "runs"),
        (["images.npy", f"{own}:test"], f"'{own}'", folder / "runs"),
        (["kept/runs/digits/one", "digits:test"], "digits", root),
        (["digits:test", "kept/runs/digits/one"], "digits", folder / "runs"),
    ):
        name = "digits" if dataset == "digits" else "my-clothes"
        assert main(["fid", *sources]) == 2
        assert lines(capsys)[1] == [
            f"vaelib: no trained classifier in {there}/{name}/classifier-s0: "
            f"vaelib classifier --dataset {dataset} --runs-root {there} makes it"
        ]
    assert main(["fid", "images.npy", "images.npy"]) == 2
    assert lines(capsys)[1] == [
        f"vaelib: no classifier under {folder}/runs: give the path of one, or make one with "
        f"vaelib classifier --dataset NAME --runs-root {folder}/runs"
    ]


def test_the_command_that_is_said_makes_what_is_looked_for(clothes, folder, capsys):
    """Of a path with a space, from another folder, as the shell reads the line."""
    import shlex

    own = write_npz(folder / "my clothes.npz", clothes)
    ask = ["fid", f"{own}:train", f"{own}:test", "--runs-root=the runs"]
    assert main(ask) == 2
    words = shlex.split(lines(capsys)[1][0].partition("vaelib classifier")[2].removesuffix(" makes it"))
    assert main(["classifier", *words, "--epochs=1", "--batch-size=9"]) == 0
    assert lines(capsys)[0][-1] == f"{folder}/the runs/my-clothes/classifier-s0"
    with pytest.warns(UserWarning, match="FID of"):
        evaluation.fid(f"{own}:train", f"{own}:test", runs_root="the runs")


def test_a_classifier_one_folder_up_is_named_with_the_way_to_it(clothes, folder, monkeypatch):
    """Notebooks run in notebooks/, while runs lie beside that folder."""
    made = training.train_classifier(clothes, 1, 9, runs_root="runs").path
    (folder / "notebooks").mkdir()
    monkeypatch.chdir(folder / "notebooks")
    with pytest.raises(InputError) as caught:
        training.find_classifier("", "runs", clothes)
    assert str(caught.value) == (
        f"no trained classifier in {folder}/notebooks/runs/clothes/classifier-s0: "
        f"vaelib classifier --dataset PATH --runs-root {folder}/notebooks/runs makes it; "
        f"one lies in {folder / made}, which the runs_root ../runs leads to"
    )
    assert training.find_classifier("", "../runs", clothes).path.resolve() == folder / made
    with pytest.raises(InputError) as caught:
        training.find_classifier("", str(folder / "elsewhere"), clothes)
    assert "one lies in" not in str(caught.value)


def test_an_evaluation_says_how_to_get_a_classifier(run, digits):
    depth = evaluation.Depth(1, 5, 0, 1)
    (reason,) = evaluation.evaluate(run, depth=depth, images=digits)["missing"].values()
    root = run.path.parents[1]
    assert reason == (
        f"no trained classifier in {root}/digits/classifier-s0: "
        f"vaelib classifier --dataset digits --runs-root {root} makes it"
    )


def test_a_folder_of_a_classifier_that_was_not_trained_to_its_end_is_none(run, folder, capsys):
    (run.path.parent / "classifier-s0").mkdir()
    assert main(["fid", str(run.path), str(run.path)]) == 2
    assert "no trained classifier in" in lines(capsys)[1][0]
