"""What a run computes: tasks, steps, losses, optimizer, state, sharding, checkpoints.

Imports io, errors, config, data, masking, models, preprocessing and flow.
"""
