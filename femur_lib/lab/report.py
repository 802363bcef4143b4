"""One page that says what was trained on what and how well it did, and shows every segmentation. A single HTML file."""

import json
import os
from pathlib import Path

import pandas as pd

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import is_name, read_csv
from femur_lib.config import Profile
from femur_lib.evaluation import PICTURE
from femur_lib.lab.pages import write_page
from femur_lib.metrics import TITLES
from femur_lib.paper.figures import figure_3, figure_7
from femur_lib.plotting import data_uri, png
from femur_lib.runs import ASIDE, PAGES, read_history, read_record, refuse_damaged

OVERLAPS = ("dice", "precision", "recall")  # that every version has scored

HEADING = b"<h1>Femur segmentation: report</h1>"


def write_report(folder: str | os.PathLike, out: str | os.PathLike) -> Path:
    """Write the report of every run below a folder.

    A run holds ``run.json`` and ``history.csv``, and once it has been evaluated also ``scores.csv`` and a folder
    ``predictions`` with pictures.

    Returns:
        The page's path.

    Raises:
        DataError: there is no finished run, or ``out`` is something else than an older report.
    """
    folder, out = Path(folder), Path(out)
    if out.exists() and (out.is_dir() or HEADING not in out.read_bytes()):
        raise DataError(f"{out} exists, and is no report of ours.", "Choose another name.")
    histories, scores, runs, synthetic = {}, {}, [], False
    for path in find_runs(folder):
        record = read_record(path)
        name = record["network"] if record["fold"] is None else f"{record['network']}, fold {record['fold']}"
        if name in histories:
            name = f"{name} ({path.relative_to(folder)})"
        refuse_damaged(path)
        histories[name] = read_history(path)
        synthetic |= record["synthetic"]
        run = {"name": name, "facts": _facts(record), "record": json.dumps(record, indent=2)}
        if (path / "scores.csv").is_file():
            table = scores[name] = read_csv(path / "scores.csv", OVERLAPS, "Score again.").sort_values("dice")
            scans = [str(scan) for scan in table.get("participant_id", ())]
            if paths := [scan for scan in scans if not is_name(scan)]:
                raise DataError(
                    f"{path / 'scores.csv'} names the scan {paths[0]!r}, which is a path; a plain name was expected.",
                    "Score again.",
                )
            pictures = [(scan, path / "predictions" / f"{scan}{PICTURE}") for scan in scans]
            run["pictures"] = [(scan, data_uri(file.read_bytes())) for scan, file in pictures if file.is_file()]
            run["scores"] = table.rename(columns=TITLES).to_html(index=False, border=0, float_format="{:.3f}".format)
        runs.append(run)
    return write_page(
        out,
        "report.html.j2",
        synthetic=synthetic,
        summary=summarise(scores).to_html(index=False, border=0) if scores else None,
        boxes=data_uri(png(figure_3(scores, synthetic))) if scores else None,
        curves=data_uri(png(figure_7(histories, synthetic))),
        runs=runs,
    )


def _facts(record: dict) -> list[tuple[str, str]]:
    recipe, peak = Profile(**record["profile"]).recipe.name, record["peak_memory_gib"]
    memory = "not known" if peak is None else f"{peak} GiB at most"
    return [
        ("data", record.get("source", "not recorded")),
        ("trained on", f"{len(record['training'])} scans, {record['epochs_trained']} epochs, recipe {recipe}"),
        ("validated on", f"{len(record['validation'])} scans"),
        ("time and memory", f"{record['seconds_training']:.0f} s, {memory}"),
        ("threshold", f"{record['threshold']:.4f}, chosen on the {record['threshold_chosen_on']} scans"),
        ("parameters", f"{record['parameters']:,}"),
    ]


def find_runs(folder: str | os.PathLike) -> list[Path]:
    """Every finished run in a folder or below it, except damaged ones put aside by a study, and records in its pages.

    Pages that are being built lie in a hidden folder.

    Raises:
        DataError: there is none.
    """
    folder = Path(folder)
    found = (path.relative_to(folder) for path in folder.rglob("run.json"))
    kept = (path for path in found if not any(p in (ASIDE, PAGES) or p.startswith(".") for p in path.parts))
    runs = sorted(folder / path.parent for path in kept)
    if not runs:
        raise DataError(
            f"{folder} holds no run.json, in it or below; finished runs were expected.", "Train first: femur train."
        )
    return runs


def summarise(scores: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Mean ± standard deviation of each score over scans, and the worst Dice; one row for each network, as in Table 1.

    Args:
        scores: by network, one row for each scan.
    """
    rows = []
    for name, table in scores.items():
        row = {"network": name, "scans": len(table)}
        for column, title in TITLES.items():
            if column in table:  # older runs lack some
                digits = 2 if column.endswith("_mm") else 3
                row[title] = f"{table[column].mean():.{digits}f} ± {table[column].std():.{digits}f}"
        rows.append({**row, "worst Dice": f"{table.dice.min():.3f}"})
    return pd.DataFrame(rows)
