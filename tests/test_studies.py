"""The chapters of studies, executed on own images that take seconds to learn; their tables against the runs' files."""

import ast
import functools
import json
import re
import warnings

import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from IPython.display import Markdown

from vaelib import data, evaluation, training
from vaelib.config import InputError
from vaelib.results import findings

CHAPTERS = ("weights", "dimensions", "noise", "start", "reports")
LEVEL = "salt-pepper:0.1"


def template(name):
    return nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4).cells


def shown(name, **parameters):
    """The names that the template's code defines, run in this process, and the Markdown that its cells end in."""
    given, *cells = [cell for cell in template(name) if cell.cell_type == "code"]
    namespace = {}
    exec(given.source, namespace)
    namespace |= {key: value for key, value in parameters.items() if key in namespace}
    texts = {}
    for cell in cells:
        *lines, last = ast.parse(cell.source).body
        exec(compile(ast.Module(lines, []), cell.id, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), cell.id, "eval"), namespace)
            texts |= {cell.id: value.data} if isinstance(value, Markdown) else {}
        else:
            exec(compile(ast.Module([last], []), cell.id, "exec"), namespace)
    return namespace, texts


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    """Evaluated runs of 16 by 16 images whose classes are words, one of three images only, and the studies' files."""
    folder = tmp_path_factory.mktemp("studies")
    shapes = np.zeros((3, 16, 16))
    shapes[0, 7:9, 2:14] = shapes[1, 2:14, 7:9] = 1
    shapes[2] = np.eye(16)
    kinds = np.repeat([0, 1, 2], [40, 40, 3])
    images = shapes[kinds] * np.random.default_rng(0).uniform(0.6, 1, (len(kinds), 1, 1))
    names = np.array(["flat", "upright", "leaning line"])
    np.savez(folder / "strokes.npz", images=(255 * images).astype(np.uint8), labels=names[kinds])
    dataset = str(folder / "strokes.npz")
    network = training.train_classifier(dataset, epochs=1, batch_size=16, runs_root=str(folder / "runs")).path
    known = {}

    def arm(arch, seeds, **settings):
        """Paths of runs relative to the studies' folder, each trained once and, but for the longer ones, evaluated."""
        root = "runs" if settings.keys() <= {"latent_dim"} and settings["latent_dim"] == 2 else "studies"
        settings = dict(epochs=2, batch_size=16, encoder_widths=(8,)) | settings
        for seed in seeds:
            run = training.train(dataset=dataset, arch=arch, seed=seed, runs_root=str(folder / root), **settings)
            if run.path not in known and settings["epochs"] == 2:  # of longer ones the history is read alone
                depth = evaluation.Depth(10, 10, 0, 1, 10, 5, 20)
                noises = [LEVEL] if settings["latent_dim"] == 2 and run.config.k2 == 1 else []
                evaluation.evaluate(run, depth=depth, noises=noises, classifier=network)
            known[run.path] = run
            yield f"../{run.path.relative_to(folder)}"

    def study(name, **arms):
        found = {arch: {arm: list(paths) for arm, paths in own.items()} for arch, own in arms.items()}
        (folder / "studies" / f"{name}.json").write_text(json.dumps(found))

    (folder / "studies").mkdir()
    both, one, two = (0, 1), (0,), dict(latent_dim=2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "FID of")
        study(
            "weights",
            linear={
                "1, 1": arm("linear", both, **two),
                "2, 2": arm("linear", both, k1=2, k2=2, **two),
                "beta 4": arm("linear", both, k2=4, **two),
                "KL warm-up": arm("linear", one, kl_warmup=1, **two),
            },
            conv={"1, 1": arm("conv", one, **two), "beta 4": arm("conv", one, k2=4, **two)},
        )
        study("dimensions", linear={"tuned": arm("linear", one, latent_dim=1)})
        study(
            "noise",
            linear={"clean": arm("linear", both, **two), "noisy": arm("linear", both, noise=LEVEL, **two)},
            conv={"clean": arm("conv", one, **two)},
        )
        study("start", linear={"5 epochs": arm("linear", both, epochs=5, log_steps=True, **two)})
        study(
            "reports",
            linear={
                "tuned": arm("linear", one, **two),
                "wide": arm("linear", one, epochs=3, encoder_widths=(9,), **two),
            },
            convbn={"a network": arm("convbn", one, epochs=3, **two)},
        )
    return folder, dict(dataset=dataset, runs_root=str(folder / "runs"))


@pytest.fixture(scope="module")
def page(studies):
    """What shown returns of a chapter of all studies, which is executed once."""
    return functools.cache(lambda name: shown(name, **studies[1]))


@pytest.fixture
def read(studies):
    """The runs of a study's arm by their seed."""
    folder, _ = studies

    def runs(name, arch, arm):
        paths = json.loads((folder / "studies" / f"{name}.json").read_text())[arch][arm]
        own = [training.load(folder / "studies" / path) for path in paths]
        return {run.config.seed: run for run in own}

    return runs


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_says_what_it_found_before_it_shows_it(name, page):
    _, texts = page(name)
    assert next(iter(texts)) == "found"
    assert texts["found"].startswith("- ")


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_shows_one_architecture_and_one_seed(name, studies, tmp_path):
    folder, parameters = studies
    arms = json.loads((folder / "studies" / f"{name}.json").read_text())["linear"]
    alone = {arm: [str((folder / "studies" / paths[0]).resolve())] for arm, paths in arms.items()}
    (tmp_path / "alone.json").write_text(json.dumps({"linear": alone}))
    grid = [path for path in (folder / "runs" / "strokes").iterdir() if path.name.startswith("linear-d2-s0")]
    _, texts = shown(name, **parameters | dict(study=str(tmp_path / "alone.json"), evaluated=[*map(str, grid)]))
    assert re.search("not decided|decides? nothing", texts["found"], re.IGNORECASE)


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_has_the_figure_or_table_that_its_findings_rest_on(name):
    cells = template(name)
    labels = {cell.metadata.mystnb.figure.name for cell in cells if "mystnb" in cell.metadata}
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    labels |= set(re.findall(r'glue\("(\w+)"', code))
    made = {getattr(findings, word) for word in re.findall(r"findings\.(\w+)\(", code)}
    made = [function(None) for function in made if hasattr(function, "__wrapped__") and name != "reports"]
    places = [one.where.removeprefix(f"{name}-") for one in made if one.where.startswith(f"{name}-")]
    assert set(places) <= labels
    assert places or name == "reports"


@pytest.mark.parametrize("name", CHAPTERS)
def test_a_chapter_asks_only_in_its_headings_and_exercises(name):
    cells = template(name)
    prose = [cell.source for cell in cells if cell.cell_type == "markdown" and "Exercise" not in cell.source]
    lines = [line for text in prose for line in text.splitlines() if not line.startswith("#")]
    for cell in cells:
        if "mystnb" in cell.metadata:
            lines += [cell.metadata.mystnb.figure.caption, cell.metadata.mystnb.image.alt]
    assert not [line for line in lines if "?" in line]


def test_a_sweep_of_beta_is_without_twins_and_warm_ups(page, read):
    namespace, _ = page("weights")
    assert sorted(set(namespace["swept"].beta)) == [1, 4]
    assert set(namespace["swept"].kl_warmup) == {0}
    ones, twos = (read("weights", "linear", arm) for arm in ("1, 1", "2, 2"))
    changes = [
        evaluation.values(twos[seed])["negative_elbo_nats"] - evaluation.values(ones[seed])["negative_elbo_nats"]
        for seed in ones
    ]
    cell = namespace["twins"].loc[("fully connected", "2, 2"), "minus (1, 1)"]
    assert float(cell.split()[0]) == pytest.approx(np.mean(changes), abs=0.005)


def test_the_slope_of_the_curve_is_that_of_the_training_images(page, read):
    namespace, texts = page("weights")
    one, four = (
        pd.DataFrame([run.final("train") for run in read("weights", "linear", arm).values()]).mean()
        for arm in ("1, 1", "beta 4")
    )
    slope = (four.recon_nats - one.recon_nats) / (one.kl_nats - four.kl_nats)
    row = namespace["rates"].query("arch == 'linear'").iloc[0]
    assert row.slope == pytest.approx(slope)
    assert row.converged == (1 <= slope <= 4)
    assert f"costs {slope:.2f} nats of distortion" in texts["solution"]


def test_the_dimensions_are_those_of_the_grid_and_of_the_study(studies, page):
    folder, _ = studies
    namespace, texts = page("dimensions")
    table = namespace["table"]
    assert table[["arch", "latent_dim", "seed"]].to_numpy().tolist() == [
        ["linear", 1, 0], ["linear", 2, 0], ["linear", 2, 1], ["conv", 2, 0],
    ]  # fmt: skip
    runs = [next(folder.glob(f"*/strokes/linear-d{d}-s0-epochs2-batch_size16-encoder_widths8")) for d in (1, 2)]
    one, two = (training.load(run).provenance["parameters"] for run in runs)
    assert f"a dimension adds {two - one:,} parameters" in texts["solution"]


def test_the_matrix_has_the_errors_that_were_measured(studies, page, read):
    namespace, _ = page("noise")
    errors, accuracies = (namespace[name]["fully connected, d = 2"] for name in ("errors", "accuracies"))
    assert list(errors.index) == ["clean", "salt-pepper 0.1", "median filter", "as they are"]
    assert list(errors) == ["clean", "salt-pepper 0.1"]
    measured = [evaluation.noises(run).set_index("noise") for run in read("noise", "linear", "noisy").values()]
    mean = pd.concat(measured).groupby("noise").mean(numeric_only=True)
    assert errors.loc["salt-pepper 0.1", "clean"] == pytest.approx(mean.error["none"])
    assert errors.loc["salt-pepper 0.1", "salt-pepper 0.1"] == pytest.approx(mean.error[LEVEL])
    assert accuracies.loc["median filter", "salt-pepper 0.1"] == pytest.approx(mean.median_accuracy[LEVEL])
    images = data.load(studies[1]["dataset"])
    assert errors.loc["as they are", "clean"] == 0
    assert errors.loc["as they are", "salt-pepper 0.1"] == pytest.approx(
        0.05 * (np.square(x := data.as_float(images.test_images).numpy()).mean() + np.square(1 - x).mean()), rel=0.2
    )


def test_the_start_is_read_from_the_steps(page, read):
    namespace, _ = page("start")
    runs = read("start", "linear", "5 epochs")
    lowest = []
    for run in runs.values():
        kl = pd.read_csv(run.path / "steps.csv").query("epoch == 1").kl.to_numpy()
        means = [kl[max(0, step - 20) : step].mean() for step in range(1, len(kl) + 1)]
        lowest.append(min(means))  # An epoch is shorter than twenty steps here, so that all of them count.
    row = namespace["turns"].loc["fully connected, d = 2, 5 epochs"]
    assert row["lowest"] == f"{np.mean(lowest):.1f} ± {np.std(lowest, ddof=1):.1f}"
    ends = [run.final()["kl_nats"] for run in runs.values()]
    assert row["at the end"] == f"{np.mean(ends):.1f} ± {np.std(ends, ddof=1):.1f}"


def test_a_model_is_compared_where_it_stood_when_ours_was_done(page, read):
    namespace, _ = page("reports")
    (ours,), (wide,) = (read("reports", "linear", arm).values() for arm in ("tuned", "wide"))
    history = wide.history().query("split == 'test'")
    pace = wide.train_seconds() / wide.config.epochs
    over = history[history.epoch * pace <= 1.0001 * ours.train_seconds()]
    expected = f"{(over.recon + over.kl).iloc[-1]:.2f}" if len(over) else "no epoch yet"
    stood = namespace["stood"].loc["wide"]
    assert stood["at the end of “ours, fully connected”"] == expected
    assert stood["at its own end"] == f"{wide.final()['negative_elbo_nats']:.2f}"
    assert "1,321,764" in namespace["counts"].loc[2].to_numpy()


def test_a_study_whose_samples_were_not_measured_says_what_is_missing(studies, monkeypatch):
    _, parameters = studies
    monkeypatch.setattr(evaluation, "values", lambda run: {"negative_elbo_nats": 1.0})
    for name in ("weights", "dimensions"):
        with pytest.raises(InputError, match="vaelib evaluate RUN makes them, with a classifier beside it"):
            shown(name, **parameters)
