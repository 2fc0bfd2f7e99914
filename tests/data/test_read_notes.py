import threading
import time

import pytest

from mgm_jax.data.read_notes import ReadNotes


@pytest.fixture
def notes():
    notes = ReadNotes()
    yield notes
    notes.remove()


def test_reads_under_way_are_told_the_longest_first(notes):
    go = threading.Event()

    def read():
        with notes.reading(7):
            go.wait()

    thread = threading.Thread(target=read)
    thread.start()
    while not notes.under_way():
        time.sleep(0.01)
    time.sleep(0.05)
    with notes.reading(3):
        assert [read.item for read in notes.under_way()] == [7, 3]
        assert notes.under_way()[0].seconds >= 0.05
    go.set()
    thread.join()
    assert notes.under_way() == []


def test_a_read_that_fails_is_over(notes):
    with pytest.raises(OSError, match="gone"), notes.reading(1):
        raise OSError("gone")
    assert notes.under_way() == []


def test_a_reader_outlives_the_notes(notes):
    with notes.reading(1):
        notes.remove()
    with notes.reading(2):
        pass
    notes.remove()
