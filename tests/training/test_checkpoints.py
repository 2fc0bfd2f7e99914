import itertools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import shrunk
from jax.sharding import NamedSharding, PartitionSpec

from mgm_jax.errors import CheckpointError
from mgm_jax.training import checkpoints as checkpoints_module
from mgm_jax.training import sharding
from mgm_jax.training.checkpoints import Checkpoints
from mgm_jax.training.optimizer import make_optimizer
from mgm_jax.training.state import TrainState

KERNEL = jnp.arange(32.0).reshape(8, 4)
STATE = TrainState(
    step=jnp.int32(5),
    params={"kernel": KERNEL},
    model_state={"batch_stats": {"mean": jnp.ones(4)}},
    opt_state={"mu": 2 * KERNEL},
    seed=jnp.zeros(2, jnp.uint32),
)
DATA = {"next_batch": 5, "skipped": 1, "seen": 40}
CONFIG = shrunk.recipe("demo_pretrain", "unused")
MESH = sharding.make_mesh({"data": 2, "fsdp": 4, "tensor": 1})


def abstract(tree=STATE, *split):
    def place(leaf):
        where = NamedSharding(MESH, PartitionSpec(*split) if leaf.ndim == 2 else PartitionSpec())
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    return jax.tree.map(place, tree)


@pytest.fixture
def checkpoints(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    yield checkpoints
    checkpoints.close()


def save(checkpoints, step, state=STATE, score=None):
    checkpoints.save(step, state, DATA, CONFIG, score)
    checkpoints._manager.wait_until_finished()


def test_state_data_and_config_come_back_onto_another_mesh(checkpoints):
    assert checkpoints.latest_step() is None
    whole = abstract(STATE, None, "data")
    placed = jax.tree.map(lambda leaf, place: jax.device_put(leaf, place.sharding), STATE, whole)
    save(checkpoints, 5, placed)
    save(checkpoints, 5)  # Saving a step again changes nothing.
    split = ("fsdp", None)
    state, data = checkpoints.restore(abstract(STATE, *split))
    jax.tree.map(np.testing.assert_array_equal, state, STATE)
    assert state.params["kernel"].sharding.spec == PartitionSpec(*split)
    assert data == DATA
    assert checkpoints.description(5)[0]["masking"]["strategy"] == "mgm"
    variables = checkpoints.restore_variables(5, abstract(STATE.variables, *split))
    jax.tree.map(np.testing.assert_array_equal, variables, STATE.variables)
    assert variables["params"]["kernel"].sharding.spec == PartitionSpec(*split)


def test_the_newest_and_the_best_are_kept(checkpoints, tmp_path):
    assert checkpoints.best_step() is None
    for step, score in enumerate((0.2, 0.9, 0.5, None, 0.3), 1):
        save(checkpoints, step, score=score)
    assert (checkpoints.latest_step(), checkpoints.best_step()) == (5, 2)
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {2, 4, 5}


def test_scores_on_other_videos_are_not_compared(checkpoints, tmp_path):
    for step, score in enumerate((0.9, 0.2), 1):
        save(checkpoints, step, score=score)
    checkpoints.close()
    others = Checkpoints(tmp_path / "checkpoints", keep=1, scored_on="others")
    save(others, 3)
    assert others.best_step() == 1  # None is scored on the others yet.
    for step, score in enumerate((0.6, 0.7, 0.65), 4):
        save(others, step, score=score)
    assert others.best_step() == 5
    kept = {int(path.name) for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {5, 6}
    others.close()


def test_after_a_save_that_failed_the_next_one_is_tried(checkpoints, monkeypatch, caplog):
    write, failures = checkpoints_module.write_digests, iter([OSError("passing"), None, None])

    def write_digests(*given):
        if (failure := next(failures)) is not None:
            raise failure
        write(*given)

    monkeypatch.setattr(checkpoints_module, "write_digests", write_digests)
    checkpoints.save(5, STATE, DATA, CONFIG)
    with caplog.at_level("WARNING", "absl"):
        checkpoints.save(6, STATE, DATA, CONFIG)
    assert checkpoints.latest_step() == 6
    assert "step 6 is saved, but not the one before: " in caplog.text


def test_a_clock_that_is_set_forward_during_a_save_is_named(checkpoints, monkeypatch):
    save(checkpoints, 5)
    now = itertools.count(time.time(), 86400)
    monkeypatch.setattr(time, "time", lambda: next(now))
    checkpoints.save(6, STATE, DATA, CONFIG)
    with pytest.raises(CheckpointError, match=r"complete is step 5\. (?!Free).*clock"):
        checkpoints.save(7, STATE, DATA, CONFIG)  # Waits for the one before.


def test_another_shape_is_refused_with_the_step_and_the_folder(checkpoints):
    save(checkpoints, 5)
    other = abstract(STATE.replace(params={"kernel": jnp.zeros((4, 4))}))
    for restore in (
        checkpoints.restore,
        lambda _: checkpoints.restore_variables(5, other.variables),
    ):
        with pytest.raises(CheckpointError, match=r"step 5 in .*checkpoints"):
            restore(other)


def test_clipping_may_begin_when_a_run_resumes(checkpoints):
    settings = shrunk.get_config("ssv2_pretrain").optimizer
    plain, _ = make_optimizer(settings, 10, 0, 256)
    settings.clip_norm = 1.0
    clipped, _ = make_optimizer(settings, 10, 0, 256)
    earlier = optax.chain(optax.clip_by_global_norm(1.0), plain)  # As versions before this one.
    for step, optimizer in ((1, plain), (2, earlier), (3, clipped)):
        state = STATE.replace(opt_state=optimizer.init(STATE.params))
        save(checkpoints, step, state)
        wanted = STATE.replace(opt_state=clipped.init(STATE.params))
        restored, data = checkpoints.restore(abstract(wanted))
        jax.tree.map(np.testing.assert_array_equal, restored, wanted)
        assert data == DATA
