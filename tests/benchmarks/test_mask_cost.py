import pytest

from benchmarks import mask_cost
from configs import ssv2_pretrain
from mgm_jax.masking import strategies


@pytest.fixture(scope="module")
def config():
    config = ssv2_pretrain.get_config()
    config.model.size = "Ti"
    config.model.dtype = "float32"
    config.model.encoder.depth = config.model.decoder.depth = 1
    config.data.clip_frames, config.data.size, config.data.host_crop_size = 4, 64, 64
    return config


@pytest.fixture(scope="module")
def seconds(config):
    return mask_cost.measure(config, clips=4, step_clips=2, rounds=1, repeats=1)


def test_measures_every_strategy_and_the_step(seconds):
    assert list(seconds) == [
        *strategies.STRATEGIES,
        mask_cost.MAGNITUDE,
        mask_cost.SPLIT,
        mask_cost.STEP,
    ]
    assert all(value > 0 for value in seconds.values())


def test_report_holds_the_table(seconds, config):
    report = mask_cost.make_report(seconds, config, clips=4, step_clips=2, rounds=1)
    lines = [line for line in report.split("\n") if line.startswith("| ")]
    header, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert header == ["", "ms per batch", "share of the step"]
    assert [row[0] for row in rows] == list(seconds)
    assert rows[-1][2] == "100.000 %"
    for name, milliseconds, share in rows:
        assert float(milliseconds) == pytest.approx(1e3 * seconds[name], abs=0.006)
        expected = 100 * seconds[name] / seconds[mask_cost.STEP]
        assert float(share.removesuffix(" %")) == pytest.approx(expected, abs=6e-4)
    assert "run with 2 clips and scaled" in report
    assert "ViT-Ti, float32, mask ratio 0.75, 4 clips with 8x8 motion cells" in report


@pytest.mark.parametrize(("slowest", "verdict"), [(0.009, "met"), (0.011, "missed")])
def test_goal_is_judged_by_the_slowest_strategy(config, slowest, verdict):
    seconds = dict.fromkeys(strategies.STRATEGIES, 0.001) | {"smm": slowest, mask_cost.STEP: 1.0}
    report = mask_cost.make_report(seconds, config, clips=4, step_clips=4, rounds=1)
    assert f"less than 1 % of the step: {verdict}; the slowest strategy, smm, takes" in report
    assert "scaled" not in report
