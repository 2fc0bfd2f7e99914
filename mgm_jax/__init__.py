"""Motion-guided masking for video masked autoencoders."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mgm_jax.inference import load_classifier

__version__ = "0.2.0"

__all__ = ["__version__", "load_classifier"]


def __getattr__(name: str) -> Any:
    # Imported when it is first used: programs that only need a part should start at once.
    if name != "load_classifier":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mgm_jax.inference import load_classifier

    return load_classifier
