import json

import pytest
import quick_compilation

from benchmarks import gpu
from data_prep import demo
from mgm_jax.errors import ConfigError


def test_the_largest_batch_that_fits_is_taken(monkeypatch):
    def measure(names, setting, rounds):
        if setting.clips > 64:
            raise RuntimeError("mgm_jax: out of memory")
        return {names[0]: (0.5, 2**30)}

    monkeypatch.setattr(gpu.train_step, "measure", measure)
    setting = gpu.Setting("B", 0.75, 256, "bfloat16")
    found, seconds, peak = gpu.largest_batch(gpu.OURS, setting, gpu.BATCHES)
    assert (found.clips, seconds, peak) == (64, 0.5, 2**30)
    assert gpu.largest_batch(gpu.OURS, setting, (256, 128)) == "mgm_jax: out of memory"
    tried = []

    def fail(_, setting, rounds):
        tried.append(setting.clips)
        raise RuntimeError("no compiler")

    monkeypatch.setattr(gpu.train_step, "measure", fail)
    assert gpu.largest_batch(gpu.OURS, setting, gpu.BATCHES) == "no compiler"
    assert tried == [256]


def measure(names, *_, **__):
    """In place of `train_step.measure`, which `test_train_step.py` runs."""
    return {names[0]: (0.5, 2**30)}


def test_rehearsed_steps_have_rows(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu.train_step, "measure", measure)
    plan = gpu.Plan(tmp_path, "", rehearse=True)
    rows = gpu.run_steps(plan, "S")
    assert [row[:3] for row in gpu.step_rows(rows)] == [
        ("ViT-Ti, ratio 0.75: mgm_jax", "1", "2"),
        ("ViT-Ti, ratio 0.75: PyTorch eager", "1", "2"),
    ]
    (row,) = gpu.step_rows(gpu.run_attention(plan))
    assert row[:3] == ("ViT-Ti, ratio 0.75: mgm_jax, xla", "1", "2")


@pytest.mark.slow
def test_stages_are_rehearsed_written_and_not_run_again(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", quick_compilation.XLA_FLAGS)  # A machine with one device.
    demo.make_demo(tmp_path / "clips", num_train=12, num_validation=2)
    plan = gpu.Plan(tmp_path / "out", str(tmp_path / "clips"), rehearse=True)
    monkeypatch.setattr(gpu.train_step, "measure", measure)
    stages = ("shares", "training", "study")
    results = gpu.run(plan, stages)
    assert results == json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert set(stages) < results.keys()
    assert results["shares"]["step"] > 0
    assert results["study"][0]["row"] == "from scratch, rate 1e-3"
    assert 0 <= results["training"]["waiting"] <= 1
    monkeypatch.setattr(gpu, "STAGES", {})
    assert gpu.run(plan, stages) == results


def test_a_stage_with_a_step_that_failed_is_run_again(tmp_path, monkeypatch):
    found = [[{"error": "no compiler"}], [{"clips": 1}]]
    monkeypatch.setattr(gpu, "STAGES", {"steps_B": lambda plan: found.pop(0)})
    plan = gpu.Plan(tmp_path, "", rehearse=True)
    assert gpu.run(plan, ["steps_B"])["steps_B"] == [{"error": "no compiler"}]
    for _ in range(2):
        assert gpu.run(plan, ["steps_B"])["steps_B"] == [{"clips": 1}]


def test_results_of_two_machines_are_not_mixed(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "STAGES", {"shares": lambda plan: {"step": 1.0}})
    plan = gpu.Plan(tmp_path, "", rehearse=True)
    results = gpu.run(plan, ["shares"])
    (tmp_path / "gpu.json").write_text(json.dumps(results | {"device": "another, jax 0.1"}))
    with pytest.raises(ConfigError, match=r"gpu\.json holds results of another, jax 0\.1"):
        gpu.run(plan, ["shares"])


def test_a_step_that_does_not_run_is_said_in_the_table():
    row = {"step": gpu.EAGER, "size": "B", "mask_ratio": 0.9, "attention": "auto", "error": "!"}
    assert gpu.step_rows([row]) == [("ViT-B, ratio 0.9: PyTorch eager", "does not run", "", "", "")]
