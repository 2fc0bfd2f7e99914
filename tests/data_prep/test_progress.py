import logging as python_logging

import pytest

from data_prep import progress


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (99.4, "99 s"), (100, "2 min"), (3599, "1 h 00 min"), (12000, "3 h 20 min")],
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


@pytest.mark.parametrize(
    ("num_bytes", "text"), [(0, "0 B"), (12300000, "12.3 MB"), (4.5e12, "4.5 TB")]
)
def test_sizes(num_bytes, text):
    assert progress.size(num_bytes) == text


def test_the_time_left_goes_by_weight(monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    caplog.set_level(python_logging.INFO, logger="absl")
    told = progress.Progress("videos", 4, 100)
    clock[0] = 5.0
    told.add(10)
    assert caplog.text == ""
    clock[0] = 20.0
    told.add(10)
    assert "2/4 videos, 0.1 a second, 80 s left" in caplog.text
    told.close()
