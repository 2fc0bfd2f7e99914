import pathlib
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from configs import common
from mgm_jax import config as config_lib
from mgm_jax.errors import ConfigError

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]


def test_near_names_find_the_value_in_any_group():
    config = common.pretrain()
    assert config_lib.near_names(config, "data.pth")[0] == "data.path"
    assert "data.stride" in config_lib.near_names(config, "strid")
    assert "optimizer.base_lr" in config_lib.near_names(config, "base_lr")
    assert config_lib.near_names(config, "zzzzzz") == []


@pytest.mark.parametrize(
    ("flag", "hint"),
    [
        ("--config.data.pth=x", "data.path"),
        ("--config.batchsize=4", "batch_size"),
        ("--config.stride=2", "data.stride"),
        ("--config.dta.path=3", "data.path"),
    ],
)
def test_misspelt_override_is_refused_with_the_near_name(flag, hint):
    arguments = ["--config=configs/demo_pretrain.py", "--workdir=unused", flag]
    with pytest.raises(ConfigError, match=hint):
        config_lib.check_arguments(arguments)


def test_missing_config_file_names_those_there_are():
    with pytest.raises(ConfigError, match=r"configs/demo_pretrain\.py"):
        config_lib.check_arguments(["--config=configs/demo_pretrian.py"])


def test_program_refuses_a_misspelt_flag_without_a_traceback():
    command = [sys.executable, "-m", "mgm_jax.main", "--config=configs/demo_pretrain.py"]
    ended = subprocess.run(
        [*command, "--workdir=unused", "--config.masking.ratoi=0.5"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1
    assert "masking.ratio" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("data.motion", "codecs"),
        ("data.crop", "center"),
        ("model.dtype", "float16"),
        ("batch_size", 0),
        ("data.stride", 0),
        ("data.host_crop_size", 255),
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
    config = common.pretrain()
    config.update_from_flattened_dict({name: value})
    with pytest.raises(ConfigError, match=name.rpartition(".")[2]):
        config_lib.check_values(config)


def test_the_shared_recipe_is_sound():
    config_lib.check_values(common.pretrain())


def test_differences_name_what_changed_and_pass_over_what_cannot_matter():
    config = common.pretrain()
    saved = config_lib.to_json(config)
    assert config_lib.differences(config, saved) == []
    config.log_every = 7
    config.mesh.fsdp = 2
    config.data.num_workers = 1
    assert config_lib.differences(config, saved) == []
    config.masking.ratio = 0.9
    config.data.stride = 2
    assert config_lib.differences(config, saved) == [
        "data.stride: 4 -> 2",
        "masking.ratio: 0.75 -> 0.9",
    ]
    del saved["seed"]
    assert "seed: 'absent' -> 0" in config_lib.differences(config, saved)


def test_flatten_joins_names_with_dots():
    assert dict(config_lib.flatten(ConfigDict({"a": {"b": 1}, "c": 2}))) == {"a.b": 1, "c": 2}


def test_retired_values_are_dropped_at_their_default_and_refused_otherwise():
    assert config_lib.upgrade({"data": {"motion_frames": "sampled", "size": 224}}) == {
        "data": {"size": 224}
    }
    with pytest.raises(ConfigError, match=r"data\.motion_frames"):
        config_lib.upgrade({"data": {"motion_frames": "accumulated"}})


def test_a_run_of_an_earlier_version_upgrades_or_is_refused_by_name():
    saved = config_lib.to_json(common.pretrain())
    earlier = saved | {"data": saved["data"] | {"modality": "rgb"}}
    assert config_lib.upgrade(earlier) == config_lib.upgrade(saved)
    earlier["data"]["modality"] = "motion"
    with pytest.raises(ConfigError, match=r"config\.data\.modality"):
        config_lib.upgrade(earlier)
