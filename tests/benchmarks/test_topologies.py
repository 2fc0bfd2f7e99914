import json

from benchmarks import topologies


def _record(batch, **more):
    return {"size": "L", "topology": "v4:4x4x4", "batch": batch, "changes": {}} | more


FOUND = {
    "hosts": 16,
    "peak": 2**34,
    "limit": 2**35,
    "seconds": {"compute": 0.01, "memory": 0.02, "network": 0.005},
    "best": 0.02,
    "estimate": 0.032,
    "clips": 512,
    "days": 1.5,
    "network": [
        {"kind": "all-reduce", "axes": ["data"], "times": 4, "bytes": 2e8, "sent": 4e8},
    ],
}


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    cache = tmp_path / "cache.jsonl"
    assert topologies.read_records(cache) == []
    whole = [_record(512, **FOUND), _record(4096, refused="a")]
    lines = [json.dumps(record) for record in whole]
    cache.write_text("\n".join(lines) + "\n" + lines[0][:40])
    assert topologies.read_records(cache) == whole
    assert cache.read_text().count("\n") == 2
    # What is there is not compiled again: this would take minutes.
    topologies.compile_missing([("L", "v4:4x4x4", 512)], cache)
    assert topologies.read_records(cache) == whole


def test_the_page_has_a_row_for_all_and_says_what_is_missing_or_refused():
    said = "the step of config.batch_size=4096 needs 40.00 GiB of the 30.75 GiB that"
    records = [_record(512, **FOUND), _record(4096, refused=said)]
    wanted = list(topologies.entries(("L", "H"), ("v4:4x4x4",), (512, 4096)))
    page = topologies.make_page(wanted, records)
    rows = [line for line in page.splitlines() if line.startswith("| ViT-")]
    assert rows[0] == (
        "| ViT-L, 512, v4:4x4x4 | - |  | 16.0 (50%) | 10.0 | 20.0 | 5.0 | 20.0 | 32.0 | 16000 | "
        "1000 | 1.50 |"
    )
    assert rows[1].startswith("| ViT-H, 512, v4:4x4x4 | not compiled yet |  |")
    assert rows[2].startswith("| ViT-L, 4096, v4:4x4x4 | not compiled yet | -: 40.00 GiB at 4096 |")
    assert rows[4] == "| ViT-L, 512, v4:4x4x4 | all-reduce along data | 4 | 200.0 | 400.0 |"
