"""Workers that die, hang or leave."""

import multiprocessing
import os
import signal
import time

import pytest
import rendered

from mgm_jax.data import loader as loader_module
from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ReadTimeoutError, WorkerError

SPEC = ReadSpec(clip_frames=8, stride=2, size=32, host_crop_size=64)


class DyingSource(FolderSource):
    """Ends worker processes as a write to shared memory does that has no room."""

    def __getitem__(self, index):
        if multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGBUS)
        return super().__getitem__(index)


@pytest.mark.slow
def test_full_shared_memory_is_named_and_again_after_resuming_an_error(video_folder, monkeypatch):
    monkeypatch.setattr(loader_module, "_CLOSE_SECONDS", 1)
    loader = LoadClip(DyingSource(str(video_folder)), SPEC)
    settings = {"global_batch": 4, "num_batches": 9, "seed": 3, "num_workers": 1}
    reader = ClipBatches(loader, **settings)
    next(reader)
    assert "/dev/shm" in reader.worker_failure
    resumed = ClipBatches(loader, **settings, state=reader.state())
    with pytest.raises(WorkerError, match="--shm-size"):
        next(resumed)
    for each in (reader, resumed):
        each.close()


class StalledSource(FolderSource):
    """Reads one of its videos from a pipe that nobody writes to, as from a network that stalls."""

    def __getitem__(self, index):
        record = super().__getitem__(index)
        if record.video.endswith("video_03.mp4"):
            with open(record.video + ".pipe", "rb") as pipe:
                pipe.read()
        return record


class LeavingSource(FolderSource):
    """Ends the process that reads a certain video, as if nothing were wrong, when it is told to."""

    def __getitem__(self, index):
        record = super().__getitem__(index)
        if record.video.endswith("video_03.mp4"):
            while not os.path.exists(record.video + ".leave"):
                time.sleep(0.05)
            os._exit(0)
        return record


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make_source", "running"), [(StalledSource, 1), (LeavingSource, 0)], ids=["hangs", "leaves"]
)
def test_a_reader_that_hangs_or_leaves_is_an_error_with_the_name(
    tmp_path, monkeypatch, make_source, running
):
    monkeypatch.setattr(loader_module, "_CLOSE_SECONDS", 1)
    folder = rendered.write_folder(tmp_path, num_videos=8)
    os.mkfifo(folder / "odd" / "video_03.mp4.pipe")
    loader = LoadClip(make_source(str(folder)), SPEC)
    settings = {"global_batch": 4, "num_batches": 10**6, "seed": None}
    reader = ClipBatches(loader, num_workers=1, **settings)
    next(reader)  # The worker has started.
    (folder / "odd" / "video_03.mp4.leave").touch()
    reader.read_timeout = 2
    with pytest.raises(ReadTimeoutError) as caught:
        list(reader)
    message = str(caught.value)
    assert "config.data.read_timeout=2 " in message
    assert f"being read: {folder}/odd/video_03.mp4 (for " in message
    assert f"{running} of config.data.num_workers=1 processes run" in message
    reader.close()
    assert not multiprocessing.active_children()


class Stuck:
    def close(self):
        time.sleep(3600)


@pytest.mark.slow
def test_a_loader_that_does_not_close_leaves_the_workers_of_another(video_folder, monkeypatch):
    monkeypatch.setattr(loader_module, "_CLOSE_SECONDS", 1)
    settings = {"global_batch": 4, "num_batches": 100, "seed": None, "num_workers": 1}
    training, other = (
        ClipBatches(LoadClip(FolderSource(str(video_folder)), SPEC), **settings) for _ in range(2)
    )
    next(training)
    (own,) = multiprocessing.active_children()
    next(other)
    assert len(multiprocessing.active_children()) == 2
    other._iterator = Stuck()
    other.close()
    own_only = multiprocessing.active_children()
    training.close()
    assert own_only == [own]
