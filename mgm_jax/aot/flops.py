"""FLOPs of a function's matrix products and convolutions."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

# A TPU computes a float32 product as this many bfloat16 products (`jax.lax.Precision`).
_PASSES = {jax.lax.Precision.HIGHEST: 6, jax.lax.Precision.HIGH: 3}


def count_flops(function: Callable[..., Any], *arguments: Any) -> tuple[float, float]:
    """Counts the FLOPs of a function for arrays or `jax.ShapeDtypeStruct`s, all devices together.

    A product of m×k and k×n is 2·m·k·n FLOPs; other operations count zero. Every iteration of a
    loop counts, and so does rematerialisation.

    Returns:
        FLOPs as written, and as a TPU's matrix units run them: a float32 product of a higher
        precision takes several passes.

    Raises:
        ValueError: There are products in a loop of unknown length.
    """
    return _count(jax.make_jaxpr(function)(*arguments).jaxpr)


def _count(jaxpr: Any) -> tuple[float, float]:
    total = np.zeros(2)
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            total += _product(equation)
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval.shape
            features = kernel[params["dimension_numbers"].rhs_spec[0]]
            per_value = 2 * np.prod(kernel) / features
            total += _with_passes(per_value * equation.outvars[0].aval.size, params["precision"])
        elif name == "cond":
            counts = [_count(branch.jaxpr) for branch in params["branches"]]
            if platforms := params.get("branches_platforms"):
                # What TPUs have their matrix units do instead of moving data is not in the model.
                on_tpu = (i for i, names in enumerate(platforms) if names is None or "tpu" in names)
                total += counts[-1][0], counts[next(on_tpu)][1]
            else:
                total += max(counts, key=sum)
        else:
            inner = sum(
                (np.asarray(_count(part)) for part in jax.core.jaxprs_in_params(params)),
                start=np.zeros(2),
            )
            if name == "pallas_call":  # A kernel runs once for each block of its grid.
                inner *= np.prod(params["grid_mapping"].grid)
            elif name == "shard_map":  # The shapes inside are those of one device.
                inner *= params["mesh"].size
            if name == "while" and inner.any():
                raise ValueError(f"matrix products in a loop of unknown length: {equation}"[:500])
            total += inner * params.get("length", 1) if name == "scan" else inner
    return float(total[0]), float(total[1])


def _product(equation: Any) -> np.ndarray:
    left = equation.invars[0].aval.shape
    (contracted, _), _ = equation.params["dimension_numbers"]
    depth = np.prod([left[axis] for axis in contracted])
    return _with_passes(2.0 * depth * equation.outvars[0].aval.size, equation.params["precision"])


def _with_passes(flops: float, precision: Any) -> np.ndarray:
    first = precision[0] if isinstance(precision, tuple) else precision
    return np.array([flops, flops * _PASSES.get(first, 1)])
