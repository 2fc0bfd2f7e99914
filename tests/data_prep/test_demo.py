import collections
import functools
import io
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types

import av
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import demo
from data_prep.demo_scenes import CLASS_NAMES, render_clip
from data_prep.transcode import encoder_version

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
HEADINGS = [(-1, 0), (1, 0), (0, -1), (0, 1)]  # of the first four classes


def read(directory, split):
    return list(tfds.builder_from_directory(directory).as_data_source(split))


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "data_prep.demo", *map(str, arguments)],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    directory = tmp_path_factory.mktemp("demo") / "set"
    assert demo.make_demo(directory, num_train=17, num_validation=3, seed=5)
    return directory


def test_records_hold_the_rendered_clips(small_set):
    for split, count in (("train", 17), ("validation", 3)):
        rows = read(small_set, split)
        assert len(rows) == count
        for index, row in enumerate(rows):
            clip = render_clip(5, split, index)
            assert row["video_id"].decode() == f"{split}_{index:06d}"
            assert row["label"] == clip.label
            assert row["num_frames"] == len(clip.frames)
            assert (row["height"], row["width"], row["fps"]) == (128, 128, 25.0)
            assert row["profile"] == b"low_delay"
            assert row["encoder"].decode() == encoder_version()
            boxes = row["boxes"].reshape(row["num_frames"], -1, 4)
            np.testing.assert_array_equal(boxes, clip.boxes)
            with av.open(io.BytesIO(row["video"])) as container:
                luma = [f.to_ndarray(format="yuv420p")[:128] for f in container.decode(video=0)]
            assert len(luma) == len(clip.frames)
            expected = 16 + clip.frames @ [0.299, 0.587, 0.114] * 219 / 255
            assert np.abs(np.asarray(luma, float) - expected).mean() < 3
    names = tfds.builder_from_directory(small_set).info.features["label"].names
    assert tuple(names) == CLASS_NAMES


def test_classes_are_balanced_up_to_the_remainder(small_set):
    counts = collections.Counter(row["label"] for row in read(small_set, "train"))
    assert set(counts) == set(range(len(CLASS_NAMES)))
    assert sorted(counts.values()) == [1] * 11 + [2] * 3


def test_the_bytes_are_the_same_whatever_the_number_of_workers(small_set, tmp_path):
    demo.make_demo(tmp_path / "set", num_train=17, num_validation=3, seed=5, workers=2)
    for split in ("train", "validation"):
        alone, together = read(small_set, split), read(tmp_path / "set", split)
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one.pop("boxes"), other.pop("boxes"))
            assert one == other


def test_no_video_is_in_both_splits(small_set):
    videos = [row["video"] for split in ("train", "validation") for row in read(small_set, split)]
    assert len(set(videos)) == 20


@pytest.mark.parametrize("label", range(4))
def test_codec_vectors_in_the_box_point_where_the_object_goes(label):
    for index in (label, label + len(CLASS_NAMES), label + 2 * len(CLASS_NAMES)):
        row = demo.make_record(0, "low_delay", False, "train", index)
        pan = render_clip(0, "train", index).pan
        moved = []
        with av.open(io.BytesIO(row["video"])) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = {"flags2": "+export_mvs"}
            frames = container.decode(stream)
            for frame, (x1, y1, x2, y2) in zip(frames, row["boxes"], strict=True):
                vectors = frame.side_data.get("MOTION_VECTORS")
                if vectors is None:
                    continue
                v = vectors.to_ndarray()
                assert (v["source"] == -1).all()
                in_box = (
                    (v["dst_x"] > x1) & (v["dst_x"] < x2) & (v["dst_y"] > y1) & (v["dst_y"] < y2)
                )
                # `motion` points from the block to where it comes from.
                motion = -np.stack([v["motion_x"], v["motion_y"]], -1) / v["motion_scale"][:, None]
                moved += list((motion - pan)[in_box])
        assert len(moved) > 20
        moved = np.mean(moved, axis=0)
        assert moved @ HEADINGS[label] > 0.9 * np.linalg.norm(moved) > 0.2


def test_the_other_profile_can_be_asked_for(tmp_path):
    demo.make_demo(tmp_path / "set", num_train=1, num_validation=1, profile="stride_aligned:2")
    (row,) = read(tmp_path / "set", "train")
    assert row["profile"] == b"stride_aligned:2"
    with av.open(io.BytesIO(row["video"])) as container:
        kinds = [
            str(av.video.frame.PictureType(f.pict_type).name) for f in container.decode(video=0)
        ]
    assert set(kinds[::2]) <= {"I", "P"}
    assert set(kinds[1:-1:2]) <= {"B", "P"}
    assert "B" in kinds


def test_a_set_that_is_there_is_not_made_again(small_set):
    before = {path: path.stat().st_mtime_ns for path in small_set.iterdir()}
    assert not demo.make_demo(small_set, num_train=17, num_validation=3, seed=5, workers=1)
    assert before == {path: path.stat().st_mtime_ns for path in small_set.iterdir()}


def test_another_set_is_not_overwritten(small_set, tmp_path):
    with pytest.raises(FileExistsError, match=r"num_train is 17, not 18, seed is 5, not 6\)"):
        demo.make_demo(small_set, num_train=18, num_validation=3, seed=6)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="something else"):
        demo.make_demo(tmp_path)
    (tmp_path / "metadata.json").write_text(json.dumps({"seed": 3}))
    with pytest.raises(FileExistsError, match="something else"):
        demo.make_demo(tmp_path)


@pytest.mark.parametrize(
    "settings", [{"num_train": 0}, {"num_validation": 0}, {"seed": -1}, {"workers": -1}]
)
def test_numbers_out_of_range_are_refused(tmp_path, settings):
    with pytest.raises(ValueError, match=r"cannot make .*(-1| 0) "):
        demo.make_demo(tmp_path / "set", **settings)
    with pytest.raises(ValueError, match="no encoding profile 'hevc'"):
        demo.make_demo(tmp_path / "set", profile="hevc")
    assert not (tmp_path / "set").exists()


def test_the_command_reports_and_refuses(tmp_path):
    wanted = ["--num_train=2", "--num_validation=1", "--workers=1"]
    with start(f"--out={tmp_path / 'set'}", *wanted) as process:
        report = process.stderr.read()
    assert process.returncode == 0
    assert "2 train clips, 1 validation clips, 14 classes" in report
    assert len(read(tmp_path / "set", "train")) == 2
    with start(f"--out={tmp_path / 'set'}", "--num_train=3") as process:
        report = process.stderr.read()
    assert process.returncode == 1
    assert "num_train is 2, not 3" in report
    assert "Traceback" not in report


def running(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.skipif(not pathlib.Path("/proc/self/task").exists(), reason="reads Linux's /proc")
def test_a_killed_command_leaves_no_dataset_and_no_workers(tmp_path):
    deadline = time.monotonic() + 60
    with start(f"--out={tmp_path / 'set'}", "--num_train=100000", "--workers=1") as process:
        tasks = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not list(tmp_path.glob(".set.incomplete-*/new/*train*")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        children = [int(pid) for pid in tasks.read_text().split()]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert children
        while any(running(pid) for pid in children):
            assert time.monotonic() < deadline
            time.sleep(0.1)
    assert not (tmp_path / "set").exists()


def test_reports_say_how_far_it_is(monkeypatch, caplog):
    clock = itertools.count(0, 3.0)
    # The module's own clock: threads that other tests left behind read the real one.
    monkeypatch.setattr(demo, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))
    caplog.set_level("INFO", logger="absl")
    assert list(demo._reported([{}] * 4, 4)) == [{}] * 4
    assert [record.getMessage() for record in caplog.records] == [
        "2/4 clips, 0.3 clips/s, 6 s left",
        "4/4 clips, 0.3 clips/s, 0 s left",
    ]


def test_a_domain_shift_leaves_training_and_gives_grey_negatives_of_half_the_classes():
    make = functools.partial(demo.make_record, 5, "low_delay")
    assert make(True, "train", 3)["video"] == make(False, "train", 3)["video"]
    labels = {make(True, "validation", index)["label"] for index in range(7)}
    assert labels == set(range(0, 14, 2))
    record = make(True, "validation", 1)
    with av.open(io.BytesIO(record["video"])) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    original = render_clip(5, "validation", 2).frames @ np.array([0.299, 0.587, 0.114])
    shown = np.stack(shown).astype(np.float32)
    assert np.ptp(shown, axis=-1).max() < 12
    assert np.abs(shown.mean(axis=-1) - (255 - original)).mean() < 6
