"""Random access to the frames of video files. Imports errors only.

containers     opens a file and makes decoders for it
mp4            reads the tables of an mp4 file, so that only the needed packets are read
h264           reads H.264 headers
packets        which packet holds which frame
shown_frames   which packets show a frame
seeking        frames of a long file from a second on
decoder        decodes numbered frames from any position on
planes         decoded frames to 4:2:0 planes
"""
