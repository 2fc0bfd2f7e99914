import itertools
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mgm_jax.pictures.line_chart import line_chart, nice_ticks

SVG_SIZE = (360, 250)


def points_of(svg):
    lines = ElementTree.fromstring(svg).iter("polyline")
    return [
        [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]
        for line in lines
    ]


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_enclose_the_range_at_equal_distances(one, other):
    low, high = min(one, other), max(one, other)
    ticks = nice_ticks(low, high)
    tolerance = 1e-6 * max(abs(low), abs(high), 1e-6)
    assert ticks[0] <= low + tolerance
    assert ticks[-1] >= high - tolerance
    assert 2 <= len(ticks) <= 9
    steps = [after - before for before, after in itertools.pairwise(ticks)]
    assert min(steps) > 0
    assert max(steps) == pytest.approx(min(steps), rel=1e-3)


def test_ticks_are_round():
    assert nice_ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert nice_ticks(0, 0.0012) == [0, 0.00025, 0.0005, 0.00075, 0.001, 0.00125]
    assert nice_ticks(3, 3) == [0, 1, 2, 3]
    assert nice_ticks(0, 0) == [0, 0.2, 0.4, 0.6, 0.8, 1]


def test_curves_lie_inside_and_keep_their_order():
    svg = line_chart("Loss", {"train": [(1, 2.0), (50, 1.0), (100, 0.5)], "eval": [(100, 0.7)]})
    train, evaluated = points_of(svg)
    assert [x for x, _ in train] == sorted(x for x, _ in train)
    # Falling values are lower on the page, where y is larger.
    assert [y for _, y in train] == sorted(y for _, y in train)
    assert evaluated[0][0] == train[-1][0]
    assert evaluated[0][1] < train[-1][1]
    for x, y in train + evaluated:
        assert 0 <= x <= SVG_SIZE[0]
        assert 0 <= y <= SVG_SIZE[1]


def test_shares_are_shown_in_percent():
    svg = line_chart("Accuracy", {"eval": [(1, 0.25), (2, 0.5)]}, percent=True)
    assert "eval 50.0 %" in svg
    assert "100 %" in svg


def test_values_that_are_not_finite_are_left_out():
    svg = line_chart("Loss", {"train": [(1, float("nan")), (2, 1.0), (3, float("inf"))]})
    assert len(points_of(svg)[0]) == 1
    nothing = line_chart("Loss", {"train": [(1, float("nan"))]})
    assert "train: none" in nothing


def test_text_is_escaped():
    svg = line_chart('<a> & "b"', {"<c>": [(1, 1.0)]})
    assert ElementTree.fromstring(svg).get("aria-label") == '<a> & "b"'


def test_curves_without_colours_are_refused():
    with pytest.raises(ValueError, match="at most 4"):
        line_chart("Loss", {str(number): [] for number in range(5)})
