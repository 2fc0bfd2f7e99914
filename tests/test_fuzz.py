from tests import fuzz


def test_damaged_videos_are_read_or_refused_by_name_within_limits():
    """`python -m tests.fuzz` reads thousands of them."""
    outcomes = fuzz.run(range(10 * len(fuzz.FILES)), seed=0)
    assert not [outcome for outcome in outcomes if outcome.kind in fuzz.FAULTS]
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count("read") > len(kinds) / 3
    assert kinds.count("refused") > len(kinds) / 10
