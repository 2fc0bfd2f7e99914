"""Interrupted preparations: killed, stopped at every write, and resumed with changed files."""

import contextlib
import functools
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import encoded
import pytest
import tensorflow_datasets as tfds

from data_prep import shards
from data_prep.conversion import Settings, convert
from data_prep.datasets import read_dataset
from data_prep.entries import DatasetOptions
from data_prep.files import VideoFiles
from mgm_jax.errors import ConfigError

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
NUM_VIDEOS = 12

linux_only = pytest.mark.skipif(
    not pathlib.Path("/proc/self/fd").exists(), reason="reads Linux's /proc"
)


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory):
    """Two classes, of which one video is unreadable."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(NUM_VIDEOS):
        path = folder / "ab"[number % 2] / f"{number:02d}.mp4"
        path.parent.mkdir(exist_ok=True)
        step = (number % 4, number % 3)
        path.write_bytes(encoded.encode(encoded.moving_square(40, step)) if number != 7 else b"x")
    return folder


def start(videos, out, workers):
    command = [sys.executable, "-m", "data_prep.prepare", "--dataset=folder", "--short_side=72"]
    command += [f"--videos={videos}", f"--out={out}", f"--workers={workers}"]
    command.append("--records_per_shard=3")
    return subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)


def to_write(log):
    return int(re.search(r"shards, (\d+) to write", log)[1])


def wait_for(condition):
    deadline = time.monotonic() + 120
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def block(path):
    """Puts a named pipe in the place of a video: the process that converts it will wait."""
    path.unlink()
    os.mkfifo(path)


@contextlib.contextmanager
def blocked_process(path):
    """Waits for the process that reads the named pipe, and keeps it waiting; yields its id."""

    def connect():
        with contextlib.suppress(OSError):  # Nobody reads it yet.
            return os.open(path, os.O_WRONLY | os.O_NONBLOCK)

    def find():
        for link in pathlib.Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if int(link.parts[2]) != os.getpid() and os.readlink(link) == str(path):
                    return int(link.parts[2])

    pipe = wait_for(connect)
    try:
        yield wait_for(find)
    finally:
        os.close(pipe)


def is_running(process):
    with contextlib.suppress(FileNotFoundError):
        return " Z " not in pathlib.Path(f"/proc/{process}/stat").read_text()
    return False


@pytest.mark.slow
@linux_only
def test_the_main_process_is_killed_and_resumed(many_videos, tmp_path, run, contents):
    videos, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(many_videos, videos)
    run(videos, tmp_path / "alone", records_per_shard=3)
    block(videos / "a/10.mp4")  # In the second of four shards.
    process = start(videos, out, workers=1)
    with blocked_process(videos / "a/10.mp4") as worker:
        with pytest.raises(ConfigError, match=f"process {process.pid} on "):
            run(videos, out, records_per_shard=3)
        process.kill()
        assert to_write(process.communicate()[1]) == 4
        wait_for(lambda: not is_running(worker))
    assert not out.exists()
    (complete,) = tmp_path.glob(".out.incomplete/dataset/*train.array_record-?????")
    before = complete.stat()

    (videos / "a/10.mp4").unlink()
    shutil.copy(many_videos / "a/10.mp4", videos / "a/10.mp4")
    process = start(videos, out, workers=2)
    log = process.communicate(timeout=120)[1]
    assert process.returncode == 0, log
    assert to_write(log) == 3
    assert contents(out) == contents(tmp_path / "alone")
    after = (out / complete.name).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    ids = [row["video_id"] for row in tfds.builder_from_directory(out).as_data_source("train")]
    assert len(ids) == len(set(ids)) == NUM_VIDEOS - 1
    assert not list(tmp_path.glob(".*"))


@pytest.mark.slow
@linux_only
def test_worker_processes_are_killed(many_videos, tmp_path, run, contents):
    """Once is an accident; a video that kills every process that converts it is left out."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    shutil.copytree(many_videos, videos)
    (videos / "a/04.mp4").write_bytes(b"x")  # Unreadable in the other run.
    run(videos, tmp_path / "alone", records_per_shard=3)
    block(videos / "a/04.mp4")
    process = start(videos, out, workers=2)
    for _ in range(3):
        with blocked_process(videos / "a/04.mp4") as worker:
            os.kill(worker, signal.SIGKILL)
            wait_for(lambda worker=worker: not is_running(worker))
    log = process.communicate(timeout=120)[1]
    assert process.returncode == 0, log
    assert "a/04.mp4: its conversion was killed" in log
    one, other = contents(out), contents(tmp_path / "alone")
    assert one.pop("report.json") != other.pop("report.json")
    assert one == other


class Stop(Exception):
    pass


def test_stopped_before_every_write(videos, tmp_path, monkeypatch, run, contents):
    for name in ("a/3.mp4", "a/4.mp4", "b/1.mp4", "b/2.mp4"):
        (videos / name).unlink()
    run(videos, tmp_path / "alone", records_per_shard=2)
    real, count = pathlib.Path.rename, 0
    for writes_before in range(100):
        left, out = [writes_before], tmp_path / f"out{writes_before}"

        def rename(path, target, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Stop
            return real(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(pathlib.Path, "rename", rename)
            try:
                run(videos, out, records_per_shard=2)
            except Stop:
                count += 1
        if writes_before == count:  # It was not stopped any more.
            break
        run(videos, out, records_per_shard=2)
        assert contents(out) == contents(tmp_path / "alone")
    # The request, two shards and their results, the dataset.
    assert count == 6


def test_only_shards_whose_files_changed_are_written_again(
    videos, tmp_path, monkeypatch, run, contents, one_video
):
    with monkeypatch.context() as patch:
        patch.setattr(shards.records, "write_description", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(videos, tmp_path / "out", records_per_shard=3)
    work = tmp_path / ".out.incomplete" / "dataset"
    before = {path.name: path.stat().st_ino for path in work.iterdir()}
    (videos / "a/broken.mp4").write_bytes(one_video)  # Downloaded again.
    report = run(videos, tmp_path / "out", records_per_shard=3)
    assert report["splits"]["train"]["records"] == 7
    kept = {name for name in before if (tmp_path / "out" / name).stat().st_ino == before[name]}
    assert kept == {f"videos-train.array_record-{index:05d}" for index in (0, 2)}
    run(videos, tmp_path / "alone", records_per_shard=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_old_results_are_not_used(videos, tmp_path, run):
    """A records file that was damaged or replaced is not complete."""
    listing = read_dataset("folder", VideoFiles(videos), DatasetOptions())
    for folder in ("dataset", "finished"):
        (tmp_path / folder).mkdir()
    make = functools.partial(convert, settings=Settings("low_delay", 72))
    (shard,) = shards.plan_shards(tmp_path, {}, listing, str(videos), make, 100)
    assert shards.read_result(shard) is None
    shards.write_shard(shard)
    assert shards.read_result(shard).size.num_records == 6
    with open(shard.path, "ab") as file:
        file.write(b"x")
    assert shards.read_result(shard) is None
