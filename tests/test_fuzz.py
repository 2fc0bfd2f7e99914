from tests import fuzz


def test_damaged_videos_are_read_or_refused_by_name_within_limits():
    """`python -m tests.fuzz` reads thousands of them."""
    _, outcomes = fuzz.run(range(10 * len(fuzz.FILES)), seed=0)
    assert not [outcome for outcome in outcomes if outcome.kind in fuzz.FAULTS]
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count("read") > len(kinds) / 3
    assert kinds.count("refused") > len(kinds) / 10


def test_a_mutant_that_takes_too_long_is_reported_and_the_rest_goes_on():
    _, outcomes = fuzz.run([9, 31], seed=0, seconds=1e-3)
    assert [outcome.kind for outcome in outcomes] == ["out of time"] * 2
