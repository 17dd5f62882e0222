"""Make the pages of a built edition the ones that the project carries: make publish.

The published pages are replaced only once all the new ones are there: the new folder is made first, then the two are
swapped.
"""

import shutil
import sys
from pathlib import Path

import nbformat
import typer
import yaml

# The project's own packages are found, and win over others of their names, also where this file is run by its path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from workflow.chapters import CONTENTS, ROOT, files_of, published
from workflow.stage import beside, faults

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(book: Path):
    """Take the pages of the edition's BOOK, such as build/full/book, into book/pages."""
    built = [
        file for file in files_of(yaml.safe_load((book / "_toc.yml").read_text("utf-8"))) if file.startswith("pages/")
    ]
    wanted = [file for file in files_of(published()) if file.startswith("pages/")]
    problems = [f"{CONTENTS} names {file}, which {book} is without" for file in wanted if file not in built]
    problems += [f"{book} has {file}, which {CONTENTS} does not name" for file in built if file not in wanted]
    files = []
    for file in built:
        path = book / f"{file}.ipynb"
        if not path.exists():
            problems.append(f"{path} is missing")
            continue
        page = nbformat.read(path, as_version=4)
        problems += [f"{path}: {fault}" for fault in faults(page)]
        files += [path, *(path.parent / name for _, name in beside(page, path.stem))]
    problems += [f"{file} is missing" for file in files if not file.exists()]
    if problems:
        sys.exit("\n".join([*problems, "nothing was published"]))
    pages, new, old = (ROOT / "book" / name for name in ("pages", ".pages.new", ".pages.old"))
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir()
    for file in files:
        shutil.copy(file, new)
    if pages.exists():
        shutil.rmtree(old, ignore_errors=True)
        pages.rename(old)
    new.rename(pages)
    shutil.rmtree(old, ignore_errors=True)
    print(f"{len(built)} pages are published in {pages.relative_to(ROOT)}")


if __name__ == "__main__":
    app()
