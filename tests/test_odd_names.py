"""Files and classes of any name go through training, evaluation, prediction and preparation."""

import csv
import json
import os
import subprocess
import sys

import jax
import pytest
import shrunk

from data_prep.conversion import Settings
from data_prep.entries import DatasetOptions
from data_prep.prepare import prepare
from data_prep.verify import verify
from mgm_jax.data.sources import make_source
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation.full_evaluation import evaluate
from mgm_jax.io import read_arrays
from mgm_jax.train import train

pytestmark = pytest.mark.slow

NAMES = (
    *("line\nI1128 00:00:00 forged.mp4", "-x.mp4", "12:30 clip.mp4", "a, b;c.mp4", "q\"'`$(x).mp4"),
    *("\u05e9\u05dc\u202e4pm.mp4", " spaces .mp4", "tab\tand\x1b[31m.mp4", "\u2028.mp4"),
)
CLASSES = ("one\ntwo", "caf\udce9")


@pytest.fixture(scope="module")
def odd_folder(video_folder, tmp_path_factory):
    """Class folders and files with odd names, and a broken file in each."""
    root = tmp_path_factory.mktemp("odd") / "videos\udcff"
    videos = sorted(video_folder.rglob("*.mp4"))
    for number, name in enumerate((*NAMES, "latin\udce9.mp4", "bell\x07.MTS", "plain.mp4")):
        file = root / CLASSES[number % 2] / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(videos[number].read_bytes())
    (root / CLASSES[0] / "broken\n\udcfe.mp4").write_bytes(b"no video")
    return root


@pytest.fixture(scope="module")
def run(odd_folder, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    config = shrunk.recipe(
        "demo_finetune",
        odd_folder,
        eval__holdout=0.4,
        eval__allow_overlap=False,
        data__max_bad_fraction=0.5,
    )
    train(config, str(workdir), jax.devices()[:1])
    return config, workdir


def prepare_folder(folder, out):
    settings = Settings("low_delay", 0)
    return prepare("folder", str(folder), out, options=DatasetOptions(), settings=settings)


def test_finetuning_ends_and_its_files_are_plain_text(run):
    config, workdir = run
    arrays = read_arrays(workdir / "predictions.npz")
    assert arrays["class_names"].tolist() == ["caf\\udce9", "one\\ntwo"]
    names = arrays["names"].tolist()
    assert all(name.isprintable() and "videos\\udcff/" in name for name in names)
    with (workdir / "predictions.csv").open(newline="", encoding="utf-8") as lines:
        assert [row["video"] for row in csv.DictReader(lines)] == names
    for name in ("evaluation.json", "report.html", "classes.json", "config.json"):
        assert (workdir / name).read_text(encoding="utf-8")
    config.mode = "eval"
    assert evaluate(config, str(workdir)).names == tuple(names)


def test_folders_that_libraries_cannot_open_are_refused_at_once(odd_folder):
    folder, message = str(odd_folder / "out"), r"udcff/out: this path is not UTF-8"
    with pytest.raises(ConfigError, match=message):
        train(shrunk.recipe("demo_pretrain", odd_folder), folder)
    with pytest.raises(ConfigError, match=message):
        make_source("records", folder, "train")
    with pytest.raises(ConfigError, match=message):
        prepare_folder(odd_folder, folder)


def test_predict_prints_one_line_for_each_name(run, odd_folder, tmp_path):
    command = [
        *(sys.executable, "-m", "mgm_jax.predict", f"--checkpoint={run[1]}"),
        *("--temporal_views=1", f"--out={tmp_path / 'out.csv'}", os.fsencode(odd_folder)),
    ]
    done = subprocess.run(command, capture_output=True)
    assert done.returncode == 1
    said, errors = done.stdout.decode(), done.stderr.decode()
    assert "Traceback" not in errors
    assert "broken\\n\\udcfe.mp4" in errors
    assert said.count("\n") == 12 * 3
    assert "line\\nI1128 00:00:00 forged.mp4\n" in said
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as lines:
        assert len(list(csv.DictReader(lines))) == 13


def test_pretraining_skips_a_broken_file_by_its_name(odd_folder, tmp_path, caplog):
    config = shrunk.recipe(
        *("demo_pretrain", odd_folder),
        num_steps=3,
        batch_size=13,  # All videos.
        data__repeated_augmentation=2,
        data__max_bad_fraction=0.9,
        pictures_every=3,
    )
    train(config, str(tmp_path), jax.devices()[:1])
    last = (tmp_path / "metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["data/skipped_clips"] == 3 * 2
    (skipped,) = [r.getMessage() for r in caplog.records if "skipped" in r.getMessage()][:1]
    assert "broken\\n\\udcfe.mp4" in skipped
    assert not any("\n" in r.getMessage() for r in caplog.records if "broken" in r.getMessage())


def test_preparation_keeps_names_and_classes(odd_folder, tmp_path):
    out = tmp_path / "out"
    report = prepare_folder(odd_folder, out)
    assert report["splits"]["train"]["records"] == 12
    (problem,) = json.loads((out / "report.json").read_text(encoding="utf-8"))["problems"]
    assert problem["file"] == "one\\ntwo/broken\\n\\udcfe.mp4"
    source, folder = (
        make_source(kind, str(path), "train")
        for kind, path in (("records", out), ("folder", odd_folder))
    )
    assert source.class_names == folder.class_names == ("caf\\udce9", "one\\ntwo")
    labels = {facts.name: facts.label for facts in folder.facts()}
    assert len(source) == 12
    for index in range(len(source)):
        record = source[index]
        assert labels[record.video_id] == record.label
    assert verify(out, 2)[1] == []
    (out / "label.labels.txt").write_text("caf\none\ntwo\n")
    assert len(verify(out, 2)[1]) == 1
    (out / "label.labels.txt").write_text("caf\ntwo\n")
    assert "is read as 'caf'" in verify(out, 2)[1][0]
    with pytest.raises(ConfigError, match=r"label\.labels\.txt"):
        make_source("records", str(out), "train")
