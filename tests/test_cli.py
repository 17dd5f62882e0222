import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, write_npz
from PIL import Image

import vaelib
from vaelib import data, evaluation, latent, training
from vaelib.cli import main
from vaelib.config import TrainingConfig
from vaelib.training import Classifier, Run

QUICK = ["--dataset=digits", "--epochs=1", "--encoder-widths=8"]


def lines(capsys):
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


def test_train_ends_with_the_path_of_the_run(tmp_path, capsys):
    assert main(["train", *QUICK, f"--runs-root={tmp_path}", "--k2=4"]) == 0
    out, err = lines(capsys)
    run = Run.load(out[-1])
    assert run.finished
    assert run.config.encoder_widths == (8,)
    assert f"{run.provenance['parameters']:,} parameters; effective beta 4" in out[0]
    assert err == []


def test_flags_win_over_the_file_and_the_file_over_defaults(tmp_path, capsys):
    file = tmp_path / "config.toml"
    file.write_text(f'dataset = "digits"\nepochs = 1\nencoder_widths = [8]\nlatent_dim = 7\nruns_root = "{tmp_path}"\n')
    assert main(["train", f"--config={file}", "--latent-dim=3"]) == 0
    config = Run.load(lines(capsys)[0][-1]).config
    assert (config.dataset, config.latent_dim, config.lr) == ("digits", 3, 4e-3)


def test_help_teaches_every_setting(capsys):
    assert main(["train", "--help"]) == 0
    out = " ".join(" ".join(lines(capsys)[0]).split())
    for field in dataclasses.fields(TrainingConfig):
        assert f"--{field.name.replace('_', '-')} <" in out
        assert field.metadata["help"] in out
        assert field.metadata["accepts"] in out
    assert "--config" in out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["train", "--dataset=cifar"], "digits"),
        (["train", "--arch=resnet"], "convbn"),
        (["train", "--latent-dim=0"], "1 to 4,096"),
        (["train", "--latent-dim=10000"], "1 to 4,096"),
        (["train", "--epochs=abc"], "--epochs"),
        (["train", "--k1=0"], "k1 0"),
        (["train", "--k1=nan"], "k1 nan"),
        (["train", "--k2=-1"], "k2 -1"),
        (["train", "--encoder-widths=8,x"], "512,256"),
        (["train", "--noise=pepper"], "salt-pepper:P"),
        (["train", "--latent-dim=" + "9" * 400], "1 to 4,096"),
        (["train", "--config=."], "."),
        (["generate", "nowhere", "--count=0"], "--count"),
        (["train", "--z-dim=2"], "--z-dim"),
        (["train", "--config=missing.toml"], "missing.toml"),
        (["generate"], "RUN"),
        (["generate", "nowhere"], "nowhere is no run"),
        (["info", "nowhere"], "nowhere is no run"),
        (["evaluate"], "RUN"),
        (["evaluate", "nowhere"], "nowhere is no run"),
        (["evaluate", "nowhere", "--features=vgg"], "inception"),
        (["fid", "a.npy"], "B"),
        (["fid", "a.npy", "digits:test"], "accepted is an .npy or .npz file, a folder of png or jpg, a run"),
        (["fid", "digits:train", "digits:test"], "holds no trained classifier: vaelib classifier makes one"),
        (["compare"], "RUN"),
        (["compare", "nowhere"], "nowhere is no run"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, expected, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    out, err = lines(capsys)
    assert out == []
    assert len(err) == 1
    assert err[0].startswith("vaelib: ")
    assert expected in err[0]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_key_in_the_file_is_named_with_the_file(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text("z_dim = 2\n")
    assert main(["train", "--config=config.toml"]) == 2
    assert "unknown key in config.toml 'z_dim'" in lines(capsys)[1][0]


def test_the_installed_command_exits_with_2_and_no_traceback(tmp_path):
    command = [sys.executable, "-m", "vaelib.cli", "train", "--latent-dim=0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "vaelib: latent_dim 0: accepted is 1 to 4,096 (dimensions of z)\n"


def test_generated_arrays_are_the_priors_decoded(run, tmp_path, capsys):
    out = tmp_path / "new" / "samples.npy"
    assert main(["generate", str(run.path), "--count=5", "--seed=3", f"--out={out}"]) == 0
    assert lines(capsys)[0] == [str(out)]
    images = np.load(out)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, run.model().sample(5, seed=3))


@pytest.mark.parametrize(
    ("kind", "out"), [("npy", "samples.png"), ("grid", "samples.jpg"), ("png", "samples.png"), ("jpg", "samples.npy")]
)
def test_a_name_that_does_not_fit_its_format_is_refused(kind, out, run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    assert main(["generate", str(run.path), f"--format={kind}", f"--out={out}"]) == 2
    assert f"accepted with --format {kind} is" in lines(capsys)[1][0]
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_generated_files_hold_one_image_each(kind, run, tmp_path):
    out = tmp_path / "samples"
    assert main(["generate", str(run.path), "--count=12", f"--format={kind}", f"--out={out}"]) == 0
    files = sorted(out.iterdir())
    assert [file.name for file in files] == [f"{index:02d}.{kind}" for index in range(12)]
    expected = run.model().sample(12).numpy() * 255
    written = np.asarray(Image.open(files[7]), float)
    if kind == "png":
        assert np.abs(written - expected[7]).max() <= 0.5
    else:
        assert np.corrcoef(written.flatten(), expected[7].flatten())[0, 1] > 0.95
        assert np.abs(written - expected).mean((1, 2)).argmin() == 7


def test_a_grid_is_one_picture_with_room_for_all(run, tmp_path):
    out = tmp_path / "grid.png"
    assert main(["generate", str(run.path), "--count=10", "--format=grid", f"--out={out}"]) == 0
    picture = np.asarray(Image.open(out)) / 255
    assert picture.shape == (3 * 30 - 2, 4 * 30 - 2)
    fifth = run.model().sample(10)[5].numpy()
    np.testing.assert_allclose(picture[30:58, 30:58], 1 - fifth, atol=1 / 255)


def test_nothing_is_overwritten(run, tmp_path, capsys):
    out = tmp_path / "samples.npy"
    out.write_text("mine")
    assert main(["generate", str(run.path), f"--out={out}"]) == 2
    assert "already there" in lines(capsys)[1][0]
    assert out.read_text() == "mine"


def test_info_tells_settings_layers_and_results(run, capsys):
    assert main(["info", str(run.path)]) == 0
    out = " ".join(" ".join(lines(capsys)[0]).split())
    for part in (
        "latent_dim 2",
        "encoder_widths 32",
        "effective_beta 1",
        f"total {run.provenance['parameters']:,}",
        "encoder.1 Linear",
    ):
        assert part in out
    assert f"test recon_nats {run.final()['recon_nats']:.2f}" in out


def test_info_of_an_unfinished_run_says_so(run, capsys):
    (run.path / "model.safetensors").unlink()
    assert main(["info", str(run.path)]) == 0
    assert "not finished" in lines(capsys)[0][-1]


def test_generated_digits_are_those_of_their_class(run, tmp_path, capsys):
    out = tmp_path / "nines.npy"
    assert main(["generate", str(run.path), "--digit=9", "--count=6", "--seed=3", f"--out={out}"]) == 0
    expected = latent.sample_classes(run.model(), data.load("digits"), [9], 6, seed=3)
    np.testing.assert_array_equal(np.load(out), expected)
    assert main(["generate", str(run.path), "--digit=9", "--covariance=diagonal", f"--out={tmp_path / 'd.npy'}"]) == 0


def test_each_class_has_a_row_of_its_own(run, tmp_path):
    out = tmp_path / "all.png"
    assert main(["generate", str(run.path), "--per-class", "--count=4", "--format=grid", f"--out={out}"]) == 0
    with Image.open(out) as picture:
        assert picture.size == (4 * 30 - 2, 10 * 30 - 2)
    arrays = tmp_path / "all.npy"
    assert main(["generate", str(run.path), "--per-class", "--count=4", f"--out={arrays}"]) == 0
    np.testing.assert_array_equal(
        np.load(arrays), latent.sample_classes(run.model(), data.load("digits"), list(range(10)), 4, seed=0)
    )


def test_samples_are_named_by_what_they_are(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for more in ([], ["--digit=9"], ["--per-class"]):
        assert main(["generate", str(run.path), "--count=2", *more]) == 0
    assert {file.stem.removeprefix(f"samples-{run.path.name}") for file in tmp_path.glob("*.npy")} == {
        "", "-9", "-per-class",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--digit=12"], "class '12': accepted for digits is one of 0, 1, 2, 3, 4, 5, 6, 7, 8, 9"),
        (["--digit=3", "--per-class"], "class 3 and --per-class: accepted is one of the two"),
        (["--class=-1"], "class '-1': accepted for digits"),
        (["--digit=3", "--covariance=round"], "--covariance"),
    ],
)
def test_a_class_that_cannot_be_drawn_is_one_line(more, message, run, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.rglob("*"))
    assert main(["generate", str(run.path), *more]) == 2
    _, err = lines(capsys)
    assert len(err) == 1
    assert message in err[0]
    assert set(tmp_path.rglob("*")) == before


def test_an_unfinished_run_draws_nothing(run, tmp_path, capsys):
    (run.path / "model.safetensors").unlink()
    assert main(["generate", str(run.path), "--digit=3", f"--out={tmp_path / 'x.npy'}"]) == 2
    assert "is not finished" in lines(capsys)[1][0]


def test_the_classifier_is_trained_once(tmp_path, capsys):
    command = ["classifier", "--dataset=digits", "--epochs=1", f"--runs-root={tmp_path}"]
    assert main(command) == 0
    first, err = lines(capsys)
    assert first[0].startswith("test accuracy ")
    assert first[1] == str(tmp_path / "digits" / "classifier-s0")
    assert err == []
    assert main(command) == 0
    assert lines(capsys)[0] == first
    assert main(["info", first[1]]) == 0
    shown = "\n".join(lines(capsys)[0])
    assert "dataset          digits" in shown
    assert first[0].split()[-1] in shown
    assert main([*command[:2], "--epochs=0"]) == 2
    assert main(["classifier", "--dataset=letters"]) == 2


def test_a_run_is_evaluated_and_compared(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    paths = []
    for width in (8, 16):
        main(["train", "--dataset=digits", "--epochs=1", f"--encoder-widths={width}", f"--runs-root={tmp_path}"])
        paths.append(lines(capsys)[0][-1])
    main(["classifier", "--dataset=digits", "--epochs=1", f"--runs-root={tmp_path}"])
    lines(capsys)
    quick = ["--draws=10", "--images=20", "--resamplings=1"]
    for path in paths:
        assert main(["evaluate", path, *quick, "--features=classifier", "--features=inception"]) == 0
        out, err = lines(capsys)
        assert out[-1] == f"{path}/metrics.json"
        assert "inception is missing: Inception's weights cannot be downloaded (no network)" in "\n".join(out)
        assert err == []
        assert evaluation.values(Run.load(path))["classifier_prior_fid"] > 0
    assert main(["compare", *paths, "--measure=l10_nats", "--measure=active_units"]) == 0
    out, _ = lines(capsys)
    assert out[0] == "baseline: digits linear-d2-epochs1-encoder_widths8"
    assert "linear-d2-epochs1-encoder_widths16" in out[2]
    assert "images" in out[4]
    assert "unknown" in out[5]
    named = f"--classifier={tmp_path}/digits/classifier-s0"
    assert main(["fid", paths[0], "digits:test", "--count=300", named]) == 0
    out, _ = lines(capsys)
    assert out[0] == f"300 images of {paths[0]} against 360 of digits:test"
    shown = {line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in out}
    assert set(shown) >= {"FID", "FID at endless N", "KID", "precision", "recall", "density", "coverage"}
    seen = Classifier.load(f"{tmp_path}/digits/classifier-s0").features
    drawn = Run.load(paths[0]).model().sample(300)
    expected = evaluation.frechet(seen(drawn), seen(data.load("digits").test_images))
    assert float(shown["FID"]) == pytest.approx(expected, rel=1e-5)
    np.save(tmp_path / "few.npy", np.zeros((3, 28, 28)))
    assert main(["fid", f"{tmp_path}/few.npy", "digits:test", named]) == 2
    assert lines(capsys)[1] == ["vaelib: 3 images: accepted are 6 at least, for 5 neighbours"]


@pytest.mark.filterwarnings("default")
def test_fewer_images_than_features_are_said_in_one_line(tmp_path, capsys):
    main(["classifier", "--dataset=digits", "--epochs=1", f"--runs-root={tmp_path}"])
    lines(capsys)
    named = f"--classifier={tmp_path}/digits/classifier-s0"
    assert main(["fid", "digits:train", "digits:test", "--count=100", named]) == 0
    _, err = lines(capsys)
    assert err == [
        "vaelib: FID of 100 images by 128 features says more about their number than about the images: "
        "give 129 at least"
    ]


def test_a_feature_network_that_was_named_must_be_there(finished_run, tmp_path, capsys):
    given = ["evaluate", str(finished_run.path), "--draws=1", "--images=1", "--features=inception"]
    assert main([*given, f"--inception-weights={tmp_path}/gone.pth"]) == 2
    assert "gone.pth is no file" in lines(capsys)[1][0]
    (tmp_path / "weights.pth").write_bytes(b"other")
    assert main([*given, f"--inception-weights={tmp_path}/weights.pth"]) == 2
    assert "has sha256" in lines(capsys)[1][0]
    assert not (finished_run.path / "metrics.json").exists()
