"""Render the pages from their templates and from what was measured: ``make documents``.

A number in these documents is either cited from the paper, and then it stands in the template, or it is made here: from
the records in results/, the tables of benchmarks/README.md, the paper's printed tables, or the library's arithmetic.
This script reads these sources and hands them to the templates by name: means of scores as they are
(``small.flat_pp.dice``), and whatever takes more than a mean under the row of PAPER.md that it belongs to
(``S9.gain``). The template says how a number is rounded. ``check_words`` tells whether words such as "held" still
follow from the numbers.
"""

import json
import re
import sys
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace as Numbers

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from femur_lib.architecture import cost, parse_network, receptive_field, unpadded_geometry
from femur_lib.cohort import Cohort, Subject, folds
from femur_lib.config import load_profile
from femur_lib.evaluation import optimism
from femur_lib.inference import patch_starts
from femur_lib.paper.published import NETWORKS, SCORES, TABLE_1, TABLE_2, TABLE_3, TABLE_4, Published
from femur_lib.phantom.subject import FRACTURE_SITES
from femur_lib.phantom.tissue import FLIP_DEGREES, TISSUES, flash
from femur_lib.runs import read_record

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT / "benchmarks"))
from drawn_ablation import summary as without_chance  # noqa: E402
from few_patients import summary  # noqa: E402

DOCUMENTS = {
    "README.md": "README.md.j2",
    "PAPER.md": "PAPER.md.j2",
    "docs/faults.md": "faults.md.j2",
    "docs/install.md": "install.md.j2",
    "docs/results.md": "results.md.j2",
    "femur_lib/weights/README.md": "weights.md.j2",
}

SMALL = {"flat": "2d-unpadded-f16-l2", "deep": "3d-f8-l3", "dilated": "3d-f8-l3-d1.2.4"}  # each trained once
SCANS = {"": "as she is", "_cyst": "cyst of 8 mm", "_folded": "fold-over x 0.6"}
CYST = "cyst of 8 mm"
OURS, WIDER, LETTER = "3d-f8-l4-a2-gn", "3d-f16-l4-a2-gn", "3d-f8-l4-paper-recipe"
PLAIN_2D, BEST_2D = "2d-f64-l4", "2d-f64-l4-d1.2.4.8"
UNPADDED = "2d-unpadded-f64-l4"
PLAIN_3D, BEST_3D, AGAIN = "3d-f32-l4", "3d-f32-l4-d1.2.4.8", "3d-f32-l4-s1"
PAPER = load_profile("paper")
GPU = "gpu/nvidia-h200"


# Sources: records of runs


@cache
def table(path: str) -> pd.DataFrame:
    """A CSV of results/."""
    return pd.read_csv(ROOT / "results" / path)


def record(path: str) -> dict:
    """A run.json of results/."""
    return json.loads((ROOT / "results" / path).read_text())


def small_scans(network: str, pp: bool = False, scan: str = "", truth: str = "expert") -> pd.DataFrame:
    """Scores of a small network on synthetic hips, one row a held-out woman; ``pp``: of the largest component alone."""
    t = table("synthetic/method_order/method_order.csv")
    rows = t[(t.network == SMALL[network]) & (t.component == pp) & (t.scan == SCANS[scan]) & (t.truth == truth)]
    return rows.set_index("subject")[[*SCORES, "specificity"]]


def small_means() -> Numbers:
    """Mean scores of the small networks, by names such as ``flat``, ``flat_pp`` and ``flat_cyst_pp``."""
    made = {
        name + scan + "_pp" * pp: small_scans(name, pp, scan).mean()
        for name in SMALL for scan in SCANS for pp in (False, True)
    }  # fmt: skip
    return Numbers(**made, deep_exact=small_scans("deep", truth="exact").mean())


def study(network: str, pp: bool = False, name: str = "workshop") -> pd.DataFrame:
    """Scores of a network in a published study, one row a scan, by the training that never saw it."""
    t = table(f"{name}/scores.csv")
    return t[(t.network == network) & (t.largest_component == pp)].set_index("participant_id")


def workshop(network: str, pp: bool = False) -> pd.Series:
    """The mean of each score over all women of the workshop study."""
    return study(network, pp)[[*SCORES, "average_precision"]].mean()


def verdicts(claim: str) -> Numbers:
    """How many comparisons of a claim in the workshop study hold, do not hold, or cannot be told; in how many folds."""
    rows = table("workshop/tables/claims.csv").query("claim == @claim")
    words = rows.verdict.value_counts()
    holds, fails, unclear = (int(words.get(word, 0)) for word in ("holds", "does not hold", "cannot be told"))
    return Numbers(asked=len(rows), holds=holds, fails=fails, unclear=unclear, folds=rows["folds > 0"].iloc[0])


def open_rows(arm: str, network: str, scan: str = "as she is", score: str = "dice") -> list[float]:
    """The mean score of held-out women in an arm of benchmarks/open_rows.py, for each seed."""
    t = table("open-rows/open_rows.csv")
    rows = t[(t.arm == arm) & (t.network == network) & (t.scan == scan)]
    return list(rows.groupby("seed")[score].mean())


def open_networks(arm: str, network: str, score: str = "dice", pp: bool = False, region: str = "femur") -> list[float]:
    """The mean of a column in an arm of benchmarks/open_rows_networks.py, for each seed."""
    t = table("open-rows/open_rows_networks.csv")
    rows = t[(t.arm == arm) & (t.network == network) & (t.region == region) & (t.largest_component == pp)]
    return list(rows.groupby("seed")[score].mean())


def reaches(network: str, dilated: bool = False) -> pd.Series:
    """A network's weights at the workshop's size, and the pixels of a row that it sees; dilated: as row D13 says."""
    t = table("open-rows/reach.csv")
    return t[(t.network == network) & (t.dilated == dilated)].iloc[0]


def epoch_of(nine_patches: bool) -> pd.Series:
    """Steps and seconds of an epoch of the unpadded network, with nine mirrored patches of each slice or without."""
    return table("open-rows/epochs.csv").set_index("nine_patches").loc[nine_patches]


def searched() -> pd.Series:
    """What the search of row D21 found best."""
    return table("open-rows/search.csv").sort_values("dice").iloc[-1]


def true_regions(region: str) -> Numbers:
    """The pieces of a true region of the synthetic women (first, last), and what the largest leaves out (%, mean)."""
    rows = table("open-rows/true_regions.csv").query("region == @region")
    return Numbers(first=rows.pieces.min(), last=rows.pieces.max(), left_out=100 * rows.left_out.mean())


def tied(network: str) -> list[float]:
    """For each training the share of the femur's voxels (%) that have one and the same probability, lowest first."""
    return sorted(100 * study(network).groupby("fold").tied.mean())


def hips(arm: str, which: str = "0123") -> pd.DataFrame:
    """Scores on real hips, one row a hip, by a method that saw neither hip of its patient."""
    return pd.concat([table(f"hips/{arm}-fold{k}/scores.csv") for k in which]).set_index("participant_id")


def gain(arm: str, other: str) -> pd.Series:
    """By how much Dice of one arm of the ingredients exceeds another's, averaged over a patient's two hips."""
    difference = hips(f"ingredients/{arm}").dice - hips(f"ingredients/{other}").dice
    return difference.groupby(difference.index.str[:-1]).mean()


def few_patients() -> list[Numbers]:
    """For each number of labelled patients what a training reached from hip-drawn and from scratch, and the gain."""
    t = table("few-patients/few_patients.csv")
    found = summary(t)
    each = {key: row.iloc[0] for key, row in found.groupby(["start", "patients"])}
    minutes = t.groupby("patients").seconds.median() / 60
    return [
        Numbers(patients=n, drawn=each["drawn hips", n], scratch=each["scratch", n], minutes=minutes[n])
        for n in sorted(set(t.patients) - {0})
    ]


def ablation() -> list[tuple[pd.Series, pd.Series]]:
    """For each kind of chance what networks without it reached on real hips, as they are and with fat suppressed."""
    found = without_chance(table("hip-drawn/ablation.csv")).set_index(["contrast", "left_out"], drop=False)
    names = found.loc["as it is"].dice.sort_values(ascending=False).index
    return [(found.loc["as it is", name], found.loc["fat suppressed", name]) for name in names]


def agreement() -> list[Numbers]:
    """For each network, and for what most of them mark, the agreement with the labels, and the mean with the others."""
    t = table("agreement/agreement.csv")
    of_two = t[(t["first"] != "labels") & (t["second"] != "majority")]
    volumes = table("agreement/by_patient.csv").pivot(index="patient", columns="arm", values="volume_ratio")
    found = []
    for row in t[t["first"] == "labels"].itertuples():
        others = of_two[(of_two["first"] == row.second) | (of_two["second"] == row.second)]
        found.append(Numbers(arm=row.second, labels=row, others=others, volumes=volumes[row.second]))
    return found


def known_patients(arm: str) -> int:
    """How many hips were scored by a network that was trained on a hip of the same patient."""
    trained_on = [{name[:-1] for name in record(f"hips/{arm}-fold{k}/run.json")["training"]} for k in range(4)]
    return sum(name[:-1] in trained_on[k] for k in range(4) for name in hips(arm, str(k)).index)


# Sources: what was timed (benchmarks/README.md), and the notebooks


def benchmark(heading: str) -> list[dict[str, str]]:
    """Rows of the table with such a heading; an empty cell in its first two columns repeats the one above."""
    for block in (ROOT / "benchmarks/README.md").read_text("utf-8").split("\n\n"):
        if block.startswith("|") and heading in block.splitlines()[0]:
            head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in block.splitlines())
            for above, row in pairwise(rows):
                row[:2] = [cell or over for cell, over in zip(row[:2], above[:2], strict=True)]
            return [dict(zip(head, row, strict=True)) for row in rows]
    raise LookupError(f"benchmarks/README.md has no table with the heading {heading}.")


def timed(network: str) -> Numbers:
    """What a network was measured to take at the paper's size.

    A training ``step`` and ``inference`` (s, gb); an epoch (minutes) and a subject (seconds); how many times as fast as
    nine patches one pass is (ratio), and by how much the two differ (apart).
    """
    found, name = Numbers(), f"`{network}`"
    for row in benchmark("of the best rate"):
        if (row["network"], row[""]) == (name, "femur_lib"):
            vars(found)[row["task"].split()[-1]] = Numbers(s=float(row["s"]), gb=float(row["GB"]))
    for row in benchmark("min an epoch"):
        if row["network"] == name:
            found.minutes, found.seconds = float(row["min an epoch"]), float(row["s a subject"])
    for row in benchmark("nine patches"):
        if row["network"] == name:
            found.ratio, found.apart = float(row["ratio"]), float(row["at the paper's places"])
    return found


def on_gpu(network: str, setting: str = "femur_lib") -> pd.Series:
    """What a network took on the GPU: a step, an epoch, a subject, memory, the share of the best rate."""
    t = table(f"{GPU}/efficiency.csv").set_index(["network", "setting", "precision"])
    return t.loc[(network, setting, "mixed_bfloat16")]


def times_tensorflow(backend: str) -> list[float]:
    """How many times as long as TensorFlow a backend of Keras takes for a training step, on a CPU; lowest first."""
    return sorted(float(r[f"{backend} ratio"]) for r in benchmark("tensorflow [s]") if r["task"] == "training")


def fold_minutes(arm: str) -> float:
    """Minutes that the training of a fold took on two cores, from CPU minutes; the first number where there are two."""
    (cell,) = [row["CPU min a fold"] for row in benchmark("CPU min a fold") if arm in row["arm"]]
    return float(cell.split()[0]) / 2


def notebooks() -> dict[str, Numbers]:
    """A learner's minutes for each notebook, from its opening table, and what `make measure` measured."""
    found = {}
    for row in table("notebooks.csv").itertuples():
        cells = json.loads((ROOT / f"notebooks/{row.notebook}.ipynb").read_text("utf-8"))["cells"]
        minutes = re.search(r"^\| minutes \| (\d+)", "".join(cells[0]["source"]), re.M)
        found[row.notebook] = Numbers(minutes=minutes[1], seconds=row.seconds, gb=row.peak_gb)
    return found


# Sources: the paper's printed tables, and the library's arithmetic


def printed(rows: tuple[Published, ...]) -> dict[str, Numbers]:
    """For each network of a table the mean and the standard deviation of each score, and AP where it is printed."""
    return {
        row.network: Numbers(
            mean=pd.Series(row.mean, SCORES), sd=pd.Series(row.sd, SCORES), ap=(row.average_precision or [None])[0]
        )
        for row in rows
    }


def changes(before, after) -> pd.Series:
    """By how many per cent post-processing changes each score, mean over the 2D networks of Table 2."""
    return 100 * sum(after(row.network) / before(row.network) - 1 for row in TABLE_2) / len(TABLE_2)


def costs(network: str, *size: int) -> Numbers:
    """Weights in millions, multiplications in trillions, GB to train: for one input, by default of the paper's size."""
    architecture = parse_network(network)
    grid = PAPER.grid_2d if architecture.dimensions == 2 else PAPER.grid_3d
    found = cost(architecture, size or grid[: architecture.dimensions])
    return Numbers(weights=found.weights / 1e6, work=found.multiplications / 1e12, gb=found.training_bytes() / 1e9)


def field(network: str) -> int:
    """Pixels along a row that an output voxel of a padded network depends on."""
    architecture = parse_network(network)
    first, last = receptive_field(architecture, (0,) * architecture.dimensions)[0]
    return last - first + 1


def has_output(pixels: int, levels: int) -> bool:
    """Whether an unpadded network answers anything for an input of so many pixels."""
    try:
        return unpadded_geometry(pixels, levels).output > 0
    except ValueError:
        return False


def folds_of_86() -> list[tuple[int, int]]:
    """How many women each of the paper's folds validates on, and how many of them had a fracture."""
    nowhere = Path()
    women = [Subject(f"{k}", f"{k}", "L", "fracture" if k < 36 else "control", nowhere, nowhere) for k in range(86)]
    made = folds(Cohort(nowhere, tuple(women)))
    return sorted((len(f.validation), sum(int(name) < 36 for name in f.validation)) for f in made)


# What the rows of PAPER.md compute from these sources, section by section


def comparison() -> dict[str, Numbers]:
    """Rows C: results, comparison of performance."""
    ap_2d = [row.average_precision[0] for row in TABLE_3 if row.network.startswith("2d")]
    chosen = table("workshop/tables/choices.csv")
    chosen = chosen.assign(cost=chosen.dice_at_threshold - chosen.dice_at_youden)
    of_network = chosen.groupby("network")[["cost", "youden", "threshold"]].mean()
    recall = pd.DataFrame({"before": study("2d-f64-l3").recall, "after": study("2d-f64-l3", True).recall})
    before, after = (sum(workshop(row.network, pp) for row in TABLE_2) / len(TABLE_2) for pp in (False, True))
    above_2 = [row.network for row in TABLE_3 if max(parse_network(row.network).dilation_rates) > 2]
    in_2d, in_3d = ([TABLE_4[n, m] for m in above_2 if m[:2] == n[:2]] for n in (PLAIN_2D, PLAIN_3D))
    across = [sign for (a, b), sign in TABLE_4.items() if a[:2] == "2d" and b[:2] == "3d" and b != PLAIN_3D]
    signs = table("workshop/tables/table_4.csv").iloc[:, 1:].stack().dropna()
    best = {kind: max(row.mean[0] for row in TABLE_3 if row.network.startswith(kind)) for kind in ("2d", "3d")}
    assert "ns" not in in_2d  # C18
    assert (TABLE_4[PLAIN_3D, "3d-f32-l4-d1.2"], TABLE_4[PLAIN_2D, "2d-f64-l4-d1.2"]) == ("***", "ns")  # C19
    (by_sklearn,) = [r for r in benchmark("s a volume") if (r["volumes"], r[""]) == ("4", "scikit-learn")]
    return {
        "C1": Numbers(apart=float(by_sklearn["largest difference"])),
        "C3": Numbers(low=min(ap_2d), high=max(ap_2d)),
        "C6": Numbers(
            epochs=record(f"hips/{OURS}-fold0/run.json")["epochs_trained"],
            more_epochs=record(f"hips/{WIDER}-fold0/run.json")["epochs_trained"],
        ),
        "C7": Numbers(thresholds=[record(f"synthetic/method_order/{n}/run.json")["threshold"] for n in SMALL.values()]),
        "C8": Numbers(networks=len(of_network), low=of_network.min(), high=of_network.max()),
        "C12": Numbers(change=changes(lambda n: printed(TABLE_1)[n].mean, lambda n: printed(TABLE_2)[n].mean)),
        "C13": Numbers(
            change=changes(workshop, lambda n: workshop(n, True)),
            recall=recall.loc[(recall.after - recall.before).idxmin()],
        ),
        "C14": Numbers(before=before, after=after),
        "C18": Numbers(pairs=len(in_3d), strong=in_3d.count("***")),
        "C21": Numbers(best_2d=best["2d"], best_3d=best["3d"]),
        "C22": Numbers(pairs=len(across), strong=across.count("**") + across.count("***")),
        "C23": Numbers(
            pairs=len(signs), differ=int((~signs.str.startswith("ns ")).sum()),
            tied=tied(AGAIN)[1:], tied_at_most=max(tied(AGAIN)[0], *tied(PLAIN_3D)),
        ),
    }  # fmt: skip


def tables_and_figures() -> dict[str, Numbers]:
    """Rows T and F."""
    rows = [row.mean for row in (*TABLE_1, *TABLE_2, *TABLE_3)]
    medians = {row.network: study(row.network).average_precision.median() for row in TABLE_3}
    kinds = {kind: [ap for n, ap in medians.items() if n.startswith(kind)] for kind in ("2d", "3d")}
    last = table("workshop/histories.csv").groupby(["network", "fold"]).last()
    flat, flat_pp = small_scans("flat").asd_mm, small_scans("flat", True).asd_mm
    letter = [table(f"hips/{LETTER}-fold{k}/history.csv").iloc[-1] for k in range(4)]
    stopped = [record(f"synthetic/method_order/{n}/run.json")["epochs_trained"] for n in SMALL.values()]
    limit = record(f"workshop/runs/{PLAIN_2D}-fold0.json")["profile"]["epochs"]
    epochs = last.epoch + 1
    assert [end.loss < end.val_loss for end in letter].count(True) == 3  # F9
    return {
        "T1": Numbers(rows=sum(row.network.startswith("2d") for row in TABLE_1), scores=len(SCORES)),
        "T2": Numbers(apart=max(abs(dice - 2 * p * r / (p + r)) for dice, p, r, *_ in rows)),
        "T7": Numbers(**{f"{end.__name__}_{kind}": end(ap) for kind, ap in kinds.items() for end in (min, max)}),
        "T8": Numbers(pairs=len(TABLE_4), ns=list(TABLE_4.values()).count("ns")),
        "T9": Numbers(scans=next(n for n in range(1, 40) if len(TABLE_4) * 2 / 2**n < 0.05)),
        "F4": Numbers(fell=int((flat_pp < flat).sum()), women=len(flat)),
        "F8": Numbers(below=int((last.loss < last.val_loss).sum()), trainings=len(last)),
        "F9": Numbers(ends=letter),
        "F10": Numbers(
            first=epochs.min(), last=epochs.max(), at_limit=int((epochs == limit).sum()), trainings=len(last),
            limit=limit, small=stopped,
        ),
    }  # fmt: skip


def accuracy_to_discussion() -> dict[str, Numbers]:
    """Rows S and D."""
    border, seed = gain("Eq-1-with-border-weights", "loss-of-Eq-1"), gain("another-seed", "half-length")
    history = table(f"synthetic/method_order/{SMALL['dilated']}/history.csv")
    end = history.iloc[-1]
    return {
        "S9": Numbers(gain=border.mean(), better=int((border > 0).sum()), patients=len(border), seed=seed.mean()),
        "D9": Numbers(of_training=end.val_loss / end.loss, of_lowest=end.val_loss / history.val_loss.min()),
    }


def methods() -> dict[str, Numbers]:
    """Rows N, P, B, M and V."""
    geometry = {levels: unpadded_geometry(512, levels) for levels in (3, 4)}
    sizes, fractured = zip(*folds_of_86(), strict=True)
    chosen = table("hips-paper/tables/choices.csv")
    flattered = {kind: optimism(chosen[chosen.network.str.startswith(kind)]) for kind in ("2d", "3d")}
    stopped = sorted(record(f"hips/{LETTER}-fold{k}/run.json")["epochs_trained"] for k in range(4))
    assert len(set(fractured)) == 1  # M1
    assert stopped[0] == stopped[2] < stopped[3]  # M5
    assert len(FRACTURE_SITES) == 4 + 15 + 12 + 1 + 4  # B6
    return {
        "N2": Numbers(output=[g.output for g in geometry.values()], crops=[start for start, _ in geometry[4].crops]),
        "N3": Numbers(smallest=next(n for n in range(20, 400) if has_output(n, 4))),
        "P2": Numbers(starts=patch_starts(geometry[4])),
        "B3": Numbers(brightest=max(range(1, 91), key=lambda angle: float(flash(TISSUES["fatty marrow"], angle)))),
        "M1": Numbers(sizes=sizes, fractured=fractured[0]),
        "M2": Numbers(known=known_patients(OURS)),
        "M3": Numbers(flat=flattered["2d"], deep=flattered["3d"]),
        "M5": Numbers(stopped=stopped[0], limit=stopped[3]),
    }


def reach() -> Numbers:
    """How many scans, trainings and epochs the runs had."""
    small = [record(f"synthetic/method_order/{network}/run.json") for network in SMALL.values()]
    assert len({(len(run["training"]), len(run["validation"])) for run in small}) == 1
    of_study = record(f"workshop/runs/{PLAIN_2D}-fold0.json")
    return Numbers(
        seed=small[0]["profile"]["seed"],
        trained=len(small[0]["training"]),
        scored=len(small[0]["validation"]),
        women=len(of_study["training"]) + len(of_study["validation"]),
        epochs=of_study["profile"]["epochs"],
        trainings=len(list((ROOT / "results/workshop/runs").glob("*.json"))),
        patients=hips(OURS).index.str[:-1].nunique(),
    )


def check_words(small: Numbers, rows: dict[str, Numbers]) -> None:
    """Hold what the findings say in words, such as "held" or "did not hold", against the numbers."""
    plain_2d, best_2d, plain_3d, best_3d, again = map(workshop, (PLAIN_2D, BEST_2D, PLAIN_3D, BEST_3D, AGAIN))
    plain_2d_pp, best_2d_pp = workshop(PLAIN_2D, True), workshop(BEST_2D, True)
    usual, cyst = open_rows("as in the study", PLAIN_3D), open_rows("as in the study", PLAIN_3D, CYST)
    often, often_cyst = open_rows("more cysts", PLAIN_3D), open_rows("more cysts", PLAIN_3D, CYST)
    one_slice, three_slices = open_rows("one slice", PLAIN_2D), open_rows("as in the study", PLAIN_2D)
    of_patches_16, of_patches_36 = (open_networks(f"patches of {n} pixels", "patches") for n in (16, 36))
    in_a_row = open_networks("two in a row", PLAIN_3D)
    nine, plain_slices = (open_networks(arm, UNPADDED) for arm in ("nine mirrored patches", "slices as they are"))

    def regions(pp: bool) -> list[float]:
        arms = (("regions in 2D", PLAIN_2D), ("regions in 3D", PLAIN_3D))
        region = "rest of the femur"
        return [dice for arm, network in arms for dice in open_networks(arm, network, pp=pp, region=region)]

    words = {
        "C4": best_3d.dice < best_2d.dice,
        "C10, P5": small.flat_pp.precision > small.flat.precision and small.flat_pp.msd_mm < small.flat.msd_mm,
        "C13": rows["C13"].change.dice > 0 > rows["C13"].change.asd_mm,
        "C14": rows["C14"].after.precision > rows["C14"].before.precision,
        "C16": plain_2d_pp.asd_mm < plain_2d.asd_mm and plain_2d_pp.msd_mm < plain_2d.msd_mm,
        "C17": best_2d_pp.precision > best_3d.precision and best_2d_pp.dice > best_3d.dice,
        "C17, small": small.flat_pp.dice < small.deep.dice,
        "C20, D24": best_2d.dice > plain_2d.dice and best_3d.dice > plain_3d.dice,
        "C20, small": small.dilated.dice < small.deep.dice,
        "C23": sum(share > 50 for share in tied(AGAIN)) == 3 and f"{plain_3d.dice:.2f}" == f"{again.dice:.2f}",
        "F5": all(workshop(f"2d-f64-l{n}").msd_mm < workshop(f"2d-unpadded-f64-l{n}").msd_mm for n in (3, 4)),
        "S3": small.flat_cyst_pp.dice < small.flat_pp.dice and small.deep_cyst.dice < small.deep.dice,
        "S5": small.flat_folded_pp.recall < small.flat_pp.recall and small.deep_folded.recall < small.deep.recall,
        "S7": small.flat_pp.dice - small.flat_folded_pp.dice > small.deep.dice - small.deep_folded.dice,
        "S4": min(often_cyst) < min(cyst) < max(often_cyst) and often_cyst[1] < min(cyst) and often[1] < min(usual),
        "S9": rows["S9"].gain > abs(rows["S9"].seed),
        "N13": min(open_rows("no weights", PLAIN_3D) + open_rows("no weights", PLAIN_2D)) > 0.9,
        "N16": min(one_slice) < max(three_slices) and min(three_slices) < max(one_slice),
        "I5": max(of_patches_16) < min(of_patches_36) and max(of_patches_36) < min(three_slices),
        "I9": min(in_a_row) < max(usual) and min(usual) < max(in_a_row),
        "I9, box": max(open_networks("two in a row", PLAIN_3D, "outside_box")) == 0,
        "D6": true_regions("pelvis").last == true_regions("femur above the cut").last == 1,
        "D6, networks": max(np.subtract(regions(pp=False), regions(pp=True))) < 0.001,
        "D13": reaches("3d-f32-l3", True).sees == reaches(PLAIN_3D).sees,
        "D13, Dice": abs(np.subtract(open_networks("dilated layers", "3d-f32-l3"), usual)).max() < 0.02,
        "D14": epoch_of(True).steps == 9 * epoch_of(False).steps,
        "D14, Dice": min(nine) < min(plain_slices) < max(plain_slices) < max(nine),
        "D21": min(open_networks("search", UNPADDED)) < min(plain_slices) < max(open_networks("search", UNPADDED)),
        "P6": round(small.deep.asd_mm, 2) == round(small.deep_pp.asd_mm, 2),
        "P7": small.flat_cyst_pp.recall < small.flat_cyst.recall,
        "M2": rows["M2"].known == 0,
    }
    wrong = [name for name, true in words.items() if not true]
    assert not wrong, f"The words of PAPER.md's findings no longer follow from the numbers: {wrong}"


# Templates


def to(number: float, decimals: int) -> str:
    """A number with so many decimals."""
    return f"{number:.{decimals}f}".replace("-", "−")


def signed(number: float, decimals: int) -> str:
    """A change, with its sign."""
    return f"{number:+.{decimals}f}".replace("-", "−")


def mean_sd(values: pd.Series, decimals: int) -> str:
    """Mean and standard deviation."""
    return f"{values.mean():.{decimals}f} ± {values.std():.{decimals}f}"


def printed_row(row: Numbers) -> str:
    """Dice, precision, recall, ASD and MSD as the paper prints them."""
    places = (3, 3, 3, 2, 2)
    return " | ".join(f"{m:.{k}f} ± {s:.{k}f}" for m, s, k in zip(row.mean, row.sd, places, strict=True))


def each(values: list[float], decimals: int) -> str:
    """Numbers with so many decimals, such as 0.91 and 0.92."""
    return listed([to(value, decimals) for value in values])


def listed(values) -> str:
    """Such as 1, 2 and 3."""
    *some, last = map(str, values)
    return f"{', '.join(some)} and {last}"


def names() -> dict:
    """All that the templates can name."""
    small = small_means()
    rows = comparison() | tables_and_figures() | accuracy_to_discussion() | methods()
    check_words(small, rows)
    sources = (study, workshop, verdicts, hips, record, table, timed, on_gpu, times_tensorflow, fold_minutes)
    sources += (costs, field, open_rows, open_networks, reaches, epoch_of, true_regions, searched)
    sources += (few_patients, ablation, agreement, read_record)
    template = (HERE / "PAPER.md.j2").read_text("utf-8")
    return {
        **{source.__name__: source for source in sources},
        **rows,
        "small": small,
        "table_1": printed(TABLE_1),
        "table_2": printed(TABLE_2),
        "table_3": printed(TABLE_3),
        "networks": NETWORKS,
        "flash": {name: float(flash(tissue, FLIP_DEGREES)) for name, tissue in TISSUES.items()},
        "paper": PAPER,
        "GPU": GPU,
        "CYST": CYST,
        "notebooks": notebooks(),
        "claims": {claim: verdicts(claim) for claim in table("workshop/tables/claims.csv").claim.unique()},
        "reach": reach(),
        "hours": table("workshop/times.csv").s.sum() / 3600 / 2,  # two trainings at a time
        "tags": Counter(re.findall(r"^\| [A-Z]\d+ \|.* \*(.+)\* \|$", template, re.M)),
    }


@cache
def rendered() -> dict[str, str]:
    """The text of each document."""
    environment = Environment(
        loader=FileSystemLoader(HERE), undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True
    )
    environment.filters |= {f.__name__: f for f in (to, signed, mean_sd, printed_row, each, listed)}
    return {name: environment.get_template(template).render(names()) for name, template in DOCUMENTS.items()}


if __name__ == "__main__":
    for name, text in rendered().items():
        (ROOT / name).write_text(text, "utf-8")
