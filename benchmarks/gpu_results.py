"""The folder that gpu.py writes for one card: tables that later calls add to, figures, and what was left out."""

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from femur_lib._runtime.files import find_damage, write_csv
from femur_lib.config import run_name
from femur_lib.course.workspace import keep
from femur_lib.evaluation import SEAL, read_evaluation
from femur_lib.metrics.curves import mean_curve_threshold
from femur_lib.paper.figures import PP, figure_2, figure_3, figure_7
from femur_lib.paper.tables import table_1
from femur_lib.runs import kept_epoch, partial_folder

JOB = ["network", "fold"]
LEFT_OUT = "left_out.txt"


def open_folder(out: Path, card: str, runs: Path) -> Path:
    """The folder of a card, made if need be; its list of what was left out begins empty.

    Where the environment variable OUT is set, a machine is lent: it keeps what git ignores, and nothing else, from one
    call to the next. The folder is then among the runs, and begins with what the checkout has of that card.
    """
    folder = out / card
    if os.environ.get("OUT"):
        recorded, folder = folder, runs / "results" / card
        if recorded.is_dir() and not folder.exists():
            shutil.copytree(recorded, folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / LEFT_OUT).write_text("")
    return folder


def leave_out(folder: Path, line: str) -> None:
    """Say and note what could not be done."""
    print(f"left out: {line}", flush=True)
    with (folder / LEFT_OUT).open("a") as file:
        file.write(f"{line}\n")


def leave_out_no_longer(folder: Path, part: str) -> None:
    """Strike out what was left out of a part: it is tried again."""
    lines = (folder / LEFT_OUT).read_text().splitlines(keepends=True)
    (folder / LEFT_OUT).write_text("".join(line for line in lines if not line.startswith(f"{part}: ")))


def facts(folder: Path) -> dict:
    """What machine.json holds so far."""
    file = folder / "machine.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def table(folder: Path, name: str) -> pd.DataFrame:
    """A table as it is so far."""
    file = folder / name
    return pd.read_csv(file) if file.is_file() else pd.DataFrame()


def renew(folder: Path, name: str, rows: pd.DataFrame, key: list[str]) -> None:
    """Put rows in the place of those with the same key, and write the table."""
    old = table(folder, name)
    if len(old):
        again = old.set_index(key).index.isin(rows.set_index(key).index)
        rows = pd.concat([old[~again], rows], ignore_index=True) if (~again).any() else rows
    write_csv(folder / name, rows)


def pack(folder: Path) -> None:
    """Where the environment variable OUT is set, put everything into one file there: OUT/gpu/CARD.tar.gz."""
    if out := os.environ.get("OUT"):
        (Path(out) / "gpu").mkdir(parents=True, exist_ok=True)
        shutil.make_archive(f"{out}/gpu/{folder.name}", "gztar", folder.parent, folder.name)


def publish(folder: Path, runs: Path, jobs: Sequence[tuple[str, int]]) -> None:
    """Histories of all runs, finished or not; of those that were scored, scores, record, Table 1's row and figures.

    Folds that were scored on another day stay in the tables, although their runs are no longer there.
    """
    histories, kept, curves = {}, {}, {}
    for network, fold in jobs:
        run, name = runs / run_name(network, fold), f"{network}, fold {fold}"
        history = (run if run.exists() else partial_folder(run)) / "history.csv"
        if history.is_file() and history.stat().st_size:
            histories[name] = pd.read_csv(history)
            rows = histories[name].assign(network=network, fold=fold).round(6)
            renew(folder, "histories.csv", rows[[*JOB, *histories[name]]], JOB)
        if not run.exists():
            continue
        kept[name] = kept_epoch(run) + 1
        (folder / "runs").mkdir(exist_ok=True)
        shutil.copyfile(run / "run.json", folder / "runs" / f"{run.name}.json")
        if find_damage(run, SEAL):
            continue  # not scored yet
        found = read_evaluation(run)
        ap = {scan: histogram.average_precision() for scan, histogram in found.curves.items()}
        rows = found.components.assign(average_precision=found.components.participant_id.map(ap))
        renew(folder, "scores.csv", rows.assign(network=network, fold=fold)[[*JOB, *rows]], JOB)
        curves.setdefault(network, []).extend(found.curves.values())
    figures = {"figure_7": figure_7(histories, True, kept)} if histories else {}
    by_network = dict(list(table(folder, "scores.csv").groupby("network", sort=False))) if curves else {}
    if by_network:
        before = {network: t[~t.largest_component] for network, t in by_network.items()}
        keep(folder / "tables", {"table_1": table_1(before, True, "women")}, {})
        ends = {"": False, PP: True}
        figures["figure_3"] = figure_3(
            {n + end: t[t.largest_component == pp] for n, t in by_network.items() for end, pp in ends.items()}, True
        )
        thresholds = {network: mean_curve_threshold(found) for network, found in curves.items()}
        figures["figure_2"] = figure_2(curves, thresholds, True)
    keep(folder / "figures", {}, figures)
    plt.close("all")
    pack(folder)


def report(folder: Path) -> None:
    """Print what there is, the most important last: a lent machine hands back the end of the output."""
    efficiency, scores = table(folder, "efficiency.csv"), table(folder / "tables", "table_1.csv")
    if len(efficiency):
        print(efficiency.drop(columns="first_step_s").to_string(index=False, na_rep=""))
    if len(scores):
        print(scores.dropna(subset=["DSC ↑ ours"]).set_index("network").filter(like="ours").to_string())
    left_out = len((folder / LEFT_OUT).read_text().splitlines())
    print(f"{folder}: {f'left out: {left_out}, see {LEFT_OUT}' if left_out else 'all is there'}")
