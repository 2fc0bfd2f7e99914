import dataclasses

import pytest
import shrunk

from benchmarks.train_step import (
    COMPILED,
    EAGER,
    MATMUL,
    OURS,
    Setting,
    make_hugging_face,
    make_ours,
    make_rows,
    measure,
    step_flops,
)

SETTING = Setting("Ti", 0.9, 1, "float32")


@pytest.mark.slow
def test_our_step_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(Setting, "recipe", lambda _: shrunk.recipe("ssv2_pretrain", tmp_path))
    make_ours(SETTING)()


@pytest.mark.slow
def test_the_step_in_pytorch_runs():
    pytest.importorskip("transformers", reason="Hugging Face's step needs transformers")
    pytest.importorskip("torch", reason="Hugging Face's step needs torch")
    make_hugging_face(SETTING, compiled=False)()


@pytest.mark.slow
def test_contenders_are_timed_in_processes_of_their_own():
    results = measure([MATMUL], SETTING, rounds=1)
    assert results[MATMUL][0] > 0
    assert results[MATMUL][1] > 2**27
    with pytest.raises(RuntimeError, match=r"matmul: .*float7"):
        measure([MATMUL], dataclasses.replace(SETTING, dtype="float7"), rounds=1)


def test_flops_of_a_step_are_those_of_three_forward_passes():
    """ViT-B on half of the tokens: encoder blocks, decoder blocks, and the layers at both ends."""
    tokens, visible = 1568, 784

    def blocks(depth, width, count):
        return depth * count * (24 * width**2 + 4 * count * width)

    ends = 2 * visible * 768 * (1536 + 384) + 2 * (tokens - visible) * 384 * 1536
    forward = blocks(12, 768, visible) + blocks(4, 384, tokens) + ends
    assert step_flops(Setting("B", 0.5, 2, "float32")) == 2 * 3 * forward


def test_rows_hold_speed_and_utilisation(monkeypatch):
    side = (step_flops(SETTING) / 2) ** (1 / 3)
    monkeypatch.setattr("benchmarks.train_step.matmul_side", lambda: side)
    results = {OURS: (2.0, 2**30), EAGER: (4.0, 2**31), COMPILED: (3.0, 0), MATMUL: (1.0, 0)}
    assert make_rows(results, SETTING) == [
        ("ViT-Ti, ratio 0.9: mgm_jax", "2000.0", "0.5", "1.50", "50 %", "1.0"),
        ("ViT-Ti, ratio 0.9: PyTorch eager", "4000.0", "0.25", "0.75", "25 %", "2.0"),
        ("ViT-Ti, ratio 0.9: PyTorch compiled", "3000.0", "0.333", "1.00", "33 %", "0.0"),
        ("ViT-Ti, ratio 0.9: matmul", "1000.0", "", "", "", "0.0"),
    ]
