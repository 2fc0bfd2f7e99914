import pytest

from benchmarks import topologies

RECORD = {
    "size": "L",
    "topology": "v4:4x4x4",
    "batch": 512,
    "changes": {"mesh.fsdp": 8},
    "hosts": 16,
    "peak": 2**34,
    "limit": 2**35,
    "compute": 0.01,
    "memory": 0.02,
    "network": 0.005,
    "best": 0.02,
    "estimate": 0.032,
    "clips": 512,
    "days": 1.5,
}


def test_rows_hold_the_numbers_or_say_that_nothing_fits():
    times = ("10.0", "20.0", "5.0", "20.0", "32.0")
    assert topologies.make_row(RECORD) == (
        *("ViT-L, 512, v4:4x4x4", "fsdp=8", "16.0 (50%)", *times, "16000 (1000)", "1.50"),
    )
    refused = {name: RECORD[name] for name in ("size", "topology", "batch")}
    assert topologies.make_row(refused)[:2] == ("ViT-L, 512, v4:4x4x4", "does not fit")


@pytest.mark.parametrize(("size", "count"), [("B", 6), ("L", 5)])
def test_candidates_keep_less_and_less(size, count):
    tried = list(topologies.candidates(size))
    assert len(tried) == count
    assert tried[-1].items() >= {"model.remat": "full", "grad_accum_steps": 16}.items()
    assert all(changes.get("mesh.fsdp", 1) == (8 if size == "L" else 1) for changes in tried)
