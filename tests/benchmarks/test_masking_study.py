import dataclasses
import json
import types

import pytest

from benchmarks import masking_study, study_report, study_rows
from data_prep import demo

ROWS = {row.name: row for row in study_rows.ROWS}
SCRATCH, MGM = ROWS["from scratch"], ROWS["mgm 0.5"]


@pytest.mark.slow
def test_runs_are_trained_once_and_reported(tmp_path, monkeypatch):
    demo.make_demo(tmp_path / "data", num_train=36, num_validation=12)
    tiny = ["--config.num_steps=1", "--config.warmup_steps=0", "--config.batch_size=32"]
    tiny += ["--config.data.num_workers=0", "--config.model.encoder.depth=1"]
    tiny += ["--config.data.split=train"]
    data, out = str(tmp_path / "data"), tmp_path / "study"
    row = dataclasses.replace(SCRATCH, measures=("finetune",))
    for _ in range(2):
        assert masking_study.run([row], 1, out, data, tiny) == 0
    folder = study_rows.folder_of(out, row, 0)
    assert (folder / "finetune.log").read_text().count("step 1/1") == 1
    (result,) = study_report.collect(out)
    assert result["num_videos"] == 12
    assert f"| {100 * result['finetune']:.1f} |" in study_report.table([result])
    elsewhere = {"row": "mgm 0.5", "seed": 0, "finetune": 0.5}
    old = {"row": "from scratch", "seed": 0, "finetune": 0.25, "linear_probe": 0.3}
    (out / "results.json").write_text(json.dumps([elsewhere, old]))
    assert study_report.collect(out) == [elsewhere, old | result]


def test_what_is_reported_is_not_trained_again(tmp_path, monkeypatch):
    known = [{"row": "mgm 0.5", "seed": 1, "finetune": 0.5, "linear_probe": 0.3, "num_videos": 12}]
    (tmp_path / "results.json").write_text(json.dumps(known))
    monkeypatch.setattr(masking_study, "commands", lambda *_: {"finetune": ["true"]})
    assert masking_study.run([MGM, SCRATCH], 2, tmp_path, "data", []) == 0
    done = {path.parent.name for path in tmp_path.glob("*/finetune.done")}
    assert done == {"mgm_0_5_seed0", "from_scratch_seed0", "from_scratch_seed1"}
    del known[0]["linear_probe"]
    (tmp_path / "results.json").write_text(json.dumps(known))
    monkeypatch.setattr(masking_study, "commands", lambda *_: {"linear_probe": ["false"]})
    assert masking_study.run([MGM], 2, tmp_path, "data", []) == 1


def test_what_another_command_made_is_not_taken_for_this_ones(tmp_path, monkeypatch, caplog):
    for number, status in ((1, 0), (1, 0), (2, 1)):
        stages = {"finetune": ["env", f"STEPS={number}", "true"]}
        monkeypatch.setattr(masking_study, "commands", lambda *_, stages=stages: stages)
        assert masking_study.run([SCRATCH], 1, tmp_path, "data", []) == status
    assert "STEPS=1\ntrue\nnot by\nSTEPS=2" in caplog.text
    (study_rows.folder_of(tmp_path, SCRATCH, 0) / "finetune.done").write_text("")
    assert masking_study.run([SCRATCH], 1, tmp_path, "data", []) == 0


def test_a_row_may_be_measured_in_its_own_way(tmp_path):
    stages = study_rows.commands(SCRATCH, 0, tmp_path, "data", [])
    assert list(stages) == ["finetune", "finetune_longer"]
    assert "--config.num_steps=2400" in stages["finetune"]
    assert "--config.num_steps=4800" in stages["finetune_longer"]
    untrained = study_rows.commands(ROWS["random features"], 0, tmp_path, "data", [])
    assert list(untrained) == ["pretrain", "linear_probe"]
    assert "--config.optimizer.base_lr=0" in untrained["pretrain"]
    assert "--config.num_steps=1" in untrained["pretrain"]


def test_pretrained_runs_start_from_their_own_pretraining(tmp_path):
    stages = study_rows.commands(MGM, 3, tmp_path, "data", [])
    assert list(stages) == ["pretrain", "finetune", "linear_probe"]
    for name, command in stages.items():
        assert "--config.seed=3" in command
        started = f"--config.init_from={tmp_path / 'pretrain'}" in command
        few = f"--config.data.split={study_rows.FEW_LABELS}" in command
        assert started == (name != "pretrain")
        assert few == (name == "finetune")


def test_means_have_standard_errors_and_differences_are_paired():
    accuracies = {"from scratch": (0.2, 0.4), "mgm 0.5": (0.5, 0.6)}
    results = [
        {"row": row, "seed": seed, "finetune": value, "loss": 2 * value}
        for row, values in accuracies.items()
        for seed, value in enumerate(values)
    ]
    lines = study_report.table(results).splitlines()
    assert (
        lines[2] == "| from scratch |  | 2 | 30.0 ± 10.0 |  | -25.0 ± 5.0 |  |  |  |  |  | 0.600 |"
    )
    assert (
        lines[3] == "| mgm 0.5 | Table 4e | 2 | 55.0 ± 5.0 | 25.0 ± 5.0 |  |  |  |  |  |  | 1.100 |"
    )
    assert study_report.figure(results).axes
    del results[3]["finetune"]
    results[2]["linear_probe"] = results[3]["linear_probe"] = 0.25
    assert "| 2 | 50.0 (1) | 30.0 (1) |" in study_report.table(results)


def test_the_short_form_and_the_baselines_are_rows():
    for names in (*study_rows.BUDGETS.values(), *study_report.BASELINES.values()):
        assert set(names) < ROWS.keys()


def test_flow_that_is_needed_is_asked_for_before_anything_is_trained(tmp_path, monkeypatch):
    values = types.SimpleNamespace(
        out=str(tmp_path), data=str(tmp_path / "data"), seeds=1, only=[], budget=None, report=False
    )
    monkeypatch.setattr(masking_study.flags, "FLAGS", values)
    monkeypatch.setattr(masking_study, "run", lambda *_: pytest.fail("trains"))
    with pytest.raises(SystemExit, match="data_flow"):
        masking_study.main([""])
