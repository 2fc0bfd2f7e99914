import pytest

from mgm_jax.aot import hlo

LOOP = """\
HloModule loop, is_scheduled=true

%condition (arg: (s32[], f32[4,8])) -> pred[] {
  %bound = s32[]{:T(128)} constant(12)
  %arg = (s32[]{:T(128)}, f32[4,8]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%arg), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i, %bound), direction=LT
}

%body (arg.1: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %arg.1 = (s32[]{:T(128)}, f32[4,8]{1,0:T(8,128)}) parameter(0)
  %x = f32[4,8]{1,0:T(8,128)} get-tuple-element(%arg.1), index=1
  %y = bf16[4,200]{0,1:T(8,128)(2,1)S(1)} fusion(%x), kind=kLoop, calls=%fused
  ROOT %out = (s32[], /*index=1*/f32[4,8]{1,0:T(8,128)}) tuple(%i.1, %x)
}

%fused (p: f32[4,8]) -> bf16[4,200] {
  %p = f32[4,8]{1,0} parameter(0)
  ROOT %negate = bf16[4,200]{0,1} negate(%p)
}

ENTRY %main (x: f32[4,8]) -> f32[4,8] {
  %x.1 = f32[4,8]{1,0:T(8,128)} parameter(0)
  %start = (s32[], f32[4,8]{1,0:T(8,128)}) tuple(%zero, %x.1)
  %while.1 = (s32[], f32[4,8]{1,0:T(8,128)}) while(%start), condition=%condition, body=%body
  ROOT %last = f32[4,8]{1,0:T(8,128)} get-tuple-element(%while.1), index=1
}
"""


def test_instructions_are_read_with_how_often_they_run():
    program = hlo.parse(LOOP)
    assert program.entry == "main"
    assert program.unknown_loops == ()
    runs = {instruction.name: (times, fused) for _, instruction, times, fused in program.executed()}
    assert runs["while.1"] == (1, False)
    assert runs["y"] == (12, False)
    assert runs["negate"] == (12, True)
    loop = program.instructions["main"]["while.1"]
    assert loop.operands == ("start",)
    assert len(loop.arrays) == 2


def test_sizes_have_the_padding_and_the_place_of_their_layout():
    program = hlo.parse(LOOP)
    (y,) = program.instructions["body"]["y"].arrays
    # Along its minor dimension, the first, 4 becomes 128; 200 is 25 times 8.
    assert (y.num_bytes, y.memory_space) == (128 * 200 * 2, 1)
    (x,) = program.instructions["body"]["x"].arrays
    assert (x.num_bytes, x.memory_space) == (8 * 128 * 4, 0)
    (plain,) = program.instructions["fused"]["p"].arrays
    assert plain.num_bytes == 4 * 8 * 4


def test_a_loop_counts_as_the_compiler_says_or_is_named():
    told = LOOP.replace("body=%body", 'body=%body, backend_config={"known_trip_count":{"n":"7"}}')
    assert {t for _, i, t, _ in hlo.parse(told).executed() if i.name == "y"} == {7}
    unknown = hlo.parse(LOOP.replace("direction=LT", "direction=NE"))
    assert unknown.unknown_loops == ("while.1",)
    assert {t for _, i, t, _ in unknown.executed() if i.name == "y"} == {1}
    with pytest.raises(ValueError, match="not an instruction: x"):
        hlo.parse("ENTRY %main (x: f32[]) -> f32[] {\n  %x = f32[] nonsense\n}\n")
