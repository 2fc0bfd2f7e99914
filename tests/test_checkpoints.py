import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from configs import common
from mgm_jax import sharding
from mgm_jax.checkpoints import Checkpoints, recover, refuse_other_config
from mgm_jax.errors import CheckpointError

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
    checkpoints.save(step, state, DATA, common.pretrain(), score)
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
    config = common.pretrain()
    refuse_other_config(checkpoints, config)
    config.data.stride = 3
    with pytest.raises(CheckpointError, match=r"data\.stride: 4 -> 3"):
        refuse_other_config(checkpoints, config)
    config.allow_config_change = True
    refuse_other_config(checkpoints, config)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Two complete checkpoints, not to be changed."""
    folder = tmp_path_factory.mktemp("written") / "checkpoints"
    checkpoints = Checkpoints(folder)
    for step in (2, 5):
        save(checkpoints, step, STATE | {"step": jnp.int32(step)}, score=0.5)
    checkpoints.close()
    return folder


def truncate(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flip_a_bit(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 16
    file.write_bytes(data)


def empty(file):
    file.write_bytes(b"")


def test_whatever_file_is_damaged_the_checkpoint_before_is_used(written, tmp_path, caplog):
    folder = tmp_path / "checkpoints"
    names = [path.relative_to(written / "5") for path in (written / "5").rglob("*")]
    names = [name for name in names if (written / "5" / name).is_file()]
    restored = 0
    for name in names:
        for damage in (truncate, empty, flip_a_bit, lambda file: file.unlink()):
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(written, folder)
            (folder / "8.orbax-checkpoint-tmp").mkdir()
            damage(folder / "5" / name)
            caplog.clear()
            with caplog.at_level(logging.WARNING, "absl"):
                recover(folder)
            left = {path.name for path in folder.iterdir()}
            if left == {"2", "5"}:  # The damage is to what Orbax adds, or the digests are gone.
                assert str(name) in {"_CHECKPOINT_METADATA", "commit_success.txt", "files.sha256"}
                continue
            assert left == {"2", "5.damaged"}
            assert f"step 5: {name} is" in caplog.text or str(name) == "files.sha256"
            assert "going on from the one before, of step 2" in caplog.text
            restored += 1
    assert restored > 30
    checkpoints = Checkpoints(folder)
    place = abstract(
        STATE, sharding.make_mesh({"data": -1, "fsdp": 1, "tensor": 1}), PartitionSpec()
    )
    state, _ = checkpoints.restore(place)
    assert int(state["step"]) == 2
    save(checkpoints, 5)  # Its place is free again.
    assert checkpoints.latest_step() == 5
    checkpoints.close()


def test_without_an_intact_checkpoint_nothing_is_begun_anew(written, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(written, folder)
    for step in (2, 5):
        truncate(folder / str(step) / "state" / "manifest.ocdbt")
    for _ in range(2):
        with pytest.raises(
            CheckpointError, match=r"(?s)every .* damaged:.*step 5: .*step 2: state"
        ):
            recover(folder)
    assert {path.name for path in folder.iterdir()} == {"2", "5"}


def test_readers_refuse_a_damaged_checkpoint_with_the_cure(written, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(written, folder)
    flip_a_bit(folder / "5" / "data" / "metadata")
    checkpoints = Checkpoints(folder)
    checkpoints.check(2)
    with pytest.raises(
        CheckpointError, match=r"step 5 .* data/metadata .* remove .*5 to .* step 2"
    ):
        checkpoints.check(5)
    checkpoints.close()
    truncate(folder / "2" / "metrics" / "metrics")
    with pytest.raises(CheckpointError, match=r"(?s)scores .* step 2: metrics/metrics is not"):
        Checkpoints(folder)
