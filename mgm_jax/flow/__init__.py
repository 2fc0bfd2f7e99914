"""Optical flow as a source of motion: RAFT-Small on the device, or flow computed ahead of time."""
