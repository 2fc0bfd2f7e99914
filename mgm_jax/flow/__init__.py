"""Optical flow as a source of motion. May import data, errors and io.

raft          RAFT-Small, and the motion maps of clips that it gives
correlation   RAFT's all-pairs correlation and its look-up
weights       reads RAFT-Small's weights, which torchvision publishes
classical     OpenCV's Dense Inverse Search, which needs no network
cells         resamples flow to motion cells
estimators    the flow of whole videos, by either method
precompute    writes the flow of a data set to files (a command)
"""
