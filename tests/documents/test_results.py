"""Published studies: nobody was scored by who knew her, and tables follow from scores, as do other pages' numbers."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import script, verdict

from femur_lib.architecture import seed_of, without_seed
from femur_lib.config import Profile
from femur_lib.paper.published import COMPARISONS, TABLE_4_ORDER
from femur_lib.paper.tables import table_1, table_2, table_3, table_4
from femur_lib.runs import in_todays_words

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
STUDIES = sorted(path.parent for path in RESULTS.glob("*/scores.csv"))
each_study = pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)


def records(study: Path) -> list[dict]:
    return [in_todays_words(json.loads(path.read_text())) for path in sorted((study / "runs").glob("*.json"))]


def read(study: Path) -> tuple[dict[str, pd.DataFrame], dict[str, pd.DataFrame], pd.DataFrame]:
    """By network scores before and after post-processing, and a table of average precision."""
    scores = pd.read_csv(study / "scores.csv")
    before, after = (
        {str(name): t.sort_values("participant_id") for name, t in some.groupby("network", sort=False)}
        for some in (scores[~scores.largest_component], scores[scores.largest_component])
    )
    ap = pd.DataFrame({name: t.set_index("participant_id").average_precision for name, t in before.items()})
    return before, after, ap


@each_study
def test_each_scan_was_scored_once_by_a_network_that_never_saw_it(study):
    scores = pd.read_csv(study / "scores.csv")
    assert len(records(study)) == scores.groupby(["network", "fold"]).ngroups
    for record in records(study):
        of_run = scores[(scores.network == record["network"]) & (scores.fold == record["fold"])]
        assert set(of_run.participant_id) == set(record["validation"])
        assert not set(of_run.participant_id) & set(record["training"])
    rows = scores.groupby(["network", "largest_component"]).participant_id
    assert (rows.nunique() == rows.size()).all()
    assert rows.nunique().nunique() == 1


@each_study
def test_tables_are_what_the_scores_give(study):
    before, after, ap = read(study)
    synthetic = records(study)[0]["synthetic"]
    named = [name for name in before if seed_of(name) is None]
    flat = [name for name in named if name.startswith("2d")]
    tested = [name for name in TABLE_4_ORDER if name in named]
    computed = {
        "table_1": table_1({n: before[n] for n in named}, synthetic),
        "table_2": table_2({n: after[n] for n in flat}, {n: before[n] for n in flat}, synthetic),
        "table_3": table_3({n: before[n] for n in named}, ap[named], synthetic),
        "table_4": table_4(ap[tested if len(tested) > 1 else named], synthetic),
    }
    for name, table in computed.items():
        shown = pd.read_csv(study / "tables" / f"{name}.csv", dtype=str, keep_default_na=False)
        assert shown.iloc[:, 0].tolist() == table.index.tolist(), name
        assert shown.iloc[:, 1:].to_numpy().tolist() == table.to_numpy().tolist(), name


@each_study
def test_the_epochs_chosen_are_those_of_the_histories(study):
    histories = pd.read_csv(study / "histories.csv")
    record = records(study)[0]
    watched, best = Profile(**record["profile"]).recipe.watched
    shown = pd.read_csv(study / "tables" / "choices.csv")
    assert set(shown.network) == {name for name in histories.network if seed_of(name) is None}
    for network, rows in shown.groupby("network"):
        of_fold = {fold: h.reset_index() for fold, h in histories[histories.network == network].groupby("fold")}
        kept = {f: h[watched].agg(f"idx{best}") if record["kept"] == "best" else len(h) - 1 for f, h in of_fold.items()}
        assert dict(zip(rows.fold, rows.epoch - 1, strict=True)) == kept
        for row in rows.itertuples():
            dice = of_fold[row.fold].val_dice
            others = int(np.median([epoch for fold, epoch in kept.items() if fold != row.fold]))
            assert row.epoch_by_others - 1 == min(others, len(dice) - 1)
            chosen = dice[[row.epoch - 1, row.epoch_by_others - 1]].tolist()
            assert [row.dice_at_epoch, row.dice_at_epoch_by_others] == pytest.approx(chosen, abs=1e-6)


@each_study
def test_verdicts_are_what_the_scores_give(study):
    before, after, ap = read(study)
    fold_of = pd.read_csv(study / "scores.csv").drop_duplicates("participant_id").set_index("participant_id").fold
    shown = pd.read_csv(study / "tables" / "claims.csv").set_index(["claim", "networks"])
    score = {"ap": ap, "dice": pd.DataFrame({n: t.set_index("participant_id").dice for n, t in before.items()})}
    twins = [(name, without_seed(name)) for name in before if seed_of(name) is not None]
    pairs = [c for c in COMPARISONS if {c.better, c.worse} <= set(before)]
    for c in pairs:
        table, kinds = score[c.score], {c.better[:2], c.worse[:2]}
        seeds = [abs((table[a] - table[b]).mean()) for a, b in twins if a[:2] in kinds]
        found = verdict(table[c.better] - table[c.worse], fold_of, max(seeds, default=float("nan")))
        row = shown.loc[(c.claim, f"{c.better}, {c.worse}")]
        assert row.verdict == found["verdict"]
        assert row.difference == pytest.approx(found["difference"], abs=1e-9)
    pieces = shown.filter(like="Post-processing", axis="index")
    kinds = {name[:2] for name in before}
    assert bool(len(pieces)) == ("2d" in kinds)
    assert len(shown) == len(pieces) + len(pairs) + (3 if len(kinds) == 2 else 0)  # the best 2D against the best 3D
    column = {"raises Dice": "dice", "raises precision": "precision", "lowers ASD": "asd_mm"}
    for (claim, network), row in pieces.iterrows():
        what = claim.removeprefix("Post-processing ")
        one, other = (of[network].set_index("participant_id")[column[what]] for of in (after, before))
        found = verdict((other - one if what.startswith("lowers") else one - other).dropna(), fold_of)
        assert row.verdict == found["verdict"]
        assert row.difference == pytest.approx(found["difference"], abs=1e-9)


def test_benchmarks_has_the_rows_of_real_hips_and_of_our_ingredients():
    text = (ROOT / "benchmarks/README.md").read_text()
    spread = r"[\d.]+ ± [\d.]+"
    rows_of_hips = re.findall(
        rf"{spread} \| [\d.]+ \| {spread} \| {spread}(?= \| [\d to]+ min \|)", (ROOT / "docs/results.md").read_text()
    )
    assert len(rows_of_hips) == 6
    assert [row for row in rows_of_hips if f"| {row} |" not in text] == []
    real_hips, out, folds = script("benchmarks/real_hips.py"), RESULTS / "hips/ingredients", list(range(4))
    of_one = pd.concat([pd.read_csv(real_hips.folder_of(out, real_hips.BASELINE, k) / "scores.csv") for k in folds])
    patient_of = {name: name.rstrip("LR") for name in of_one.participant_id}  # sub-case01L, sub-case01R
    effects = real_hips.differences(out, folds, patient_of).set_index("arm")
    for row in real_hips.table(out, list(real_hips.INGREDIENTS), folds).to_dict("records"):
        line = " | ".join(str(row[name]) for name in ("arm", "hips", "Dice", "worst", "ASD [mm]", "MSD [mm]"))
        if row["arm"] != real_hips.BASELINE:
            effect = effects.loc[row["arm"]]
            line += f" | {effect.iloc[1]} | {effect.interval} | {effect['patients better']} of {effect.patients}"
        assert f"| {line} |" in text


def test_other_pages_say_what_the_records_give():
    render = script("documents/render.py")
    border = render.gain("Eq-1-with-border-weights", "loss-of-Eq-1").mean()
    bfloat16 = (render.study(render.OURS, name="hips-ours").dice - render.hips(render.OURS).dice).mean()
    benchmarks, workflow = (" ".join((ROOT / f"{n}/README.md").read_text().split()) for n in ("benchmarks", "workflow"))
    assert f"{border:+.4f} over Eq. 1" in benchmarks
    assert f"at its full length by {bfloat16:+.4f}" in benchmarks
    times = pd.read_csv(RESULTS / "workshop/times.csv")
    assert len(times) == len(records(RESULTS / "workshop"))
    for said in (
        f"{len(times)} trainings",
        f"{times.s.median() / 60:.0f} minutes each",
        f"{times.max_rss.max() / 1024:.1f} GB",
        f"{times.s.sum() / 3600 / 2:.1f} hours in all",  # two at a time
    ):
        assert said in workflow
