"""AVA from its published files to its score: a miniature in their form, prepared and learned."""

import csv
import json
import os

import command_line
import encoded
import jax
import numpy as np
import pytest
import shrunk

from data_prep.conversion import Settings
from data_prep.entries import DatasetOptions
from data_prep.prepare import prepare
from mgm_jax import config as config_lib
from mgm_jax.data.ava_files import read_rows
from mgm_jax.data.boxes import BoxedSource, read_jhmdb_boxes
from mgm_jax.data.detected import DetectedSource
from mgm_jax.data.records import RecordSource
from mgm_jax.data.sources import FolderSource
from mgm_jax.data.subsets import SubsetSource
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation import average_precision
from mgm_jax.evaluation.detections import detect
from mgm_jax.evaluation.evaluator import Evaluator
from mgm_jax.evaluation.films import detect_in_films, open_films, to_text
from mgm_jax.train import train
from mgm_jax.training import sharding, tasks
from mgm_jax.training.runs import load_run

FILM, OTHER = "1j20qq1JyX4", "-5KQ66BBWC4"
LEFT, RIGHT = "0.077,0.151,0.483,0.811", "0.552,0.194,0.901,0.891"
ACTIONS = {1: "bend/bow (at the waist)", 12: "stand", 14: "walk", 80: "watch (a person)"}
DETECTIONS = "ava_detection_val_boxes_and_labels.csv"


@pytest.fixture(scope="module")
def ava(tmp_path_factory):
    """Films and annotation files, laid out as published."""
    folder = tmp_path_factory.mktemp("ava")
    for name, step, container in ((OTHER, (4, 2), "matroska"), (FILM, (2, 4), "mp4")):
        film = encoded.encode(encoded.moving_square(150, step), container=container)
        file = folder / "films" / f"{name}.{container.replace('matroska', 'mkv')}"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(film)
    items = [f'item {{\n  name: "{name}"\n  id: {n}\n}}\n' for n, name in ACTIONS.items()]
    every = [
        f'label {{\n  name: "{ACTIONS.get(n, f"action {n}")}"\n  label_id: {n}\n}}\n'
        for n in range(1, 81)
    ]
    files = {
        "ava_action_list_v2.2_for_activitynet_2019.pbtxt": "".join(items),
        "ava_action_list_v2.2.pbtxt": "".join(every),
        "ava_train_v2.2.csv": "".join(
            f"{OTHER},{second:04d},{LEFT},{action},0\n{OTHER},{second:04d},{RIGHT},14,1\n"
            for second in (2, 3, 4)
            for action in (12, 80)
        ),
        "ava_val_v2.2.csv": (
            f"{FILM},0002,{LEFT},12,4\n{FILM},0002,{LEFT},80,4\n{FILM},0002,{RIGHT},14,5\n"
            f"{FILM},0003,{LEFT},12,4\n{FILM},0003,{LEFT},13,4\n{FILM},0004,{RIGHT},1,5\n"
        ),
        "ava_val_excluded_timestamps_v2.2.csv": f"{FILM},0004\n",
        DETECTIONS: (
            f"{FILM},0002,0.080,0.150,0.480,0.810,12,0.998\n"
            f"{FILM},0002,0.080,0.150,0.480,0.810,80,0.998\n"
            f"{FILM},0002,0.560,0.200,0.900,0.890,,0.910\n"
            f"{FILM},0002,0.000,0.000,0.100,0.100,,0.300\n"
            f"{FILM},0003,0.077,0.151,0.483,0.811,,0.990\n"
            f"{FILM},0004,0.077,0.151,0.483,0.811,,0.990\n"
        ),
    }
    (folder / "annotations").mkdir()
    for name, text in files.items():
        (folder / "annotations" / name).write_text(text)
    options, settings = DatasetOptions(str(folder / "annotations")), Settings("low_delay", 128)
    out = folder / "prepared"
    prepare("ava", str(folder / "films"), out, options=options, settings=settings)
    return folder


def recipe(ava, **changes):
    settings = {"data__source": "records", "batch_size": 2, "data__max_boxes": 4}
    settings |= {"data__host_crop_size": 128, "eval__batch_size": 2, "eval__spatial_views": 3}
    settings |= {"eval__detections": str(ava / "annotations" / DETECTIONS)}
    return shrunk.recipe("ava_finetune", ava / "prepared", **settings | changes)


@pytest.fixture(scope="module")
def workdir(ava, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    train(recipe(ava), str(workdir), jax.devices()[:1])
    return workdir


def test_ava_has_the_values_of_table_6_and_of_videomaes_code():
    expected = {
        "optimizer.base_lr": 2.5e-4,
        "optimizer.weight_decay": 0.05,
        "optimizer.b1": 0.9,
        "optimizer.b2": 0.999,
        "optimizer.layer_decay": 0.7,
        "batch_size": 128,
        "data.repeated_augmentation": 1,
        "warmup_epochs": 5.0,
        "epochs": 30.0,
        "data.flip": True,
        "model.drop_path": 0.2,
        # data/transforms.py, datasets.py, modeling_finetune.py of VideoMAE-Action-Detection
        "data.clip_frames": 16,
        "data.stride": 4,
        "data.size": 224,
        "data.scales": (224 / 256,),
        "data.box_jitter": (0.2, 0.1, 0.1, 0.05),
        "augment.colour_jitter": (20.0, 0.1, 0.1),
        "optimizer.min_lr": 1e-6,
        "model.head_init_scale": 0.001,
        "eval.box_margin": (0.1, 0.05),
        "eval.detection_score": 0.8,
    }
    flat = dict(config_lib.flatten(shrunk.get_config("ava_finetune")))
    assert {name: flat[name] for name in expected} == expected


def test_records_hold_what_the_files_say(ava):
    source = RecordSource(str(ava / "prepared"), "validation")
    assert [facts.name for facts in source.facts()] == [f"{FILM}_0002", f"{FILM}_0003"]
    assert source.class_names[11:13] == ("stand", "action 13 (not evaluated)")
    key = source[0].key
    np.testing.assert_allclose(key.boxes[0], [float(edge) for edge in LEFT.split(",")])
    assert np.argwhere(key.actions).tolist() == [[0, 11], [0, 79], [1, 13]]
    found = DetectedSource(source, str(ava / "annotations" / DETECTIONS), 0.8, "--x")[0].key
    np.testing.assert_allclose(found.scores, [0.998, 0.91])
    np.testing.assert_allclose(found.detected[1], [0.56, 0.2, 0.9, 0.89], rtol=1e-6)
    with pytest.raises(ConfigError, match=f"--x: .* no detections in 1 .*{OTHER}.*is of {FILM}"):
        DetectedSource(
            RecordSource(str(ava / "prepared"), "train"),
            str(ava / "annotations" / DETECTIONS),
            0.8,
            "--x",
        )


@pytest.mark.slow
def test_the_score_of_a_run_is_that_of_the_published_files(ava, workdir):
    numbers = json.loads((workdir / "evaluation.json").read_text())
    assert (numbers["num_key_frames"], numbers["num_boxes"], numbers["unread"]) == (2, 3, [])
    assert len(numbers["per_class"]) == len(ACTIONS)
    files = ava / "annotations"
    official = average_precision.run(
        str(files / "ava_val_v2.2.csv"),
        str(workdir / "detections.csv"),
        str(files / "ava_action_list_v2.2_for_activitynet_2019.pbtxt"),
        str(files / "ava_val_excluded_timestamps_v2.2.csv"),
    )
    # The file holds five decimals of a box, and the list of the challenge names four actions.
    assert numbers["frame_map"] == pytest.approx(official.mean)
    assert [one["num_annotated"] for one in numbers["per_class"]] == [0, 2, 1, 1]
    written = read_rows(workdir / "detections.csv", "--found", "detections", 80)
    assert len(written.image) == 3 * len(ACTIONS)


@pytest.mark.slow
def test_predict_reads_the_film_itself(ava, workdir, tmp_path):
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(
        f"{FILM},0002,{LEFT},,0.95\n{FILM},0003,{RIGHT},,0.95\n{FILM},0100,{LEFT},,1\n"
    )
    film = str(ava / "films" / f"{FILM}.mp4")
    found = detect_in_films(load_run(workdir), [film], str(boxes))
    assert [len(one) for one in found.boxes] == [1, 1, 0]
    assert "no frame around second 100" in found.errors[2]
    assert f"{FILM}_0002\n  box 0.077 0.151 0.483 0.811\n" in to_text(found, 2)
    # As from the prepared record, up to its encoding.
    config = recipe(ava, eval__detections=str(boxes))
    source = DetectedSource(
        RecordSource(str(ava / "prepared"), "validation"), str(boxes), 0.8, "--boxes"
    )
    run = load_run(workdir, config=config)
    evaluator = Evaluator(config, run.mesh, tasks.make_predict_fn(config, run.model))
    prepared = detect(evaluator, config, run.variables, source)
    for left, right in zip(found.scores, prepared.scores, strict=False):
        np.testing.assert_allclose(left, right, atol=0.01)
    # The command writes them in AVA's form and says what it could not read; names may be odd.
    odd = tmp_path / "caf\udce9.mp4"
    odd.symlink_to(film)
    boxes.write_bytes(boxes.read_bytes().replace(FILM.encode(), os.fsencode(odd.stem)))
    flags = (f"--checkpoint={workdir}", str(odd), f"--out={tmp_path / 'out.csv'}")
    done = command_line.run("mgm_jax.predict", *flags, f"--boxes={boxes}")
    assert done.returncode == 1
    assert "error: 1 key frames could not be read or scored" in done.stderr
    assert "caf\\udce9_0002\n" in done.stdout
    assert "watch (a person)" in done.stdout
    with (tmp_path / "out.csv").open(errors="surrogateescape") as file:
        rows = list(csv.reader(file))
    assert len(rows) == 2 * 80  # All actions, evaluated or not.
    assert rows[0][:6] == [odd.stem, "0002", *(f"{float(edge):.5f}" for edge in LEFT.split(","))]
    wrong = command_line.run("mgm_jax.predict", *flags)
    assert "error: --boxes=: " in wrong.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{OTHER},0002,{LEFT},,0.9\n", f"no boxes of {FILM}"),
        (f"{FILM},0002,{LEFT},,0.9\n{OTHER},0002,{LEFT},,0.9\n", f"no film of {OTHER}"),
        (f"{FILM},0002,{LEFT},,0.5\n", r"none of the 1 boxes.*0\.8"),
        (f"{FILM},0002,0,0,320,240,,0.9\n", "line 1: the box does not lie in the frame"),
        (f"{FILM},2.5,{LEFT},,0.9\n", r"the second '2\.5' is not a whole number"),
        (f"{FILM},0002,0,0,1,1,,0.9\n{FILM},0002,0,0,1,.9,,0.9\n", r"2 boxes in .*max_boxes=1"),
    ],
)
def test_boxes_of_other_films_are_refused(tmp_path, text, message):
    (tmp_path / "boxes.csv").write_text(text)
    config = shrunk.get_config("ava_finetune")
    config.data.max_boxes = 1
    with pytest.raises(ConfigError, match=rf"--boxes: .*{message}"):
        open_films(config, [f"{FILM}.mp4"], str(tmp_path / "boxes.csv"), ("a",))


def test_real_people_go_through_the_evaluation(real_videos):
    """J-HMDB: the annotated person of the middle frame, scored by a model that knows the class."""
    file = real_videos.parent / "annotations" / "jhmdb" / "boxes_split1_test.zip"
    if not file.exists():
        pytest.skip(f"no boxes at {file}")
    videos, boxes = FolderSource(str(real_videos / "jhmdb")), read_jhmdb_boxes(file)
    known = np.array([BoxedSource(videos, boxes)[i].boxes is not None for i in range(len(videos))])
    chosen = SubsetSource(videos, np.flatnonzero(known)[::9])
    source = BoxedSource(chosen, boxes)
    config = shrunk.get_config("demo_detect")
    config.data.num_workers, config.eval.batch_size = 0, 8

    def knows(variables, batch):
        classes = jax.nn.one_hot(batch["label"], len(videos.class_names))
        rows = {name: batch[name] for name in tasks.detect_step.KEY_FRAME_FIELDS}
        return {"probabilities": classes[:, None] * jax.numpy.ones((1, 3, 1)), **rows}

    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    found = detect(Evaluator(config, mesh, knows), config, {}, source)
    assert len(found.names) == 30
    assert found.result.mean == 1.0
    assert found.chance < 0.5
    assert found.summary()["num_boxes"] >= 30
    assert found.picture(source, "J-HMDB").shape[2] == 3
