import rendered

from benchmarks import input_memory
from mgm_jax.data.sources import FolderSource


def test_memory_of_this_process_and_its_workers_is_seen(tmp_path):
    source = FolderSource(str(rendered.write_folder(tmp_path, num_videos=4)))
    seen = input_memory.measure(source, clips=24, batch=4, workers=1, size=32, window=64, points=3)
    assert [memory.clips for memory in seen] == [4, 8, 16]
    for memory in seen:
        assert len(memory.workers) == 1
        assert min(memory.main, *memory.workers) > 10e6
        assert memory.total == memory.main + memory.workers[0]
        assert memory.mapped > 10e6


def test_growth_is_judged_after_the_start():
    def memory(clips, main):
        return input_memory.Memory(clips, main * 10**6, (100 * 10**6,), 0)

    flat = [memory(1, 50), memory(100, 180), memory(200, 200), memory(300, 210)]
    report = input_memory.make_report(flat, "python -m this")
    assert "| 300 | 210 | 100 | 310 | 0 |" in report
    assert "From clip 100 to 300 it grew by 10.7 %, from clip 200 on by 3.3 %" in report
    assert report.endswith(": flat.")
    grown = [*flat[:3], memory(300, 240)]
    assert input_memory.make_report(grown, "").endswith("not flat.")
