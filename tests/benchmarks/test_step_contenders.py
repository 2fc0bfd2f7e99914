import pytest

from benchmarks.step_contenders import EAGER, MATMUL, OURS, measure, step_flops

SETTING = ("Ti", 0.9, 1, "float32")


def test_contenders_are_timed_in_processes_of_their_own():
    pytest.importorskip("torch", reason="Hugging Face's step needs torch")
    pytest.importorskip("transformers", reason="Hugging Face's step needs transformers")
    results = measure([EAGER, MATMUL], SETTING, rounds=1)
    assert list(results) == [EAGER, MATMUL]
    for seconds, num_bytes in results.values():
        assert seconds > 0
        assert num_bytes > 2**27


def test_what_cannot_run_is_named():
    with pytest.raises(RuntimeError, match=r"mgm_jax: .*no model size named 'Q'"):
        measure([OURS], ("Q", 0.9, 1, "float32"), rounds=1)


def test_operations_of_a_step_are_three_forward_passes():
    """ViT-B on half of the tokens: encoder blocks, decoder blocks, and the layers at both ends."""
    tokens, visible = 1568, 784

    def blocks(depth, width, count):
        return depth * count * (24 * width**2 + 4 * count * width)

    ends = 2 * visible * 768 * (1536 + 384) + 2 * (tokens - visible) * 384 * 1536
    forward = blocks(12, 768, visible) + blocks(4, 384, tokens) + ends
    assert step_flops("B", 0.5) == 3 * forward
