"""Keep the records of an edition's runs: python workflow/records.py editions/full.yaml

A record is what a finished run says of itself without its weights, a few kilobytes: settings, history, measures, the
losses of the first epoch's steps, and the checksum of the weights. Records lie in records/EDITION as the runs lie in
build/EDITION, and are committed: from them make pages executes the chapters that need no weights.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import typer
import yaml

# The project's own packages are found, and win over others of their names, also where this file is run by its path.
sys.path.insert(0, str(Path(__file__).parents[1]))

from vaelib.config import InputError
from vaelib.training.run import recover, replace, successor
from workflow.edition import Edition

LARGEST = 5_000_000  # bytes of all records of an edition

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(file: Path):
    """Record the finished runs of the edition in FILE, as they lie in build."""
    try:
        edition = Edition(yaml.safe_load(file.read_text("utf-8")))
    except InputError as error:
        sys.exit(f"{file}: {error}")
    build, folder = Path(edition.build), Path("records", edition.name)
    finished = [place for place in edition.runs if (build / place / "model.safetensors").is_file()]
    new = {place: record_of(build / place) for place in finished}
    studies = {name: json.dumps(content, indent=1).encode() for name, content in edition.records().items()}

    earlier = {path for path in folder.rglob("*") if path.is_file()}
    stays = {path for path in earlier if path.parent.relative_to(folder).as_posix() not in {*new, "studies"}}
    size = sum(path.stat().st_size for path in stays) + sum(map(len, studies.values()))
    size += sum(len(content) for record in new.values() for content in record.values())
    if size > LARGEST:
        sys.exit(f"{folder}: {size:,} bytes of records: accepted are {LARGEST:,}; nothing was recorded")

    for place, record in new.items():
        write_whole(folder / place, record)
    for path in (folder / "studies").glob("*.json"):
        if f"studies/{path.name}" not in studies:  # of a study that the edition has no longer
            path.unlink()
    for name, content in studies.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    print(f"{len(new)} runs are recorded in {folder}, {size:,} bytes; not finished: {len(edition.runs) - len(new)}")


def record_of(run: Path) -> dict[str, bytes]:
    """The files of a finished run's record, by name."""
    weights = hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()
    record = {name: (run / name).read_bytes() for name in ("config.json", "history.csv")}
    record["weights.sha256"] = f"{weights}\n".encode()
    # Measures of weights that were trained anew since are no measures of this run.
    metrics = run / "metrics.json"
    if metrics.is_file() and json.loads(metrics.read_text("utf-8")).get("weights_sha256") == weights:
        content = json.loads(metrics.read_text("utf-8"))
        record["metrics.json"] = json.dumps(content, separators=(",", ":")).encode()
    if (run / "steps.csv").is_file():
        record["steps.csv"] = first_epoch((run / "steps.csv").read_text("utf-8")).encode()
    return record


def first_epoch(steps: str) -> str:
    """The header of a steps.csv and its rows of epoch 1."""
    header, *rows = steps.splitlines(keepends=True)
    epoch = header.strip().split(",").index("epoch")
    return "".join([header, *(row for row in rows if row.split(",")[epoch] == "1")])


def write_whole(folder: Path, record: dict[str, bytes]):
    """The record in that folder, in the place of an earlier one: the whole of it or nothing."""
    recover(folder)
    if folder.is_dir() and {path.name: path.read_bytes() for path in folder.iterdir()} == record:
        return
    shutil.rmtree(successor(folder), ignore_errors=True)
    successor(folder).mkdir(parents=True)
    for name, content in record.items():
        (successor(folder) / name).write_bytes(content)
    replace(folder)


if __name__ == "__main__":
    app()
