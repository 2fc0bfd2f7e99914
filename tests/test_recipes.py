"""Every recipe: the paper's numbers, its arguments, and that its step fits together."""

import importlib
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
import shrunk

from mgm_jax import base_config
from mgm_jax import config as config_lib
from mgm_jax.aot import check
from mgm_jax.errors import ConfigError
from mgm_jax.masking import strategies
from mgm_jax.training import sharding, tasks

CLASSES = ("one", "two", "three")
VARIANTS = (
    *shrunk.RECIPES,
    "ssv2_pretrain:backbone=timesformer_divided",
)


def select(config, names):
    flat = dict(config_lib.flatten(config))
    return {name: flat[name] for name in names}


@pytest.mark.parametrize(
    ("name", "stride", "flip"), [("ssv2_pretrain", 2, False), ("k400_pretrain", 4, True)]
)
def test_pretraining_has_the_values_of_table_5(name, stride, flip):
    expected = {
        "optimizer.base_lr": 1.5e-4,
        "optimizer.weight_decay": 0.05,
        "optimizer.b1": 0.9,
        "optimizer.b2": 0.95,
        "batch_size": 512,
        "epochs": 800.0,
        "warmup_epochs": 40.0,
        "data.flip": flip,
        "data.crop": "multi_scale",
        "data.scales": (1.0, 0.875, 0.75, 0.66),
        "data.clip_frames": 16,
        "data.stride": stride,
        "data.size": 224,
        "masking.strategy": "mgm",
        "model.tubelet": (2, 16, 16),
        "norm_pix_loss": True,
    }
    config = shrunk.get_config(name)
    assert select(config, expected) == expected
    assert config_lib.mask_ratio(config.masking) == 0.75


@pytest.mark.parametrize(
    ("recipe", "ratio"),
    [
        ("ssv2_pretrain:mask=random_tube,epochs=200", 0.9),
        ("k400_pretrain:mask=random", 0.9),
        ("ssv2_pretrain:mask=random_tube,ratio=0.75", 0.75),
        ("ssv2_pretrain:ratio=0.9", 0.9),
    ],
)
def test_random_masks_have_the_ratio_of_the_papers_that_propose_them(recipe, ratio):
    config = shrunk.get_config(recipe)
    assert config_lib.to_json(config)["masking"]["ratio"] == ratio
    mask_fn = strategies.make_mask_fn(config.masking, (8, 14, 14))
    masks = mask_fn(jax.random.key(0)[None], jnp.ones((1, 8, 28, 28)))
    assert masks.sum() == {0.75: 1176, 0.9: 1408}[ratio]


@pytest.mark.parametrize(
    ("name", "base_lr", "layer_decay", "warmup_epochs", "epochs", "flip", "drop_path", "views"),
    [
        ("ssv2_finetune", 5e-4, 0.75, 5, 30, False, 0.1, 2),
        ("k400_finetune", 1e-3, 0.75, 5, 75, True, 0.1, 5),
        ("transfer_finetune:dataset=ucf101", 5e-4, 0.75, 0, 100, True, 0.2, 5),
        ("transfer_finetune:dataset=hmdb51", 5e-4, 0.7, 0, 100, True, 0.2, 5),
        ("transfer_finetune:dataset=diving48", 5e-4, 0.7, 0, 100, True, 0.2, 5),
    ],
)
def test_finetuning_has_the_values_of_table_6(
    name, base_lr, layer_decay, warmup_epochs, epochs, flip, drop_path, views
):
    expected = {
        "optimizer.base_lr": base_lr,
        "optimizer.weight_decay": 0.05,
        "optimizer.b1": 0.9,
        "optimizer.b2": 0.999,
        "optimizer.layer_decay": layer_decay,
        "batch_size": 128,
        "data.repeated_augmentation": 2,
        "warmup_epochs": warmup_epochs,
        "epochs": epochs,
        "data.flip": flip,
        "model.drop_path": drop_path,
        "data.sampling": "segments" if name == "ssv2_finetune" else "dense",
        "eval.temporal_views": views,
        "eval.spatial_views": 3,
    }
    if "transfer" in name:  # VideoMAE's scripts/ucf101/…/finetune.sh; 16 videos a GPU, twice each
        expected |= {
            "model.head_dropout": 0.5,
            "optimizer.min_lr": 1e-5,
            "augment.mix_group_size": 32,
            "augment.mixup": 0.8,
            "augment.cutmix": 1.0,
            "augment.label_smoothing": 0.1,
        }
    assert select(shrunk.get_config(name), expected) == expected


@pytest.mark.parametrize("dataset", ["k400", "ssv2"])
def test_supervised_baselines_have_the_values_of_mvit(dataset):
    expected = {  # SlowFast's configs/Kinetics/MVIT_B_16x4_CONV.yaml, 16 videos a step
        "epochs": 200.0,
        "warmup_epochs": 30.0,
        "data.repeated_augmentation": 2,
        "data.area": (0.08, 1.0),
        "augment.rand_augment_layers": 4,
        "augment.rand_augment_magnitude": 7.0,
        "augment.erasing": 0.25,
        "augment.mixup": 0.8,
        "augment.cutmix": 1.0,
        "augment.label_smoothing": 0.1,
        "model.drop_path": 0.2,
        "model.head_dropout": 0.5,
        "model.init": "trunc_normal",
        "model.head_init_scale": 1.0,
        "optimizer.base_lr": 1e-4 * 256 / 16,
        "optimizer.min_lr": 1e-6 * 256 / 16,
        "optimizer.warmup_lr": 1e-6 * 256 / 16,
        "optimizer.weight_decay": 0.05,
        "optimizer.layer_decay": 1.0,
        "optimizer.clip_norm": 1.0,
    }
    config = shrunk.get_config(f"supervised:dataset={dataset}")
    assert select(config, expected) == expected
    assert config.data.flip == (dataset == "k400")
    assert config.data.sampling == ("dense" if dataset == "k400" else "segments")
    assert config.eval.temporal_views == (5 if dataset == "k400" else 2)


@pytest.mark.parametrize("name", shrunk.RECIPES)
def test_a_recipe_says_its_command(name):
    assert f"--config=configs/{name}.py" in importlib.import_module(f"configs.{name}").__doc__


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_the_step_of_a_recipe_fits_together_at_its_real_size(name):
    config = shrunk.get_config(name)
    config_lib.check_values(config)
    config.init_from = "somewhere"
    config.model.encoder.depth = 2  # Tracing all blocks, which are equal, takes longer.
    if config.task == "pretrain":
        config.model.decoder.depth = 1
    task = tasks.make_task(config, CLASSES, total_steps=100, warmup_steps=10)
    state = jax.eval_shape(task.init_fn)
    batch = check.abstract_batch(config, sharding.make_mesh(config.mesh.to_dict()), len(CLASSES))
    batch = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for name, leaf in batch.items()}
    after, _ = jax.eval_shape(task.step_fn, state, batch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, state)
    if task.predict_fn:
        made = jax.eval_shape(task.predict_fn, state.variables, batch)
        rows = config.data.max_boxes if config.task == "detect" else len(batch["label"])
        assert made["probabilities"].shape[1:] == (rows, len(CLASSES))


def test_arguments_set_what_they_name():
    config = shrunk.get_config("ssv2_pretrain:mask=smm,ratio=0.9,epochs=200,size=S,motion=codec")
    assert config.masking.strategy == "smm"
    assert config.masking.ratio == 0.9
    assert config.epochs == 200.0
    assert config.model.size == "S"
    assert config.data.motion == "codec"


@pytest.mark.parametrize(
    ("arg", "named"),
    [
        ("stride=3", "dataset, epochs"),
        ("epochs=many", "epochs=many"),
        ("dataset=hmdb", "ucf101, hmdb51"),
        ("flip=no", "flip=no.*true or false"),
    ],
)
def test_an_argument_that_does_not_fit_is_refused(arg, named):
    with pytest.raises(ConfigError, match=named):
        base_config.apply_arg(
            base_config.finetune(),
            arg,
            dataset=("ucf101", "hmdb51"),
            epochs="epochs",
            flip="data.flip",
        )


def test_a_recipe_works_as_a_copy_in_another_project(tmp_path):
    project = tmp_path / "configs"
    project.mkdir()
    (project / "__init__.py").touch()
    for name in shrunk.RECIPES:
        shutil.copy(shrunk.CONFIGS / f"{name}.py", project)
    script = (
        "import glob, runpy\n"
        "for file in glob.glob('configs/[!_]*.py'):\n"
        "    assert runpy.run_path(file)['get_config']().task\n"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{shrunk.CONFIGS.parent}"}
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, check=True)
