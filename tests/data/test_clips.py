import dataclasses

import numpy as np
import odd_videos
import pytest
import rendered
import shrunk
from one_video import OneVideo

from data_prep import transcode
from mgm_jax.data.clip_reader import ReadSpec, read_clips
from mgm_jax.data.clips import LoadClip, LoadViews, error_message
from mgm_jax.data.crops import Crop
from mgm_jax.data.decoding import Video
from mgm_jax.data.motion import flow_files
from mgm_jax.data.records import RecordSource
from mgm_jax.data.sources import FolderSource
from mgm_jax.data.video.decoder import FrameDecoder
from tests.data.video.test_packets import RECORDED, cut_bytes, recording
from tests.data.video.test_shown_frames import FILES

SPEC = ReadSpec(clip_frames=8, stride=2, size=32, host_crop_size=64)


def load(folder, video=0, spec=SPEC, **settings):
    loader = LoadClip(FolderSource(str(folder)), spec, **settings)
    return loader.random_map((video, video), np.random.default_rng(0))


@pytest.mark.parametrize("flip", [False, True])
def test_a_loader_has_the_values_of_the_config(flip, video_folder):
    values = {"crop": "random_resized", "flip": flip, "scales": (0.9,), "area": (0.2, 0.4)}
    data = shrunk.recipe("ssv2_pretrain", "unused").data
    data.update(values | {"repeated_augmentation": 3})
    loader = LoadClip.from_config(data, FolderSource(str(video_folder)))
    assert {name: getattr(loader, name) for name in values} == values
    assert loader.copies == 3


def reason(clip):
    return error_message(clip["error"][0])


def test_copies_are_crops_of_the_same_frames(video_folder):
    clips = load(video_folder, copies=3, crop="random_resized", area=(0.1, 0.5))
    assert clips["valid"].all()
    assert (clips["frames"] == clips["frames"][0]).all()
    with Video(FolderSource(str(video_folder))[0].video) as video:
        whole = video.read(clips["frames"][0])
    for luma, box, place in zip(clips["luma"], clips["crop_box"], clips["source_box"], strict=True):
        top, left = (place[:2] - box[:2]).astype(int)
        height, width = np.ceil(box[:2] + box[2:]).astype(int)
        expected = whole.luma[:, top : top + height, left : left + width]
        np.testing.assert_array_equal(luma[:, :height, :width], expected)


def test_a_large_crop_does_not_shrink_the_frames_of_another(video_folder):
    record = FolderSource(str(video_folder))[0]
    with Video(record.video) as video:
        size, frames = (video.height, video.width), np.arange(8)
        drawn = [Crop(3, 8, 40, 48), Crop(0, 0, *size, flip=True)]
        assert max(size) > SPEC.host_crop_size
        both = read_clips(SPEC, video, record, frames, drawn, size)
        for number, crop in enumerate(drawn):
            alone = read_clips(SPEC, video, record, frames, [crop], size)
            for name, values in alone.items():
                np.testing.assert_array_equal(both[name][number], values[0], err_msg=name)


def test_training_segments_leave_out_the_rest_as_videomaes_do(video_folder):
    spec = dataclasses.replace(SPEC, sampling="segments", clip_frames=7)
    with Video(FolderSource(str(video_folder))[0].video) as video:
        length, rest = divmod(video.num_frames, 7)
    assert rest
    frames = load(video_folder, spec=spec)["frames"][0]
    np.testing.assert_array_equal(frames // length, np.arange(7))


def test_views_are_always_the_same_and_cover_the_video(video_folder):
    source = FolderSource(str(video_folder))
    views = LoadViews(source, SPEC, temporal_views=3, copies=3)
    assert views.num_items == 3 * len(source)
    made = [
        views.random_map((5 * 3 + view, 5 * 3 + view), np.random.default_rng(view))
        for view in range(3)
    ]
    again = views.random_map((15, 15), np.random.default_rng(7))
    np.testing.assert_array_equal(made[0]["luma"], again["luma"])
    assert made[0]["frames"][0, 0] == 0
    assert made[0]["frames"][0, 0] < made[1]["frames"][0, 0] < made[2]["frames"][0, 0]
    assert {int(clip["video"][0]) for clip in made} == {5}
    with Video(source[5].video) as video:
        assert made[2]["frames"].max() >= video.num_frames - 2
        sides = made[0]["source_box"]
        assert sides[0, 1] == 0
        assert sides[2, 1] + sides[2, 3] == video.width


@pytest.mark.parametrize(("num_views", "offsets"), [(1, [2]), (2, [0, 2])])
def test_views_of_segments_are_their_starts_and_middles_or_the_middles_alone(
    video_folder, num_views, offsets
):
    spec = dataclasses.replace(SPEC, sampling="segments")
    views = LoadViews(FolderSource(str(video_folder)), spec, temporal_views=num_views)
    clips = [views.random_map((view, view), np.random.default_rng(0)) for view in range(num_views)]
    expected = [list(range(offset, 40, 5)) for offset in offsets]
    assert [clip["frames"][0].tolist() for clip in clips] == expected


def test_scales_are_those_of_the_loader(video_folder):
    clips = LoadClip(FolderSource(str(video_folder)), SPEC, crop="multi_scale", scales=(0.75,))
    (crop,) = clips.choose_crops(np.random.default_rng(0), 60, 80)
    assert (crop.height, crop.width) == (45, 45)


def test_half_of_the_central_crops_are_mirrored_too(video_folder):
    source = FolderSource(str(video_folder))
    clips = LoadClip(source, SPEC, crop="centre", flip=True, copies=64)
    drawn = clips.choose_crops(np.random.default_rng(0), 60, 80)
    assert {dataclasses.replace(crop, flip=False) for crop in drawn} == {Crop(0, 10, 60, 60)}
    assert 16 < sum(crop.flip for crop in drawn) < 48


@pytest.fixture
def flow_folder(video_folder, tmp_path):
    record = FolderSource(str(video_folder))[0]
    with Video(record.video) as video:
        motion = np.zeros((video.num_frames, -(-video.height // 8), -(-video.width // 8), 2))
    motion[:, :, :, 0] = np.arange(len(motion))[:, None, None]
    flow_files.write_flow(
        flow_files.flow_path(tmp_path, record.video_id), motion.astype(np.float16), record.video
    )
    return tmp_path


def test_flow_files_give_the_motion_of_the_sampled_frames(video_folder, flow_folder):
    spec = dataclasses.replace(SPEC, motion="flow", flow_path=str(flow_folder))
    clip = load(video_folder, spec=spec, crop="centre")
    assert clip["valid"].all()
    scale = 32 / clip["source_box"][0, 3]
    np.testing.assert_allclose(clip["motion"][0, :, 0, 0, 0], clip["frames"][0] * scale, rtol=1e-3)
    np.testing.assert_array_equal(clip["motion_valid"][0], clip["frames"][0] > 0)


@pytest.mark.parametrize("video", [0, 1])
def test_flow_that_is_missing_or_not_finite_never_reaches_a_mask(video_folder, flow_folder, video):
    path = next(flow_folder.rglob("*.npz"))  # Of video 0.
    with np.load(path) as arrays:
        motion = arrays["motion"]
    motion[:, 1, 2, 1] = np.nan
    flow_files.write_flow(path, motion, FolderSource(str(video_folder))[0].video)
    spec = dataclasses.replace(SPEC, motion="flow", flow_path=str(flow_folder))
    clip = load(video_folder, video=video, spec=spec)
    assert not clip["valid"].any()
    assert ("not finite", "no flow is stored")[video] in reason(clip)
    assert "mgm_jax.flow.precompute" in reason(clip)


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """Loads clips of stride 4 of a record; also gives the numbers of the frames decoded."""
    decoded, frames = set(), FrameDecoder.frames

    def watched(*arguments, **settings):
        for number, frame in frames(*arguments, **settings):
            decoded.add(number)
            yield number, frame

    def load_records(profile):
        video = transcode.encode_h264(
            rendered.moving_square(0, frames=60), fps=25, profile=transcode.PROFILES[profile]
        )
        label = transcode.PROFILES[profile].label
        folder = rendered.write_record_folder(tmp_path / profile, {"a": video}, profile=label)
        spec = dataclasses.replace(SPEC, stride=4)
        loader = LoadClip(RecordSource(str(folder), "train"), spec)
        for seed in range(24):
            decoded.clear()
            clip = loader.random_map((0, 0), np.random.default_rng(seed))
            assert clip["valid"].all()
            yield clip["frames"][0].tolist(), clip["motion"][0], decoded

    monkeypatch.setattr(FrameDecoder, "frames", watched)
    return load_records


def test_clips_of_a_stride_aligned_record_need_no_frame_between(loaded):
    starts, key_frames = set(), 0
    for numbers, motion, decoded in loaded("stride_aligned"):
        assert not any(number % 4 for number in decoded)
        starts.add(numbers[0])
        if 48 in numbers[1:]:
            key_frame = numbers.index(48)
            np.testing.assert_array_equal(motion[key_frame], motion[key_frame - 1])
            key_frames += 1
    assert len(starts) > 3
    assert key_frames


def test_i_frames_of_a_low_delay_record_reuse_the_motion_of_the_sampled_frame_before(loaded):
    key_frames = 0
    for numbers, motion, decoded in loaded("low_delay"):
        for place, number in enumerate(numbers[1:], 1):
            if number % 12 == 0:
                np.testing.assert_array_equal(motion[place], motion[place - 1])
                assert not decoded & {number - 3, number - 2, number - 1}
                key_frames += 1
    assert key_frames


@pytest.mark.parametrize("views", [False, True])
@pytest.mark.parametrize("file", odd_videos.UNREADABLE)
def test_an_odd_video_of_any_kind_is_skipped_by_name(tmp_path, file, views):
    (tmp_path / file).write_bytes(odd_videos.UNREADABLE[file]())
    spec = dataclasses.replace(SPEC, motion="estimate")
    loader = (LoadViews if views else LoadClip)(FolderSource(str(tmp_path)), spec)
    clip = loader.random_map((0, 0), np.random.default_rng(0))
    assert not clip["valid"].any()
    assert reason(clip).startswith(f"{tmp_path / file}: ")


def test_a_stream_that_appears_in_mid_file_costs_no_frame(tmp_path):
    (tmp_path / "joined.ts").write_bytes(odd_videos.joined())
    with Video(str(tmp_path / "joined.ts")) as video:
        assert video.num_frames == odd_videos.JOINED_FRAMES
    assert load(tmp_path)["valid"].all()


@pytest.mark.parametrize("failure", [MemoryError(), OverflowError("too long"), OSError(5, "I/O")])
def test_any_exception_of_one_video_is_a_skip_that_names_its_cause(failure):
    clip = LoadClip(OneVideo(failure, "a\nb.mp4"), SPEC).random_map(
        (0, 0), np.random.default_rng(0)
    )
    assert reason(clip).startswith(r"a\nb.mp4: ")
    assert type(failure).__name__ in reason(clip)
    for name in ("ü" * 2000, "\udcff"):
        clip = LoadClip(OneVideo(failure, name), SPEC).random_map((0, 0), np.random.default_rng(0))
        assert "leave it out" in reason(clip)


def test_an_interrupt_is_not_a_skip():
    with pytest.raises(KeyboardInterrupt):
        LoadClip(OneVideo(KeyboardInterrupt()), SPEC).random_map((0, 0), np.random.default_rng(0))


@pytest.mark.parametrize("file", ["XviD placeholders", "H.264 in mp4", "packed", "recording"])
def test_no_clip_of_an_intact_file_is_skipped(tmp_path, file):
    made = cut_bytes(recording(*RECORDED["h264"]), 0.3) if file == "recording" else FILES[file]()
    (tmp_path / "video.mkv").write_bytes(made)
    loader = LoadClip(FolderSource(str(tmp_path)), SPEC)
    for seed in range(12):
        clip = loader.random_map((0, 0), np.random.default_rng(seed))
        assert clip["valid"].all(), reason(clip)
