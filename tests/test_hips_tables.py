"""The tables of real hips in benchmarks/README.md are what their committed scores give."""

import re
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


def written(first_column: str) -> pd.DataFrame:
    """The Markdown table whose first column has that name, as text."""
    lines = TEXT.split(f"| {first_column} |", 1)[1].split("\n\n")[0]
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


def test_the_table_of_recipes_is_what_the_scores_give(real_hips):
    names = {"ours": "3d-f8-l4-a2-gn", "MONAI": "monai-residual-unet", "paper": "3d-f8-l4-paper-recipe"}
    for row in written("arm").itertuples():
        name = next(folder for word, folder in names.items() if word in row.arm)
        scores = pd.concat([pd.read_csv(p) for p in sorted(RECORDS.glob(f"{name}-fold?/scores.csv"))])
        assert row.Dice == f"{scores.dice.mean():.3f} ± {scores.dice.std():.3f}"
        assert row.worst == f"{scores.dice.min():.3f}"
        assert re.fullmatch(rf"{scores.asd_mm.mean():.2f} ± {scores.asd_mm.std():.2f}", row[4])
        assert re.fullmatch(rf"{scores.msd_mm.mean():.1f} ± {scores.msd_mm.std():.1f}", row[5])
