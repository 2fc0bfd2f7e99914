"""Sources of motion. Imports errors, io and data.video.

codec_vectors    motion vectors of H.264, MPEG-4 and others as dense maps
block_matching   vectors for videos whose codec exports none
flow_files       optical flow computed ahead of time
"""
