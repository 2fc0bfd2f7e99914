"""Optical flow as a source of motion. May import data, errors and io.

raft          RAFT-Small, and the motion maps of clips that it gives
correlation   RAFT's all-pairs correlation and its look-up
weights       reads RAFT-Small's weights, which torchvision publishes
estimators    the flow of whole videos, by RAFT-Small or Dense Inverse Search
precompute    writes the flow of a data set to files (a command)
"""
