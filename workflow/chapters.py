"""The pages of an edition: which chapters are in it, what each is made of, and the book that they stand in.

Chapters are the pages of book/_toc.yml that have a template in notebooks/. The names in a template's parameters cell
say what it needs, and an edition that does not ask for that is without the chapter. Single models have pages of their
own, pages/ARCH-dN-sN, made from notebooks/train.ipynb.
"""

import ast
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from posixpath import normpath
from typing import Any

import nbformat
import typer
import yaml
from nbformat import NotebookNode

# The project's own packages are found, and win over others of their names, also where this file is run by its path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from vaelib.config import InputError
from workflow.edition import Edition, all_settings

ROOT = Path(__file__).parents[1]
CONTENTS = "book/_toc.yml"
SPEED = "bench/results.json"
MODEL = re.compile(r"pages/([^/]+)-d\d+-s\d+")


@dataclass(frozen=True)
class Page:
    """What a page is made of, and what has to be there before.

    trained and evaluated are places of runs, as in edition.runs; template and files are paths. Pages of one batch are
    executed by one job, one after the other.
    """

    template: str
    values: dict[str, Any]
    trained: list[str]
    evaluated: list[str]
    files: list[str]
    batch: str


def pages(edition: Edition) -> dict[str, Page]:
    """The edition's pages by name: its chapters in their order, then a page for each model of the first seed."""
    found, changed = {}, dict(edition.values.chapters)
    for file in files_of(published()):
        name = file.removeprefix("pages/")
        if template_of(file) and (made := chapter(template_of(file), edition, changed.get(name, {}))):
            found[name] = made
            changed.pop(name, None)
    if changed:
        raise InputError(f"chapters.{next(iter(changed))}: accepted are the edition's chapters, {', '.join(found)}")
    group_of = {place: group for group, places in edition.groups.items() for place in places}
    for c in edition.grid:
        if c.seed == edition.seeds[0]:
            place, name = edition.place(c), c.cell_id
            batch = name if group_of[place] == place else group_of[place]
            found[name] = Page("notebooks/train.ipynb", all_settings(c), [place], [], [], batch)
    return found


def batches(found: dict[str, Page]) -> dict[str, list[str]]:
    """Name of each batch -> names of its pages."""
    named = {}
    for name, page in found.items():
        named.setdefault(page.batch, []).append(name)
    return named


def chapter(template: str, edition: Edition, changed: dict[str, Any]) -> Page | None:
    """The chapter that is made from the template, some of its own parameters changed.

    None where the edition does not ask for what it needs.
    """
    known, name = parameters(read(template)), Path(template).stem
    grid, sizes = ([edition.place(c) for c in own] for own in (edition.grid, edition.sizes))
    has = {
        "evaluated": edition.values.evaluation,
        "study": name in edition.studies,
        "sizes": edition.equal and edition.values.evaluation,  # further sizes are compared beside equal ones
        "latent_dims": set(known.get("latent_dims", [])) <= set(edition.latent_dims),
    }
    if not all(there for name, there in has.items() if name in known):
        return None
    speed = SPEED if (ROOT / SPEED).exists() else ""
    studies = f"{edition.build}/studies"
    values = {
        "runs": [f"{edition.build}/{place}" for place in grid],
        "evaluated": [f"{edition.build}/{place}" for place in grid],
        "study": f"{studies}/{name}.json",
        "studies": studies,
        "sizes": f"{studies}/sizes.json",
        "classifier": f"{edition.build}/{edition.classifier}",
        "speed": speed,
        "edition": edition.name,
        "dataset": edition.dataset,
        "data_root": edition.data_root,
        "runs_root": f"{edition.build}/runs",
    }
    own = {key: value for key, value in known.items() if key not in values and key not in has}
    for key, value in changed.items():
        if key not in own:
            raise InputError(f"chapters.{name}.{key}: accepted are {', '.join(own) or 'none, it has no parameters'}")
        if type(value) is not type(own[key]):
            raise InputError(f"chapters.{name}.{key} {value!r}: accepted is a value such as {own[key]!r}")
    read_here = list(edition.studies) if "studies" in known else [name] if "study" in known else []
    studied = [place for study in read_here for place in edition.places(study)]
    trained = (grid if "runs" in known else []) + studied
    evaluated = (grid if "evaluated" in known else []) + (sizes if "sizes" in known else [])
    evaluated += [place for place in studied if place in edition.evaluated]
    files = [f"{studies}/{study}.json" for study in read_here]
    files += [values[key] for key in ("sizes", "speed") if key in known and values[key]]
    given = {key: value for key, value in values.items() if key in known} | changed
    return Page(template, given, unique(trained), unique(evaluated), files, batch=name)


def unique(items: list[str]) -> list[str]:
    return list(dict.fromkeys(items))


def read(path: str | Path) -> NotebookNode:
    return nbformat.read(ROOT / path, as_version=4)


def parameters(notebook: NotebookNode, tags: tuple[str, ...] = ("parameters",)) -> dict[str, Any]:
    """Names and values that the cells with one of these tags assign, in order."""
    values = {}
    for cell in notebook.cells:
        if cell.cell_type == "code" and set(tags) & set(cell.metadata.get("tags", [])):
            for line in ast.parse(cell.source).body:
                target = line.targets[0] if isinstance(line, ast.Assign) else line.target
                values[target.id] = ast.literal_eval(line.value)
    return values


def published() -> dict[str, Any]:
    """The contents of the published book, which are the only list of chapters."""
    return yaml.safe_load((ROOT / CONTENTS).read_text("utf-8"))


def entries(toc: Any) -> Iterator[dict]:
    """Every entry of the contents that names a file, below the root."""
    for part in toc.get("parts", []) + toc.get("chapters", []) + toc.get("sections", []):
        if "file" in part:
            yield part
        yield from entries(part)


def files_of(toc: dict) -> list[str]:
    return [entry["file"] for entry in entries(toc)]


def template_of(file: str) -> str:
    """The template of a chapter of the contents; empty for a chapter in Markdown and for the page of a model."""
    template = f"notebooks/{file.removeprefix('pages/')}.ipynb"
    if not file.startswith("pages/") or MODEL.fullmatch(file):
        return ""
    if not (ROOT / template).exists():
        raise InputError(f"{CONTENTS} names {file}: accepted is a page that has a template, {template}")
    return template


def contents(edition: Edition) -> dict[str, Any]:
    """The edition's contents: the published ones without the chapters that it lacks, and with its own models.

    A model stands in the part that has its architecture's models; an architecture without one gets a part of its own.
    """
    toc, own = published(), {f"pages/{name}" for name in pages(edition)}
    models = {arch: [] for arch in edition.values.archs}
    for c in edition.grid:
        if c.seed == edition.seeds[0]:
            models[c.arch].append({"file": f"pages/{c.cell_id}"})
    after = len(toc["parts"])
    for place, part in enumerate(toc["parts"]):
        archs = [match[1] for entry in part["chapters"] if (match := MODEL.fullmatch(entry["file"]))]
        if archs:
            after = place + 1
        part["chapters"] = [
            entry for entry in part["chapters"] if not entry["file"].startswith("pages/") or entry["file"] in own
        ]
        part["chapters"] = [entry for entry in part["chapters"] if not MODEL.fullmatch(entry["file"])]
        for arch in dict.fromkeys(archs):
            part["chapters"] += models.pop(arch, [])
    toc["parts"][after:after] = [{"caption": f"The {arch} models", "chapters": left} for arch, left in models.items()]
    toc["parts"] = [part for part in toc["parts"] if part["chapters"]]
    return toc


def absent(edition: Edition) -> list[str]:
    """The pages of the published book that the edition is without."""
    own = set(files_of(contents(edition)))
    return [file for file in files_of(published()) if file not in own]


def without_links(text: str, folder: str, lacking: list[str]) -> str:
    """Markdown of a file in that folder of the book, what refers to one of the lacking pages turned to plain text.

    A reference to a page that no edition has is left as it is, for the strict build to find.
    """

    def named(target: str) -> str | None:
        file = normpath(target.lstrip("/") if target.startswith("/") else f"{folder}/{target}").removesuffix(".ipynb")
        return f"*{title(file)}*" if file in lacking else None

    def role(match: re.Match) -> str:
        kind, shown, target = match["role"], match["shown"], match["target"]
        if kind == "doc":
            name = named(target)
            return match[0] if name is None else shown or name
        if kind.startswith("glue"):
            return match[0] if "::" not in target or named(target.split("::")[0]) is None else "(not in this edition)"
        page = next((page for page in lacking if target.startswith(f"{page.removeprefix('pages/')}-")), None)
        return match[0] if page is None else f"a figure of *{title(page)}*"

    def block(match: re.Match) -> str:
        name = named(match["doc"])
        return match[0] if name is None else f"{name} is not part of this edition."

    roles = r"\{(?P<role>doc|ref|numref|glue:\w+)\}`(?:(?P<shown>[^`<>]*?)\s*<)?(?P<target>[^`<>]+)>?`"
    blocks = r"^```\{glue[^}\n]*\}[^\n]*\n(?::[^\n]*\n)*?:doc: *(?P<doc>\S+)\n(?:(?!```)[^\n]*\n)*```$"
    return re.sub(roles, role, re.sub(blocks, block, text, flags=re.MULTILINE))


def title(page: str) -> str:
    """The heading of a chapter's template; a model's name."""
    template = template_of(page)
    return read(template).cells[0].source.splitlines()[0].removeprefix("# ") if template else Path(page).name


def book_files() -> list[str]:
    """The files of the book beside its pages and contents, which every edition has a copy of."""
    book = ROOT / "book"
    files = [path.relative_to(book) for path in sorted(book.rglob("*")) if path.is_file()]
    left_out = {"pages", "_build", "_toc.yml", "__pycache__", ".ipynb_checkpoints"}
    return [file.as_posix() for file in files if not left_out & set(file.parts)]


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def copy(out: Path, toc: str):
    """Copy the book into the folder OUT, with the contents TOC, as JSON, in the place of the published ones."""
    own = json.loads(toc)
    lacking = [file for file in files_of(published()) if file not in files_of(own)]
    for file in book_files():
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        if file.endswith(".md"):
            text = (ROOT / "book" / file).read_text("utf-8")
            (out / file).write_text(without_links(text, str(Path(file).parent), lacking), "utf-8")
        else:
            shutil.copy(ROOT / "book" / file, out / file)
    (out / "_toc.yml").write_text(yaml.safe_dump(own, sort_keys=False), "utf-8")


if __name__ == "__main__":
    app()
