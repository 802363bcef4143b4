"""One page that tells what was trained on what, how well it did, and shows every segmentation. A single HTML file."""

import json
import os
from pathlib import Path

import pandas as pd
from jinja2 import Environment

from femur_lib.errors import DataError
from femur_lib.experiments import Profile
from femur_lib.figures import SCORES, data_uri, png
from femur_lib.files import whole
from femur_lib.paper_figures import figure_3, figure_7
from femur_lib.prediction import SUFFIXES
from femur_lib.records import ASIDE

PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Femur segmentation: report</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .7rem; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child { text-align: left; }
img { max-width: 100%; } .note { background: #fff3d6; padding: .6rem 1rem; border-radius: .3rem; }
summary { cursor: pointer; } dt { font-weight: 600; } dd { margin: 0 0 .4rem 1rem; }
</style></head><body>
<h1>Femur segmentation: report</h1>
{% if synthetic %}<p class="note">These scans are synthetic. The numbers show that the code works and how the methods compare
on drawn hips; they say nothing about how well a network would do on patients, and they are not the paper's.</p>{% endif %}
<h2>Scores on scans that were not trained on</h2>
{% if summary %}{{ summary | safe }}
<p>Mean ± standard deviation over the scans; worst Dice beside it. Measured on each scan's own grid. In the recipe
"paper" these scans also stopped the training and chose the threshold, as in the paper, which is optimistic.</p>
<img alt="Box plots of Dice, precision and recall, a row a network, a dot a scan" src="{{ boxes }}">
{% else %}<p>No run here has been scored yet: <code>femur predict</code>, then <code>femur score</code> into the run's folder.</p>{% endif %}
<h2>Training</h2>
<img alt="Loss over epochs for training and validation, a panel a network" src="{{ curves }}">
{% for run in runs %}
<h2>{{ run.name }}</h2>
<dl>{% for key, value in run.facts %}<dt>{{ key }}</dt><dd>{{ value }}</dd>{% endfor %}</dl>
{% if run.scores %}{{ run.scores | safe }}{% endif %}
{% if run.pictures %}<h3>Segmentations, worst Dice first</h3>
{% for name, picture in run.pictures %}<figure><img alt="Scan {{ name }} with contours of the manual and the predicted mask"
src="{{ picture }}"></figure>{% endfor %}{% endif %}
<details><summary>run.json</summary><pre>{{ run.record }}</pre></details>
{% endfor %}
</body></html>
""")


def find_runs(folder: str | os.PathLike) -> list[Path]:
    """Every finished run in a folder or below it, but for damaged ones that a study has put aside.

    Raises:
        DataError: there is none.
    """
    folder = Path(folder)
    runs = sorted(path.parent for path in folder.rglob("run.json") if ASIDE not in path.relative_to(folder).parts)
    if not runs:
        raise DataError(folder, "no run.json in it or below", "finished runs", "Train first: femur train.")
    return runs


def _table(frame: pd.DataFrame) -> str:
    return frame.rename(columns=SCORES).to_html(index=False, border=0, float_format=lambda v: f"{v:.3f}")


def summarise(scores: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean ± sd of each score over scans, one row a network, as in the paper's Table 1, and the worst Dice."""
    rows = []
    for name, table in scores.items():
        row = {"network": name, "scans": len(table)}
        for column, title in SCORES.items():
            if column not in table:  # scored before there was such a score
                continue
            digits = 2 if column.endswith("_mm") else 3
            row[title] = f"{table[column].mean():.{digits}f} ± {table[column].std():.{digits}f}"
        row["worst Dice"] = f"{table.dice.min():.3f}"
        rows.append(row)
    return pd.DataFrame(rows)


def write_report(folder: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Write the report of every run below a folder.

    A run is expected to hold ``run.json`` and ``history.csv``, and, once scored, ``scores.csv`` and a folder
    ``predictions`` with pictures.

    Returns:
        The page's path.
    """
    out, folder = Path(out), Path(folder)
    histories, scores, runs, synthetic = {}, {}, [], False
    for path in find_runs(folder):
        record = json.loads((path / "run.json").read_text())
        name = record["experiment"] if record["fold"] is None else f"{record['experiment']}, fold {record['fold']}"
        if name in histories:
            name = f"{name} ({path.relative_to(folder)})"
        histories[name] = pd.read_csv(path / "history.csv")
        synthetic |= str(record.get("source", "")).startswith("femur phantom")
        table, pictures = None, []
        if (path / "scores.csv").is_file():
            table = scores[name] = pd.read_csv(path / "scores.csv").sort_values("dice")
            for subject in table.participant_id:
                picture = path / "predictions" / f"{subject}{SUFFIXES['picture']}"
                if picture.is_file():
                    pictures.append((subject, data_uri(picture.read_bytes())))
        facts = [
            ("data", record.get("source", "not recorded")),
            ("trained on", f"{len(record['training'])} scans, {record['epochs_trained']} epochs, recipe {Profile(**record['profile']).recipe.name}"),
            ("validated on", f"{len(record['validation'])} scans"),
            ("time and memory", f"{record['seconds_training']:.0f} s, {record['peak_memory_gib']} GiB at most"),
            ("threshold", f"{record['threshold']:.4f}, chosen on the {record['threshold_chosen_on']} scans"),
            ("parameters", f"{record['parameters']:,}"),
        ]  # fmt: skip
        runs.append(
            {
                "name": name,
                "facts": facts,
                "scores": None if table is None else _table(table),
                "pictures": pictures,
                "record": json.dumps(record, indent=2),
            }
        )
    page = PAGE.render(
        synthetic=synthetic,
        summary=summarise(scores).to_html(index=False, border=0) if scores else None,
        boxes=data_uri(png(figure_3(scores, synthetic))) if scores else None,
        curves=data_uri(png(figure_7(histories, synthetic))),
        runs=runs,
    )
    with whole(out) as half_written:
        half_written.write_text(page, encoding="utf-8")
    return out
