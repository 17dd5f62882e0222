"""Where a result came from: the commit of this code, and which of its lines decided it."""

import ast
import hashlib
import subprocess
import sys
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent


def version() -> str:
    """The version of vaelib. It is read at run time, so that a new number is no change of any code."""
    return sys.modules["vaelib"].__version__


def commit() -> str:
    """The git commit of this code, with a + where files differ from it; empty where git does not track this file.

    An installed copy may lie inside another project's repository, whose commit would say nothing.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True).stdout.strip()

    try:
        tracked = git("ls-files", Path(__file__).name)
        return git("describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*") if tracked else ""
    except OSError:  # no git on this machine
        return ""


def code_sha256(*modules: str) -> str:
    """sha256 of the code that a result of these modules is made by, such as "vaelib.training.loop".

    It covers the modules and every module of vaelib that they import, directly or through others, as syntax trees
    without comments and docstrings: rewording changes no hash, and no module can be forgotten.
    """
    graph = _graph()
    needed = set(modules).union(*(graph.find_upstream_modules(module) for module in modules))
    return hashlib.sha256("".join(f"{module}\n{_code(module)}\n" for module in sorted(needed)).encode()).hexdigest()


@cache
def _graph():
    import grimp

    return grimp.build_graph(HERE.name, cache_dir=None)


@cache
def _code(module: str) -> str:
    path = HERE.parent.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return syntax(file.read_text("utf-8"))


def syntax(source: str) -> str:
    """Python source as text of its syntax tree, without comments, docstrings and layout."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
