import encoded
import numpy as np
import pytest

from benchmarks import (
    clip_decoders,
    first_batch,
    input_measurements,
    input_pipeline,
    picture_quality,
)
from benchmarks.input_measurements import (
    ALONE,
    DECORD,
    DOWNLOADED,
    LOOP,
    LOW_DELAY,
    NEEDED,
    OURS,
    STRIDE_ALIGNED,
    TORCHCODEC,
)
from mgm_jax.errors import ConfigError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    frames = encoded.moving_square(80, height=72, width=88)
    (folder / "video.mp4").write_bytes(encoded.encode(frames, options=encoded.B_FRAMES))
    return folder


@pytest.fixture(scope="module")
def costs(folder, tmp_path_factory):
    paths = input_measurements.find_videos([str(folder)], 10)
    out = tmp_path_factory.mktemp("prepared")
    return input_measurements.measure(paths, out, clips=1, rounds=1), out


def test_finds_files_and_folders(folder, tmp_path):
    file = folder / "video.mp4"
    assert input_measurements.find_videos([str(folder), str(file)], 1) == [file, file]
    with pytest.raises(ConfigError, match=r"--videos=.*: no video there"):
        input_measurements.find_videos([str(tmp_path)], 1)


def test_every_way_of_reading_every_version_is_measured(costs):
    (cost,), _ = costs
    expected = {(OURS, version) for version in (DOWNLOADED, LOW_DELAY, STRIDE_ALIGNED)}
    expected |= {(NEEDED, version) for version in (LOW_DELAY, STRIDE_ALIGNED)}
    assert expected | {(LOOP, LOW_DELAY), (ALONE, LOW_DELAY)} <= set(cost.times)
    assert all(seconds > 0 for seconds in cost.times.values())
    assert cost.facts == "h264, 88x72, 80 frames"
    for made in cost.encodings.values():
        assert made.num_bytes > 1000
        assert 25 < made.every.psnr < 60
        assert 0.8 < made.every.ssim < 1
    # The frames that clips show are not the coarser B-frames.
    aligned = cost.encodings[STRIDE_ALIGNED]
    assert aligned.shown.psnr > aligned.every.psnr


def test_bare_loops_decode_what_the_clip_needs(costs):
    _, out = costs
    path = out / "0_low_delay.mp4"
    clip = clip_decoders.ClipToRead(path, np.arange(26, 57, 4), np.array([0, 0, 64, 64]))
    # Key frames are 12 frames apart.
    assert clip_decoders.make_libavcodec_loop(clip)() == 54 - 24 + 1
    alone = clip_decoders.make_decoding_alone(clip)
    assert alone() == alone() == 54 - 24 + 1
    # Of the groups of pictures that end with frames 35 and 47, these are not needed.
    needed = clip_decoders.make_needed_decoding(clip, 4)
    assert needed() == needed() == 54 - 24 + 1 - 2
    aligned = clip_decoders.ClipToRead(out / "0_stride_aligned.mp4", np.arange(8, 69, 4), clip.box)
    assert clip_decoders.make_needed_decoding(aligned, 4)() == 2 + 16


def test_quality_of_equal_and_of_noisy_pictures():
    rng = np.random.default_rng(0)
    luma = np.kron(rng.integers(40, 200, (2, 8, 8)), np.ones((1, 6, 6))).astype(np.uint8)
    equal = picture_quality.compare(luma, luma)
    assert (equal.psnr, equal.ssim) == (np.inf, pytest.approx(1))
    noisy = picture_quality.compare(luma, luma + rng.choice([0, 4], luma.shape).astype(np.uint8))
    assert noisy.mse == pytest.approx(8, rel=0.05)
    assert noisy.psnr == pytest.approx(39.1, abs=0.3)
    assert 0.9 < noisy.ssim < 1


def test_size_at_a_quality_is_read_off_the_line():
    coarse, fine = (1000, 30.0), (4000, 36.0)
    assert picture_quality.size_at_quality(33.0, coarse, fine) == pytest.approx(2000)
    assert picture_quality.size_at_quality(36.0, coarse, fine) == pytest.approx(4000)


def table_rows(text):
    return [
        [cell.strip() for cell in line.split("|")[1:-1]]
        for line in text.split("\n")
        if line.startswith("| ") and not line.startswith("| ---")
    ]


def test_report_judges_by_the_numbers(costs):
    quality = picture_quality.Quality(10.0, 0.9)
    encoding = input_measurements.Encoding(900, quality, quality)
    times = {(OURS, DOWNLOADED): 0.06, (OURS, LOW_DELAY): 0.02, (OURS, STRIDE_ALIGNED): 0.01}
    times |= {(LOOP, LOW_DELAY): 0.018, (ALONE, LOW_DELAY): 0.016}
    times |= {(DECORD, DOWNLOADED): 0.12, (DECORD, LOW_DELAY): 0.04}
    times |= {(DECORD, STRIDE_ALIGNED): 0.04}
    cost = input_measurements.VideoCosts(
        "a.mp4",
        "h264",
        1200,
        times,
        {LOW_DELAY: encoding, STRIDE_ALIGNED: encoding},
        low_delay_bytes=1000,
        low_delay_bytes_shown=800,
    )
    starts = [first_batch.Start(wall, 1.0) for wall in (2.0, 4.0, 5.0)]
    report = input_pipeline.make_report([cost], starts, "python -m this")
    goals = {row[0]: (row[2], row[-1]) for row in table_rows(report.split("### ")[1])[1:]}
    assert goals == {
        f"clips/s of ours over {LOOP}, low_delay": ("0.90", "met"),
        f"clips/s of ours over {ALONE}, low_delay": ("0.80", "missed"),
        "ours over decord, same file, low_delay": ("2.00", "missed"),
        "ours over decord, same file, stride_aligned": ("4.00", "met"),
        "ours over decord, same file, as downloaded": ("2.00", "missed"),
        "ours over torchcodec, same file, low_delay": (clip_decoders.NOT_INSTALLED, ""),
        "ours over torchcodec, same file, stride_aligned": (clip_decoders.NOT_INSTALLED, ""),
        "ours over torchcodec, same file, as downloaded": (clip_decoders.NOT_INSTALLED, ""),
        "ours on stride_aligned over decord on the file as downloaded": ("12.00", "met"),
        f"{OURS}, on stride_aligned over low_delay": ("2.00", "met"),
        "bytes of stride_aligned over low_delay at equal PSNR (all frames)": ("0.90", "met"),
        "bytes of stride_aligned over low_delay at equal PSNR (shown)": ("1.12", "missed"),
        "first batch, CPU seconds": ("1.00", "met"),
        "first batch, seconds on the wall": ("4.00", "missed"),
    }
    times_rows = {row[0]: row[1:] for row in table_rows(report.split("### ")[2])}
    assert times_rows["low_delay: ours, with motion"] == ["20.0", "20.0"]
    assert times_rows[f"low_delay: {TORCHCODEC}"] == [clip_decoders.NOT_INSTALLED, ""]
    quality_rows = table_rows(report.split("### ")[3])
    assert ["1 low_delay", "1", "38.13", "38.13", "0.9000", "0.9000"] in quality_rows


def test_first_batch_is_timed_in_a_process_of_its_own(costs):
    _, out = costs
    start = first_batch.measure_start(str(out / LOW_DELAY), "train", batch=1, workers=1)
    assert start.wall > 0
    assert start.cpu > 0
