"""The tables of real hips in benchmarks/README.md are what their committed scores give."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import script

ROOT = Path(__file__).parents[1]
RECORDS = ROOT / "results" / "hips"
TEXT = (ROOT / "benchmarks" / "README.md").read_text()


@pytest.fixture(scope="module")
def real_hips():
    return script("benchmarks/real_hips.py")


def written(first_column: str, text: str = TEXT) -> pd.DataFrame:
    """The Markdown table whose first column has that name, as text."""
    lines = text.split(f"| {first_column} |", 1)[1].split("\n\n")[0]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("| ").split("|")] for line in f"{first_column} |{lines}".splitlines()
    ]
    return pd.DataFrame(rows, columns=head)


def test_each_ingredient_s_table_is_what_the_scores_give(real_hips):
    out = RECORDS / "ingredients"
    computed = real_hips.table(out, list(real_hips.INGREDIENTS), list(range(4)))
    shown = written("recipe less an ingredient")
    assert shown["recipe less an ingredient"].tolist() == computed.arm.tolist()
    assert shown["Dice"].tolist() == computed.Dice.tolist()
    assert shown["worst"].tolist() == computed.worst.tolist()
    assert shown["ASD [mm]"].tolist() == computed["ASD [mm]"].tolist()
    effects = real_hips.differences(out, list(range(4)))
    assert shown["difference, by patient"].tolist()[1:] == effects["Dice less the baseline's"].tolist()
    assert shown["interval"].tolist()[1:] == effects.interval.tolist()


def test_what_is_said_of_border_weights_and_of_bfloat16_is_what_the_scores_give(real_hips):
    def dice(folders: str) -> pd.Series:
        scores = pd.concat([pd.read_csv(path) for path in sorted(RECORDS.glob(f"{folders}/scores.csv"))])
        return scores.set_index("participant_id").dice

    border = dice("ingredients/Eq-1-with-border-weights-fold?") - dice("ingredients/loss-of-Eq-1-fold?")
    again = pd.read_csv(ROOT / "results/hips-ours/scores.csv").query("not largest_component")
    bfloat16 = again.set_index("participant_id").dice - dice("3d-f8-l4-a2-gn-fold?")
    text = " ".join(TEXT.split())
    assert f"{border.mean():+.4f} over Eq. 1 without" in text
    assert f"ours at its full length by {bfloat16.mean():+.4f}" in text


def test_ours_trained_again_gave_what_readme_says():
    scores = pd.read_csv(ROOT / "results" / "hips-ours" / "scores.csv").query("not largest_component")
    assert scores.participant_id.nunique() == len(scores) == 32
    said = f"gave {scores.dice.mean():.3f} ± {scores.dice.std():.3f}, worst {scores.dice.min():.3f}"
    assert said in (ROOT / "README.md").read_text()


def scores_of(arm: str) -> pd.DataFrame:
    """Scores of all 32 hips, by a row's first cell."""
    published = pd.read_csv(ROOT / "results" / "hips-paper" / "scores.csv")
    for network in published.network.unique():
        if network in arm:  # 2D networks with post-processing, as they are used
            return published[(published.network == network) & (published.largest_component == network.startswith("2d"))]
    names = {
        "ours": "3d-f8-l4-a2-gn",
        "MONAI": "monai-residual-unet",
        "trees": "voxels",
        "letter": "3d-f8-l4-paper-recipe",
    }
    name = next(folder for word, folder in names.items() if word in arm)
    return pd.concat([pd.read_csv(p) for p in sorted(RECORDS.glob(f"{name}-fold?/scores.csv"))])


@pytest.mark.parametrize("text", [TEXT, (ROOT / "README.md").read_text()], ids=["benchmarks", "README"])
def test_the_tables_of_recipes_are_what_the_scores_give(text):
    table = written("arm" if text is TEXT else "network", text)
    assert len(table) == 6
    for row in table.to_dict("records"):
        scores = scores_of(" ".join(list(row.values())[:2]))
        assert len(scores) == scores.participant_id.nunique() == 32
        assert row["Dice"] == f"{scores.dice.mean():.3f} ± {scores.dice.std():.3f}"
        assert row["worst" if "worst" in row else "worst Dice"] == f"{scores.dice.min():.3f}"
        assert row["ASD [mm]"] == f"{scores.asd_mm.mean():.2f} ± {scores.asd_mm.std():.2f}"
        assert row["MSD [mm]"] == f"{scores.msd_mm.mean():.1f} ± {scores.msd_mm.std():.1f}"
