import sys

import pytest
from conftest import small_config

from vaelib import training
from vaelib.cli import main
from vaelib.training import Run, train

QUICK = ["train", "--dataset=digits", "--encoder-widths=8"]


def lines(capsys):
    captured = capsys.readouterr()
    return captured.out.splitlines(), captured.err.splitlines()


def test_a_name_weights_and_losses_are_asked_for_by_flags(tmp_path, capsys):
    flags = [*QUICK, "--epochs=2", "--name=my-exp", "--keep-every=1", "--log-steps", f"--runs-root={tmp_path}"]
    assert main(flags) == 0
    out, err = lines(capsys)
    assert (out[-1], err) == (f"{tmp_path}/digits/my-exp", [])
    run = Run.load(out[-1])
    assert run.config == small_config(tmp_path, encoder_widths=(8,), name="my-exp", keep_every=1, log_steps=True)
    assert run.kept_epochs() == [1, 2]
    assert len(run.steps()) == 24
    assert main(["info", out[-1]]) == 0
    shown = [" ".join(line.split()) for line in lines(capsys)[0]]
    assert {"name my-exp", "keep_every 1", "log_steps true", "weights of the epochs 1, 2"} <= set(shown)
    assert f"losses of 24 steps in {run.path}/steps.csv" in shown
    assert main([*flags, "--no-log-steps"]) == 0
    assert lines(capsys)[1] == []
    assert main([*flags, "--lr=0.1"]) == 2
    err = lines(capsys)[1]
    assert len(err) == 1
    assert "my-exp holds another config (lr 0.004 there, 0.1 asked): give another --name" in err[0]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["--keep-every=1"], "the weights after every 1 epochs"),
        (["--log-steps"], "the losses of every step"),
        (["--keep-every=1", "--log-steps"], "the weights after every 1 epochs and the losses of every step"),
    ],
)
def test_what_a_finished_run_has_not_kept_is_said_with_what_to_do(flags, named, run, tmp_path, capsys):
    command = ["train", "--dataset=digits", "--epochs=2", "--encoder-widths=32", f"--runs-root={tmp_path}/runs"]
    assert main([*command, "--keep-every=2"]) == 0
    assert lines(capsys)[1] == [], "the last weights are there"
    assert main([*command, *flags]) == 0
    out, err = lines(capsys)
    assert out[-1] == str(run.path)
    assert err == [
        f"vaelib: {run.path} is finished already, and {named} are kept only while it trains: "
        "give another --name or --runs-root to train it again"
    ]


def test_a_run_that_was_begun_without_them_says_what_it_lacks(tmp_path, monkeypatch, capsys):
    command = [*QUICK, "--epochs=2", f"--runs-root={tmp_path}"]
    save = training.loop._save

    def stopped(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(training.loop, "_save", stopped)
        assert main(command) == 130
    lines(capsys)
    assert main([*command, "--keep-every=1"]) == 0
    (line,) = lines(capsys)[1]
    assert "was begun without them, and the weights after every 1 epochs are kept only while it trains" in line


def test_why_a_schedule_does_not_go_on_from_fewer_epochs_is_said_before_training(tmp_path, monkeypatch, capsys):
    command = [*QUICK, f"--runs-root={tmp_path}"]
    assert main([*command, "--epochs=1"]) == 0
    shorter = lines(capsys)[0][-1]
    train, said = training.train, []
    monkeypatch.setattr(training, "train", lambda *a, **k: (said.append(lines(capsys)[1]), train(*a, **k))[1])
    assert main([*command, "--epochs=2"]) == 0
    assert said == [
        [
            f"vaelib: training begins at the start, and does not go on from the 1 epochs of {shorter}: the learning "
            "rate of schedule onecycle:0.3 depends on the number of all epochs; with --schedule constant a run of more "
            "epochs goes on from one of fewer"
        ]
    ]
    assert lines(capsys)[1] == []
    assert main([*command, "--epochs=2"]) == 0
    assert said[1:] == [[]], "it is finished"


def test_more_epochs_of_a_constant_rate_go_on_without_a_word(tmp_path, monkeypatch, capsys):
    command = [*QUICK, "--schedule=constant", f"--runs-root={tmp_path}"]
    epoch, begun = training.loop.train_epoch, []
    monkeypatch.setattr(training.loop, "train_epoch", lambda *a: (begun.append(a[4]), epoch(*a))[1])
    for epochs in (1, 3):
        assert main([*command, f"--epochs={epochs}"]) == 0
        assert lines(capsys)[1] == []
    assert begun == [1, 2, 3]


def test_the_library_says_nothing_where_the_command_does(finished_run, tmp_path, capfd):
    config = finished_run.config
    train(small_config(config.runs_root, keep_every=1))
    train(small_config(tmp_path, epochs=1))
    train(small_config(tmp_path, epochs=2))
    assert capfd.readouterr() == ("", "")


def test_an_ini_file_gives_settings_and_flags_win(tmp_path, capsys):
    file = tmp_path / "vae.ini"
    file.write_text(
        f"[VAE]\ndataset = digits\nencoder_widths = 8\nepochs = 1\nruns_root = {tmp_path}\n"
        "; comment\nlatent_dim = 20\nbatch_size = 50\n"
    )
    assert main(["train", f"--config={file}", "--latent-dim=3"]) == 0
    config = Run.load(lines(capsys)[0][-1]).config
    assert (config.dataset, config.batch_size, config.latent_dim) == ("digits", 50, 3)
    file.write_text("[VAE]\nz_dim = 20\n")
    assert main(["train", f"--config={file}"]) == 2
    (line,) = lines(capsys)[1]
    assert line.startswith(f"vaelib: unknown key in {file} 'z_dim', which is latent_dim here: accepted are dataset,")


@pytest.mark.parametrize("flag", ["--name=a/b", "--keep-every=-1", "--log-steps=maybe"])
def test_a_flag_that_means_nothing_is_one_line(flag, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "train", lambda *_, **__: sys.exit("trained"))
    assert main([*QUICK, flag]) == 2
    assert len(lines(capsys)[1]) == 1
    assert list(tmp_path.iterdir()) == []
