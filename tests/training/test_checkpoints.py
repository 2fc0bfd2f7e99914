import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from mgm_jax import base_config
from mgm_jax.errors import CheckpointError
from mgm_jax.training import sharding
from mgm_jax.training.checkpoints import Checkpoints, refuse_other_config

STATE = {"params": {"kernel": jnp.arange(32.0).reshape(8, 4)}, "step": jnp.int32(5)}
DATA = {"next_batch": 5, "skipped": 1, "seen": 40}


def abstract(state, mesh, spec):
    place = {
        "params": {"kernel": NamedSharding(mesh, spec)},
        "step": NamedSharding(mesh, PartitionSpec()),
    }
    return jax.tree.map(
        lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where),
        state,
        place,
    )


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    yield checkpoints
    checkpoints.close()


def save(checkpoints, step, state=STATE, score=None):
    checkpoints.save(step, state, DATA, base_config.pretrain(), score)
    checkpoints._manager.wait_until_finished()


def test_state_data_and_config_come_back_onto_another_mesh(checkpoints):
    assert checkpoints.latest_step() is None
    save(checkpoints, 5)
    mesh = sharding.make_mesh({"data": 2, "fsdp": 4, "tensor": 1})
    state, data = checkpoints.restore(abstract(STATE, mesh, PartitionSpec("fsdp", None)))
    jax.tree.map(np.testing.assert_array_equal, state, STATE)
    assert state["params"]["kernel"].sharding.spec == PartitionSpec("fsdp", None)
    assert data == DATA
    assert checkpoints.config()["masking"]["strategy"] == "mgm"


def test_the_newest_are_kept(checkpoints, tmp_path):
    for step in (1, 2, 3):
        save(checkpoints, step)
    assert sorted(int(path.name) for path in (tmp_path / "checkpoints").iterdir()) == [2, 3]


def test_only_large_arrays_are_cut_by_compiled_programs(checkpoints, caplog):
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1})
    copies = NamedSharding(mesh, PartitionSpec())

    def programs(rows):
        kernel = jax.device_put(np.ones((rows, 2**10), np.float32), copies)
        caplog.clear()
        with jax.log_compiles():
            save(checkpoints, rows, {"params": {"kernel": kernel}})
        assert checkpoints.latest_step() == rows
        return caplog.text.count("Finished XLA compilation")

    a_mebibyte_of_each = 2**8 * jax.device_count()
    assert programs(a_mebibyte_of_each - jax.device_count()) == 0
    assert programs(a_mebibyte_of_each) == jax.device_count()


def test_saving_a_step_again_changes_nothing(checkpoints):
    save(checkpoints, 5)
    save(checkpoints, 5)
    assert checkpoints.latest_step() == 5


def test_another_shape_is_refused_with_the_step_and_the_folder(checkpoints):
    save(checkpoints, 5)
    mesh = sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1})
    other = STATE | {"params": {"kernel": jnp.zeros((4, 4))}}
    with pytest.raises(CheckpointError, match=r"step 5 in .*checkpoints does not fit the model"):
        checkpoints.restore(abstract(other, mesh, PartitionSpec()))


def test_a_changed_config_is_refused_unless_allowed(checkpoints):
    save(checkpoints, 5)
    config = base_config.pretrain()
    refuse_other_config(checkpoints, config)
    config.data.stride = 3
    with pytest.raises(CheckpointError, match=r"data\.stride: 4 -> 3"):
        refuse_other_config(checkpoints, config)
    config.allow_config_change = True
    refuse_other_config(checkpoints, config)
