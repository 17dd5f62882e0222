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
CODE_OF_A_RUN = "from vaelib.provenance import code_sha256; print(code_sha256('vaelib.training.loop'))"


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


@pytest.fixture(scope="module")
def copied(tmp_path_factory):
    """A copy of the package, and what its code of a run is there."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, root / "vaelib", ignore=shutil.ignore_patterns("__pycache__"))
    return root, hash_in(root)


def hash_in(root):
    command = [sys.executable, "-B", "-c", CODE_OF_A_RUN]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def test_the_hash_does_not_depend_on_where_the_package_lies(copied):
    assert copied[1].strip() == code_sha256("vaelib.training.loop")


@pytest.mark.parametrize(
    ("file", "old", "new", "changes"),
    [
        # layers.py and mnist.py are imported by way of others.
        ("models/layers.py", "kernel for one input", "kernel  for one input", False),
        ("models/layers.py", "class Halve(", "# Half of the side.\nclass Halve(", False),
        ("models/layers.py", '    """x plus what', '    """Another sentence.\n\n    x plus what', False),
        ("models/layers.py", "F.pad(self.weight, (1, 1, 1, 1))", "F.pad(self.weight, (1, 1, 1, 2))", True),
        ("data/mnist.py", "test_size=0.2", "test_size=0.3", True),
        ("config.py", "lr=4e-3", "lr=5e-3", True),
        ("training/classifier.py", "PEAK_RATE = 4e-3", "PEAK_RATE = 5e-3", False),
        ("figures/style.py", "import", "import math\nimport", False),
        ("__init__.py", f'"{vaelib.__version__}"', '"99.0"', False),
        ("models/__init__.py", "from vaelib.models.build", "import math\nfrom vaelib.models.build", False),
    ],
)
def test_the_hash_changes_with_the_code_that_makes_a_run_and_with_no_other(copied, file, old, new, changes):
    root, before = copied
    path = root / "vaelib" / file
    source = path.read_text()
    assert old in source
    path.write_text(source.replace(old, new, 1))
    try:
        assert (hash_in(root) != before) == changes
    finally:
        path.write_text(source)


def test_an_import_more_joins_the_hash(copied):
    root, before = copied
    path = root / "vaelib" / "models" / "archs.py"
    source = path.read_text()
    path.write_text(source + "\n\ndef later():\n    from vaelib.training.classifier import Network\n")
    with_import = hash_in(root)
    network = root / "vaelib" / "training" / "classifier.py"
    content = network.read_text()
    network.write_text(content.replace("PEAK_RATE = 4e-3", "PEAK_RATE = 5e-3"))
    try:
        assert len({before, with_import, hash_in(root)}) == 3
    finally:
        path.write_text(source)
        network.write_text(content)


def test_the_hash_of_several_modules_covers_each():
    run, classifier = "vaelib.training.loop", "vaelib.training.classifier"
    assert len({code_sha256(run), code_sha256(classifier), code_sha256(run, classifier)}) == 3
    assert code_sha256(run, classifier) == code_sha256(classifier, run)
    assert code_sha256(run, "vaelib.models.layers") == code_sha256(run)  # it is imported already


def test_syntax_is_code_without_words_and_layout():
    wordy = '"""A module."""\nclass A:\n    """A class."""\n\ndef f(x):\n    \'A function.\'\n    return (x +\n 1)  # more\n'
    assert syntax(wordy) == syntax("class A: pass\ndef f(x): return x + 1")
    assert syntax("x = 'a'\n'kept, as it is no docstring'") != syntax("x = 'a'")
    assert syntax("def f(): return 'a'") != syntax("def f(): return 'b'")
