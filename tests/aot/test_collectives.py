import jax
import numpy as np
import pytest
import shrunk

from mgm_jax.aot import collectives, hlo
from mgm_jax.aot.check import abstract_batch
from mgm_jax.training import sharding
from mgm_jax.training.state import abstract_state
from mgm_jax.training.tasks import jit_step, make_task

ALONG_THE_FIRST = [[0, 4], [1, 5], [2, 6], [3, 7]]


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}, x={}", ALONG_THE_FIRST),
        ("channel_id=1, replica_groups=[4,2]<=[2,4]T(1,0), x", ALONG_THE_FIRST),
        ("replica_groups=[2,4]<=[8], x", [[0, 1, 2, 3], [4, 5, 6, 7]]),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}, x", ALONG_THE_FIRST),
        ("replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'b'}", ALONG_THE_FIRST),
        ("replica_groups=mesh['a'=2,'b'=4] {'a','b'}", [list(range(8))]),
        ("replica_groups=mesh['a'=8] {'a':(1)2}", ALONG_THE_FIRST),
        ("replica_groups={}, x", [list(range(8))]),
        ("channel_id=3, source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
    ],
)
def test_groups_of_devices_are_read_in_all_forms(text, groups):
    np.testing.assert_array_equal(collectives.parse_groups(text, 8), groups)
    with pytest.raises(ValueError, match="dimensions"):
        collectives.parse_groups("dimensions={0}", 8)


PROGRAM = """\
%all-reduce-scatter.1 (p: f32[8,4]) -> f32[4,4] {
  %p = f32[8,4]{1,0} parameter(0)
  %sum = f32[8,4]{1,0} all-reduce(%p), replica_groups={{0,1},{2,3},{4,5},{6,7}}, to_apply=%add
  ROOT %part = f32[4,4]{1,0} dynamic-slice(%sum, %i), dynamic_slice_sizes={4,4}
}

%start (p: f32[8,4]) -> f32[16,4] {
  %p = f32[8,4]{1,0} parameter(0)
  ROOT %g = f32[16,4]{1,0} all-gather(%p), channel_id=7, replica_groups=[4,2]<=[8], dimensions={0}
}

ENTRY %main (x: f32[8,4]) -> f32[8,4] {
  %x = f32[8,4]{1,0} parameter(0)
  %g = (f32[8,4]{1,0}, f32[16,4]{1,0}) all-gather-start(%x), replica_groups=[4,2]<=[8]
  %g.1 = f32[16,4]{1,0} all-gather-done(%g)
  %r = f32[2,4]{1,0} reduce-scatter(%x), replica_groups=[2,4]<=[4,2]T(1,0), to_apply=%add
  %c = (f32[8,4]{1,0}, f32[8,4]{1,0}, u32[], u32[]) collective-permute-start(%x), \
source_target_pairs={{0,2},{2,4}}
  %s = (f32[8,4]{1,0}, bf16[8]{0}) all-reduce(%x, %y), replica_groups=[1,8]<=[8], to_apply=%add
  %t = f32[8,4]{1,0} all-to-all(%x), replica_groups={{0,1},{2,3},{4,5},{6,7}}
  %alone = f32[8,4]{1,0} all-reduce(%x), replica_groups=[8,1]<=[8], to_apply=%add
  %h = f32[16,4]{1,0} fusion(%x), kind=kCustom, calls=%start
  %overlapped = f32[16,4]{1,0} fusion(%x), kind=kCustom, calls=%start
  ROOT %f = f32[4,4]{1,0} fusion(%x), kind=kCustom, calls=%all-reduce-scatter.1
}
"""


def test_kinds_axes_and_bytes_of_a_written_program():
    found = collectives.find_collectives(hlo.parse(PROGRAM), {"data": 4, "fsdp": 2})
    assert [(c.kind, c.axes, c.num_bytes, c.sent) for c in found] == [
        ("all-gather", ("fsdp",), 256, 128),
        ("reduce-scatter", ("data",), 128, 96),
        ("collective-permute", ("data",), 128, 128),
        ("all-reduce", ("data", "fsdp"), 144, 252),
        ("all-to-all", ("fsdp",), 128, 64),
        ("all-gather", ("fsdp",), 256, 128),  # In two fusions, but with one channel.
        ("reduce-scatter", ("fsdp",), 128, 64),
    ]


def test_operations_of_a_gpu_program_list_their_operands_first_and_these_do_not_count():
    """As XLA writes a step for 2 hosts of 4 GPUs, with the weights split over those of a host."""
    program = hlo.parse("""\
ENTRY %main (w: bf16[2,8], v: bf16[2,8]) -> bf16[32] {
  %g = ((bf16[2,8]{1,0}, bf16[2,8]{1,0}), (bf16[8,8]{1,0}, bf16[8,8]{1,0})) all-gather-start(%w, \
%v), channel_id=1, replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=2], \
device_ids=([2,4]T(1,0)) {'axis_0'}, dimensions={0}, use_global_device_ids=true
  %g.1 = (bf16[8,8]{1,0}, bf16[8,8]{1,0}) all-gather-done(%g)
  %s = ((bf16[8,8]{1,0}, bf16[8,8]{1,0}), (bf16[2,8]{1,0}, bf16[2,8]{1,0})) \
reduce-scatter-start(%x, %y), channel_id=7, replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=2], \
device_ids=([2,4]T(1,0)) {'axis_0'}, dimensions={0}, to_apply=%add
  %s.1 = (bf16[2,8]{1,0}, bf16[2,8]{1,0}) reduce-scatter-done(%s)
  %r = bf16[32]{0} all-reduce-start(%z), channel_id=4, \
replica_groups=mesh['axis_0'=4,'axis_1'=1,'axis_2'=2], device_ids=([2,4]T(1,0)) {'axis_2'}, \
to_apply=%add
  ROOT %r.1 = bf16[32]{0} all-reduce-done(%r)
}
""")
    found = collectives.find_collectives(program, {"data": 2, "fsdp": 4})
    assert [(c.kind, c.axes, c.num_bytes) for c in found] == [
        ("all-gather", ("fsdp",), 256),
        ("reduce-scatter", ("fsdp",), 256),
        ("all-reduce", ("data",), 64),
    ]


@pytest.mark.slow
def test_a_train_step_reduces_its_gradients_along_data_and_gathers_weights_along_fsdp(tmp_path):
    config = shrunk.recipe("k400_pretrain", tmp_path, mesh__fsdp=2, model__encoder__depth=1)
    mesh = sharding.make_mesh(config.mesh.to_dict())
    task = make_task(config, ())
    state = abstract_state(task.init_fn, mesh)
    shardings = jax.tree.map(lambda leaf: leaf.sharding, state)
    step = jit_step(task, mesh, shardings).lower(state, abstract_batch(config, mesh))
    found = collectives.find_collectives(hlo.parse(step.compile().as_text()), mesh.shape)
    sums = collectives.summarise(found)
    by_kind = {key: num_bytes for key, (_, num_bytes, _) in sums.items()}
    sharded = sum(
        leaf.size
        for leaf in jax.tree.leaves(state.params)
        if leaf.sharding.shard_shape(leaf.shape) != leaf.shape
    )
    # A chip has half of these gradients, in float32, and adds them up with the other replicas'.
    assert 0.95 < by_kind["all-reduce", ("data",)] / (4 * sharded / 2) < 1.2
    # The weights are gathered at least once, in bfloat16 at least.
    assert by_kind["all-gather", ("fsdp",)] > 0.9 * 2 * sharded
