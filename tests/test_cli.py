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
    """Without spaces, as lines are broken after hyphens too."""
    for flag in ("--help", "-h"):
        assert main(["train", flag]) == 0
        out = "".join("".join(lines(capsys)[0]).split())
        for field in dataclasses.fields(TrainingConfig):
            flag = field.name.replace("_", "-")
            assert (f"--{flag}/--no-{flag}" if field.type is bool else f"--{flag}<") in out
            assert "".join(field.metadata["help"].split()) in out
            assert "".join(field.metadata["accepts"].split()) in out
        assert "--config" in out
        assert "--renew" in out


def test_every_command_answers_for_help(capsys):
    assert main(["-h"]) == 0
    shown = "\n".join(lines(capsys)[0])
    for command in ("train", "classifier", "info", "draw", "generate", "data", "evaluate", "fid", "compare"):
        assert f"  {command} " in shown
        assert main([command, "-h"]) == 0
        assert "--help" in "\n".join(lines(capsys)[0])


def test_the_version_is_the_packages(capsys):
    assert main(["--version"]) == 0
    assert lines(capsys) == ([f"vaelib {vaelib.__version__}"], [])


@pytest.mark.parametrize("module", ["vaelib", "vaelib.cli"])
def test_the_package_runs_as_a_module(module):
    done = subprocess.run([sys.executable, "-m", module, "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"vaelib {vaelib.__version__}\n", "")


def test_without_a_command_the_help_is_shown(capsys):
    assert main([]) == 2
    assert "Usage:" in "".join(lines(capsys)[1])


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
        (["train", "--encoder-widths=8,x"], "encoder_widths 'x': accepted is a whole number, 1 to 8,192"),
        (["train", "--encoder-widths=1,2,3,4,5,6,7,8,9"], "512,256"),
        (["train", "--schedule=step"], "onecycle:SHARE"),
        (["train", "--batch-size=0", "--renew"], "1 to 60,000"),
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
        (
            ["evaluate", "nowhere", "--noise=gaussian:0.1", "--noise=pepper"],
            "noise 'pepper': accepted are salt-pepper:P",
        ),
        (["evaluate", "nowhere", "--paths=0"], "--paths"),
        (["fid", "a.npy"], "B"),
        (["fid", "a.npy", "digits:test"], "an .npy or .npz file, a folder of png or jpg, a run"),
        (["fid", "digits:train", "digits:test"], "/runs makes it"),
        (["compare"], "RUN"),
        (["compare", "nowhere"], "nowhere is no run"),
        (["classifier", "--dataset=letters"], "accepted is one of mnist"),
        (["classifier", "--epochs=0"], "--epochs"),
        (["trian"], "trian"),
        (["--verbose"], "--verbose"),
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


def test_the_installed_command_exits_with_2_and_no_traceback():
    command = [Path(sys.executable).with_name("vaelib"), "train", "--latent-dim=0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "vaelib: latent_dim 0: accepted is 1 to 4,096 (dimensions of z)\n"


def test_a_tilde_that_the_shell_leaves_is_the_home_folder(run, tmp_path):
    """bash expands none after the = of a flag. The run is there already."""
    command = f"'{sys.executable}' -m vaelib train --dataset=digits --epochs=2 --encoder-widths=32 --runs-root=~/runs"
    environment = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(run.path) == f"{tmp_path}/runs/digits/{run.path.name}"
    assert not (ROOT / "~").exists()


def test_a_stopped_training_says_that_it_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(training, "train", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["train", *QUICK, f"--runs-root={tmp_path}"]) == 130
    assert lines(capsys)[1][-1] == "vaelib: interrupted; vaelib train goes on where it was when asked for again"


def test_a_run_is_renewed_where_that_is_asked_for(run, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(training, "train", lambda config, renew: (asked.append(renew), run)[1])
    for more in ([], ["--renew"]):
        assert main(["train", *QUICK, *more]) == 0
        assert lines(capsys)[0][-1] == str(run.path)
    assert asked == [False, True]


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
    np.testing.assert_allclose(picture[30:58, 30:58], fifth, atol=1 / 255)


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


def test_generated_images_are_those_of_their_class(run, tmp_path, capsys):
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
    for more in ([], ["--class=9"], ["--per-class"], ["--format=grid"], ["--format=png"]):
        assert main(["generate", str(run.path), "--count=2", *more]) == 0
    assert {path.name.removeprefix(f"samples-{run.path.name}") for path in tmp_path.glob("samples-*")} == {
        ".npy", "-9.npy", "-per-class.npy", ".png", "",
    }  # fmt: skip


def test_samples_are_named_by_the_run_from_inside_it_too(run, monkeypatch, capsys):
    monkeypatch.chdir(run.path)
    assert main(["generate", ".", "--count=2"]) == 0
    assert lines(capsys)[0] == [f"samples-{run.path.name}.npy"]
    assert np.load(f"samples-{run.path.name}.npy").shape == (2, 28, 28)


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


@pytest.fixture(scope="module")
def own(clothes, tmp_path_factory):
    """A folder with 150 images of clothes to learn and 150 others, as a file, two runs of them and a classifier."""
    folder = tmp_path_factory.mktemp("own")
    labels = np.arange(300) % 3
    pixels = np.random.default_rng(5).integers(0, 60, (300, 8, 8), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[2 * label : 2 * label + 2] += 190
    names = ("T-shirt/top", "hat", "shoe")
    halves = (pixels[:150], labels[:150], pixels[150:], labels[150:])
    write_npz(folder / "clothes.npz", data.from_arrays(*halves, name="clothes", class_names=names))
    np.save(folder / "test.npy", pixels[150:])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for width in (8, 16):
            assert main(["train", "--dataset=clothes.npz", "--epochs=1", f"--encoder-widths={width}"]) == 0
        assert main(["classifier", "--dataset=clothes.npz", "--epochs=3", "--batch-size=15"]) == 0
    return folder


RUNS = [f"runs/clothes/linear-d2-s0-epochs1-encoder_widths{width}" for width in (8, 16)]
CLASSIFIER = "runs/clothes/classifier-s0"


def test_own_images_are_learnt_by_their_path(own, monkeypatch, capsys):
    monkeypatch.chdir(own)
    assert main(["info", RUNS[0]]) == 0
    out = " ".join(" ".join(lines(capsys)[0]).split())
    assert "dataset ./clothes.npz" in out
    assert "encoder.1 Linear(in_features=64, out_features=8, bias=True) 520" in out
    assert main(["train", "--dataset=clothes.npz", "--epochs=1", "--encoder-widths=8"]) == 0
    assert lines(capsys)[0][-1] == RUNS[0]


def test_own_classes_are_drawn_by_their_names(own, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(own)
    images, model = data.load("clothes.npz"), Run.load(RUNS[0]).model()
    for name, label in (("T-shirt/top", 0), ("shoe", 2)):
        out = tmp_path / f"{label}.npy"
        assert main(["generate", RUNS[0], f"--class={name}", "--count=3", f"--out={out}"]) == 0
        np.testing.assert_array_equal(np.load(out), latent.sample_classes(model, images, [label], 3, seed=0))
    each = ["generate", RUNS[0], "--per-class", "--count=4"]
    assert main([*each, "--format=grid", f"--out={tmp_path / 'all.png'}"]) == 0
    with Image.open(tmp_path / "all.png") as picture:
        assert picture.size == (4 * 9 - 1, 3 * 9 - 1)
    assert main([*each, "--format=png", f"--out={tmp_path / 'all'}"]) == 0
    assert [file.name for file in sorted((tmp_path / "all").iterdir())] == [f"{index:02d}.png" for index in range(12)]
    lines(capsys)
    assert main(["generate", RUNS[0], "--class=trousers"]) == 2
    assert lines(capsys)[1] == ["vaelib: class 'trousers': accepted for clothes is one of T-shirt/top, hat, shoe"]
    (own / "out").mkdir()
    monkeypatch.chdir(own / "out")
    run = own / RUNS[0]
    assert main(["generate", str(run), "--count=1"]) == 0
    assert main(["generate", str(run), "--class=hat"]) == 2
    assert "dataset './clothes.npz' is not there" in lines(capsys)[1][0]
    write_npz(own / "out" / "clothes.npz", data.hold_out(images, 20))
    assert main(["generate", str(run), "--class=hat"]) == 2
    assert lines(capsys)[1] == [f"vaelib: {run} learnt other images than this clothes"]
    monkeypatch.chdir(own)
    assert main(["generate", RUNS[0], "--class=T-shirt/top", "--count=1"]) == 0
    assert lines(capsys)[0] == [f"samples-{run.name}-T-shirt-top.npy"]


def test_the_classifier_is_trained_once(own, tmp_path, capsys):
    command = ["classifier", f"--dataset={own / 'clothes.npz'}", "--epochs=1", f"--runs-root={tmp_path}"]
    assert main(command) == 0
    first, err = lines(capsys)
    assert first[0].startswith("test accuracy ")
    assert first[1] == str(tmp_path / "clothes" / "classifier-s0")
    assert err == []
    assert main(command) == 0
    assert lines(capsys)[0] == first
    assert main([*command, "--epochs=2"]) == 2
    assert "holds another classifier" in lines(capsys)[1][0]
    assert main([*command, "--epochs=2", "--renew"]) == 0
    second = lines(capsys)[0]
    assert second[1] == first[1]
    assert main(["info", first[1]]) == 0
    shown = "\n".join(lines(capsys)[0])
    assert f"dataset          {own / 'clothes.npz'}" in shown
    assert second[0].split()[-1] in shown


def test_runs_are_evaluated_and_compared(own, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(own)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("torch.hub.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    quick = ["--draws=10", "--images=20", "--resamplings=1", "--paths=4", "--class-draws=3", "--embedded=20"]
    quick += ["--noise=salt-pepper:.1", "--noise=gaussian:0.3"]
    for path in RUNS:
        assert main(["evaluate", path, *quick, "--features=classifier", "--features=inception"]) == 0
        out, err = lines(capsys)
        assert out[-1] == f"{path}/metrics.json"
        assert "inception is missing: Inception's weights cannot be downloaded (no network)" in "\n".join(out)
        assert err == []
        assert evaluation.values(Run.load(path))["classifier_prior_fid"] > 0
        assert evaluation.noises(Run.load(path)).noise.tolist() == ["none", "gaussian:0.3", "salt-pepper:0.1"]
        assert evaluation.read(Run.load(path))["measures"]["classifier_arc_sure"]["n"] == 4
        assert any(line.split()[:1] == ["salt-pepper:0.1"] for line in out)
    assert main(["compare", *RUNS, "--measure=l10_nats", "--measure=active_units"]) == 0
    out, _ = lines(capsys)
    assert out[0] == "baseline: clothes linear-d2-epochs1-encoder_widths8"
    assert "linear-d2-epochs1-encoder_widths16" in out[2]
    assert "images" in out[4]
    assert "unknown" in out[5]


def test_samples_are_compared_with_images(own, capsys, monkeypatch):
    monkeypatch.chdir(own)
    named = f"--classifier={CLASSIFIER}"
    assert main(["fid", RUNS[0], "test.npy", "--count=140", named]) == 0
    out, _ = lines(capsys)
    assert out[0] == f"140 images of {RUNS[0]} against 150 of test.npy"
    shown = {line.rsplit(maxsplit=1)[0].strip(): line.split()[-1] for line in out}
    assert set(shown) >= {"FID", "FID at endless N", "KID", "precision", "recall", "density", "coverage"}
    seen = Classifier.load(CLASSIFIER).features
    expected = evaluation.frechet(seen(Run.load(RUNS[0]).model().sample(140)), seen(np.load("test.npy")))
    assert float(shown["FID"]) == pytest.approx(expected, rel=1e-5)
    np.save("few.npy", np.zeros((3, 8, 8)))
    assert main(["fid", "few.npy", "test.npy", named]) == 2
    assert lines(capsys)[1] == ["vaelib: 3 images: accepted are 6 at least, for 5 neighbours"]


@pytest.mark.filterwarnings("default")
def test_fewer_images_than_features_are_said_in_one_line(own, capsys, monkeypatch):
    monkeypatch.chdir(own)
    assert main(["fid", "test.npy", "test.npy", "--count=100", f"--classifier={CLASSIFIER}"]) == 0
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
