import json
import sys
import time

import numpy as np
import pytest
import shrunk

from mgm_jax.errors import ConfigError
from mgm_jax.training import metrics
from mgm_jax.training.wandb_run import check_tracker


@pytest.fixture
def config():
    return shrunk.recipe("demo_pretrain", "unused", tracker="wandb")


def test_without_wandb_the_tracker_is_refused_with_the_cure(config, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match="pip install wandb"):
        check_tracker(config)
    config.tracker = "none"
    check_tracker(config)


@pytest.mark.slow
def test_an_offline_run_holds_the_metrics_and_resumes_under_its_id(
    config, tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    for step in (1, 2):
        assert "keeps the last part only" not in caplog.text
        writer = metrics.Writer(tmp_path, config, from_step=step - 1)
        picture = np.zeros((4, 6, 3), np.uint8)
        writer.write(step, {"train/loss": step / 2, "reconstruction/0": picture})
        writer.close()
    assert "keeps the last part only" in caplog.text
    name = (tmp_path / "wandb_id").read_text()
    files = sorted((tmp_path / "wandb").glob(f"offline-run-*/run-{name}.wandb"))
    deadline = time.monotonic() + 60  # Its own process writes them.
    while not all(b"train/loss" in file.read_bytes() for file in files):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(files) == 2
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
