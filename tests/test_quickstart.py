"""Runs docs/quickstart.ipynb, with few clips and steps."""

import pathlib

import nbclient
import nbformat
import pytest

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_notebook_runs_and_shows_its_pictures(tmp_path, monkeypatch):
    monkeypatch.setenv("QUICKSTART_STEPS", "2")
    monkeypatch.setenv("QUICKSTART_CLIPS", "72")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    notebook = nbformat.read(REPOSITORY / "docs" / "quickstart.ipynb", as_version=4)
    (training,) = (cell for cell in notebook.cells if "pictures_every" in cell.source)
    shallow = "config.model.encoder.depth = config.model.decoder.depth = 1"
    training.source = training.source.replace(
        "pictures_every = 0", f"pictures_every = 0; {shallow}"
    )
    where = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=where).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 4
