"""Preparation in an Apache Beam pipeline, on its local runner."""

import os
import sys

import pytest

from data_prep import beam
from mgm_jax.errors import ConfigError

BEAM_PYTHON = os.environ.get("MGM_BEAM_PYTHON")


@pytest.mark.slow
@pytest.mark.skipif(
    BEAM_PYTHON is None,
    reason="MGM_BEAM_PYTHON names no python of an environment with requirements-beam.txt",
)
def test_a_pipeline_writes_the_same_records(videos, tmp_path, run, contents, command):
    run(videos, tmp_path / "here", records_per_shard=3)
    done = command(
        *("prepare", "--dataset=folder", f"--videos={videos}", f"--out={tmp_path / 'beam'}"),
        *("--short_side=72", "--records_per_shard=3", "--beam_option=runner=DirectRunner"),
        "--beam_option=direct_num_workers=2",
        "--beam_option=direct_running_mode=multi_processing",
        python=BEAM_PYTHON,
    )
    assert done.returncode == 0, done.stderr
    assert "3 shards, 3 to write" in done.stderr
    assert contents(tmp_path / "beam") == contents(tmp_path / "here")


def test_without_beam_the_error_names_the_cure(monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ConfigError, match=r"requirements-beam\.txt"):
        beam.write_shards_on_beam((), ())
