import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mgm_jax.flow.cells import cell_means


def test_cells_at_the_edge_are_means_of_what_is_inside():
    flow = np.random.default_rng(0).standard_normal((12, 20, 2))
    found = cell_means(flow, flow_size=(12, 20), source_size=(12, 20))
    assert found.shape == (2, 3, 2)
    for row, column in np.ndindex(2, 3):
        cell = flow[8 * row :, 8 * column :][:8, :8]
        np.testing.assert_allclose(found[row, column], cell.mean(axis=(0, 1)), rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(
    source_height=st.integers(1, 200),
    source_width=st.integers(1, 200),
    rows=st.integers(1, 30),
    columns=st.integers(1, 30),
)
def test_a_uniform_flow_scales_with_the_pixels(source_height, source_width, rows, columns):
    flow = np.broadcast_to(np.array([3.0, -2.0]), (rows, columns, 2))
    found = cell_means(
        flow, flow_size=(8 * rows, 8 * columns), source_size=(source_height, source_width)
    )
    assert found.shape == (-(-source_height // 8), -(-source_width // 8), 2)
    expected = [3 * source_width / (8 * columns), -2 * source_height / (8 * rows)]
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=1e-5)
