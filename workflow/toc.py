"""The book's contents for an edition: its own cells in the place of the published ones."""

from pathlib import Path

import typer
import yaml

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(published: Path, out: Path, cells: list[str]):
    toc = yaml.safe_load(published.read_text())
    left = list(cells)
    for part in toc["parts"]:
        archs = {
            chapter["file"].removeprefix("pages/").split("-d")[0]
            for chapter in part["chapters"]
            if "-d" in chapter["file"]
        }
        if archs:
            own = [cell for cell in left if cell.split("-d")[0] in archs]
            left = [cell for cell in left if cell not in own]
            part["chapters"] = [{"file": f"pages/{cell}"} for cell in own]
    if left:
        toc["parts"].append({"caption": "Further models", "chapters": [{"file": f"pages/{cell}"} for cell in left]})
    toc["parts"] = [part for part in toc["parts"] if part["chapters"]]
    out.write_text(yaml.safe_dump(toc, sort_keys=False))


if __name__ == "__main__":
    app()
