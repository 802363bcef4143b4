"""What README and workflow/README.md say of the workshop study is what its published records give."""

import re
from pathlib import Path

import pandas as pd
from test_hips_tables import written

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "results" / "workshop"
README = (ROOT / "README.md").read_text()


def test_the_rows_of_networks_are_what_the_scores_give():
    scores = pd.read_csv(STUDY / "scores.csv")
    table = written("network, on synthetic hips", README)
    assert len(table) >= 6
    for row in table.to_dict("records"):
        (name,) = re.findall("`(.*)`", row["network, on synthetic hips"])
        largest = "PP" in row["network, on synthetic hips"]
        of_row = scores[(scores.network == name) & (scores.largest_component == largest)]
        assert of_row.participant_id.nunique() == len(of_row) == 24
        assert row["Dice"] == f"{of_row.dice.mean():.3f} ± {of_row.dice.std():.3f}"
        assert row["worst"] == f"{of_row.dice.min():.3f}"
        assert row["AP, median"] == f"{of_row.average_precision.median():.3f}"
        assert row["ASD [mm]"] == f"{of_row.asd_mm.mean():.2f} ± {of_row.asd_mm.std():.2f}"
        assert row["MSD [mm]"] == f"{of_row.msd_mm.mean():.1f} ± {of_row.msd_mm.std():.1f}"


def test_the_verdicts_are_counted():
    claims = pd.read_csv(STUDY / "tables" / "claims.csv")
    table = written("claim of the paper", README).set_index("claim of the paper")
    assert set(table.index) == set(claims.claim)
    for claim, row in table.iterrows():
        of_claim = claims[claims.claim == claim]
        assert row["asked"] == str(len(of_claim))
        for verdict in ("holds", "does not hold", "cannot be told"):
            assert row[verdict] == str((of_claim.verdict == verdict).sum())


def test_what_another_seed_changed_is_what_the_scores_give():
    scores = pd.read_csv(STUDY / "scores.csv").query("not largest_component")
    once, again = (scores[scores.network == name] for name in ("3d-f32-l4", "3d-f32-l4-s1"))
    text = " ".join(README.split())
    assert f"lower by {once.average_precision.mean() - again.average_precision.mean():.2f}." in text
    assert f"{once.dice.mean():.2f}" == f"{again.dice.mean():.2f}"
    assert (again.groupby("fold").tied.mean() > 0.5).sum() == 3
    assert (once.groupby("fold").tied.mean() < 0.01).all()


def test_hours_and_memory_are_those_measured():
    times = pd.read_csv(STUDY / "times.csv")
    text = (ROOT / "workflow" / "README.md").read_text()
    (paragraph,) = re.findall(r"^\*The workshop study.*?\n\n", text, re.M | re.S)
    said = re.search(r"(\d+) trainings.*\s(\d+) minutes.*\s([\d.]+) GB.*\s([\d.]+) hours", paragraph, re.S)
    hours = times.s.sum() / 3600 / 2  # two at a time
    assert said
    assert int(said[1]) == len(times) == len(list((STUDY / "runs").glob("*.json")))
    assert list(said.groups()[1:]) == [
        f"{times.s.median() / 60:.0f}", f"{times.max_rss.max() / 1024:.1f}", f"{hours:.1f}"
    ]  # fmt: skip
