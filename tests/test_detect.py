"""Detection from end to end: records with key frames, training, evaluation, refusals."""

import csv
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shrunk
from random_weights import AUTOENCODER, CLASSIFIER, random_params, write_run

from data_prep.demo import make_demo
from mgm_jax.data.records import RecordSource
from mgm_jax.errors import ConfigError
from mgm_jax.evaluation.detections import detect
from mgm_jax.evaluation.evaluator import Evaluator
from mgm_jax.evaluation.full_evaluation import evaluate
from mgm_jax.train import train
from mgm_jax.training import sharding, tasks


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> pathlib.Path:
    """The demo set of key frames, small."""
    folder = tmp_path_factory.mktemp("detect") / "data"
    make_demo(folder, num_train=16, num_validation=12, key_frames=True)
    return folder


def recipe(data, **changes):
    settings = {"data__source": "records", "eval__spatial_views": 2, "eval__batch_size": 4}
    settings |= {"data__max_boxes": 4, "data__scales": (0.8, 1.0), "data__flip": True}
    settings |= {"augment__colour_jitter": (20.0, 0.1, 0.1)}
    return shrunk.recipe("demo_detect", data, **settings | changes)


def write_detections(file, data, shift=0.0, films=("validation",), score=0.9):
    """The annotated boxes, moved to the right, as a detector's."""
    source = RecordSource(str(data), "validation")
    lines = []
    for index, facts in enumerate(source.facts()):
        film, _, second = facts.name.rpartition("_")
        if film in films:
            lines.append(f"{film},{second}\n")
            for x1, y1, x2, y2 in source[index].key.boxes.tolist():
                x2 = min(x2 + shift, 1.0)
                lines.append(f"{film},{second},{x1},{y1},{x2},{y2},,{score}\n")
    file.write_text("".join(lines) or "other,0001\n")
    return str(file)


@pytest.fixture(scope="module")
def workdir(data, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    train(recipe(data), str(workdir), jax.devices()[:2])
    return workdir


def test_training_writes_what_the_evaluation_found(workdir, data):
    lines = shrunk.logged(workdir)
    assert all(np.isfinite(line["train/loss"]) for line in lines if "train/loss" in line)
    assert 0.5 < lines[0]["train/loss"] < 0.9  # Near ln 2: the head starts near zero.
    assert 1 < lines[0]["train/boxes_per_clip"] <= 3
    numbers = json.loads((workdir / "evaluation.json").read_text())
    source = RecordSource(str(data), "validation")
    boxes = sum(len(source[index].key.boxes) for index in range(len(source)))
    assert (numbers["num_key_frames"], numbers["num_boxes"]) == (12, boxes)
    assert numbers["frame_map"] == pytest.approx(lines[-2]["eval/frame_map"])
    assert lines[-1] == {"step": lines[-2]["step"], "final/frame_map": numbers["frame_map"]}
    assert 0.1 < numbers["chance_frame_map"] < 0.6
    assert numbers["videos"] == f"{data}[validation]"
    assert (numbers["boxes"], numbers["spatial_views"]) == ("annotated", 2)
    with (workdir / "average_precision.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["name"] for row in table][:2] == ["going left", "going right"]
    assert sum(int(row["num_annotated"]) for row in table) == boxes
    assert len((workdir / "detections.csv").read_text().splitlines()) == 5 * boxes
    assert (workdir / "boxes.png").stat().st_size > 10_000


def test_the_result_does_not_depend_on_batches_and_devices(workdir, data):
    one, other = (
        evaluate(recipe(data, mode="eval", eval__batch_size=size), str(workdir), jax.devices()[:n])
        for size, n in ((1, 1), (8, 4))
    )
    for left, right in zip(one.scores, other.scores, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-4, atol=1e-6)
    assert one.result.mean == pytest.approx(other.result.mean)


def test_detections_take_the_place_of_the_annotated_boxes(workdir, data, tmp_path):
    run = shutil.copytree(workdir, tmp_path / "run")  # Other tests read the training's evaluation.

    def found(name, **changes):
        file = write_detections(tmp_path / f"{name}.csv", data, **changes)
        config = recipe(data, mode="eval", eval__detections=file, eval__detection_score=0.8)
        return evaluate(config, str(run), jax.devices()[:1])

    plain = evaluate(recipe(data, mode="eval"), str(run), jax.devices()[:1])
    same = found("same")
    numbers = json.loads((run / "evaluation.json").read_text())
    assert numbers["boxes"] == str(tmp_path / "same.csv")
    assert numbers["changes"] == [f"eval.detections: boxes were annotated, now {numbers['boxes']}"]
    assert same.result.mean == pytest.approx(plain.result.mean)
    np.testing.assert_allclose(same.scores[0], 0.9 * plain.scores[0], rtol=1e-4)
    # Boxes that are too wide overlap by less than a half, and those below the threshold are gone.
    assert found("moved", shift=0.8).result.mean < 0.5 * plain.result.mean
    with pytest.raises(ConfigError, match=r"eval\.detections: none of the .* at least 0\.8"):
        found("unsure", score=0.5)


def test_scores_that_are_not_numbers_are_named_and_never_right(data, caplog):
    def broken(variables, batch):
        rows = {name: batch[name] for name in tasks.detect_step.KEY_FRAME_FIELDS}
        return {"probabilities": jnp.full((*batch["scores"].shape, 5), jnp.nan), **rows}

    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}, jax.devices()[:1])
    config, source = recipe(data), RecordSource(str(data), "validation")
    found = detect(Evaluator(config, mesh, broken), config, {}, source)
    assert found.result.mean == 0
    assert found.summary()["not_finite"] == list(found.names)
    assert "12 key frames count as without actions" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"films": ()}, r"eval\.detections: .*no detections in 1 of the films.*validation"),
        ({"score": 3}, r"line 2: the score 3 is not from 0 to 1"),
    ],
)
def test_detections_of_other_films_are_refused(workdir, data, tmp_path, changes, message):
    file = write_detections(tmp_path / "detections.csv", data, **changes)
    with pytest.raises(ConfigError, match=message):
        evaluate(recipe(data, mode="eval", eval__detections=file), str(workdir))


def test_more_boxes_than_the_limit_are_refused_before_the_model_is_asked(workdir, data, tmp_path):
    file = write_detections(tmp_path / "detections.csv", data)
    few = {"mode": "eval", "data__max_boxes": 1}
    for changes in ({}, {"eval__detections": file}):
        with pytest.raises(ConfigError, match=r"max_boxes=1: a key frame of .* has 3 annotated"):
            evaluate(recipe(data, **few, **changes), str(workdir))
    # Data sets of other origin do not say it.
    other = shutil.copytree(data, tmp_path / "other")
    facts = json.loads((other / "metadata.json").read_text())
    (other / "metadata.json").write_text(json.dumps(facts | {"most_boxes": 0}))
    with pytest.raises(ConfigError, match=r"boxes in validation_.*config\.data\.max_boxes=1"):
        evaluate(recipe(other, eval__detections=file, **few), str(workdir))
    with pytest.raises(ConfigError, match=r"validation_.* boxes, more than config\.data\.max"):
        evaluate(recipe(other, **few), str(workdir))


def test_videos_without_boxes_and_held_out_key_frames_are_refused(data, video_folder, tmp_path):
    with pytest.raises(ConfigError, match=r"config\.data: the videos have no boxes"):
        train(recipe(video_folder, data__source="folder", eval__allow_overlap=True), str(tmp_path))
    with pytest.raises(ConfigError, match="key frames of one film are alike"):
        train(recipe(data, eval__holdout=0.2), str(tmp_path))


@pytest.mark.slow
def test_training_with_detections_and_in_parts_and_again(data, tmp_path):
    train_file = tmp_path / "train.csv"
    train_file.write_text("train,0000,0.0,0.0,0.1,0.1,,0.95\ntrain,0001\n")
    changes = {"data__detections": str(train_file), "grad_accum_steps": 2, "eval__every": 0}
    whole = train(recipe(data, **changes), str(tmp_path / "whole"), jax.devices()[:1])
    train(recipe(data, **changes, stop_at_step=1), str(tmp_path / "parts"), jax.devices()[:1])
    again = train(recipe(data, **changes), str(tmp_path / "parts"), jax.devices()[:1])
    shrunk.assert_same_state(whole, again)


@pytest.mark.slow
@pytest.mark.parametrize(("task", "model"), [("pretrain", AUTOENCODER), ("finetune", CLASSIFIER)])
def test_a_detector_starts_from_the_encoder_of_a_run(task, model, data, tmp_path):
    start, classes = random_params(model), tuple("abcde") if task == "finetune" else ()
    write_run(tmp_path / "start", start, task, classes)
    config = recipe(data, init_from=str(tmp_path / "start"), eval__every=0, stop_at_step=1)
    config.model.encoder.update(dim=24, depth=2, heads=3)
    config.model.positions = "sincos"
    config.optimizer.update(base_lr=0.0, min_lr=0.0)
    config.warmup_steps = 0
    state = train(config, str(tmp_path / "detect"), jax.devices()[:1])
    kernel = state.params["encoder"]["blocks"]["0"]["mlp"]["fc1"]["kernel"]
    np.testing.assert_array_equal(kernel, start["encoder/blocks/0/mlp/fc1/kernel"])
