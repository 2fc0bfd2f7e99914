"""Flash attention of TPUs, and which implementation of attention a processor takes.

"splash" is the Pallas kernel that comes with JAX. It takes tokens in multiples of 128, so others
are padded, and runs on the clips and heads of one device: under a mesh each device calls it for its
own, which the logical axes "batch" and "heads" name.
"""

import functools
import re

import jax
import jax.numpy as jnp
from absl import logging
from flax import linen as nn
from jax.experimental.pallas.ops.tpu import splash_attention as splash
from jaxtyping import Array, Float

from mgm_jax.errors import ConfigError

CHUNK_SIZE = 196
"""Queries per block of "chunked": the tokens of a tubelet of 224x224 pixels. Smaller matrix
products use a CPU's cores less well."""

_LANES = 128
_WIDEST_HEAD = 128
_LARGEST_BLOCK = 1792  # Tokens; larger ones do not fit the fast memory of v4, v5e and v5p.
_LARGEST_COMPUTE_BLOCK = 512
_OLDEST_GPU = 8.0  # Compute capability that cuDNN's attention needs.
_TOKENS_LAST = splash.splash_attention_kernel.QKVLayout.SEQ_MINOR


def choose(
    implementation: str, query: Float[Array, "b n heads head_dim"], masked: bool, log: bool = True
) -> str:
    """Returns the implementation itself, or that of "auto" for the platform and the queries.

    The platform is that of the mesh in context (`training.sharding.on_mesh`), or JAX's default.

    Raises:
        ConfigError: The implementation was named, and cannot run there.
    """
    platform, kind = _device()
    flash = {"gpu": "cudnn", "tpu": "splash"}.get(platform)
    wanted = flash if implementation == "auto" else implementation
    obstacle = _obstacle(wanted, platform, kind, query, masked)
    if implementation != "auto":
        if obstacle:
            raise ConfigError(
                f"config.model.attention={implementation} {obstacle}; "
                "set --config.model.attention=auto"
            )
        return implementation
    _, tokens, heads, head_dim = query.shape
    if flash and tokens < _LANES:
        obstacle = f"is slower for so few tokens (fewer than {_LANES})"
    written = "chunked" if platform == "cpu" and tokens >= 2 * CHUNK_SIZE else "xla"
    chosen = written if flash is None or obstacle else flash
    if log:
        why = f", as {flash} {obstacle}" if flash and obstacle else ""
        _log_once(
            f"attention among {tokens} tokens, {heads} heads of {head_dim}, {query.dtype}"
            f"{', masked' if masked else ''}: {chosen} on {kind or platform}{why}"
        )
    return chosen


def splash_attention(
    query: Float[Array, "b n heads head_dim"],
    key: Float[Array, "b m heads head_dim"],
    value: Float[Array, "b m heads head_dim"],
    *,
    interpret: bool = False,
) -> Float[Array, "b n heads head_dim"]:
    """Computes `attention.dot_product_attention` on a TPU, without a mask.

    `interpret` emulates the kernel, on any processor.
    """
    attend = functools.partial(_splash_on_one_device, interpret=interpret)
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return attend(query, key, value)
    rows, _, across, _ = nn.logical_to_mesh_axes(("batch", None, "heads", None)) or (None,) * 4
    if across and query.shape[2] % mesh.shape[across]:
        across = None  # Each device has all heads, as it has their parameters.
    spec = jax.sharding.PartitionSpec(rows, None, across, None)
    # The kernel does not say over which axes its results vary.
    on_each = jax.shard_map(attend, in_specs=(spec,) * 3, out_specs=spec, check_vma=False)
    return on_each(query, key, value)


def _splash_on_one_device(query: Array, key: Array, value: Array, interpret: bool) -> Array:
    scale = query.shape[-1] ** -0.5
    query = (query.astype(jnp.float32) * scale).astype(query.dtype)
    counts = query.shape[1], key.shape[1]
    padded = (-(-counts[0] // _LANES) * _LANES, -(-counts[1] // _LANES) * _LANES)
    block_q, block_kv = (_largest_block(size, _LARGEST_BLOCK) for size in padded)
    compute = _largest_block(block_kv, _LARGEST_COMPUTE_BLOCK)
    heads = [splash.splash_attention_mask.FullMask(padded)] * query.shape[2]
    kernel = splash.make_splash_mha_single_device(
        splash.splash_attention_mask.MultiHeadMask(heads),
        block_sizes=splash.BlockSizes(
            block_q=block_q,
            block_kv=block_kv,
            block_kv_compute=compute,
            block_q_dkv=block_q,
            block_kv_dkv=block_kv,
            block_kv_dkv_compute=compute,
            use_fused_bwd_kernel=True,
            # Tokens last, as heads of 64 would be padded to 128 in memory.
            q_layout=_TOKENS_LAST,
            k_layout=_TOKENS_LAST,
            v_layout=_TOKENS_LAST,
        ),
        interpret=interpret,
    )
    # Tokens attend to those of the same segment: the clip's, or the padding.
    segments = [
        (jnp.arange(size) < count).astype(jnp.int32)
        for size, count in zip(padded, counts, strict=True)
    ]
    heads_first = [
        jnp.pad(x.swapaxes(1, 2), ((0, 0), (0, 0), (0, size - x.shape[1]), (0, 0)))
        for x, size in ((query, padded[0]), (key, padded[1]), (value, padded[1]))
    ]
    attend = jax.vmap(kernel, in_axes=(0, 0, 0, None))
    out = attend(*heads_first, splash.SegmentIds(*segments) if padded != counts else None)
    return out[:, :, : counts[0]].swapaxes(1, 2)


def _largest_block(size: int, limit: int) -> int:
    """The largest multiple of 128 up to the limit that divides the size."""
    return max(n for n in range(_LANES, min(size, limit) + 1, _LANES) if size % n == 0)


def _obstacle(
    implementation: str | None, platform: str, kind: str, query: Array, masked: bool
) -> str:
    """Why an implementation cannot compute attention of these queries here; empty if it can."""
    if implementation == "splash":
        if platform != "tpu":
            return f"runs on TPUs, and this is {kind or platform}"
        return "takes no mask, which this backbone needs" if masked else ""
    if implementation in (None, "xla", "chunked"):
        return ""
    if implementation != "cudnn":
        return "does not exist"
    if platform != "gpu" or re.search("AMD|Radeon|Instinct|gfx", kind):
        return f"runs on NVIDIA GPUs, and this is {kind or platform}"
    if query.dtype == jnp.float32:
        return "computes in bfloat16, and config.model.dtype is float32"
    if query.shape[-1] % 8 or query.shape[-1] > _WIDEST_HEAD:
        return f"takes heads of multiples of 8 up to {_WIDEST_HEAD}, not of {query.shape[-1]}"
    if float(getattr(jax.devices()[0], "compute_capability", None) or _OLDEST_GPU) < _OLDEST_GPU:
        return f"runs on GPUs from Ampere on, and this is {kind}"
    return "takes no odd number of tokens in training" if query.shape[1] % 2 else ""


def _device() -> tuple[str, str]:
    """Platform and name of the devices that the function being traced will run on."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    if device is None:
        device = jax.devices()[0]
    return device.platform, device.device_kind


@functools.cache
def _log_once(text: str) -> None:
    logging.info("%s", text)
