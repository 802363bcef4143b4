"""What PAPER.md's findings are computed from: of each claim with numbers its numbers, in the order of the text.

A number that is not computed from a record in results/, a table of benchmarks/README.md, the paper's printed tables,
the library, or by plain arithmetic has no place in PAPER.md.
"""

import json
from functools import cache
from pathlib import Path

import pandas as pd

from femur_lib.architecture import unpadded_geometry
from femur_lib.cohort import Cohort, Subject, folds
from femur_lib.costs import cost
from femur_lib.evaluation import optimism
from femur_lib.experiments import load_profile, parse_experiment
from femur_lib.inference import patch_starts
from femur_lib.paper import NETWORKS, SCORES, TABLE_1, TABLE_2, TABLE_3, TABLE_4
from femur_lib.phantom.subject import FRACTURE_SITES
from femur_lib.phantom.tissue import FLIP_DEGREES, TISSUES, flash
from femur_lib.receptive_field import receptive_field

ROOT = Path(__file__).parents[1]

# Records of runs,

FLAT, DEEP, DILATED = "2d-unpadded-f16-l2", "3d-f8-l3", "3d-f8-l3-d1.2.4"
CYST, FOLDED = "cyst of 8 mm", "fold-over x 0.6"
OURS, PEER, LETTER = "hips/3d-f8-l4-a2-gn", "hips/monai-residual-unet", "hips/3d-f8-l4-paper-recipe"


@cache
def _order() -> pd.DataFrame:
    return pd.read_csv(ROOT / "results/synthetic/method_order/method_order.csv")


def scans(network: str, largest: bool = False, scan: str = "as she is", truth: str = "expert") -> pd.DataFrame:
    """Scores of the held-out synthetic women, one row each; ``largest``: of the largest component alone."""
    t = _order()
    rows = t[(t.network == network) & (t.component == largest) & (t.scan == scan) & (t.truth == truth)]
    return rows.sort_values("subject")


def order(network: str, column: str, largest: bool = False, scan: str = "as she is", truth: str = "expert") -> float:
    return scans(network, largest, scan, truth)[column].mean()


def scores(run: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results" / run / "scores.csv")


def hips(arm: str, which: str = "0123") -> pd.DataFrame:
    """Scores of an arm's folds on real hips, those of ``which`` that were trained."""
    return pd.concat([scores(f"{arm}-fold{k}") for k in which if (ROOT / f"results/{arm}-fold{k}").is_dir()])


def by_patient(arm: str, other: str) -> pd.Series:
    """Dice of an arm of the ingredients less that of another, on real hips, averaged over a patient's two."""
    one, two = (hips(f"hips/ingredients/{name}").set_index("participant_id").dice for name in (arm, other))
    return (one - two).groupby(one.index.str[:-1]).mean()


def record(run: str) -> dict:
    return json.loads((ROOT / "results" / run / "run.json").read_text())


def published(study: str, network: str, fold: int = 0) -> dict:
    """The run.json of a training in a published study."""
    return json.loads((ROOT / f"results/{study}/runs/{network}-fold{fold}.json").read_text())


@cache
def _workshop(table: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results/workshop" / table)


def study(network: str, column: str, largest: bool = False) -> float:
    """Mean over all women of a score in the workshop study."""
    t = _workshop("scores.csv")
    return t[(t.network == network) & (t.largest_component == largest)][column].mean()


def verdicts(claim: str) -> tuple[int, ...]:
    """Of a claim's lines in the workshop study: how many hold, do not hold, cannot be told."""
    t = _workshop("tables/claims.csv")
    of_claim = t[t.claim == claim].verdict
    return tuple((of_claim == verdict).sum() for verdict in ("holds", "does not hold", "cannot be told"))


def folds_for(claim: str) -> list[str]:
    """In how many folds a claim of one line held, and of how many, in the workshop study."""
    t = _workshop("tables/claims.csv")
    return t.set_index("claim").loc[claim, "folds > 0"].split(" of ")


def study_pp(column: str) -> float:
    """As :func:`pp_change`, of the same networks in the workshop study."""
    return 100 * sum(study(r.network, column, True) / study(r.network, column) - 1 for r in TABLE_2) / 4


def study_ap(kind: str) -> tuple[float, float]:
    """The lowest and the highest median AP of Table 3's networks of a kind in the workshop study."""
    t = _workshop("scores.csv")
    medians = t[t.network.isin([row.network for row in TABLE_3])].groupby("network").average_precision.median()
    of_kind = medians[medians.index.str.startswith(kind)]
    return of_kind.min(), of_kind.max()


def youden() -> tuple[float, ...]:
    """Networks in the workshop study; Dice that Youden's index costs; its thresholds, and those of the paper's rule."""
    chosen = _workshop("tables/choices.csv")
    of_network = chosen.assign(cost=chosen.dice_at_threshold - chosen.dice_at_youden).groupby("network")
    means = of_network[["cost", "youden", "threshold"]].mean()
    return len(means), *(end for column in means for end in (means[column].min(), means[column].max()))


def significant() -> int:
    """How many pairs of Table 4 differ in the workshop study."""
    cells = _workshop("tables/table_4.csv").iloc[:, 1:].stack().dropna()
    assert len(cells) == len(TABLE_4)
    return int((~cells.str.startswith("ns ")).sum())


def lost_recall() -> tuple[float, float]:
    """Recall of `2d-f64-l3` in the workshop study without and with PP, in the scan that PP took most from."""
    t = _workshop("scores.csv")
    recall = t[t.network == "2d-f64-l3"].pivot(index="participant_id", columns="largest_component", values="recall")
    return tuple(recall.loc[(recall[True] - recall[False]).idxmin()])


def _last_epochs() -> pd.DataFrame:
    """The last row of each training's history in the workshop study."""
    return _workshop("histories.csv").groupby(["network", "fold"]).last()


def tied_trainings(network: str) -> list[float]:
    """Of each training of a network the share of femur voxels with one probability, in per cent, from the lowest."""
    t = _workshop("scores.csv")
    return sorted(100 * t[(t.network == network) & ~t.largest_component].groupby("fold").tied.mean())


def flattered(what: str, kind: str) -> float:
    """Mean Dice by which choosing epoch or threshold on the scored scans was better, of the real hips' networks."""
    chosen = pd.read_csv(ROOT / "results/hips-paper/tables/choices.csv")
    return optimism(chosen[chosen.network.str.startswith(kind)])[what]


def history(run: str) -> pd.DataFrame:
    return pd.read_csv(ROOT / "results" / run / "history.csv")


HISTORIES = [history(f"synthetic/method_order/{n}") for n in (FLAT, DEEP, DILATED)]


def known_patients(arm: str) -> int:
    """How many hips were scored by a network that was trained on a hip of the same patient."""
    known = 0
    for k in range(4):
        trained_on = {name[:-1] for name in record(f"{arm}-fold{k}")["training"]}
        known += sum(name[:-1] in trained_on for name in scores(f"{arm}-fold{k}").participant_id)
    return known


# tables of benchmarks/README.md,


def measured(*cells: str, at: int, table: str = "") -> float:
    """The number in cell ``at`` of the first row that begins with these cells (an empty one repeats that above).

    ``table``: a heading that the row's table has.
    """
    header, above = "", [""] * 20
    for line in (ROOT / "benchmarks/README.md").read_text().splitlines():
        if not line.startswith("|"):
            header, above = "", [""] * 20
            continue
        row = [cell.strip() for cell in line.strip("|").split("|")]
        header = header or line
        above = [cell or above[i] if i < 2 else cell for i, cell in enumerate(row)]
        filled = [cell for cell in above if cell]
        if table in header and tuple(filled[: len(cells)]) == cells:
            return float(above[at].split()[0])
    raise AssertionError(f"benchmarks/README.md has no row {cells}")


# the paper's printed tables,

PLAIN_2D, BEST_2D = "2d-f64-l4", "2d-f64-l4-d1.2.4.8"
PLAIN_3D, BEST_3D, AGAIN = "3d-f32-l4", "3d-f32-l4-d1.2.4.8", "3d-f32-l4-s1"
ABOVE_2 = "A dilation rate above 2 raises AP"
TABLE_3_NAMES = [row.network for row in TABLE_3]
DILATED_2D = [n for n in TABLE_3_NAMES if n.startswith("2d") and len(parse_experiment(n).dilation_rates) > 1]
DILATED_3D = [n for n in TABLE_3_NAMES if n.startswith("3d") and n != PLAIN_3D]


def _row(table, network: str):
    return next(row for row in table if row.network == network)


def mean(table, network: str, column: str) -> float:
    return _row(table, network).mean[SCORES.index(column)]


def sd(table, network: str, column: str) -> float:
    return _row(table, network).sd[SCORES.index(column)]


def both(table, network: str, column: str) -> tuple[float, float]:
    return mean(table, network, column), sd(table, network, column)


def ap(network: str) -> tuple[float, float]:
    return _row(TABLE_3, network).average_precision


def rates(network: str) -> tuple[int, ...]:
    return parse_experiment(network).dilation_rates


def pp_change(column: str) -> float:
    """By how many per cent the largest component changed a score in the paper's tables, mean over its 2D networks."""
    return 100 * sum(mean(TABLE_2, r.network, column) / mean(TABLE_1, r.network, column) - 1 for r in TABLE_2) / 4


# and the library.

_paper = load_profile("paper")
PAPER = _paper.model_copy(update={g: tuple(getattr(_paper, g)) for g in ("grid_2d", "grid_3d")})


def _cost(network: str, size: tuple[int, ...]):
    a = parse_experiment(network)
    return cost(a, size or (PAPER.grid_2d[:2] if a.dimensions == 2 else PAPER.grid_3d))


def weights(network: str) -> float:
    """Millions."""
    return _cost(network, ()).weights / 1e6


def work(network: str, *size: int) -> float:
    """Trillions of multiplications for one input, by default of the paper's size."""
    return _cost(network, size).multiplications / 1e12


def training_gb(network: str, *size: int) -> float:
    return _cost(network, size).training_bytes() / 1e9


def field(network: str) -> int:
    """Pixels along a row that an output voxel of a padded network depends on."""
    a = parse_experiment(network)
    first, last = receptive_field(a, (0,) * a.dimensions)[0]
    return last - first + 1


def answers(pixels: int, levels: int) -> bool:
    try:
        return unpadded_geometry(pixels, levels).output > 0
    except ValueError:
        return False


def _folds_of_86() -> list[tuple[int, int]]:
    nowhere = Path()
    women = [Subject(f"{k}", f"{k}", "L", "fracture" if k < 36 else "control", nowhere, nowhere) for k in range(86)]
    made = folds(Cohort(nowhere, tuple(women)))
    return sorted((len(f.validation), sum(int(name) < 36 for name in f.validation)) for f in made)


FOLDS = _folds_of_86()

NUMBERS = {
    "A2": lambda: (len({parse_experiment(name) for name in NETWORKS}),),
    "A3": lambda: (
        *both(TABLE_1, BEST_3D, "dice"),
        *both(TABLE_1, BEST_3D, "precision"),
        *both(TABLE_1, BEST_3D, "recall"),
    ),
    "A4": lambda: (hips(OURS).dice.mean(), hips(OURS).dice.std(), len(hips(OURS))),
    "A5": lambda: (
        len(record(LETTER + "-fold0")["training"]),
        hips(LETTER).dice.mean(),
        hips(LETTER).dice.std(),
    ),
    "I2": lambda: (float(flash(TISSUES["fatty marrow"], FLIP_DEGREES)), float(flash(TISSUES["cortex"], FLIP_DEGREES))),
    "I7": lambda: (order(FLAT, "dice", True) - order(FLAT, "dice"), order(DEEP, "dice", True) - order(DEEP, "dice")),
    "I8": lambda: (order(FLAT, "msd_mm"), order(DEEP, "msd_mm")),
    "C1": lambda: (measured("4", "scikit-learn", at=7),),
    "C2": lambda: (ap(BEST_3D)[0],),
    "C3": lambda: (
        min(ap(n)[0] for n in TABLE_3_NAMES if n.startswith("2d")),
        max(ap(n)[0] for n in TABLE_3_NAMES if n.startswith("2d")),
    ),
    "C4": lambda: (
        study(BEST_3D, "dice"),
        study(BEST_2D, "dice"),
        *folds_for("3D is ahead of 2D, both without PP"),
        study("3d-f32-l3", "dice"),
        study("2d-f64-l3", "dice"),
        study(PLAIN_3D, "dice"),
        study(PLAIN_2D, "dice"),
    ),
    "C5": lambda: (
        mean(TABLE_1, "2d-unpadded-f64-l3", "dice"),
        mean(TABLE_1, "2d-unpadded-f64-l4", "dice"),
        mean(TABLE_1, "3d-f32-l3", "msd_mm"),
        mean(TABLE_1, "3d-f32-l4", "msd_mm"),
    ),
    "C6": lambda: (
        record("hips/3d-f16-l4-a2-gn-fold0")["epochs_trained"],
        record(OURS + "-fold0")["epochs_trained"],
        scores("hips/3d-f16-l4-a2-gn-fold0").dice.mean(),
        hips(OURS, "0").dice.mean(),
    ),
    "C7": lambda: (*(record("synthetic/method_order/" + n)["threshold"] for n in (FLAT, DEEP, DILATED)),),
    "C8": youden,
    "C9": lambda: (order(FLAT, "precision"), order(FLAT, "recall"), order(DEEP, "precision"), order(DEEP, "recall")),
    "C10": lambda: (order(FLAT, "precision", True) - order(FLAT, "precision"),),
    "C11": lambda: (sd(TABLE_3, BEST_3D, "asd_mm"), sd(TABLE_1, BEST_3D, "asd_mm")),
    "C12": lambda: (pp_change("dice"), pp_change("asd_mm")),
    "C13": lambda: (study_pp("dice"), study_pp("asd_mm"), *lost_recall()),
    "C14": lambda: (
        *(
            sum(study(r.network, score, pp) for r in TABLE_2) / 4
            for score in ("precision", "recall")
            for pp in (False, True)
        ),
    ),
    "C15": lambda: (mean(TABLE_2, "2d-unpadded-f64-l4", "recall") - mean(TABLE_1, "2d-unpadded-f64-l4", "recall"),),
    "C16": lambda: (
        study(PLAIN_2D, "asd_mm"),
        study(PLAIN_2D, "asd_mm", True),
        study(PLAIN_3D, "asd_mm"),
        study(PLAIN_2D, "msd_mm"),
        study(PLAIN_2D, "msd_mm", True),
        study(PLAIN_3D, "msd_mm"),
    ),
    "C17": lambda: (
        study(BEST_2D, "precision", True),
        study(BEST_3D, "precision"),
        study(BEST_2D, "dice", True),
        study(BEST_3D, "dice"),
        *folds_for("2D with PP is ahead of 3D without"),
        order(FLAT, "dice", True),
        order(DEEP, "dice"),
    ),
    "C18": lambda: (
        0.05 if all(TABLE_4["2d-f64-l4", b] != "ns" for b in DILATED_2D if max(rates(b)) > 2) else None,
        sum(max(rates(b)) > 2 for b in DILATED_3D),
        sum(TABLE_4[PLAIN_3D, b] == "***" for b in DILATED_3D if max(rates(b)) > 2),
        0.001,
    ),
    "C19": lambda: (
        0.001
        if TABLE_4["3d-f32-l4", "3d-f32-l4-d1.2"] == "***" and TABLE_4["2d-f64-l4", "2d-f64-l4-d1.2"] == "ns"
        else None,
    ),
    "C20": lambda: (
        study(BEST_2D, "dice"),
        study(PLAIN_2D, "dice"),
        study(BEST_3D, "dice"),
        study(PLAIN_3D, "dice"),
        order(DILATED, "dice"),
        order(DEEP, "dice"),
    ),
    "C21": lambda: (
        max(r.mean[0] for r in TABLE_3 if r.network.startswith("3d")),
        max(r.mean[0] for r in TABLE_3 if r.network.startswith("2d")),
        *(
            mean(TABLE_3, n, "dice")
            for n in ("3d-f32-l4-d1.2.4", "3d-f32-l4-d1.4", "2d-f64-l4-d1.2.4", "2d-f64-l4-d1.4")
        ),
    ),
    "C22": lambda: (
        len([1 for (a, b) in TABLE_4 if a.startswith("2d") and b in DILATED_3D]),
        sum(s in ("**", "***") for (a, b), s in TABLE_4.items() if a.startswith("2d") and b in DILATED_3D),
        0.01,
    ),
    "C23": lambda: (
        *verdicts(ABOVE_2),
        *verdicts("All four rates help most"),
        *verdicts("3D, dilated, has a higher AP than 2D"),
        len(TABLE_4),
        significant(),
        study(PLAIN_3D, "average_precision") - study(AGAIN, "average_precision"),
        study(PLAIN_3D, "dice") - study(AGAIN, "dice"),
        tied_trainings(AGAIN)[1],
        tied_trainings(AGAIN)[-1],
        max(tied_trainings(AGAIN)[0], *tied_trainings(PLAIN_3D)),
    ),
    "C24": lambda: (
        *(n for n in verdicts("More layers do better") if n),
        study("2d-unpadded-f64-l3", "dice"),
        study("2d-unpadded-f64-l4", "dice"),
        *(n for n in verdicts("More maps do better") if n),
    ),
    "T1": lambda: (sum(r.network.startswith("2d") for r in TABLE_1), len(TABLE_1[0].mean)),
    "T2": lambda: (
        max(
            abs(r.mean[0] - 2 * r.mean[1] * r.mean[2] / (r.mean[1] + r.mean[2])) for r in (*TABLE_1, *TABLE_2, *TABLE_3)
        ),
    ),
    "T3": lambda: (
        study("2d-f64-l4", "dice"),
        study("2d-unpadded-f64-l4", "dice"),
        study("2d-f64-l3", "dice"),
        study("2d-unpadded-f64-l3", "dice"),
        *(n for n in verdicts("Padding does better") if n),
    ),
    "T4": lambda: (sd(TABLE_2, "2d-f64-l4", "asd_mm"), mean(TABLE_2, "2d-f64-l4", "asd_mm")),
    "T5": lambda: (sd(TABLE_3, PLAIN_3D, "msd_mm"), sd(TABLE_3, BEST_3D, "msd_mm")),
    "T6": lambda: (sd(TABLE_3, "2d-f64-l4", "msd_mm"), sd(TABLE_1, "2d-f64-l4", "msd_mm")),
    "T7": lambda: (*study_ap("3d"), *study_ap("2d")),
    "T8": lambda: (len(TABLE_4), list(TABLE_4.values()).count("ns")),
    "T9": lambda: (len(TABLE_4), next(n for n in range(1, 40) if len(TABLE_4) * 2 / 2**n < 0.05), 0.05),
    "T10": lambda: (
        PAPER.batch_size_2d,
        PAPER.batch_size_3d,
        PAPER.learning_rate,
        *PAPER.grid_2d[:2],
        *PAPER.grid_3d[:2],
        *PAPER.grid_3d,
    ),
    "F4": lambda: (
        order(FLAT, "msd_mm"),
        order(FLAT, "msd_mm", True),
        (scans(FLAT, True).asd_mm.values < scans(FLAT).asd_mm.values).sum(),
        len(scans(FLAT)),
    ),
    "F5": lambda: (*(study(f"{n}-l{levels}", "msd_mm") for levels in (4, 3) for n in ("2d-f64", "2d-unpadded-f64")),),
    "F6": lambda: (
        order(DILATED, "dice", scan=CYST) - order(DEEP, "dice", scan=CYST),
        order(DILATED, "dice", scan=FOLDED) - order(DEEP, "dice", scan=FOLDED),
    ),
    "F7": lambda: (*(n // 2**4 for n in PAPER.grid_3d), 32 * 2**4, *PAPER.grid_3d, weights(PLAIN_3D)),
    "F8": lambda: ((_last_epochs().loss < _last_epochs().val_loss).sum(), len(_last_epochs())),
    "F9": lambda: (*(float(history(f"{LETTER}-fold{k}")[c].iloc[-1]) for k in range(4) for c in ("loss", "val_loss")),),
    "F10": lambda: (
        (_last_epochs().epoch + 1).min(),
        (_last_epochs().epoch + 1).max(),
        (_last_epochs().epoch + 1 == 20).sum(),
        len(_last_epochs()),
        published("workshop", PLAIN_2D)["profile"]["epochs"],
        *(record("synthetic/method_order/" + n)["epochs_trained"] for n in (FLAT, DEEP, DILATED)),
    ),
    "S1": lambda: (order(FLAT, "dice", True), order(FLAT, "msd_mm", True)),
    "S2": lambda: (
        study(PLAIN_3D, "dice", True) - study(PLAIN_3D, "dice"),
        study("3d-f16-l3", "dice", True) - study("3d-f16-l3", "dice"),
        study("3d-f16-l3", "msd_mm"),
        study("3d-f16-l3", "msd_mm", True),
    ),
    "S3": lambda: (
        8,
        order(FLAT, "dice", True),
        order(FLAT, "dice", True, CYST),
        order(DEEP, "dice"),
        order(DEEP, "dice", scan=CYST),
    ),
    "S5": lambda: (
        order(FLAT, "recall", True),
        order(FLAT, "recall", True, FOLDED),
        order(DEEP, "recall"),
        order(DEEP, "recall", scan=FOLDED),
    ),
    "S7": lambda: (
        order(FLAT, "dice", True, FOLDED) - order(FLAT, "dice", True),
        order(DEEP, "dice", scan=FOLDED) - order(DEEP, "dice"),
        order(FLAT, "dice", True, CYST) - order(FLAT, "dice", True),
        order(DEEP, "dice", scan=CYST) - order(DEEP, "dice"),
    ),
    "S9": lambda: (
        by_patient("Eq-1-with-border-weights", "loss-of-Eq-1").mean(),
        (by_patient("Eq-1-with-border-weights", "loss-of-Eq-1") > 0).sum(),
        len(by_patient("Eq-1-with-border-weights", "loss-of-Eq-1")),
        by_patient("another-seed", "half-length").mean(),
    ),
    "E1": lambda: (
        *(measured(f"`{n}`", at=1, table="min an epoch") for n in ("2d-unpadded-f32-l4", "2d-f32-l4", "3d-f32-l4")),
    ),
    "E2": lambda: (
        *(measured(f"`{n}`", at=4, table="min an epoch") for n in ("2d-unpadded-f32-l4", "2d-f32-l4", "3d-f32-l4")),
        measured("`2d-unpadded-f32-l4`", at=4, table="min an epoch")
        / measured("`2d-f32-l4`", at=4, table="min an epoch"),
        18 / 4,
    ),
    "E3": lambda: (
        measured("`3d-f32-l4`", "training step", "femur_lib", at=3),
        measured("`3d-f32-l4-d1.2.4.8`", "training step", "femur_lib", at=3),
        measured("`3d-f32-l4`", "inference", "femur_lib", at=3),
        measured("`3d-f32-l4-d1.2.4.8`", "inference", "femur_lib", at=3),
        100 * (work(BEST_3D) / work(PLAIN_3D) - 1),
    ),
    "E4": lambda: (
        measured("`2d-unpadded-f64-l3`", at=3),
        measured("`2d-unpadded-f64-l4`", at=3),
        9 * work("2d-unpadded-f64-l4") / work("2d-unpadded-f64-l4", 700, 700),
    ),
    "E5": lambda: (work("2d-f64-l4") / work("2d-f32-l4"),),
    "D4": lambda: (
        measured("`3d-f32-l4`", "inference", "femur_lib", at=3),
        measured("`3d-f32-l4`", "inference", "femur_lib", at=6),
        measured("`3d-f32-l4`", "training step", "femur_lib", at=3),
        measured("`3d-f32-l4`", "training step", "femur_lib", at=6),
    ),
    "D5": lambda: (study(PLAIN_2D, "asd_mm"), study(PLAIN_3D, "asd_mm"), study(BEST_2D, "asd_mm")),
    "D7": lambda: (
        *PAPER.grid_2d,
        work(PLAIN_3D, 512, 512, 48),
        48,
        48 * work("2d-f32-l4"),
        *PAPER.grid_3d[:2],
        work(PLAIN_3D),
    ),
    "D8": lambda: (weights("3d-f32-l4"), weights("2d-f64-l4"), weights("2d-f32-l4")),
    "D9": lambda: (
        HISTORIES[2].val_loss.iloc[-1] / HISTORIES[2].loss.iloc[-1],
        HISTORIES[2].val_loss.iloc[-1] / HISTORIES[2].val_loss.min(),
    ),
    "D10": lambda: (
        field(PLAIN_3D),
        PAPER.grid_3d[0],
        field(BEST_3D),
        8,
        field("2d-f64-l4-d1.2.4.8"),
        PAPER.grid_2d[0],
    ),
    "D11": lambda: (verdicts(ABOVE_2)[2], sum(verdicts(ABOVE_2))),
    "D12": lambda: (weights(PLAIN_3D), weights(BEST_3D)),
    "D15": lambda: (
        700,
        700,
        work("2d-unpadded-f64-l4", 700, 700) / work("2d-unpadded-f64-l4"),
        *PAPER.grid_2d[:2],
        training_gb("2d-unpadded-f64-l4", 700, 700),
        training_gb("2d-unpadded-f64-l4"),
    ),
    "D19": lambda: (hips(OURS).dice.mean(), hips(PEER).dice.mean()),
    "D22": lambda: (hips(OURS).dice.mean(), hips(LETTER).dice.mean()),
    "D23": lambda: (hips("hips/voxels").dice.mean(), hips(OURS).dice.mean()),
    "D24": lambda: (
        study(PLAIN_2D, "dice", True) - study(PLAIN_2D, "dice"),
        study(BEST_2D, "dice") - study(PLAIN_2D, "dice"),
        study(BEST_3D, "dice") - study(PLAIN_3D, "dice"),
        study(BEST_3D, "dice"),
        study(BEST_2D, "dice"),
    ),
    "N1": lambda: (64 * 2**4,),
    "N2": lambda: (
        PAPER.grid_2d[0],
        unpadded_geometry(512, 3).output,
        unpadded_geometry(512, 4).output,
        *(start for start, _ in unpadded_geometry(512, 4).crops),
    ),
    "N3": lambda: (next(n for n in range(20, 400) if answers(n, 4)), PAPER.grid_3d[2]),
    "N5": lambda: (
        1,
        2,
        4,
        8,
        *(field(n) for n in ("3d-f32-l4", "3d-f32-l4-d1.2", "3d-f32-l4-d1.4", "3d-f32-l4-d1.8")),
    ),
    "N6": lambda: (
        hips("hips/ingredients/flips-alone").dice.mean(),
        hips("hips/ingredients/no-augmentation").dice.mean(),
    ),
    "N7": lambda: (2 ** (18 / 2),),
    "N9": lambda: (2, 2, 2),
    "N10": lambda: (4 * 32 * 2**4, PAPER.grid_3d[2] // 2**4),
    "N12": lambda: (1 / 2,),
    "N15": lambda: (
        *PAPER.grid_3d,
        training_gb(BEST_3D),
        measured("`3d-f32-l4-d1.2.4.8`", "training step", "femur_lib", at=6),
    ),
    "P2": lambda: (512, *patch_starts(unpadded_geometry(512, 4))),
    "P3": lambda: (
        measured("`2d-unpadded-f64-l4`", at=5),
        patch_starts(unpadded_geometry(512, 4))[1],
        2**4,
        0.000001 if measured("`2d-unpadded-f64-l4`", at=4) < 1e-6 else None,
    ),
    "P5": lambda: (
        order(FLAT, "msd_mm"),
        order(FLAT, "msd_mm", True),
        order(FLAT, "specificity"),
        order(FLAT, "specificity", True),
    ),
    "P6": lambda: (order(DEEP, "asd_mm"), order(DEEP, "asd_mm", True)),
    "P7": lambda: (
        order(FLAT, "dice", False, CYST),
        order(FLAT, "dice", True, CYST),
        order(FLAT, "recall", False, CYST),
        order(FLAT, "recall", True, CYST),
    ),
    "B2": lambda: (18 + 8,),
    "B3": lambda: (max(range(1, 91), key=lambda a: float(flash(TISSUES["fatty marrow"], a))),),
    "B4": lambda: (512 * 0.234, 512 * 0.234, 60 * 1.5),
    "B6": lambda: (len(FRACTURE_SITES) if len(FRACTURE_SITES) == 4 + 15 + 12 + 1 + 4 else None,),
    "B9": lambda: (48, 1.5, 48 * 1.5 / 10),
    "B10": lambda: (*PAPER.grid_2d, training_gb(PLAIN_3D, 512, 512, 48), *PAPER.grid_3d[:2], training_gb(PLAIN_3D), 16),
    "M1": lambda: (*(n for n, _ in FOLDS), 86, 36, *{fractured for _, fractured in FOLDS}),
    "M2": lambda: (len(hips(OURS).participant_id.unique()), known_patients(OURS)),
    "M3": lambda: (
        len(published("hips-paper", "2d-f8-l4-d1.2.4.8")["training"]),
        *(flattered(what, kind) for what in ("epoch", "threshold") for kind in ("2d", "3d")),
    ),
    "M4": lambda: (30 + 1 + 10,),
    "M5": lambda: sorted({record(f"{LETTER}-fold{k}")["epochs_trained"] for k in range(4)}),
    "V1": lambda: (order(DEEP, "dice"), order(DEEP, "dice", truth="exact")),
    "V4": lambda: (order(FLAT, "specificity"), order(FLAT, "precision")),
}
