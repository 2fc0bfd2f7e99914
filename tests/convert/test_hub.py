"""Models of the Hub by name, from a cache that the test makes: no network is needed."""

import os
import subprocess
import sys

import command_line
import pytest
from huggingface_hub import constants
from random_weights import CLASSIFIER, assert_equal, random_weights

from mgm_jax.convert import hub, weights
from mgm_jax.errors import CheckpointError

NAME = "owner/a-model_1.0"


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache in which an earlier download has left one model."""
    model = tmp_path / "hub" / "models--owner--a-model_1.0"
    weights.write_hugging_face(model / "snapshots" / "abc", random_weights(CLASSIFIER))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def test_a_model_is_read_from_the_cache_by_its_name(cache):
    assert hub.find_model(NAME) == cache / "hub/models--owner--a-model_1.0/snapshots/abc"
    found = weights.read(NAME)
    assert_equal(found.params, random_weights(CLASSIFIER).params)
    assert found.architecture == CLASSIFIER


def test_what_is_on_the_disk_comes_first(cache, monkeypatch):
    monkeypatch.chdir(cache)
    (cache / "owner" / "a-model_1.0").mkdir(parents=True)
    assert str(hub.find_model(NAME)) == NAME
    assert hub.find_model(cache) == cache


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_an_incomplete_cache_is_refused(cache, missing):
    next(cache.glob(f"hub/*/snapshots/abc/{missing}")).unlink()
    with pytest.raises(CheckpointError, match=f"(?s){NAME}.*hf download {NAME} --local-dir"):
        hub.find_model(NAME)


def test_a_model_that_is_nowhere_is_refused_with_the_way_to_fetch_it(cache):
    with pytest.raises(CheckpointError, match="hf download owner/other --local-dir DIR"):
        weights.read("owner/other")
    with pytest.raises(CheckpointError, match=r"nothing at .*runs/a/b; give the folder of a run"):
        weights.read("runs/a/b")  # No name of the Hub.


@pytest.mark.slow
def test_the_command_reads_the_cache_offline(cache):
    for name, code in ((NAME, 0), ("owner/other", 1)):
        out = cache / "out.safetensors"
        flags = [f"--source={name}", f"--out={out}", "--to=original"]
        done = subprocess.run(
            [sys.executable, "-m", "mgm_jax.convert", *flags],
            env=os.environ | {"HF_HOME": str(cache), "HF_HUB_OFFLINE": "1"},
            cwd=command_line.REPOSITORY,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert done.returncode == code, done.stderr
        assert out.exists() == (code == 0)
        out.unlink(missing_ok=True)
    assert "error: owner/other is no file or folder here" in done.stderr
