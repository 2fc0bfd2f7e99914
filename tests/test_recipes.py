"""Every recipe as it is: sound, traceable at its real size, and what it was when last looked at."""

import importlib

import jax
import jax.numpy as jnp
import pytest
import shrunk

from configs import common
from mgm_jax import config as config_lib
from mgm_jax.training import tasks

CLASSES = ("one", "two", "three")


def get_config(name, *argument):
    return importlib.import_module(f"configs.{name}").get_config(*argument)


def abstract_batch(config, size=16):
    data, half, cells = config.data, config.data.host_crop_size // 2, config.data.size // 8
    shapes = {
        "luma": ((data.clip_frames, data.host_crop_size, data.host_crop_size), jnp.uint8),
        "chroma": ((data.clip_frames, half, half, 2), jnp.uint8),
        "crop_box": ((4,), jnp.float32),
        "flip": ((), jnp.bool_),
        "yuv_to_rgb": ((3, 4), jnp.float32),
        "motion": ((data.clip_frames, cells, cells, 2), jnp.float32),
        "motion_valid": ((data.clip_frames,), jnp.bool_),
        "valid": ((), jnp.bool_),
        "label": ((), jnp.int32),
        "index": ((), jnp.uint32),
    }
    return {
        name: jax.ShapeDtypeStruct((size, *shape), dtype) for name, (shape, dtype) in shapes.items()
    }


def distinct_recipes():
    """Of recipes whose steps differ in numbers alone (rates, lengths, data), the first."""
    seen = {}
    for name in shrunk.RECIPES:
        config = get_config(name)
        step = {
            part: config.get(part)
            for part in ("task", "masking", "model", "augment", "norm_pix_loss")
        }
        data = [config.data[part] for part in ("clip_frames", "size", "host_crop_size", "motion")]
        heads = len(config.probe.learning_rate_factors) if "probe" in config else 0
        norm = config.probe.batch_norm if "probe" in config else None
        if "model" in config:
            step["model"] = config.model.copy_and_resolve_references()
            step["model"].drop_path = 0.0
        seen.setdefault(f"{step} {data} {heads} {norm}", name)
    return list(seen.values())


@pytest.mark.parametrize("name", shrunk.RECIPES)
def test_every_recipe_is_sound_and_says_its_command(name):
    config_lib.check_values(get_config(name))
    assert f"--config=configs/{name}.py" in importlib.import_module(f"configs.{name}").__doc__


@pytest.mark.parametrize("name", distinct_recipes())
def test_the_step_of_a_recipe_fits_together_at_its_real_size(name):
    config = get_config(name)
    config.init_from = "somewhere"
    task = tasks.make_task(config, CLASSES, total_steps=100, warmup_steps=10)
    state = jax.eval_shape(task.init_fn)
    after, _ = jax.eval_shape(task.step_fn, state, abstract_batch(config))
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    if task.predict_fn:
        made = jax.eval_shape(task.predict_fn, state, abstract_batch(config, 3))
        assert made["probabilities"].shape[1:] == (3, len(CLASSES))


def test_arguments_set_what_they_name():
    config = get_config("ssv2_pretrain", "mask=smm,ratio=0.9,epochs=200,backbone=S")
    assert config.masking.strategy == "smm"
    assert config.masking.ratio == 0.9
    assert config.epochs == 200.0
    assert config.model.size == "S"


@pytest.mark.parametrize("name", ["mask", "stride"])
def test_an_argument_that_a_recipe_has_not_is_refused(name):
    with pytest.raises(ValueError, match=f"no argument '{name}'; it takes .*epochs.*backbone"):
        get_config("ssv2_finetune", f"{name}=3")


def test_every_argument_is_of_some_recipe():
    names = {
        name
        for make in (common.pretrain, common.finetune)
        for name, _ in config_lib.flatten(make())
    }
    assert set(common.ARGUMENTS.values()) <= names
