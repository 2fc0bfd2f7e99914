"""From video files to batches of clips, on the host.

Imports errors and io; neither jax nor another package of mgm_jax. The path of a clip:

csv_lists      reads csv lists of videos, and VideoMAE's
class_names    the one name of a class
identity       what is known of a video without decoding it; whether two are the same
manifest       which videos a run uses, and how two such lists differ
sources        where videos come from: prepared records, a folder, or a csv list
subsets        some videos of a source; slices of splits
records        what is known of a video before it is opened; reads prepared records
sampling       which frames make a clip
crops          crops and flips of pixels and motion
video/         decodes the frames of a file
motion/        codec vectors, block matching, stored optical flow
clip_builder   collects planes and motion during decoding
decoding       opens a video and reads frames with their motion
clip_reader    cuts clips of fixed shape out of them
clips          draws training clips, chooses evaluation views
workers        set-up of the worker processes
loader         batches in a global order that can be resumed
boxes          boxes around objects, in pixels of the clip
centre_clips   clips for pictures and measurements
key_frames     annotated moments of films (AVA)
key_clips      clips around key frames, with their boxes
ava_files      AVA's csv files
detected       boxes of a person detector
film           key frames of films as they are
"""
