"""The whole of `data_prep.prepare`, also killed at any moment."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time

import encoded
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep import prepare as prepare_module
from data_prep import shards
from data_prep.conversion import Settings, make_settings
from data_prep.datasets import Choices, read_dataset
from data_prep.files import VideoFiles
from data_prep.prepare import prepare
from mgm_jax.data.decoding import Video
from mgm_jax.data.records import RecordSource
from mgm_jax.errors import ConfigError

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
LOW_DELAY = Settings("low_delay", 72)
NUM_MANY = 18
PER_SHARD = 3


@pytest.fixture
def videos(tmp_path, one_video):
    """Seven videos: two classes, one without, one unreadable, and one in a file of other kind."""
    folder = tmp_path / "videos"
    for name in ("b/1.mp4", "b/2.mp4", "a/3.mp4", "a/4.mp4", "5.mp4"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(one_video)
    (folder / "a/broken.mp4").write_bytes(one_video[:2000])
    (folder / "a/6.webm").write_bytes(
        encoded.encode(encoded.moving_square(9), "libvpx-vp9", "webm", options={"cpu-used": "8"})
    )
    return folder


def run(videos, out, dataset="folder", annotations=None, settings=LOW_DELAY, **options):
    choices = Choices(None if annotations is None else str(annotations))
    return prepare(dataset, str(videos), str(out), choices=choices, settings=settings, **options)


def read(out, split):
    return list(tfds.builder_from_directory(out).as_data_source(split))


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def test_records_are_what_training_reads(videos, tmp_path):
    report = run(videos, tmp_path / "out", records_per_shard=3)
    source = RecordSource(str(tmp_path / "out"), "train")
    assert source.class_names == ("a", "b")
    got = [(source[i].video_id, source[i].label) for i in range(len(source))]
    assert got == [
        ("5.mp4", -1),
        ("a/3.mp4", 0),
        ("a/4.mp4", 0),
        ("a/6.webm", 0),
        ("b/1.mp4", 1),
        ("b/2.mp4", 1),
    ]
    with Video(source[3].video, "x") as video:
        assert (video.num_frames, video.height, video.width, video.codec) == (9, 72, 88, "h264")
        assert video.read([0, 8]).motion_source == "codec"
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == report
    assert report["splits"]["train"] == {
        "listed": 7,
        "records": 6,
        "problems": {"no class": 1, "unreadable": 1},
    }
    unlabelled, broken = report["problems"]
    assert (unlabelled["kind"], unlabelled["file"]) == ("no class", "5.mp4")
    assert (broken["kind"], broken["video_id"]) == ("unreadable", "a/broken.mp4")
    assert "a/broken.mp4: it cannot be opened" in broken["reason"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "videos"]


def test_the_number_of_workers_changes_nothing(videos, tmp_path):
    run(videos, tmp_path / "alone", records_per_shard=2)
    run(videos, tmp_path / "together", records_per_shard=2, workers=2)
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")


def test_copies(videos, tmp_path, one_video):
    run(videos, tmp_path / "out", settings=make_settings("copy", 4, 256))
    rows = read(tmp_path / "out", "train")
    assert rows[0]["video"] == one_video
    assert (rows[0]["profile"], rows[0]["num_frames"], rows[0]["height"]) == (b"", 20, 144)
    assert RecordSource(str(tmp_path / "out"), "train")[3].video[:4] == b"\x1a\x45\xdf\xa3"  # webm


def test_missing_videos_and_splits(tmp_path, one_video):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(one_video)
    csv = tmp_path / "list.csv"
    csv.write_text("path,label,split\na.mp4,x,train\nb.mp4,y,train\nc.mp4,x,test\n")
    report = run(tmp_path / "videos", tmp_path / "out", "csv", csv)
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {"train": 1}
    assert builder.info.features["label"].names == ["x", "y"]
    assert report["splits"]["test"] == {"listed": 1, "records": 0, "problems": {"missing": 1}}
    assert [p["video_id"] for p in report["problems"]] == ["b.mp4", "c.mp4"]


def test_shards_without_records(tmp_path, one_video):
    """A shard may be left empty, and a split of unreadable videos is none."""
    (tmp_path / "videos").mkdir()
    for name, data in (("a", b"x"), ("b", b"x"), ("c", one_video), ("d", b"x")):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(data)
    csv = tmp_path / "list.csv"
    csv.write_text("path,split\na.mp4,train\nb.mp4,train\nc.mp4,train\nd.mp4,test\n")
    report = run(tmp_path / "videos", tmp_path / "out", "csv", csv, records_per_shard=2)
    source = RecordSource(str(tmp_path / "out"), "train")
    assert [source[i].video_id for i in range(len(source))] == ["c.mp4"]
    assert report["splits"]["train"]["problems"] == {"unreadable": 2, "no class": 3}
    assert list(tfds.builder_from_directory(tmp_path / "out").info.splits) == ["train"]
    assert not list((tmp_path / "out").glob("*test*"))


def write_ava(folder):
    folder.mkdir()
    (folder / "ava_action_list_v2.2.pbtxt").write_text(
        "".join(
            f'label {{\n  name: "action {n}"\n  label_id: {n}\n  label_type: PERSON_MOVEMENT\n}}\n'
            for n in range(1, 81)
        )
    )
    (folder / "ava_train_v2.2.csv").write_text(
        "-5KQ66BBWC4,0002,0.077,0.151,0.283,0.811,80,1\n"
        "-5KQ66BBWC4,0002,0.077,0.151,0.283,0.811,9,1\n"
        "-5KQ66BBWC4,0002,0.332,0.194,0.481,0.891,12,0\n"
        "-5KQ66BBWC4,0003,0.332,0.194,0.481,0.891,12,0\n"
        "-5KQ66BBWC4,0902,0.332,0.194,0.481,0.891,12,0\n"
    )
    (folder / "ava_train_excluded_timestamps_v2.2.csv").write_text("-5KQ66BBWC4,0003\n")
    (folder / "ava_val_v2.2.csv").write_text("1j20qq1JyX4,0902,0.0,0.1,0.2,0.3,12,4\n")
    return folder


def test_ava(tmp_path):
    (tmp_path / "trainval").mkdir()
    film = encoded.encode(encoded.moving_square(100), container="matroska")
    (tmp_path / "trainval" / "-5KQ66BBWC4.mkv").write_bytes(film)
    annotations = write_ava(tmp_path / "annotations")
    report = run(tmp_path / "trainval", tmp_path / "out", "ava", annotations)
    (row,) = read(tmp_path / "out", "train")
    assert (row["video_id"], row["label"]) == (b"-5KQ66BBWC4_0002", -1)
    assert (row["num_frames"], row["key_frame"], row["key_seconds"]) == (75, 37, 2.0)
    boxes = [[0.077, 0.151, 0.283, 0.811], [0.332, 0.194, 0.481, 0.891]]
    np.testing.assert_allclose(row["key_boxes"], boxes, rtol=1e-6)
    np.testing.assert_array_equal(np.argwhere(row["key_actions"]), [[0, 8], [0, 79], [1, 11]])
    np.testing.assert_array_equal(row["key_person_ids"], [1, 0])
    names = tfds.builder_from_directory(tmp_path / "out").info.features["label"].names
    assert (len(names), names[79]) == (80, "action 80")
    kinds = {problem["video_id"]: problem["kind"] for problem in report["problems"]}
    assert kinds == {"-5KQ66BBWC4_0902": "unreadable", "1j20qq1JyX4_0902": "missing"}
    with pytest.raises(ConfigError, match="copy cannot cut clips out of films"):
        run(tmp_path / "trainval", tmp_path / "copy", "ava", annotations, Settings("copy", 0))


def test_ava_lines_that_cannot_be_understood_are_named(tmp_path, one_video):
    annotations = write_ava(tmp_path / "annotations")
    (tmp_path / "1j20qq1JyX4.mp4").write_bytes(one_video)
    (annotations / "ava_val_v2.2.csv").write_text("1j20qq1JyX4,0902,0.0,0.1,0.2,0.3,81,4\n")
    with pytest.raises(ConfigError, match=r"ava_val_v2\.2\.csv, line 1: expected .* found 1j20"):
        run(tmp_path, tmp_path / "out", "ava", annotations)


# --- resuming


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory):
    """Videos that take a while; four different files under many names."""
    folder = tmp_path_factory.mktemp("many")
    files = [
        encoded.encode(encoded.moving_square(40, step), options=encoded.B_FRAMES)
        for step in ((4, 2), (2, 4), (1, 1), (3, 0))
    ]
    for number in range(NUM_MANY):
        path = folder / "ab"[number % 2] / f"{number:02d}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(files[number % 4] if number != 7 else b"broken")
    return folder


def start(videos, out):
    arguments = ["--dataset=folder", f"--videos={videos}", f"--out={out}", "--workers=2"]
    return subprocess.Popen(
        [sys.executable, "-m", "data_prep.prepare", *arguments, f"--records_per_shard={PER_SHARD}"],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def done(work):
    """Files that stand for finished work, with what tells whether they are made again."""
    paths = [*work.glob("dataset/*.array_record-*"), *work.glob("clips/*")]
    facts = {}
    for path in paths:
        if ".new-" not in path.name:
            try:
                status = path.stat()
            except FileNotFoundError:  # a clip whose shard was finished in between
                continue
            facts[path.name] = (status.st_ino, status.st_mtime_ns)
    return facts


def progress(work):
    """Grows with the work done; of a shard that is just being finished it says too much."""
    return PER_SHARD * len(list(work.glob("finished/*.json"))) + len(list(work.glob("clips/*")))


def videos_to_do(videos, work):
    """How many videos are neither in a finished shard nor kept for one that is to come."""
    files = VideoFiles(str(videos))
    listing = read_dataset("folder", files, Choices(None))
    planned = shards.plan_shards(work, listing, files.folder, Settings("low_delay", 256), PER_SHARD)
    return sum(
        shards.read_conversion(clip) is None
        for shard in planned
        if shards.read_finished(shard) is None
        for clip in shard.clips
    )


def announced_to_do(log):
    return int(re.search(r"to do: (\d+) videos", log)[1])


def test_killed_three_times_and_resumed(many_videos, tmp_path):
    alone = tmp_path / "alone"
    process = start(many_videos, alone)
    assert process.wait(120) == 0, process.stderr.read()

    out, work = tmp_path / "out", tmp_path / ".out.incomplete"
    chance = random.Random()
    kills, to_do, finished_shards = 0, NUM_MANY, {}
    for _ in range(3):
        process = start(many_videos, out)
        enough = progress(work) + chance.randint(1, 3)
        deadline = time.monotonic() + 60
        while process.poll() is None and progress(work) < enough:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        if process.wait() == 0:  # It was quicker than this test.
            break
        kills += 1
        assert not out.exists()
        # The pipe ends when the last of its workers has noticed and ended.
        assert announced_to_do(process.stderr.read()) == to_do
        to_do = videos_to_do(many_videos, work)
        finished = done(work)
        # What was finished when it was killed before is still the same file.
        for name, facts in finished_shards.items():
            assert finished[name] == facts
        finished_shards = {name: f for name, f in finished.items() if "array_record" in name}
    else:
        process = start(many_videos, out)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 0, errors
    assert announced_to_do(errors) == to_do

    assert kills > 0
    assert contents(out) == contents(alone)
    for name, facts in finished_shards.items():
        assert ((out / name).stat().st_ino, (out / name).stat().st_mtime_ns) == facts
    ids = [row["video_id"] for row in read(out, "train")]
    assert len(ids) == len(set(ids)) == NUM_MANY - 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "out"]


class Stop(Exception):
    pass


def test_work_of_every_kind_is_resumed(videos, tmp_path, monkeypatch):
    """Stopped before each step that changes the disk, one after the other."""
    for name in ("a/3.mp4", "a/4.mp4", "b/1.mp4", "b/2.mp4"):
        (videos / name).unlink()
    run(videos, tmp_path / "alone", records_per_shard=2)
    real = pathlib.Path.rename
    count = 0
    for _ in range(100):
        left = [count]

        def rename(path, target, left=left):
            left[0] -= 1
            if left[0] < 0:
                raise Stop
            return real(path, target)

        monkeypatch.setattr(pathlib.Path, "rename", rename)
        out = tmp_path / f"out{count}"
        try:
            run(videos, out, records_per_shard=2)
        except Stop:
            monkeypatch.setattr(pathlib.Path, "rename", real)
            run(videos, out, records_per_shard=2)
        monkeypatch.setattr(pathlib.Path, "rename", real)
        assert contents(out) == contents(tmp_path / "alone")
        shutil.rmtree(out)
        if left[0] == 0:
            break
        count += 1
    assert count == 9  # the request, 3 conversions, 2 shards and what is known of them, the dataset


def test_what_changes_is_made_again_and_no_more(videos, tmp_path, monkeypatch, one_video):
    converted = []
    real = shards.convert

    def convert(folder, entry, settings):
        converted.append(entry.file)
        return real(folder, entry, settings)

    def stop(*_):
        raise Stop

    monkeypatch.setattr(shards, "convert", convert)
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module.Staging, "complete", stop)
        with pytest.raises(Stop):
            run(videos, tmp_path / "out", records_per_shard=3)
    assert len(converted) == 7
    converted.clear()
    (videos / "a/broken.mp4").write_bytes(one_video)  # downloaded again
    report = run(videos, tmp_path / "out", records_per_shard=3)
    assert converted == ["a/6.webm", "a/broken.mp4", "b/1.mp4"]  # their shard
    assert report["splits"]["train"]["records"] == 7
    run(videos, tmp_path / "alone", records_per_shard=3)
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_a_damaged_conversion_is_not_used(videos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shards, "write_shard", lambda *_: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            run(videos, tmp_path / "out")
    kept = sorted((tmp_path / ".out.incomplete" / "clips").iterdir())
    assert len(kept) == 7
    kept[0].write_bytes(kept[0].read_bytes()[:-100])
    kept[1].write_bytes(b"")
    run(videos, tmp_path / "out")
    run(videos, tmp_path / "alone")
    assert contents(tmp_path / "out") == contents(tmp_path / "alone")


def test_a_complete_dataset_is_not_made_again(videos, tmp_path):
    run(videos, tmp_path / "out")
    before = contents(tmp_path / "out")
    assert run(videos, tmp_path / "out") is None
    assert contents(tmp_path / "out") == before
    with pytest.raises(ConfigError, match=r"holds another dataset \(settings is .*72.*not .*64"):
        run(videos, tmp_path / "out", settings=Settings("low_delay", 64))


def test_other_things_are_not_overwritten(videos, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "make_shards", lambda *_, **__: (_ for _ in ()).throw(Stop))
        with pytest.raises(Stop):
            run(videos, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"another dataset was begun in .*\.out\.incomplete"):
        run(videos, tmp_path / "out", records_per_shard=7)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="holds something else"):
        run(videos, tmp_path / "mine")
    with pytest.raises(ConfigError, match="is a file"):
        run(videos, tmp_path / "mine" / "thesis.tex")


def test_two_runs_do_not_work_on_one_dataset(videos, tmp_path, monkeypatch):
    def meanwhile(*_, **__):
        with pytest.raises(ConfigError, match="another run is at work"):
            run(videos, tmp_path / "out")
        raise Stop

    monkeypatch.setattr(prepare_module, "make_shards", meanwhile)
    with pytest.raises(Stop):
        run(videos, tmp_path / "out")


def crash(clip, folder, settings):
    if clip.entry.video_id == "a/4.mp4":
        os.kill(os.getpid(), signal.SIGSEGV)
    shards.keep_conversion(clip, shards.convert(folder, clip.entry, settings))


def test_a_video_that_crashes_the_decoder_is_left_out(videos, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "convert_and_keep", crash)
    report = run(videos, tmp_path / "out", workers=1)
    (problem,) = (p for p in report["problems"] if p["video_id"] == "a/4.mp4")
    assert problem["kind"] == "unreadable"
    assert problem["reason"] == "the process that converted it ended (killed by SIGSEGV)"
    assert report["splits"]["train"]["records"] == 5


# --- what is asked for


def test_dry_run_says_and_does_nothing(videos, tmp_path, capsys):
    assert run(videos, tmp_path / "out", dry_run=True, workers=3) is None
    said = capsys.readouterr().out
    assert "train: 7 of 7 listed videos are there" in said
    assert "no class: 1" in said
    assert "of a sample: a/broken.mp4: a/broken.mp4: it cannot be opened" in said
    assert re.search(r"disk: about \d.* kB with profile low_delay; .* are free", said)
    assert re.search(r"time: about \d+ s with 3 workers", said)
    assert [path.name for path in tmp_path.iterdir()] == ["videos"]


def test_what_cannot_be_is_named(videos, tmp_path):
    with pytest.raises(ConfigError, match="--workers: -1"):
        run(videos, tmp_path / "out", workers=-1)
    csv = tmp_path / "list.csv"
    csv.write_text("path\nnowhere.mp4\n")
    with pytest.raises(ConfigError, match="of 1 videos that csv lists, none is below"):
        run(videos, tmp_path / "out", "csv", csv)
    csv.write_text("path,split\na/3.mp4,Train set\n")
    with pytest.raises(ConfigError, match="'Train set' cannot name a dataset or a split"):
        run(videos, tmp_path / "out", "csv", csv)
    csv.write_text("path\na/broken.mp4\n")
    with pytest.raises(ConfigError, match=r"not one video could be read; the first: a/broken"):
        run(videos, tmp_path / "out", "csv", csv)


def test_the_command_line_ends_with_a_message(videos, tmp_path):
    command = [sys.executable, "-m", "data_prep.prepare", f"--videos={videos}"]
    result = subprocess.run(
        [*command, "--dataset=ssv3", f"--out={tmp_path / 'out'}"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 1
    assert "error: --dataset: 'ssv3' is not one of" in result.stderr
    assert "Traceback" not in result.stderr
