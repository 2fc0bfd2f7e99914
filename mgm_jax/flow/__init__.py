"""Optical flow as a source of motion. Imports data, errors and io.

raft          RAFT-Small, and the motion of clips by it on the device
correlation   its all-pairs correlation and look-up
convert       its weights, converted from torchvision (a command)
classical     OpenCV's Dense Inverse Search, without a network
cells         flow on any grid to motion cells
estimators    the flow of whole videos, by either method
precompute    writes the flow of a data set to files (a command)
"""
