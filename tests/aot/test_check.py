import importlib.util

import command_line
import jax
import numpy as np
import pytest
import shrunk

from mgm_jax.aot import check, chips, roofline, topology
from mgm_jax.aot.collectives import Collective
from mgm_jax.data.clips import LoadClip
from mgm_jax.data.loader import ClipBatches
from mgm_jax.data.sources import make_source
from mgm_jax.training import sharding
from mgm_jax.training.state import abstract_state
from mgm_jax.training.tasks import make_task

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="no libtpu; pip install -r requirements-tpu.txt",
)
needs_cuda = pytest.mark.skipif(
    importlib.util.find_spec("jax_cuda13_plugin") is None,
    reason="no jax-cuda13-plugin; pip install -r requirements-gpu-check.txt",
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


@needs_libtpu
def test_operations_along_one_dimension_of_the_torus_have_its_links_alone():
    mesh = sharding.make_mesh(
        {"data": 4, "fsdp": 4, "tensor": 1}, topology.topology_devices("v5e:4x4")
    )
    chip = chips.CHIPS["v5e"]
    along = Collective("all-gather", ("fsdp",), 4, 4 * 10**9, 2)
    everywhere = Collective("all-reduce", ("data", "fsdp"), 16, 10**9, 1)
    seconds = [
        roofline.step_time(chip, 0, 0, [operation], mesh).network
        for operation in (along, everywhere)
    ]
    assert seconds == pytest.approx([2 * 3e9 / 100e9, 2 * 15 / 16 * 1e9 / 200e9])


@needs_cuda
def test_gpus_of_one_host_use_nvlink_and_several_hosts_an_adapter_of_each_gpu():
    devices = topology.topology_devices("h100:2x4")
    assert [device.process_index for device in devices] == [0] * 4 + [1] * 4
    mesh = sharding.make_mesh({"data": 2, "fsdp": 4, "tensor": 1}, devices)

    def seconds(axes, size):
        operation = Collective("all-reduce", axes, size, 10**9, 1)
        return roofline.step_time(chips.CHIPS["h100"], 0, 0, [operation], mesh).network

    assert seconds(("fsdp",), 4) == pytest.approx(1.5e9 / 450e9)
    assert seconds(("data",), 2) == pytest.approx(1e9 / 50e9)
    assert seconds(("data", "fsdp"), 8) == pytest.approx(1.75e9 / (4 * 50e9))


def run_on(topology_name, *arguments):
    return command_line.run(
        *("mgm_jax.compile", "--config=configs/k400_pretrain.py", f"--topology={topology_name}"),
        *("--config.model.size=Ti", "--config.data.clip_frames=4"),
        *("--config.data.size=32", "--config.data.host_crop_size=32"),
        *("--config.model.encoder.depth=1", "--config.model.decoder.depth=1"),
        *arguments,
    )


@pytest.mark.slow
@needs_libtpu
def test_the_command_compiles_for_a_slice_and_refuses_what_does_not_fit():
    fits = run_on("v5e:2x2", "--config.batch_size=16", "--config.mesh.fsdp=2")
    assert fits.returncode == 0, fits.stderr
    assert "v5e:2x2: 4 chips on 1 hosts, mesh data=2, fsdp=2, tensor=1" in fits.stdout
    assert "all-gather         along fsdp: " in fits.stdout
    assert "trip count" not in fits.stdout

    refused = run_on("v5e:2x2", "--config.batch_size=8000000")
    assert refused.returncode == 1
    assert "config.batch_size=8000000" in refused.stderr
    assert "--config.batch_size (2000000 for each chip now)" in refused.stderr


@pytest.mark.slow
@needs_cuda
def test_the_command_compiles_for_gpus_and_refuses_what_does_not_fit():
    # Written-out attention needs no cuDNN.
    fits = run_on(
        "h100:2x2",
        *("--config.batch_size=16", "--config.mesh.fsdp=2", "--config.model.attention=xla"),
    )
    assert fits.returncode == 0, fits.stderr
    assert "h100:2x2: 4 chips on 2 hosts, mesh data=2, fsdp=2, tensor=1" in fits.stdout
    assert "(limit 55.88)" in fits.stdout
    assert "all-gather         along fsdp: " in fits.stdout
    assert "trip count" not in fits.stdout

    refused = run_on("h100:2", "--config.batch_size=20000000")
    assert refused.returncode == 1
    assert "XLA_CLIENT_MEM_FRACTION=0.9" in refused.stderr
    assert "--config.batch_size (10000000 for each chip now)" in refused.stderr
