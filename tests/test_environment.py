"""The three lists of packages say the same."""

import re
import tomllib

import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}
DEV = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["optional-dependencies"]["dev"])}


def test_the_conda_environment_is_the_projects():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, _, pip = environment["dependencies"]
    assert python == f"python{PROJECT['requires-python']}"
    listed = {canonicalize_name(r.name): r for r in map(Requirement, pip["pip"][:-1])}
    assert {name: str(r) for name, r in listed.items()} == {name: str(r) for name, r in (RANGES | DEV).items()}
    assert pip["pip"][-1] == "-e ."


def test_the_lock_lies_within_the_ranges_and_covers_them():
    lock = {}
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            lock.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    for name, ranged in (RANGES | DEV).items():
        for locked in lock[name]:
            (pin,) = locked.specifier
            assert pin.operator == "=="
            assert ranged.specifier.contains(pin.version, prereleases=True), name


def test_the_lock_names_no_registry_and_no_path():
    text = (ROOT / "requirements.txt").read_text()
    assert not re.search(r"://|^-|^/|@ ", text, re.MULTILINE)


def test_jupyter_book_stays_below_2():
    assert "2.0" not in RANGES["jupyter-book"].specifier


def test_vaelib_has_the_version_that_it_installs():
    import importlib.metadata

    import vaelib

    assert importlib.metadata.version("vaelib") == vaelib.__version__
