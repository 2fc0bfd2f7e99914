"""Weights from and to other projects: VideoMAE's files, Hugging Face's folders, and runs.

`init_from` starts a model from any of them, `weights` reads and writes them, and
`python -m mgm_jax.convert` is the command.
"""
