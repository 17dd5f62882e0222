"""What a build says of its steps, told by records such as Snakemake's; and commands that share a process."""

import json
import logging
import subprocess
import sys

import pytest
from conftest import ROOT
from snakemake_interface_logger_plugins.common import LogEvent

from workflow.progress import Steps


def told(steps, event, **facts):
    record = logging.LogRecord("snakemake", logging.INFO, "", 0, "", (), None)
    record.__dict__ |= {"event": event} | facts
    steps.emit(record)


@pytest.fixture
def steps(monkeypatch):
    """Two steps of three begun, the clock at 1 s for the first and 2 s for the other, and next at 9 s."""
    clock = iter([0.0, 0.0, 1.0, 2.0, 9.0, 13.0, 14.0, 20.0])
    monkeypatch.setattr("workflow.progress.time.monotonic", lambda: next(clock))
    steps = Steps()
    told(steps, LogEvent.RUN_INFO, stats={"train": 1, "execute": 1, "total": 3})
    for job, (rule, wildcards) in enumerate([("train", {"group": "runs/a"}), ("execute", {"batch": "walk"})]):
        told(steps, LogEvent.JOB_INFO, jobid=job, rule_name=rule, wildcards=wildcards)
    return steps


def test_a_log_has_a_line_for_each_step(steps, capsys):
    told(steps, LogEvent.JOB_FINISHED, job_id=0)
    assert capsys.readouterr().err == "1 of 3 steps, 9 s: train runs/a took 8 s\n"


def test_a_terminal_has_the_bar_alone(steps, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    told(steps, LogEvent.JOB_FINISHED, job_id=1)
    assert capsys.readouterr().err == ""


def test_the_end_says_how_long_each_stage_took_and_why_a_step_failed(steps, tmp_path):
    log = tmp_path / "walk.log"
    log.write_text("much\n\nwalk.ipynb: RuntimeError: x\n\n")
    told(steps, LogEvent.JOB_FINISHED, job_id=0)
    told(steps, LogEvent.JOB_ERROR, jobid=1, log=[str(log)])
    assert steps.summary().splitlines() == [
        "14 s; by stage, steps side by side: train 8 s (1)",
        "FAILED execute walk: walk.ipynb: RuntimeError: x",
        f"       see {log}",
    ]


def test_the_end_is_silent_where_nothing_was_done(capsys):
    Steps().end()
    assert capsys.readouterr().err == ""


def test_a_step_that_fails_without_a_word_is_named(steps):
    told(steps, LogEvent.JOB_ERROR, jobid=1, log=["nowhere.log"])
    assert "FAILED execute walk: without a word\n       see nowhere.log" in steps.summary()


def test_a_command_that_fails_stops_no_other_and_is_named_at_the_end(tmp_path):
    commands = {
        "one": ["train", "--dataset=digits", "--lr=0"],
        "two": ["fid", "nowhere.npy", "digits:test"],
        "three": ["data", "digits:test", "--count=3", "--out=three.npy"],
    }
    together = [sys.executable, ROOT / "workflow" / "together.py", json.dumps(commands)]
    done = subprocess.run(together, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout.splitlines() == ["== one", "== two", "== three", "three.npy"]
    first, second = done.stderr.strip().splitlines()
    assert first.startswith("one: lr 0.0: accepted is 1e-08 to 10")
    assert second.startswith("two: ")
    assert "nowhere.npy" in second
    assert (tmp_path / "three.npy").exists()
