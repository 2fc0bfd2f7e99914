import importlib.util

import command_line
import jax
import numpy as np
import pytest
import shrunk

from mgm_jax.aot import check, chips, roofline
from mgm_jax.aot.collectives import Collective
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.sources import make_source
from mgm_jax.errors import ConfigError
from mgm_jax.training import sharding
from mgm_jax.training.state import abstract_state
from mgm_jax.training.tasks import make_task

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="no libtpu; pip install -r requirements-tpu.txt",
)


@pytest.mark.parametrize("recipe", ["k400_pretrain", "ssv2_finetune"])
def test_the_abstract_batch_is_that_of_the_data_pipeline(video_folder, recipe):
    config = shrunk.recipe(recipe, video_folder)
    source = make_source("folder", str(video_folder), "train", "")
    batches = ClipBatches(
        LoadClip.from_config(config.data, source), global_batch=8, num_batches=1, seed=0
    )
    mesh = sharding.make_mesh(config.mesh.to_dict())
    real = sharding.global_batch(sharding.batch_sharding(mesh), next(batches))
    batches.close()
    abstract = check.abstract_batch(config, mesh)
    assert abstract.keys() == real.keys()
    for name, leaf in real.items():
        found = abstract[name]
        assert (found.shape, found.dtype) == (leaf.shape, leaf.dtype), name
        assert found.sharding.is_equivalent_to(leaf.sharding, leaf.ndim), name


def test_a_refusal_names_what_helps(tmp_path):
    config = shrunk.recipe("k400_pretrain", tmp_path, batch_size=48)
    mesh = sharding.make_mesh(config.mesh.to_dict())
    state = abstract_state(make_task(config, ()).init_fn, mesh)
    said = str(check.refusal("it needs 20 GiB", config, "v5e:2x4", mesh, state))
    assert "the 15.75 GiB that a program can have on a chip (it needs 20 GiB)" in said
    assert "model.remat=dots" in said
    assert "fsdp" not in said  # The state is small.

    for num_bytes, activations_help in ((2**32, True), (2**35, False)):
        whole = jax.ShapeDtypeStruct((num_bytes,), np.uint8, sharding=state.step.sharding)
        said = str(check.refusal("", config, "v5e:2x4", mesh, state.replace(step=whole)))
        assert "--config.mesh.fsdp=8, which divides the train state" in said
        assert ("remat" in said) == activations_help


@pytest.mark.skipif(importlib.util.find_spec("libtpu") is not None, reason="libtpu is installed")
def test_missing_libtpu_is_named():
    with pytest.raises(ConfigError, match=r"pip install -r requirements-tpu\.txt"):
        check.topology_devices("v5e:4x4")


@needs_libtpu
def test_operations_along_one_dimension_of_the_torus_have_its_links_alone():
    mesh = sharding.make_mesh(
        {"data": 4, "fsdp": 4, "tensor": 1}, check.topology_devices("v5e:4x4")
    )
    chip = chips.CHIPS["v5e"]
    along = Collective("all-gather", ("fsdp",), 4, 4 * 10**9, 2)
    everywhere = Collective("all-reduce", ("data", "fsdp"), 16, 10**9, 1)
    seconds = [
        roofline.step_time(chip, 0, 0, [operation], mesh).network
        for operation in (along, everywhere)
    ]
    assert seconds == pytest.approx([2 * 3e9 / 100e9, 2 * 15 / 16 * 1e9 / 200e9])


@pytest.mark.slow
@needs_libtpu
def test_the_command_compiles_for_a_slice_and_refuses_what_does_not_fit():
    def run(*arguments):
        return command_line.run(
            *("mgm_jax.compile", "--config=configs/k400_pretrain.py", "--topology=v5e:2x2"),
            *("--config.model.size=Ti", "--config.data.clip_frames=4"),
            *("--config.data.size=32", "--config.data.host_crop_size=32"),
            *("--config.model.encoder.depth=1", "--config.model.decoder.depth=1"),
            *arguments,
        )

    fits = run("--config.batch_size=16", "--config.mesh.fsdp=2")
    assert fits.returncode == 0, fits.stderr
    assert "v5e:2x2: 4 chips on 1 hosts, mesh data=2, fsdp=2, tensor=1" in fits.stdout
    assert "all-gather         along fsdp: " in fits.stdout
    assert "trip count" not in fits.stdout

    refused = run("--config.batch_size=8000000")
    assert refused.returncode == 1
    assert "config.batch_size=8000000" in refused.stderr
    assert "--config.batch_size (2000000 for each chip now)" in refused.stderr
