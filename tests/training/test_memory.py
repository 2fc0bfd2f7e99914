import jax
import jax.numpy as jnp
import pytest
import shrunk

from mgm_jax.errors import DoesNotFitError
from mgm_jax.training.memory import out_of_memory_explained, what_helps


@pytest.mark.parametrize("recipe", ["demo_pretrain", "demo_finetune"])
def test_running_out_of_memory_says_what_helps(recipe):
    config = shrunk.recipe(recipe, "", batch_size=16)
    make = jax.jit(lambda: jnp.ones((2**44,)))
    with pytest.raises(DoesNotFitError) as raised, out_of_memory_explained(config):
        jax.block_until_ready(make())
    cures = ["model.remat=dots or full", "grad_accum_steps=2", "mesh.fsdp=", "batch_size"]
    places = [str(raised.value).find(f"--config.{cure}") for cure in cures]
    assert places[0] > 0
    assert places == sorted(places)
    assert ("--config.eval.batch_size" in str(raised.value)) == (recipe == "demo_finetune")


def test_other_errors_of_the_runtime_stay_as_they_are():
    error = jax.errors.JaxRuntimeError("INTERNAL: it broke")
    with (
        pytest.raises(jax.errors.JaxRuntimeError, match="it broke"),
        out_of_memory_explained(shrunk.recipe("demo_pretrain", "")),
    ):
        raise error


@pytest.mark.parametrize(("devices", "fsdp"), [(1, None), (3, 3), (4, 4), (12, 4), (64, 8)])
def test_the_train_state_is_divided_by_what_divides_the_devices(devices, fsdp):
    config = shrunk.recipe("demo_pretrain", "", batch_size=4 * devices)
    cures = [cure for cure in what_helps(config, devices, state=True) if "fsdp" in cure]
    assert [cure.partition(",")[0] for cure in cures] == [f"--config.mesh.fsdp={fsdp}"] * len(cures)
    assert len(cures) == (fsdp is not None)


def test_nothing_is_proposed_that_is_done_already():
    config = shrunk.recipe("demo_pretrain", "", batch_size=8, model__remat="full", mesh__fsdp=8)
    assert what_helps(config, 8, state=True) == ["chips with more memory"]
