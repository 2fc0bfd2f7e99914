import itertools

import av
import encoded
import numpy as np
import pytest

from mgm_jax.data.film import FilmKeyFrames, FilmPart
from mgm_jax.data.video.planes import Window
from mgm_jax.data.video.seeking import frames_from, steady_rate
from mgm_jax.errors import ConfigError, VideoError
from tests.data.video.test_decoder import damaged

FPS = 25
OPTIONS = {"x264-params": "keyint=60:min-keyint=60:scenecut=0:log-level=none", "crf": "30"}


@pytest.fixture(scope="module", params=["mpegts", "matroska", "mp4"])
def film(request, tmp_path_factory):
    """12 seconds with a key frame every 2.4 seconds."""
    path = tmp_path_factory.mktemp("film") / f"film.{request.param}"
    frames = encoded.moving_square(12 * FPS)
    path.write_bytes(encoded.encode(frames, container=request.param, options=OPTIONS))
    return path


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 2.0, 4.4, 7.0, 11.5])
def test_all_frames_from_a_second_on_are_decoded(film, seconds):
    with av.open(str(film)) as container:
        frames = frames_from(container, container.streams.video[0], seconds, "film")
        times = [time for time, *_ in itertools.islice(frames, 5)]
    first = max(round(seconds * FPS), 0)
    assert times == pytest.approx([(first + i) / FPS for i in range(5)], abs=0.01)


def test_the_key_frame_of_a_film_is_the_nearest(film):
    part = FilmPart(str(film), "film", 7.0, 8)
    assert (part.num_frames, part.key, part.fps) == (19, 9, FPS)


@pytest.mark.parametrize(("second", "rate"), [(2.0, 10), (6.0, 25)])
def test_a_part_of_a_film_of_variable_rate_has_its_own(tmp_path, second, rate):
    path = tmp_path / "film.mkv"
    path.write_bytes(encoded.slow_then_fast())
    part = FilmPart(str(path), "film", second, 16)
    assert part.fps == pytest.approx(rate)
    assert part.num_frames == pytest.approx(1.28 * rate, abs=3)


@pytest.mark.parametrize(
    ("times", "rate"),
    [
        ([0.0, 0.042, 0.083, 0.125], 23.976),  # Rounded to milliseconds.
        ([0.0, 0.04, 0.08, 0.2, 0.24, 0.28], 25.0),  # Frames are missing.
        ([0.0, 0.05, 0.083, 0.133, 0.167], 1 / 0.04175),  # Telecine: 2 and 3 fields in turn.
        ([1.0], 25.0),
    ],
)
def test_the_stated_rate_stands_unless_most_frames_have_another(times, rate):
    assert steady_rate(times, round(rate, 3)) == pytest.approx(rate, rel=1e-3)


def test_films_of_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"x/film\.mp4 and y/film\.mkv have one name"):
        FilmKeyFrames(["x/film.mp4", "y/film.mkv"], ["film_0902"], ("c",))


def test_a_film_that_cannot_be_sought_before_its_start(tmp_path):
    path = tmp_path / "film.avi"
    options = OPTIONS | {"bf": "0"}
    path.write_bytes(encoded.encode(encoded.moving_square(FPS), container="avi", options=options))
    with av.open(str(path)) as container:
        frames = frames_from(container, container.streams.video[0], -1.0, "film")
        assert len(list(frames)) == FPS


def test_damaged_frames_of_a_film_are_refused(tmp_path):
    path = tmp_path / "film.mp4"
    content = encoded.encode(encoded.moving_square(4 * FPS))
    path.write_bytes(damaged(content, slice(52, 53), slice(300, 400)))  # Of the frames 48 to 59.

    def part(second, **settings):
        return FilmPart(str(path), "film", second, 8, **settings)

    def read(part):
        return part.read(np.arange(part.num_frames), motion="none", windows=[Window()])

    for second in (1.0, 3.0):
        assert read(part(second)).luma.any()
    for second in (2.0, 2.5):
        with pytest.raises(VideoError, match=rf"around second {second:g} are damaged"):
            read(part(second))
        assert read(part(second, allow_damage=True)).luma.any()


@pytest.mark.parametrize(
    ("codec", "options"), [("libx264", encoded.B_FRAMES), ("mpeg4", {"bf": "2"})]
)
def test_an_avi_with_b_frames_is_refused_since_it_has_no_times(tmp_path, codec, options):
    frames = encoded.moving_square(4 * FPS)
    for container in ("matroska", "avi"):
        path = tmp_path / f"film.{container}"
        path.write_bytes(encoded.encode(frames, codec, container, options=options))
    assert FilmPart(str(tmp_path / "film.matroska"), "film", 2.0, 8).num_frames > 16
    with pytest.raises(VideoError, match=r"film: an AVI with B-frames .*; convert it to mkv"):
        FilmPart(str(tmp_path / "film.avi"), "film", 2.0, 8)
