"""Preparation as a pipeline of Apache Beam, on its local runner."""

import os
import subprocess
import sys

import encoded
import pytest

from data_prep import beam
from data_prep.conversion import Settings
from data_prep.datasets import Choices
from data_prep.prepare import prepare
from mgm_jax.errors import ConfigError

SETTINGS = Settings("low_delay", 72)
BEAM_PYTHON = os.environ.get("MGM_BEAM_PYTHON")


@pytest.fixture
def videos(tmp_path):
    for number in range(5):
        path = tmp_path / "videos" / "ab"[number % 2] / f"{number}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded.encode(encoded.moving_square(9, (number, 2))))
    path.write_bytes(b"broken")
    return tmp_path / "videos"


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.skipif(
    BEAM_PYTHON is None,
    reason="MGM_BEAM_PYTHON names no python of an environment with requirements-beam.txt",
)
def test_a_pipeline_makes_the_same_records(videos, tmp_path):
    prepare(
        "folder",
        str(videos),
        str(tmp_path / "here"),
        choices=Choices(),
        settings=SETTINGS,
        records_per_shard=2,
    )
    command = [
        *(BEAM_PYTHON, "-m", "data_prep.prepare", "--dataset=folder", f"--videos={videos}"),
        *(f"--out={tmp_path / 'beam'}", "--short_side=72", "--records_per_shard=2"),
        *("--workers=1", "--beam_runner=DirectRunner", "--beam_option=direct_num_workers=2"),
        "--beam_option=direct_running_mode=multi_processing",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 shards, of which 3 are for the pipeline" in done.stderr
    assert contents(tmp_path / "beam") == contents(tmp_path / "here")


def test_without_beam_the_error_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ConfigError, match=r"install requirements-beam\.txt"):
        beam.make_on_beam(print, (), ())
