"""The documents state what the committed results of the study are."""

import json
import pathlib
import re

from benchmarks.study_report import accuracies, cell

ROOT = pathlib.Path(__file__).parents[2]
RESULTS = json.loads((ROOT / "docs" / "masking_study" / "results.json").read_text())


def stated(row, measure):
    values = accuracies(RESULTS, row, measure)
    return cell(list(values.values()), len(values)), len(values)


def test_the_table_in_results_md():
    lines = (ROOT / "docs" / "results.md").read_text().splitlines()
    rows = [[part.strip() for part in one[1:-1].split("|")] for one in lines if one[:3] == "| `"]
    assert len(rows) > 8
    for label, finetuned, longer, probed, _, seeds in rows:
        names = re.findall("`([^`]+)`", label)  # Without pretraining, features are random.
        assert (finetuned, int(seeds)) == stated(names[0], "finetune"), label
        assert longer == stated(names[0], "finetune_longer")[0], label
        assert probed == stated(names[-1], "linear_probe")[0], label


def test_the_rows_in_the_readme():
    text = (ROOT / "README.md").read_text()
    masks = ("random_tube 0.75", "mgm 0.5", "mgm 0.75", "smm 0.5")
    for first, measure in (("from scratch", "finetune"), ("random features", "linear_probe")):
        assert f"| {' / '.join(stated(row, measure)[0] for row in (first, *masks))} |" in text
