"""FLOPs of a function's matrix products and convolutions."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.extend.core
import numpy as np
from jax.lax import Precision

from mgm_jax.aot.chips import TPUS, Gpu, Tpu

# Products of two matrices in cuDNN's flash attention, which computes scores again on its way back.
_CUDNN_PRODUCTS = {
    "dot_product_attention_fwd_wrapper": 2,
    "dot_product_attention_bwd_wrapper": 5,
}


def count_flops(
    function: Callable[..., Any], *arguments: Any, chip: Tpu | Gpu = TPUS["v5e"]
) -> tuple[float, float]:
    """Counts the FLOPs of a function for arrays or `jax.ShapeDtypeStruct`s, all devices together.

    A product of m×k and k×n is 2·m·k·n FLOPs; other operations count zero. Every iteration of a
    loop counts, and so does rematerialisation.

    Returns:
        FLOPs as written, and as bfloat16 FLOPs that take the chip as long: a product of float32
        arrays takes several passes.

    Raises:
        ValueError: There are products in a loop of unknown length.
    """
    return _Counter(chip).count(jax.make_jaxpr(function)(*arguments).jaxpr)


@dataclasses.dataclass(frozen=True)
class _Counter:
    chip: Tpu | Gpu

    def count(self, jaxpr: Any) -> tuple[float, float]:
        total = np.zeros(2)
        for equation in jaxpr.eqns:
            name, params = equation.primitive.name, equation.params
            if name == "dot_general":
                total += self._product(equation)
            elif name == "conv_general_dilated":
                kernel = equation.invars[1].aval.shape
                features = kernel[params["dimension_numbers"].rhs_spec[0]]
                per_value = 2 * np.prod(kernel) / features
                total += self._with_passes(equation, per_value * equation.outvars[0].aval.size)
            elif name in _CUDNN_PRODUCTS:
                query, key = (variable.aval.shape for variable in equation.invars[:2])
                total += _CUDNN_PRODUCTS[name] * 2.0 * np.prod(query) * key[1]
            elif name == "cond":
                total += self._branches(params)
            else:
                total += self._inside(equation)
        return float(total[0]), float(total[1])

    def _branches(self, params: Any) -> tuple[float, float]:
        counts = [self.count(branch.jaxpr) for branch in params["branches"]]
        platforms = params.get("branches_platforms")
        if not platforms:
            return max(counts, key=sum)
        # What TPUs have their matrix units do instead of moving data is not in the model.
        own = "cuda" if isinstance(self.chip, Gpu) else "tpu"
        taken = (i for i, names in enumerate(platforms) if names is None or own in names)
        return counts[-1][0], counts[next(taken)][1]

    def _inside(self, equation: Any) -> np.ndarray:
        name, params = equation.primitive.name, equation.params
        inner = np.zeros(2)
        for part in jax.extend.core.jaxprs_in_params(params):
            inner += self.count(part)
        if name == "pallas_call":  # A kernel runs once for each block of its grid.
            inner *= np.prod(params["grid_mapping"].grid)
        elif name == "shard_map":  # The shapes inside are those of one device.
            inner *= params["mesh"].size
        if name == "while" and inner.any():
            raise ValueError(f"matrix products in a loop of unknown length: {equation}"[:500])
        return inner * params.get("length", 1) if name == "scan" else inner

    def _product(self, equation: Any) -> np.ndarray:
        left = equation.invars[0].aval.shape
        (contracted, _), _ = equation.params["dimension_numbers"]
        depth = np.prod([left[axis] for axis in contracted])
        return self._with_passes(equation, 2.0 * depth * equation.outvars[0].aval.size)

    def _with_passes(self, equation: Any, flops: float) -> np.ndarray:
        precision = equation.params["precision"]
        first = precision[0] if isinstance(precision, tuple) else precision
        level = {Precision.HIGH: 1, Precision.HIGHEST: 2}.get(first, 0)
        is_float32 = equation.invars[0].aval.dtype == np.float32
        return np.array([flops, flops * (self.chip.passes[level] if is_float32 else 1)])
