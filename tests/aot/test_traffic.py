import jax
import jax.numpy as jnp

from mgm_jax.aot import hlo, traffic

ROUNDS = 6


def _layer(x, w):
    return jnp.tanh(x @ w), None


def _compiled(function):
    weights = jax.ShapeDtypeStruct((ROUNDS, 64, 64), jnp.float32)
    x = jax.ShapeDtypeStruct((128, 64), jnp.float32)
    return jax.jit(function).lower(x, weights).compile()


def test_a_loop_counts_in_full_and_reads_one_layer_of_the_weights_at_a_time():
    looped = _compiled(lambda x, w: jax.lax.scan(_layer, x, w)[0])
    unrolled = _compiled(lambda x, w: jax.lax.scan(_layer, x, w, unroll=ROUNDS)[0])
    by_loop, by_unrolling = (
        sum(traffic.count_bytes(hlo.parse(program.as_text())).values())
        for program in (looped, unrolled)
    )
    once = looped.cost_analysis()["bytes accessed"]
    whole = unrolled.cost_analysis()["bytes accessed"]
    assert 0.8 < by_unrolling / whole < 1.25
    assert by_loop > 2 * once
    assert 0.7 < by_loop / by_unrolling < 1.5


def test_what_stays_on_the_chip_and_what_is_only_sliced_counts_nothing():
    program = hlo.parse("""\
%fused (p: f32[10,8], q: f32[8]) -> f32[10,8] {
  %p = f32[10,8]{1,0} parameter(0)
  %q = f32[8]{0} parameter(1)
  %one = f32[1,8]{1,0} dynamic-slice(%p, %i, %z), dynamic_slice_sizes={1,8}
  %sum = f32[1,8]{1,0} add(%one, %q)
  ROOT %put = f32[10,8]{1,0} dynamic-update-slice(%p, %sum, %i, %z)
}

ENTRY %main (p.1: f32[10,8], q.1: f32[8]) -> f32[10,8] {
  %p.1 = f32[10,8]{1,0} parameter(0)
  %q.1 = f32[8]{0:S(1)} parameter(1)
  %near = f32[10,8]{1,0:S(1)} copy(%p.1)
  ROOT %fusion = f32[10,8]{1,0} fusion(%p.1, %q.1), kind=kLoop, calls=%fused
}
""")
    read_for_the_copy, sliced, updated = 320, 32, 32
    assert sum(traffic.count_bytes(program).values()) == read_for_the_copy + sliced + updated


def test_traffic_is_told_apart_by_part_and_operation():
    program = hlo.parse("""\
ENTRY %main (p: f32[8], q: f32[4]) -> f32[8] {
  %p = f32[8]{0} parameter(0), metadata={op_name="state.opt_state[1].mu['mlp']"}
  %q = f32[4]{0:S(1)} parameter(1), metadata={op_name="batch['luma']"}
  %start = (f32[8]{0:S(1)}, f32[8]{0}, u32[]{:S(2)}) copy-start(%p)
  %done = f32[8]{0:S(1)} copy-done(%start)
  %named = f32[4]{0} negate(%q), metadata={op_name="jit(f)/decode/decoder/blocks/0/mlp/neg"}
  ROOT %call = f32[8]{0} custom-call(%done), frontend_attributes={kernel_metadata={
"blocks":"{\\"q\\": 1}"
}}, metadata={op_name="jit(f)/jvp(Autoencoder)/encoder/blocks/0/attention/pallas_call"}
}
""")
    assert traffic.count_bytes(program) == {
        ("optimizer", "prefetch"): 32,
        ("MLPs", "negate"): 16,
        ("encoder attention", "kernel"): 32,
    }


def test_a_library_of_a_gpu_moves_its_operands_and_results_but_not_its_workspace():
    program = hlo.parse("""\
ENTRY %main (p: bf16[4,4], q: bf16[4,4]) -> bf16[4,4] {
  %p = bf16[4,4]{1,0} parameter(0)
  %q = bf16[4,4]{1,0} parameter(1)
  %product = (bf16[4,4]{1,0}, s8[4194304]{0}) custom-call(%p, %q), \
custom_call_target="__cublas$lt$matmul", metadata={op_name="jit(f)/blocks/0/mlp/dot_general"}
  %r = bf16[4,4]{1,0} get-tuple-element(%product), index=0
  %flash = (bf16[1,2,4,2]{3,1,2,0}, f32[1,2,4]{2,1,0}, u8[64]{0}) custom-call(%r, %r, %r), \
custom_call_target="__cudnn$fmhaSoftmax", metadata={op_name="jit(f)/encoder/blocks/0/attention/fwd"}
  %s = ((bf16[4,4]{1,0}), (bf16[1,4]{1,0})) reduce-scatter-start(%q), dimensions={0}, \
metadata={op_name="jit(f)/loss"}
  ROOT %out = bf16[1,2,4,2]{3,1,2,0} get-tuple-element(%flash), index=0
}
""")
    assert traffic.count_bytes(program) == {
        ("MLPs", "kernel"): 3 * 32,
        ("encoder attention", "kernel"): 3 * 32 + 32 + 32,
        ("head and loss", "reduce-scatter"): 32 + 8,
    }
