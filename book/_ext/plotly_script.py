"""Puts Plotly's script, as the installed package carries it, where the pages with interactive figures ask for it."""

import shutil
from pathlib import Path

import plotly


def setup(app):
    app.connect("build-finished", copy)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def copy(app, failure):
    if failure is None and app.builder.format == "html":
        script = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
        shutil.copy(script, Path(app.outdir) / "_static" / script.name)
