import pathlib

import numpy as np
import psutil
import pytest
import rendered

from mgm_jax.data import loader as loader_module
from mgm_jax.data.clip_reader import ReadSpec
from mgm_jax.data.clips import LoadClip, LoadViews
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.records import RecordSource
from mgm_jax.data.sources import FolderSource
from mgm_jax.errors import ConfigError, TooManySkippedError

SPEC = ReadSpec(clip_frames=8, stride=2, size=32, host_crop_size=64)


def make_loader(folder, **changes):
    return LoadClip(FolderSource(str(folder)), SPEC, **({"flip": True} | changes))


def read(loader, *, batches=6, **settings):
    settings = {"global_batch": 4, "num_batches": batches, "seed": 3} | settings
    reader = ClipBatches(loader, **settings)
    try:
        return list(reader)
    finally:
        reader.close()


def assert_equal(left, right):
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def test_views_fill_up_the_last_batch(video_folder):
    views = LoadViews(FolderSource(str(video_folder)), SPEC, temporal_views=2, copies=3)
    batches = ClipBatches(views, global_batch=7, num_batches=4, seed=None)
    index, labels, valid = [], [], []
    for batch in batches:
        index += batch["index"].tolist()
        labels += batch["label"].tolist()
        valid += batch["valid"].tolist()
    batches.close()
    assert index == list(range(84))
    assert labels == [0] * 36 + [1] * 36 + [-1] * 12
    assert valid == [True] * 72 + [False] * 12
    assert batches.state()["seen"] == 24
    assert batches.skipped == 0


def test_same_batches_whatever_the_number_of_workers(video_folder):
    loader = make_loader(video_folder)
    assert_equal(read(loader), read(loader, num_workers=2))


def joined(parts):
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


class Numbers(LoadClip):
    """Gives the number of an item and a random one, without decoding."""

    def random_map(self, element, rng):
        item, error = np.array([element[1]]), np.zeros((1, 512), np.uint8)
        return {"video": item, "item": item, "draw": rng.random(1), "error": error}


def test_the_order_and_the_random_numbers_follow_from_the_seed_and_the_epoch(video_folder):
    def order(seed):
        batches = joined(read(Numbers(FolderSource(str(video_folder)), SPEC), seed=seed))
        return batches["item"].tolist(), set(batches["draw"])

    items, draws = order(3)
    assert sorted(items[:12]) == sorted(items[12:]) == list(range(12))
    assert list(range(12)) != items[:12] != items[12:]
    assert len(draws) == 24
    others = order(4)
    assert others[0] != items
    assert not others[1] & draws
    assert order(None)[0] == [*range(12)] * 2


def test_each_epoch_holds_every_video_once_in_another_order_with_other_crops(video_folder):
    batches = read(make_loader(video_folder), batches=6)
    index = np.concatenate([batch["index"] for batch in batches])
    assert index.tolist() == list(range(24))
    labels = np.concatenate([batch["label"] for batch in batches])
    assert sorted(labels[:12]) == sorted(labels[12:]) == [0] * 6 + [1] * 6
    clips = np.concatenate([batch["luma"] for batch in batches])
    assert not np.array_equal(clips[:12], clips[12:])


@pytest.mark.slow
def test_going_on_with_other_numbers_of_hosts_gives_the_rest(video_folder):
    loader = make_loader(video_folder)
    settings = {"global_batch": 6, "num_batches": 4}
    state, batches = None, []
    for hosts in (2, 1, 3, 2):
        rows = [range(host, 6, hosts) for host in range(hosts)]  # Of TPUs they may lie apart.
        readers = [ClipBatches(loader, seed=3, state=state, rows=own, **settings) for own in rows]
        parts = joined([next(reader) for reader in readers])
        place = np.argsort(np.concatenate(rows))
        batches.append({name: array[place] for name, array in parts.items()})
        state = readers[0].state()
        for reader in readers:
            reader.close()
    assert_equal(read(loader, **settings), batches)


def test_going_on_with_other_data_is_refused(video_folder, tmp_path):
    reader = ClipBatches(make_loader(video_folder), global_batch=4, num_batches=6, seed=3)
    state = reader.state()
    reader.close()
    fewer = make_loader(rendered.write_folder(tmp_path, num_videos=4))
    with pytest.raises(ConfigError, match=r"12 videos .* 4 now.*--workdir"):
        ClipBatches(fewer, global_batch=4, num_batches=6, seed=3, state=state)


def test_corrupt_video_is_skipped_counted_and_named_and_the_rest_stays(tmp_path, caplog):
    folder = rendered.write_folder(tmp_path, num_videos=8)
    intact = read(make_loader(folder), batches=4)
    victim = folder / "odd" / "video_03.mp4"
    data = victim.read_bytes()
    victim.write_bytes(data[: len(data) // 3])

    reader = ClipBatches(
        make_loader(folder), global_batch=4, num_batches=4, seed=3, max_bad_fraction=0.5
    )
    damaged = list(reader)
    reader.close()
    assert reader.state() == {"next_batch": 4, "skipped": 2, "seen": 16, "num_videos": 8}
    assert sum("video_03.mp4" in record.message for record in caplog.records) == 1
    hit = 0
    for before, after in zip(intact, damaged, strict=True):
        np.testing.assert_array_equal(before["index"], after["index"])
        good = after["valid"]
        hit += (~good).sum()
        for name in before:
            np.testing.assert_array_equal(before[name][good], after[name][good], err_msg=name)
    assert hit == 2


def test_a_video_without_a_class_is_skipped_and_named_where_it_needs_one(tmp_path, caplog):
    folder = rendered.write_folder(tmp_path, num_videos=4)
    (folder / "odd" / "video_03.mp4").rename(folder / "video_03.mp4")
    for needs_class, valid in ((True, [True] * 3 + [False]), (False, [True] * 4)):
        loader = make_loader(folder, needs_class=needs_class)
        (batch,) = read(loader, batches=1, seed=None, max_bad_fraction=1)
        assert batch["valid"].tolist() == valid
    assert "video_03.mp4: its class is not known" in caplog.text


def test_too_many_corrupt_videos_stop_with_their_names(tmp_path):
    folder = rendered.write_folder(tmp_path, num_videos=4)
    (folder / "even" / "video_00.mp4").write_bytes(b"")
    (folder / "odd" / "video_01.mp4").write_bytes(b"no video at all")
    reader = ClipBatches(
        make_loader(folder), global_batch=4, num_batches=4, seed=3, max_bad_fraction=0.25
    )
    with pytest.raises(TooManySkippedError, match=r"2 of 4 clips.*video_00.*video_01"):
        next(reader)
    reader.close()


def worker_of(process):
    return next(
        child
        for child in process.children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    )


@pytest.mark.slow
def test_after_the_death_of_a_worker_threads_give_the_same_batches(
    video_folder, caplog, monkeypatch
):
    monkeypatch.setattr(loader_module, "_CLOSE_SECONDS", 1)
    settings = {"global_batch": 4, "num_batches": 9, "seed": 3}
    reader = ClipBatches(make_loader(video_folder), num_workers=1, **settings)
    first = next(reader)
    worker = worker_of(psutil.Process())
    worker.kill()
    assert_equal([first, *reader], read(make_loader(video_folder), batches=9))
    assert "killed" in reader.worker_failure
    assert "config.data.num_workers" in caplog.text
    reader.close()
    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


def test_a_shard_that_vanishes_or_is_cut_off_is_counted_and_named(tmp_path, video_folder, caplog):
    videos = [FolderSource(str(video_folder))[i].video for i in range(6)]
    rows = {str(i): pathlib.Path(file).read_bytes() for i, file in enumerate(videos)}
    folder = rendered.write_record_folder(tmp_path / "records", rows, records_per_shard=2)
    first, second, _ = sorted(folder.glob("*array_record*"))
    first.unlink()
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])

    loader = LoadClip(RecordSource(str(folder), "train"), SPEC)
    reader = ClipBatches(loader, global_batch=6, num_batches=1, seed=None, max_bad_fraction=1)
    assert next(reader)["valid"].tolist() == [False] * 4 + [True] * 2
    reader.close()
    assert reader.skipped == 4
    for record in range(4):
        assert f"record {record}: the record cannot be read" in caplog.text
