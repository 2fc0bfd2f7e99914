"""Checks of a run on a TPU slice, ahead of time: see `mgm_jax.compile`."""
