import json
import os
import pathlib
import shutil
import struct
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import shrunk
from tensorboardX.proto import event_pb2

from mgm_jax import io
from mgm_jax.errors import WriteError
from mgm_jax.training import metrics

CONFIG = shrunk.recipe("demo_pretrain", "unused")


def test_summary_averages_losses_and_takes_the_last_learning_rate():
    steps = [{"loss": 1.0, "learning_rate": 0.1}, {"loss": 3.0, "learning_rate": 0.5}]
    assert metrics.summarise(steps) == {"train/loss": 2.0, "train/learning_rate": 0.5}


def test_writer_drops_what_an_interrupted_run_wrote_after_its_checkpoint(tmp_path):
    writer = metrics.Writer(tmp_path, CONFIG)
    for step in (1, 2, 3):
        writer.write(step, {"train/loss": float(step)})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "lo')
    writer = metrics.Writer(tmp_path, CONFIG, from_step=2)
    writer.write(3, {"train/loss": 30.0})
    writer.write(3, {"sheet": np.zeros((4, 6, 3), np.uint8)})
    writer.close()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 1, "train/loss": 1.0},
        {"step": 2, "train/loss": 2.0},
        {"step": 3, "train/loss": 30.0},
    ]


def test_writing_metrics_does_not_load_pytorch(tmp_path):
    code = """
import pathlib, sys, shrunk
from mgm_jax.training import metrics
writer = metrics.Writer(pathlib.Path(sys.argv[1]), shrunk.recipe("demo_pretrain", "unused"))
writer.write(1, {"train/loss": 1.0})
writer.close()
assert "torch" not in sys.modules
"""
    tests = pathlib.Path(shrunk.__file__).parent
    path = os.pathsep.join((str(tests), str(tests.parent)))
    environment = os.environ | {"PYTHONPATH": path}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    assert list((tmp_path / "tensorboard").iterdir())


@pytest.mark.parametrize("line", [b"\xff\xfe", b"{}", b"null", b"[1]", b'{"step": "3"}'])
def test_damaged_lines_do_not_stop_a_run_from_resuming(line, tmp_path, caplog):
    file = tmp_path / "metrics.jsonl"
    whole = b'{"step": 1, "eval/loss": 1.0}\n%s\n{"step": 2}\n{"step": 3, "eval/loss": 3.0}\n'
    file.write_bytes(whole % line)
    metrics.Writer(tmp_path, CONFIG, from_step=2).close()
    assert [json.loads(text)["step"] for text in file.read_text().splitlines()] == [1, 2]
    assert "lines 2 are damaged" in caplog.text


def test_a_folder_that_is_deleted_meanwhile_is_named(tmp_path):
    writer = metrics.Writer(tmp_path / "run", CONFIG)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(WriteError, match="deleted"):
        writer.write(1, {"train/loss": 1.0})


def test_a_bucket_has_all_that_was_written_before_a_checkpoint_and_at_the_end(bucket):
    folder = io.make_path(f"{bucket}/metrics")
    file = folder / "metrics.jsonl"
    writer = metrics.Writer(folder, CONFIG)
    for step in (1, 2, 3):
        writer.write(step, {"train/loss": float(step)})
    writer.flush()
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3]
    del writer  # Killed.
    writer = metrics.Writer(folder, CONFIG, from_step=2)
    writer.write(3, {"train/loss": 30.0})
    writer.write(4, {"train/loss": 40.0})
    writer.close()
    losses = [json.loads(line)["train/loss"] for line in file.read_text().splitlines()]
    assert losses == [1, 2, 30, 40]
    window = metrics.ProfilerWindow(folder / "profile", first=1, last=1)
    window.before(1)
    window.close()
    written = " ".join(io.files_below(folder))
    assert "tensorboard/events" in written
    assert "xplane.pb" in written


def test_names_of_earlier_versions_are_read_as_todays(tmp_path):
    earlier = {"step": 1, "loss": 2.0, "train_top1": 0.5, "data_wait_share": 0.1, "eval/top1": 0.4}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(earlier) + "\n")
    metrics.Writer(tmp_path, CONFIG, from_step=1).close()
    today = {"step": 1, "train/loss": 2.0, "train/top1": 0.5, "data/wait": 0.1, "eval/top1": 0.4}
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == today


def test_the_evaluation_at_the_end_is_not_there_twice_after_another_end(tmp_path):
    for found in (0.5, 0.75):
        writer = metrics.Writer(tmp_path, CONFIG, from_step=4)
        writer.write(4, {"final/top1": found})
        writer.close()
    assert metrics.read_lines(tmp_path / "metrics.jsonl") == [{"step": 4, "final/top1": 0.75}]


def test_tensorboard_has_the_same_names_pictures_and_the_config_as_text(tmp_path):
    writer = metrics.Writer(tmp_path, CONFIG)
    values = {"train/loss": 1.5, "eval/top1": 0.25}
    writer.write(3, values | {"reconstruction/0": np.zeros((4, 6, 3), np.uint8)})
    writer.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    found = {}
    for event in events(file):
        for value in event.summary.value:
            found[value.tag] = value.simple_value if event.step == 3 else value.tensor
    assert found.keys() == {"config/text_summary", "reconstruction/0", *values}
    assert {name: found[name] for name in values} == values
    assert b'"strategy": "mgm"' in found["config/text_summary"].string_val[0]


def events(file):
    """The events of a TensorBoard file: length, its checksum, the event, its checksum."""
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield event_pb2.Event.FromString(data[12 : 12 + length])
        data = data[16 + length :]


def test_the_memory_of_a_device_is_in_gib_and_a_cpu_tells_none(monkeypatch):
    assert metrics.device_memory() == {}
    gpu = SimpleNamespace(memory_stats=lambda: {"peak_bytes_in_use": 3 * 2**30})
    monkeypatch.setattr(metrics.jax, "local_devices", lambda: [gpu])
    assert metrics.device_memory() == {"device/peak_memory_gib": 3.0}


def test_an_upload_that_fails_is_tried_again_and_an_error_at_the_end_only(
    bucket, monkeypatch, caplog
):
    def fail(*_):
        raise Exception("503: the bucket is gone")

    writer = metrics.Writer(io.make_path(f"{bucket}/gone"), CONFIG)
    monkeypatch.setattr(metrics, "upload", fail)
    writer.write(1, {"train/loss": 1.0})
    writer.flush()
    assert "(503: the bucket is gone)" in caplog.text
    with pytest.raises(WriteError, match=r"gone cannot be written \(503.*reach the bucket"):
        writer.close()
