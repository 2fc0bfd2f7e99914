import json
import shutil

import numpy as np
import pytest

from mgm_jax import io
from mgm_jax.errors import WriteError
from mgm_jax.training import metrics


def test_summary_averages_losses_and_takes_the_last_learning_rate():
    steps = [{"loss": 1.0, "learning_rate": 0.1}, {"loss": 3.0, "learning_rate": 0.5}]
    assert metrics.summarise(steps) == {"loss": 2.0, "learning_rate": 0.5}


def test_writer_drops_what_an_interrupted_run_wrote_after_its_checkpoint(tmp_path):
    writer = metrics.Writer(tmp_path)
    for step in (1, 2, 3):
        writer.write(step, {"loss": float(step)})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    writer = metrics.Writer(tmp_path, from_step=2)
    writer.write(3, {"loss": 30.0})
    writer.write(3, {"sheet": np.zeros((4, 6, 3), np.uint8)})
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 1, "loss": 1.0},
        {"step": 2, "loss": 2.0},
        {"step": 3, "loss": 30.0},
    ]


@pytest.mark.parametrize("line", [b"\xff\xfe", b"{}", b"null", b"[1]", b'{"step": "3"}'])
def test_damaged_lines_do_not_stop_a_run_from_resuming(line, tmp_path, caplog):
    file = tmp_path / "metrics.jsonl"
    whole = b'{"step": 1, "loss": 1.0}\n%s\n{"step": 2, "loss": 2.0}\n{"step": 3, "loss": 3.0}\n'
    file.write_bytes(whole % line)
    metrics.Writer(tmp_path, from_step=2).close()
    assert [json.loads(text)["step"] for text in file.read_text().splitlines()] == [1, 2]
    assert "lines 2 are damaged" in caplog.text


def test_a_folder_that_is_deleted_meanwhile_is_named(tmp_path):
    writer = metrics.Writer(tmp_path / "run")
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(WriteError, match="deleted"):
        writer.write(1, {"loss": 1.0})


def test_a_bucket_has_all_that_was_written_before_a_checkpoint_and_at_the_end(bucket):
    folder = io.make_path(f"{bucket}/metrics")
    file = folder / "metrics.jsonl"
    writer = metrics.Writer(folder)
    for step in (1, 2, 3):
        writer.write(step, {"loss": float(step)})
    writer.flush()
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3]
    del writer  # Killed.
    writer = metrics.Writer(folder, from_step=2)
    writer.write(3, {"loss": 30.0})
    writer.write(4, {"loss": 40.0})
    writer.close()
    losses = [json.loads(line)["loss"] for line in file.read_text().splitlines()]
    assert losses == [1, 2, 30, 40]
    window = metrics.ProfilerWindow(folder / "profile", first=1, last=1)
    window.before(1)
    window.close()
    written = " ".join(io.files_below(folder))
    assert "tensorboard/events" in written
    assert "xplane.pb" in written


def test_throughput_counts_from_the_last_report(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(metrics.time, "monotonic", lambda: now[0])
    throughput = metrics.Throughput(batch_size=8)
    with throughput.waiting():
        now[0] += 1
    now[0] += 3
    report = throughput.report(steps=10, steps_left=20)
    assert report == {"clips_per_second": 20.0, "data_wait_share": 0.25, "eta_seconds": 8.0}
    now[0] += 2
    assert throughput.report(steps=1, steps_left=0)["data_wait_share"] == 0
