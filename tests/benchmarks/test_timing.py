import itertools

from benchmarks.timing import interleaved_medians, markdown_table, timed, when_and_where


def test_takes_turns_and_leaves_out_the_first_round():
    order = []
    seconds = {"a": iter([90, 1, 5, 2]), "b": iter([90, 4, 6, 8])}

    def measure(name):
        order.append(name)
        return next(seconds[name])

    functions = {name: (lambda name=name: measure(name)) for name in "ab"}
    assert interleaved_medians(functions, 3) == {"a": 2, "b": 6}
    assert order == ["a", "b"] * 4


def test_times_the_function_alone():
    ticks = itertools.count(0, 3)
    assert timed(lambda: None, lambda: next(ticks))() == 3
    assert timed(lambda: sum(range(200_000)))() > 0


def test_table():
    assert markdown_table(("", "ms"), [("one", "1.0"), ("two", "2.0")]).split("\n") == [
        "|  | ms |",
        "| --- | --: |",
        "| one | 1.0 |",
        "| two | 2.0 |",
    ]


def test_names_the_machine():
    assert " CPU cores, " in when_and_where()
    assert when_and_where("TPU v5e").endswith(", TPU v5e.")
