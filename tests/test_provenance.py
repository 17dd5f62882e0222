import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vaelib
from vaelib import provenance
from vaelib.provenance import code_sha256, syntax

PACKAGE = Path(vaelib.__file__).parent
# Run in a copy of the package; reads {name: (file, old, new)} and writes {name: hash}.
HASH_AFTER_EACH = """
import json, pathlib, sys
from vaelib import provenance
hashes = {}
for name, (file, old, new) in json.load(sys.stdin).items():
    path = pathlib.Path("vaelib", file)
    source = path.read_text()
    assert old in source, (file, old)
    path.write_text(source.replace(old, new, 1))
    provenance._graph.cache_clear()
    provenance._code.cache_clear()
    hashes[name] = provenance.code_sha256("vaelib.training.loop")
    path.write_text(source)
print(json.dumps(hashes))
"""


def test_a_run_says_where_it_came_from(finished_run, digits):
    content = json.loads((finished_run.path / "config.json").read_text())
    made_of = content["provenance"]
    assert made_of["data_sha256"] == digits.checksum
    assert made_of["code_sha256"] == code_sha256("vaelib.training.loop")
    assert made_of["shape"] == [28, 28]
    assert made_of["effective_beta"] == 1
    assert made_of["torch"] == torch.__version__
    assert made_of["vaelib"] == vaelib.__version__
    assert content["settings"]["epochs"] == 2


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Another project's repository, in which a copy of the package lies."""
    if not shutil.which("git"):
        pytest.skip("there is no git here")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "none"))
    folder = tmp_path / "project"
    package = folder / "venv" / "vaelib"
    package.mkdir(parents=True)
    shutil.copy(PACKAGE / "provenance.py", package)
    (folder / "README").write_text("another project")
    git(folder, "init", "--quiet")
    git(folder, "add", "README")
    git(folder, "commit", "--quiet", "--message", "Begin")
    monkeypatch.setattr(provenance, "HERE", package)
    return folder


def test_the_commit_of_another_project_is_not_taken(project):
    assert git(project / "venv", "rev-parse", "HEAD")
    assert provenance.commit() == ""


def test_the_commit_is_gits_and_edited_files_are_marked(project):
    git(project, "add", "venv")
    git(project, "commit", "--quiet", "--message", "Carry vaelib")
    git(project, "tag", "v1")
    assert provenance.commit() == git(project, "rev-parse", "HEAD")[:12]
    (project / "README").write_text("edited")
    assert provenance.commit() == git(project, "rev-parse", "HEAD")[:12] + "+"


def test_code_in_no_repository_and_a_machine_without_git_have_no_commit(project, tmp_path, monkeypatch):
    shutil.rmtree(project / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    assert provenance.commit() == ""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() == ""


# What is edited, and whether it is code that makes a run. layers.py and mnist.py are imported by way of others.
EDITS = {
    "nothing": (("config.py", "", ""), False),
    "a comment": (("models/layers.py", "class Halve(", "# Half of the side.\nclass Halve("), False),
    "a docstring": (("models/layers.py", '    """x plus what', '    """Another sentence.\n\n    x plus what'), False),
    "layout": (("models/layers.py", "import math\n", "import math\n\n\n\n"), False),
    "a layer": (("models/layers.py", "F.pad(self.weight, (1, 1, 1, 1))", "F.pad(self.weight, (1, 1, 1, 2))"), True),
    "the digits": (("data/mnist.py", "/ 16", "/ 15"), True),
    "a preset": (("config.py", "lr=4e-3", "lr=5e-3"), True),
    "the classifier": (("training/classifier.py", "PEAK_RATE = 4e-3", "PEAK_RATE = 5e-3"), False),
    "a figure": (("figures/style.py", "import", "import math\nimport"), False),
    "the version": (("__init__.py", f'"{vaelib.__version__}"', '"99.0"'), False),
    "a room's names": (
        ("models/__init__.py", "from vaelib.models.build", "import math\nfrom vaelib.models.build"),
        False,
    ),
    "an import": (
        ("models/archs.py", "from torch import nn", "from torch import nn\nfrom vaelib.training import classifier"),
        True,
    ),
}


@pytest.fixture(scope="module")
def hashes(tmp_path_factory):
    """The code of a run in a copy of the package, after each edit alone."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, root / "vaelib", ignore=shutil.ignore_patterns("__pycache__"))
    edits = {name: edit for name, (edit, _) in EDITS.items()}
    command = [sys.executable, "-B", "-c", HASH_AFTER_EACH]
    done = subprocess.run(command, cwd=root, input=json.dumps(edits), check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def test_the_hash_does_not_depend_on_where_the_package_lies(hashes):
    assert hashes["nothing"] == code_sha256("vaelib.training.loop")


@pytest.mark.parametrize("edit", EDITS)
def test_the_hash_changes_with_the_code_that_makes_a_run_and_with_no_other(edit, hashes):
    assert (hashes[edit] != hashes["nothing"]) == EDITS[edit][1]


def test_the_hash_of_several_modules_covers_each():
    run, classifier = "vaelib.training.loop", "vaelib.training.classifier"
    assert len({code_sha256(run), code_sha256(classifier), code_sha256(run, classifier)}) == 3
    assert code_sha256(run, classifier) == code_sha256(classifier, run)
    assert code_sha256(run, "vaelib.models.layers") == code_sha256(run)  # The run imports it already.


def test_syntax_is_code_without_words_and_layout():
    wordy = (
        '"""A module."""\nclass A:\n    """A class."""\n\ndef f(x):\n    "A function."\n    return (x +\n 1)  # more\n'
    )
    assert syntax(wordy) == syntax("class A: pass\ndef f(x): return x + 1")
    assert syntax("x = 'a'\n'kept, as it is no docstring'") != syntax("x = 'a'")
    assert syntax("def f(): return 'a'") != syntax("def f(): return 'b'")
