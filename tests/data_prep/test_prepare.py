"""The whole of `data_prep.prepare`; `test_shards.py` interrupts it."""

import json

import encoded
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_prep.prepare import default_short_side
from mgm_jax.data.decoding import Video
from mgm_jax.data.records import RecordSource
from mgm_jax.errors import ConfigError


def read(out, split):
    return list(tfds.builder_from_directory(out).as_data_source(split))


def write_csv(tmp_path, text):
    (tmp_path / "list.csv").write_text(text)
    return tmp_path / "list.csv"


def test_records_are_what_training_reads(videos, tmp_path, run, contents):
    report = run(videos, tmp_path / "out", records_per_shard=3)
    run(videos, tmp_path / "together", records_per_shard=3, workers=2)
    assert contents(tmp_path / "out") == contents(tmp_path / "together")
    source = RecordSource(str(tmp_path / "out"), "train")
    assert source.class_names == ("a", "b")
    assert [(source[i].video_id, source[i].label) for i in range(len(source))] == [
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
    assert not list(tmp_path.glob(".*"))


def test_missing_videos_and_empty_shards(tmp_path, one_video, run):
    """A shard may be empty; a split without readable videos does not exist."""
    (tmp_path / "videos").mkdir()
    for name, data in (("a", b"x"), ("b", b"x"), ("c", one_video), ("d", b"x")):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(data)
    csv = write_csv(
        tmp_path,
        "path,label,split\na.mp4,x,train\nb.mp4,x,train\nc.mp4,y,train\ne.mp4,y,train\n"
        "d.mp4,x,test\nf.mp4,x,more\n",
    )
    report = run(tmp_path / "videos", tmp_path / "out", "csv", csv, records_per_shard=2)
    source = RecordSource(str(tmp_path / "out"), "train")
    assert [source[i].video_id for i in range(len(source))] == ["c.mp4"]
    assert source.class_names == ("x", "y")
    assert {split: facts["problems"] for split, facts in report["splits"].items()} == {
        "train": {"unreadable": 2, "missing": 1},
        "test": {"unreadable": 1},
        "more": {"missing": 1},
    }
    assert list(tfds.builder_from_directory(tmp_path / "out").info.splits) == ["train"]
    assert not list((tmp_path / "out").glob("*test*"))


def test_groups_of_a_list_stay_together_in_records(videos, tmp_path, run):
    csv = write_csv(tmp_path, "path,group\na/3.mp4,ida\nb/1.mp4,\nb/2.mp4,ida\n")
    run(videos, tmp_path / "out", "csv", csv)
    facts = RecordSource(str(tmp_path / "out"), "train").facts()
    assert [one.group for one in facts] == ["ida", "b/1.mp4", "ida"]
    assert run(videos, tmp_path / "out", "csv", csv) is None
    csv = write_csv(tmp_path, "path,group\na/3.mp4,ida\nb/1.mp4,ida\nb/2.mp4,ida\n")
    with pytest.raises(ConfigError, match=r"other groups of 1 videos, the first .*'train/b/1.mp4'"):
        run(videos, tmp_path / "out", "csv", csv)


def write_ava(folder):
    folder.mkdir()
    (folder / "ava_action_list_v2.2_for_activitynet_2019.pbtxt").write_text(
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


def test_ava(tmp_path, run):
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
    (facts,) = RecordSource(str(tmp_path / "out"), "train").facts()
    assert facts.group == "-5KQ66BBWC4"  # Clips around other seconds of the film overlap.
    names = tfds.builder_from_directory(tmp_path / "out").info.features["label"].names
    assert (len(names), names[79]) == (80, "action 80")
    kinds = {problem["video_id"]: problem["kind"] for problem in report["problems"]}
    assert kinds == {"-5KQ66BBWC4_0902": "unreadable", "1j20qq1JyX4_0902": "missing"}
    assert run(tmp_path / "trainval", tmp_path / "out", "ava", annotations) is None
    file = annotations / "ava_action_list_v2.2_for_activitynet_2019.pbtxt"
    named = file.read_text()
    file.write_text(named + 'item {\n  name: "swim"\n  id: 80\n}\n')
    with pytest.raises(ConfigError, match=r"class 79 was 'action 80.*' and is now 'swim'"):
        run(tmp_path / "trainval", tmp_path / "out", "ava", annotations)
    file.write_text(named)
    (annotations / "ava_val_v2.2.csv").write_text("1j20qq1JyX4,0902,0.0,0.1,0.2,0.3,13,4\n")
    with pytest.raises(ConfigError, match=r"made of other videos \(the boxes or actions"):
        run(tmp_path / "trainval", tmp_path / "out", "ava", annotations)
    (annotations / "ava_val_v2.2.csv").write_text("1j20qq1JyX4,0902,0.0,0.1,0.2,0.3,81,4\n")
    with pytest.raises(ConfigError, match=r"ava_val_v2\.2\.csv, line 1: .*1j20"):
        run(tmp_path / "trainval", tmp_path / "other", "ava", annotations)


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        ("path\nnowhere.mp4\n", "--videos: "),
        ("path,split\na/3.mp4,Train set\n", "'Train set'"),
        ("path\na/broken.mp4\n", r"--videos: .*a/broken\.mp4"),
    ],
)
def test_errors_name_the_cause(videos, tmp_path, run, csv, message):
    with pytest.raises(ConfigError, match=message):
        run(videos, tmp_path / "out", "csv", write_csv(tmp_path, csv))


@pytest.mark.slow
def test_the_command_line(videos, tmp_path, command):
    arguments = ("prepare", f"--videos={videos}", f"--out={tmp_path / 'out'}")
    wrong = command(*arguments, "--dataset=ssv3")
    assert wrong.returncode == 1
    assert "error: --dataset: 'ssv3'" in wrong.stderr
    more = ("--profile=stride_aligned:2", "--workers=0")
    right = command(*arguments, "--dataset=folder", "--name=mine", *more)
    assert right.returncode == 0, right.stderr
    assert "train: 7 of 7 listed videos found" in right.stderr
    assert "train: 7 listed videos, 6 records" in right.stderr
    assert {row["profile"] for row in read(tmp_path / "out", "train")} == {b"stride_aligned:2"}
    assert (tmp_path / "out" / "mine-train.array_record-00000").exists()


def test_kinetics_is_as_large_as_videomaes():
    assert default_short_side("k400") == default_short_side("minik200") == 320
    assert default_short_side("ssv2") == 256
