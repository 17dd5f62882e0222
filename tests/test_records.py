"""The records of runs, and chapters that are executed from them."""

import json
import shutil

import nbformat
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from vaelib import evaluation, provenance, training
from vaelib.config import InputError
from workflow import chapters, pages, records, sources, stage
from workflow.edition import Edition

EDITION = """
edition: tiny
dataset: digits
archs: [linear]
latent_dims: [2, 3]
seeds: [0]
settings: {epochs: 2, encoder_widths: [8]}
evaluation: {draws: 2, images: 10, resamplings: 1, embedded: 20}
studies:
  start:
    latent_dims: [2]
    settings: {log_steps: true}
    evaluation: false
    arms: {linear: {logged: {}, one epoch: {epochs: 1}}}
"""
SHORT = dict(draws=2, images=10, resamplings=1, embedded=20)
CHAPTERS = {
    "measured": (
        "evaluated = []  # runs\ndataset = 'mnist'\nruns_root = 'runs'",
        "print(dataset, [len(open(f'{run}/metrics.json').read()) for run in evaluated])",
    ),
    "start": (
        "study = ''  # runs\nruns_root = 'runs'",
        "from vaelib import results, training\n\n"
        "arms = results.read_study(study, runs_root, 'start')['linear']\n"
        "print({arm: len(training.load(own[0]).steps()) for arm, own in arms.items()})",
    ),
    "drawn": (
        "runs = []  # runs",
        "from vaelib import training\n\nprint(len([training.load(run).model() for run in runs]))",
    ),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the finished runs of the edition, one of them measured."""
    folder = tmp_path_factory.mktemp("trained")
    made = Edition(yaml.safe_load(EDITION), str(folder / "build" / "tiny"))
    for config in made.runs.values():
        training.train(config)
    for place in made.evaluated:
        evaluation.evaluate(folder / "build" / "tiny" / place, features=[], depth=evaluation.Depth(**SHORT))
    return folder


@pytest.fixture
def project(trained, tmp_path, monkeypatch):
    """A project whose edition is built, with the pages of its chapters."""
    shutil.copytree(trained / "build", tmp_path / "build")
    for name in ("notebooks", "book/pages", "editions"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "editions" / "tiny.yaml").write_text(EDITION)
    for module in (chapters, pages):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.chdir(tmp_path)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = Edition(yaml.safe_load(EDITION))
    for place, content in made.records().items():
        (tmp_path / made.build / place).parent.mkdir(exist_ok=True)
        (tmp_path / made.build / place).write_text(json.dumps(content, indent=1))
    for name, (given, code) in CHAPTERS.items():
        template = new_notebook(
            cells=[
                new_markdown_cell(f"# The chapter {name}", id="0"),
                new_code_cell(given, metadata={"tags": ["parameters"]}, id="1"),
                new_code_cell(code, id="2"),
            ],
            metadata={"kernelspec": kernel, "language_info": {"name": "python"}},
        )
        nbformat.write(template, tmp_path / "notebooks" / f"{name}.ipynb")
        # What papermill makes of it in a build, without executing it.
        values = chapters.chapter(f"notebooks/{name}.ipynb", made, {}).values
        ran = nbformat.from_dict(template)
        lines = "\n".join(f"{key} = {value!r}" for key, value in values.items())
        ran.cells.insert(2, new_code_cell(lines, metadata={"tags": ["injected-parameters"]}))
        stage.write(stage.staged(ran, template, name), tmp_path / "book" / "pages" / f"{name}.ipynb")
    return tmp_path


def record():
    records.main(records.Path("editions/tiny.yaml"))


def refresh(project, *names, same=False):
    with pytest.raises(SystemExit) as ended:
        pages.main(list(names), same, project / "book" / "pages", project / "editions" / "tiny.yaml")
    assert ended.value.code in (0, 1), ended.value.code


def shown(project, name):
    page = nbformat.read(project / "book" / "pages" / f"{name}.ipynb", as_version=4)
    return "".join(output.text for cell in page.cells for output in cell.get("outputs", []))


def edit(project, name, **changed):
    path = project / "notebooks" / f"{name}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for id, source in changed.items():
        next(cell for cell in notebook.cells if cell.id == id[1:]).source = source
    nbformat.write(notebook, path)


def test_a_record_says_of_its_run_what_the_run_says(project, capsys):
    record()
    made = Edition(yaml.safe_load(EDITION))
    assert len(made.runs) == 4
    for place in made.runs:
        run, kept = (training.load(project / root / "tiny" / place) for root in ("build", "records"))
        assert kept.recorded
        assert not kept.finished
        assert kept.weights_sha256 == run.weights_sha256
        assert kept.config.settings() == run.config.settings()
        assert kept.history().equals(run.history())
        if place in made.evaluated:
            assert evaluation.read(kept) == evaluation.read(run)
    files = [path for path in (project / "records").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".csv", ".sha256"}
    size = sum(path.stat().st_size for path in files)
    assert capsys.readouterr().out == f"4 runs are recorded in records/tiny, {size:,} bytes; not finished: 0\n"
    for name in ("start", "sizes"):
        own, built = (project / root / "tiny" / "studies" / f"{name}.json" for root in ("records", "build"))
        assert own.read_text() == built.read_text()


def test_of_the_steps_the_first_epoch_is_kept(project):
    record()
    place = "studies/digits/linear-d2-s0-epochs2-encoder_widths8"
    run, kept = (training.load(project / root / "tiny" / place).steps() for root in ("build", "records"))
    assert kept.equals(run[run.epoch == 1])
    assert 0 < len(kept) == len(run) / 2


def test_what_is_not_finished_is_counted_and_keeps_its_earlier_record(project, capsys):
    place = "runs/digits/linear-d2-s0-epochs2-encoder_widths8"
    (project / "build" / "tiny" / "runs/digits/linear-d3-s0-epochs2-encoder_widths8" / "model.safetensors").unlink()
    record()
    assert "3 runs are recorded" in capsys.readouterr().out
    before = (project / "records/tiny" / place / "history.csv").read_bytes()
    (project / "build/tiny" / place / "model.safetensors").unlink()
    (project / "build/tiny" / place / "history.csv").write_text("another training has begun")
    record()
    assert capsys.readouterr().out.endswith("; not finished: 2\n")
    assert (project / "records/tiny" / place / "history.csv").read_bytes() == before
    assert not [path for path in (project / "records").rglob(".*")]


def test_measures_of_other_weights_are_not_recorded(project):
    place = "runs/digits/linear-d2-s0-epochs2-encoder_widths8"
    record()
    weights = project / "build/tiny" / place / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"x")
    record()
    assert sorted(path.name for path in (project / "records/tiny" / place).iterdir()) == [
        "config.json", "history.csv", "weights.sha256",
    ]  # fmt: skip


def test_more_than_fits_is_refused_and_nothing_is_replaced(project, monkeypatch):
    record()
    before = {path: path.read_bytes() for path in (project / "records").rglob("*") if path.is_file()}
    size = sum(map(len, before.values()))
    for path in (project / "build").rglob("history.csv"):
        path.write_text(path.read_text() + "\n")
    monkeypatch.setattr(records, "LARGEST", size)
    with pytest.raises(SystemExit, match=rf"^records/tiny: {size + 4:,} bytes of records: accepted are {size:,}"):
        record()
    assert {path: path.read_bytes() for path in (project / "records").rglob("*") if path.is_file()} == before


def test_a_page_of_a_build_is_made_of_what_its_records_are_made_of(project):
    record()
    values = {
        name: chapters.parameters(chapters.read(f"notebooks/{name}.ipynb"))
        | chapters.chapter(f"notebooks/{name}.ipynb", Edition(yaml.safe_load(EDITION), "records/tiny"), {}).values
        for name in CHAPTERS
    }
    for name in ("measured", "start"):
        page = nbformat.read(project / "book" / "pages" / f"{name}.ipynb", as_version=4)
        template = chapters.read(f"notebooks/{name}.ipynb")
        assert page.metadata["made_of"] == sources.made_of(template, values[name])
    assert "made_of" not in nbformat.read(project / "book" / "pages" / "drawn.ipynb", as_version=4).metadata


def test_pages_of_unchanged_records_are_not_executed(project, capsys):
    record()
    capsys.readouterr()
    edit(project, "measured", _0="# Other words")
    refresh(project)
    assert capsys.readouterr().out == "pages refreshed: 1, executed: 0, unchanged: 2, left to make publish: 0\n"
    assert shown(project, "measured") == ""


def test_a_chapter_whose_code_changed_is_executed_from_records_without_weights(project, capsys):
    record()
    shutil.rmtree(project / "build")
    for name in CHAPTERS:
        edit(project, name, _2=CHAPTERS[name][1] + "\nprint('new')")
    capsys.readouterr()
    refresh(project)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "drawn: the template has other code than what was executed; it needs the weights: make publish",
        "pages refreshed: 0, executed: 2, unchanged: 0, left to make publish: 1",
    ]
    sizes = [path.stat().st_size for path in sorted((project / "records/tiny/runs").glob("digits/*/metrics.json"))]
    assert len(sizes) == 2
    assert shown(project, "measured") == f"digits {sizes}\nnew\n"
    assert shown(project, "start") == "{'logged': 12, 'one epoch': 12}\nnew\n"
    refresh(project)
    assert "executed: 0, unchanged: 2, left to make publish: 1" in capsys.readouterr().out


@pytest.fixture
def executed(monkeypatch):
    """The parameters of each chapter that would be executed, by its name."""
    found = {}
    monkeypatch.setattr(pages, "execute", lambda template, values, page: found.update({page.stem: values}) or "")
    return found


def test_a_chapter_whose_record_changed_is_executed(project, executed, capsys):
    record()
    history = project / "records/tiny/runs/digits/linear-d3-s0-epochs2-encoder_widths8/history.csv"
    history.write_text(history.read_text() + "\n")
    refresh(project)
    assert "executed: 1, unchanged: 2" in capsys.readouterr().out
    assert list(executed) == ["measured"]


def test_a_chapter_whose_module_of_the_library_changed_is_executed(project, executed, monkeypatch, capsys):
    record()
    original = provenance._code
    monkeypatch.setattr(provenance, "_code", lambda name: original(name) + "x" * (name == "vaelib.results.compare"))
    refresh(project)
    assert list(executed) == ["start"]
    assert executed["start"]["study"] == "records/tiny/studies/start.json"


def test_a_model_of_the_grid_that_is_not_recorded_is_left_out_and_a_study_is_left_alone(project, executed, capsys):
    record()
    shutil.rmtree(project / "records/tiny/runs/digits/linear-d3-s0-epochs2-encoder_widths8")
    gone = next(path.name for path in (project / "records/tiny/studies/digits").glob("*epochs1*"))
    shutil.rmtree(project / "records/tiny/studies/digits" / gone)
    capsys.readouterr()
    refresh(project)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"start: 1 of its records are missing, such as records/tiny/studies/digits/{gone}: make publish",
        "pages refreshed: 0, executed: 1, unchanged: 1, left to make publish: 1",
    ]
    kept = ["records/tiny/runs/digits/linear-d2-s0-epochs2-encoder_widths8"]
    assert {name: values["evaluated"] for name, values in executed.items()} == {"measured": kept}


def test_a_chapter_that_fails_leaves_its_page_as_it_was(project, capsys):
    record()
    edit(project, "measured", _2="raise ValueError('no')")
    before = (project / "book/pages/measured.ipynb").read_bytes()
    capsys.readouterr()
    refresh(project)
    assert "measured.ipynb: ValueError: no\n" in capsys.readouterr().out
    assert (project / "book/pages/measured.ipynb").read_bytes() == before


def test_without_the_images_nothing_is_executed_and_one_line_says_so(project, capsys, monkeypatch):
    record()
    for name in ("measured", "start"):
        edit(project, name, _2="print('new')")
    capsys.readouterr()

    def load(*_):
        raise InputError("digits are not to be had")

    monkeypatch.setattr("vaelib.data.load", load)
    refresh(project)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "measured, start cannot be executed: digits are not to be had",
        "pages refreshed: 0, executed: 0, unchanged: 1, left to make publish: 2",
    ]


def test_new_code_that_changes_no_output_is_not_executed(project, capsys):
    record()
    edit(project, "measured", _2="print('the same')")
    refresh(project, "measured", same=True)
    refresh(project)
    assert capsys.readouterr().out.endswith("pages refreshed: 0, executed: 0, unchanged: 3, left to make publish: 0\n")
