"""Motion of a clip: codec vectors, block matching, stored optical flow.

Imports errors, io and data.video.
"""
