"""The three lists of packages say the same."""

import platform
import re
import tomllib

import yaml
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RANGES = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["dependencies"])}
LAB = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["optional-dependencies"]["lab"])}
DEV = {canonicalize_name(r.name): r for r in map(Requirement, PROJECT["optional-dependencies"]["dev"])}
# Packages of conda-forge that have another name on PyPI.
ON_CONDA_FORGE = {"pytorch": "torch", "matplotlib-base": "matplotlib", "seaborn-base": "seaborn"}


def conda_environment() -> tuple[dict[str, Requirement], dict[str, Requirement]]:
    """What environment.yml takes from conda-forge and what by pip, under their names on PyPI."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["channels"] == ["conda-forge"]
    *by_conda, pip = environment["dependencies"]
    *by_pip, itself = pip["pip"]
    assert itself == "-e ."
    conda = {ON_CONDA_FORGE.get(r.name, canonicalize_name(r.name)): r for r in map(Requirement, by_conda)}
    return conda, {canonicalize_name(r.name): r for r in map(Requirement, by_pip)}


def test_the_conda_environment_has_the_projects_packages_in_its_ranges():
    conda, pip = conda_environment()
    assert not conda.keys() & pip.keys()
    listed = conda | pip
    del listed["python"], listed["pip"]
    assert RANGES.keys() <= listed.keys() <= (RANGES | LAB).keys()
    for name, requirement in listed.items():
        assert requirement.specifier == (RANGES | LAB)[name].specifier, name
    for name, requirement in pip.items():
        assert requirement.marker == (RANGES | LAB)[name].marker, name


def test_the_conda_environment_is_without_the_developers_tools():
    conda, pip = conda_environment()
    assert not DEV.keys() & (conda | pip).keys()


def test_the_python_of_the_conda_environment_is_the_projects_with_an_end():
    """conda would take a Python that is too new for a package, and say so by a conflict that nobody can read."""
    python = conda_environment()[0]["python"].specifier
    project = SpecifierSet(PROJECT["requires-python"])
    assert set(project) <= set(python)
    assert {specifier.operator for specifier in python} == {">=", "<"}
    assert platform.python_version() in python


def test_what_the_conda_environment_takes_by_pip_says_why():
    text = (ROOT / "environment.yml").read_text()
    lines = text[text.index("pip:\n") :].splitlines()[1:-1]
    assert len(lines) == len(conda_environment()[1])
    assert all("# not on conda-forge" in line for line in lines)


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
