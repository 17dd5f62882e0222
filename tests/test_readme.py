"""What README.md promises: its Python runs, its commands and options exist."""

import re
import shlex
import subprocess
import sys

import pytest
from conftest import ROOT
from typer.testing import CliRunner

from vaelib.cli.app import app

README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("#")[0].strip()
    for kind, block in BLOCKS
    if kind == "bash"
    for line in block.splitlines()
    if line.startswith("vaelib ")
]


def test_the_python_of_the_readme_runs_as_it_stands(tmp_path):
    (code,) = [block for kind, block in BLOCKS if kind == "python"]
    checks = """
assert pictures.shape == (200, 28, 28) and 0 <= pictures.min() and pictures.max() <= 1
assert again.shape == (360, 28, 28)
scores = vaelib.fid(pictures, images)
assert scores["fid"] > 0 and scores["images"] == [200, 360]
measures = evaluation.read(run)["measures"]
assert measures["negative_elbo_nats"]["n"] == 360 and "classifier_prior_fid" in measures
table = vaelib.compare([run, other])
assert set(table.model) == {"digits linear-d2-epochs2"} and table.difference.notna().all()
"""
    # The evaluations of the README are as deep as a report needs; the test takes shallow ones.
    shallow = "from vaelib import evaluation\nevaluation.Depth.__init__.__defaults__ = (10, 20, 0, 1, 5, 5, 20)\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", shallow + code + checks], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", dict.fromkeys(COMMANDS))
def test_each_option_of_a_command_is_one_that_it_has(command):
    _, name, *words = shlex.split(command)
    shown = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "300", "TERMINAL_WIDTH": "300"}).output
    for word in words:
        if word.startswith("--"):
            assert word in shown, f"vaelib {name} has no {word}"


def test_each_target_of_make_is_one_that_the_makefile_has():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    for file in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / file).read_text("utf-8")))
        assert named <= targets, file
    assert set(re.findall(r"^make ([a-z-]+)", README, re.MULTILINE)) <= targets
