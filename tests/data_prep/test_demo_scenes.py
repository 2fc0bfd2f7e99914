import io

import av
import numpy as np
import pytest

from data_prep import demo, transcode
from data_prep.demo_scenes import CLASS_NAMES, NUM_FRAMES, SIZE, render_clip

CLASSES = len(CLASS_NAMES)


def accuracy(name, features, num_train):
    """Top-1 on the rest of a linear classifier by ridge regression, trained on the first groups.

    Prints it by the name of the features, for docs/results.md.
    """
    values = features.reshape(len(features), -1).astype(float)
    mean, scale = values[:num_train].mean(0), values[:num_train].std(0) + 1e-6
    values = (values - mean) / scale
    labels = np.arange(len(values)) % CLASSES
    kernel = values[:num_train] @ values[:num_train].T
    targets = np.eye(CLASSES)[labels[:num_train]] - 1 / CLASSES
    ridge = 0.1 * np.trace(kernel) / num_train * np.eye(num_train)
    weights = np.linalg.solve(kernel + ridge, targets)
    chosen = (values[num_train:] @ (values[:num_train].T @ weights)).argmax(-1)
    top1 = (chosen == labels[num_train:]).mean()
    print(f"{name}, {num_train} labels: top-1 {100 * top1:.1f} % of {len(chosen)} clips")
    return top1


@pytest.mark.slow
def test_neither_the_colours_nor_one_frame_tell_the_class():
    clips = [render_clip(0, "train", index) for index in range(75 * CLASSES)]
    num_train = 50 * CLASSES
    colours = np.array([clip.frames.mean((0, 1, 2)) for clip in clips])
    chance, num_test = 1 / CLASSES, len(clips) - num_train
    limit = chance + 3 * (chance * (1 - chance) / num_test) ** 0.5
    assert accuracy("mean colours", colours, num_train) < limit
    for frame in (0, NUM_FRAMES // 2):
        pixels = np.array([clip.frames[frame, ::2, ::2] for clip in clips])
        assert accuracy("one frame", pixels, num_train) < limit
        # Nor what differs from the frame's own background.
        shapes = np.abs(pixels - np.median(pixels, (1, 2))[:, None, None])
        assert accuracy("one frame less its background", shapes, num_train) < limit


@pytest.mark.slow
def test_the_codec_vectors_tell_the_class():
    def histogram(index):
        moved = np.zeros((8, 8))
        frames = render_clip(0, "train", index).frames
        video = transcode.encode_h264(frames, demo.FPS, transcode.PROFILES["low_delay"])
        with av.open(io.BytesIO(video)) as container:
            stream = container.streams.video[0]
            stream.codec_context.options = {"flags2": "+export_mvs"}
            for frame in container.decode(stream):
                if vectors := frame.side_data.get("MOTION_VECTORS"):
                    v = vectors.to_ndarray()
                    bins = [
                        np.clip(v[n] / v["motion_scale"] + 4, 0, 7).astype(int)
                        for n in ("motion_x", "motion_y")
                    ]
                    np.add.at(moved, tuple(bins), v["w"].astype(float) * v["h"])
        moved[4, 4] = 0
        return np.sqrt(moved / max(moved.sum(), 1))

    histograms = np.array([histogram(index) for index in range(24 * CLASSES)])
    assert accuracy("codec vectors", histograms, 16 * CLASSES) > 3 / CLASSES


@pytest.mark.parametrize("label", range(4))
def test_shapes_pass_in_the_direction_of_the_class(label):
    heading = np.array([(-1, 0), (1, 0), (0, -1), (0, 1)][label])
    moved = []
    for group in range(8):
        clip = render_clip(1, "validation", group * CLASSES + label)
        assert clip.frames.shape == (NUM_FRAMES, SIZE, SIZE, 3)
        boxes = clip.boxes[:, -1]  # Nothing is in front of the last.
        inside = (boxes[:, :2] > 0).all(-1) & (boxes[:, 2:] < SIZE).all(-1)
        steps = np.diff((boxes[:, :2] + boxes[:, 2:]) / 2, axis=0) - clip.pan
        moved += list(steps[inside[1:] & inside[:-1]] @ heading)
    assert np.median(moved) > 1
