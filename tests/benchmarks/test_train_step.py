import pytest

from benchmarks import train_step
from benchmarks.step_contenders import COMPILED, EAGER, MATMUL, OURS, step_flops


def test_utilisation_and_speedup():
    flops = step_flops("Ti", 0.9)
    results = {OURS: (2.0, 2**30), EAGER: (4.0, 2**31), COMPILED: (3.0, 0), MATMUL: (1.0, 0)}
    rows = train_step.make_rows(results, ("Ti", 0.9, 4, "float32"), rate=4 * flops)
    assert rows == [
        ("ViT-Ti, ratio 0.9: mgm_jax", "2", "1.50", "50 %", "1.0 GiB"),
        ("ViT-Ti, ratio 0.9: PyTorch eager", "1", "0.75", "25 %", "2.0 GiB"),
        ("ViT-Ti, ratio 0.9: PyTorch compiled", "1.33", "1.00", "33 %", "0.0 GiB"),
    ]


@pytest.mark.parametrize(
    ("ours", "device", "verdicts"),
    [(2.0, "cpu", ("met", "missed")), (2.0, "gpu", ("met", "met")), (2.5, "gpu", ("missed",) * 2)],
)
def test_goals(ours, device, verdicts):
    flops = step_flops("Ti", 0.9)
    results = {OURS: (ours, 0), EAGER: (4.0, 0), COMPILED: (3.0, 0)}
    line = train_step.goals(results, ("Ti", 0.9, 4, "float32"), 4 * flops, device)
    assert f"(goal 1.3x: {verdicts[0]})" in line
    assert f" %: {verdicts[1]})" in line
