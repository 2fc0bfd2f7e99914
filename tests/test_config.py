import pytest
from ml_collections import ConfigDict

from mgm_jax import base_config, detect_config
from mgm_jax import config as config_lib
from mgm_jax.errors import ConfigError
from mgm_jax.flow import raft


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.motion", "codecs"),
        ("data.crop", "center"),
        ("model.dtype", "float16"),
        ("data.num_workers", True),
        ("data.scales", (0.5, 0.0)),
        ("data.area", (0.9, 0.1)),
        ("data.flip", 1),
        ("task", "tune"),
        ("batch_size", 0),
        ("batch_size", 2.5),
        ("data.stride", 0),
        ("model.tubelet", (2, 16)),
        ("data.host_crop_size", 255),
        ("data.host_crop_size", 222),
        ("data.size", 220),
        ("data.size", 232),
        ("data.clip_frames", 15),
        ("model.tubelet", (2, 12, 12)),
        ("model.tubelet", (2, 16, 8)),
        ("data.flow_path", "gs://bucket/flow"),
        ("masking.camera_compensation", "affine"),
    ],
)
def test_bad_value_is_refused_by_name(name, value):
    config = base_config.pretrain()
    with config.ignore_type():
        config.update_from_flattened_dict({name: value})
    with pytest.raises(ConfigError, match=rf"config\.{name}\b"):
        config_lib.check_values(config)


def test_fixed_positions_are_not_for_a_backbone_that_learns_them():
    config = base_config.pretrain()
    config.model.update(positions="sincos_axes", backbone="timesformer_joint")
    with pytest.raises(ConfigError, match=r"model\.positions=sincos_axes is for"):
        config_lib.check_values(config)


@pytest.mark.parametrize(
    ("task", "changes", "named"),
    [
        ("pretrain", {"optimizer.layer_decay": 0.75}, "optimizer.layer_decay"),
        ("linear_probe", {"optimizer.layer_decay": 0.75}, "optimizer.layer_decay"),
        (
            "pretrain",
            {"masking.strategy": "mgm_sparse", "masking.guidance": "window"},
            "masking.guidance",
        ),
        (
            "pretrain",
            {"masking.strategy": "smm", "masking.guide_first_tubelet": True},
            "masking.guide_first_tubelet",
        ),
        (
            "pretrain",
            {"masking.strategy": "smm", "masking.camera_compensation": "median"},
            "masking.camera_compensation",
        ),
        ("detect", {"eval.temporal_views": 5}, "eval.temporal_views"),
        ("detect", {"data.sampling": "segments"}, "data.sampling"),
        ("pretrain", {"data.flow_path": "flow"}, "data.flow_path=flow has no effect"),
        ("pretrain", {"data.flow_weights": "raft.npz"}, "data.flow_weights"),
        ("finetune", {"data.flow_path": "flow"}, "data.flow_path"),
        ("pretrain", {"data.motion": "none"}, "data.motion=none"),
        ("pretrain", {"masking.strategy": "random_tube", "masking.jitter": 0.0}, "masking.jitter"),
        ("pretrain", {"norm_pix_loss": False, "norm_pix_eps": 0.02}, "norm_pix_eps"),
        ("pretrain", {"data.area": (0.5, 1.0)}, "data.area"),
        ("finetune", {"data.scales": (1.0,)}, "data.scales"),
        ("pretrain", {"eval.holdout": 0.2, "eval.split": "test"}, "eval.split=test"),
        (
            "linear_probe",
            {"optimizer.clip_norm": 1.0, "probe.learning_rate_factors": (1.0, 3.0)},
            "optimizer.clip_norm",
        ),
    ],
)
def test_values_that_would_be_ignored_are_refused(task, changes, named):
    config = detect_config.detect() if task == "detect" else getattr(base_config, task)()
    config_lib.check_values(config)
    config.update_from_flattened_dict(changes)
    with pytest.raises(ConfigError, match=rf"config\.{named}"):
        config_lib.check_values(config)


def test_differences_name_what_changed_and_pass_over_what_cannot_matter():
    config = base_config.pretrain()
    saved = config_lib.to_json(config)
    assert config_lib.changes(config, saved) == []
    config.log_every = 7
    config.mesh.fsdp = 2
    config.data.num_workers = 1
    assert config_lib.changes(config, saved) == []
    config.masking.ratio = 0.9
    config.data.stride = 2
    assert config_lib.changes(config, saved) == [
        "data.stride: 4 -> 2",
        "masking.ratio: 0.75 -> 0.9",
    ]
    del saved["seed"]
    assert "seed: 'absent' -> 0" in config_lib.changes(config, saved)


def of_an_earlier_version(saved):
    """Gives a saved config the names of the first version."""
    del saved["model"]["init"], saved["model"]["positions"]
    saved["accumulate_steps"] = saved.pop("grad_accum_steps")
    saved["data"]["window"] = saved["data"].pop("host_crop_size")
    saved["data"]["max_skipped_share"] = saved["data"].pop("max_bad_fraction")
    saved["masking"]["guide_first_step"] = saved["masking"].pop("guide_first_tubelet")
    del saved["norm_pix_eps"]
    saved["target"] = "normalised_pixels" if saved.pop("norm_pix_loss") else "pixels"
    saved["data"] |= {"modality": "rgb", "motion_frames": "sampled"}
    saved["model"]["remat"] = False
    return saved


def test_a_config_of_an_earlier_version_is_todays():
    config = base_config.pretrain()
    earlier = of_an_earlier_version(config_lib.to_json(config))
    assert config_lib.upgrade(earlier) == config_lib.to_json(config)
    assert config_lib.changes(config, earlier) == []


def test_pretraining_runs_of_the_first_version_had_no_values_of_evaluation():
    saved = of_an_earlier_version(config_lib.to_json(base_config.pretrain()))
    del saved["eval"]
    config_lib.check_values(ConfigDict(config_lib.upgrade(saved)))


@pytest.mark.parametrize(
    ("name", "value"), [("modality", "motion"), ("motion_frames", "accumulated")]
)
def test_what_is_no_longer_computed_is_refused_by_name(name, value):
    saved = config_lib.to_json(base_config.pretrain())
    saved["data"][name] = value
    with pytest.raises(ConfigError, match=f"config.data.{name}.*version"):
        config_lib.upgrade(saved)


@pytest.mark.parametrize("name", ["min_lr", "warmup_lr"])
def test_a_learning_rate_above_its_peak_is_refused(name):
    config = base_config.pretrain()
    config.optimizer[name] = 2 * config.optimizer.base_lr
    with pytest.raises(ConfigError, match=rf"{name}=0\.0003 is above .*base_lr=0\.00015"):
        config_lib.check_values(config)


@pytest.mark.parametrize(
    ("recipe", "task", "lacking"),
    [
        ("pretrain", "finetune", "augment.cutmix"),
        ("finetune", "linear_probe", "probe.batch_norm"),
        ("linear_probe", "finetune", "augment.cutmix"),
        ("finetune", "detect", "augment.colour_jitter"),
        ("finetune", "pretrain", "masking.camera_compensation"),
    ],
)
def test_a_recipe_of_another_task_is_refused(recipe, task, lacking):
    config = getattr(base_config, recipe)()
    config.task = task
    with pytest.raises(ConfigError, match=rf"config\.task={task} needs config\.{lacking}"):
        config_lib.check_values(config)


def test_clips_that_raft_cannot_compare_are_refused():
    config = base_config.pretrain()
    config.data.update(motion="raft", flow_weights="raft.npz", size=raft.SMALLEST_SIDE)
    config_lib.check_values(config)
    for name, value in (("size", raft.SMALLEST_SIDE - 16), ("clip_frames", 1)):
        changed = config.copy_and_resolve_references()
        changed.data[name] = value
        with pytest.raises(ConfigError, match=r"motion=raft needs clips of 2 frames of 64 pixels"):
            config_lib.check_values(changed)
