import json
import pydoc
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT

import vaelib
from vaelib import config, evaluation, results, training

FACE = {
    "train": training.train,
    "train_classifier": training.train_classifier,
    "load": training.load,
    "Run": training.Run,
    "evaluate": evaluation.evaluate,
    "fid": evaluation.fid,
    "compare": results.compare,
    "TrainingConfig": config.TrainingConfig,
    "InputError": config.InputError,
}


def test_the_face_has_its_names_from_the_rooms():
    assert {name: getattr(vaelib, name) for name in vaelib.__all__} == FACE
    assert set(FACE) <= set(dir(vaelib))


def test_the_help_says_what_the_face_does():
    """As help(vaelib) shows it, indented."""
    shown = " ".join(pydoc.render_doc(vaelib, renderer=pydoc.plaintext).replace("|", " ").split())
    for name in ("train", "evaluate", "fid", "compare", "train_classifier", "load", "TrainingConfig"):
        assert FACE[name].__doc__
        assert " ".join(FACE[name].__doc__.split()) in shown


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'vaelib' has no attribute 'trian'"):
        _ = vaelib.trian
    assert not hasattr(vaelib, "encode")


def test_the_face_is_imported_without_the_libraries():
    """Seconds of the processor, not of the clock, as other work runs beside."""
    program = (
        "import json, sys, time; before = time.process_time(); import vaelib; seconds = time.process_time() - before;"
        "dir(vaelib), vaelib.__version__, vaelib.TrainingConfig, vaelib.InputError;"
        "print(json.dumps([seconds, sorted(sys.modules)]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    seconds, modules = json.loads(done.stdout)
    assert seconds < 0.5
    assert "vaelib.config" in modules
    assert not {"torch", "numpy", "pandas", "sklearn", "matplotlib", "vaelib.data", "vaelib.training"} & set(modules)


def test_a_session_of_the_face_alone(clothes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = vaelib.train(dataset=clothes, epochs=1, encoder_widths=(8,))
    assert vaelib.load(run.path).config == run.config
    assert run.model().sample(3).shape == (3, 12, 12)
    other = vaelib.train(dataset=clothes, epochs=1, encoder_widths=(4,))
    vaelib.train_classifier(clothes, epochs=1, batch_size=9)
    depth = evaluation.Depth(draws=5, images=9, resamplings=1, paths=5, class_draws=5, embedded=20)
    for one in (run, other):
        with pytest.warns(UserWarning, match="says more about their number than about the images"):
            found = vaelib.evaluate(one, depth=depth, images=clothes)
        assert np.isfinite(found["measures"]["l5_nats"]["value"])
    table = vaelib.compare([run, other], ["l5_nats"])
    assert len(table) == 1
    with pytest.raises(vaelib.InputError, match="nowhere is no run"):
        vaelib.load("nowhere")
