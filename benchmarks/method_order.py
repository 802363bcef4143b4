"""Does the paper's order of methods hold on synthetic hips? Small, real trainings, scored on unseen hips.

    python benchmarks/method_order.py OUT [--subjects 32] [--difficulty usual]

It answers four questions with hips that no network was trained on. Is 2D worse than 3D before post-processing? Does
keeping the largest component raise precision and not recall? Does a dilated centre help? Do a cyst, fold-over and
ghosts do harm? For the last question the held-out women are scanned once more with the artefact, and everything else
stays the same. The tables are printed and written to OUT; a second start continues with what is there.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import pandas as pd

from femur_lib.config import Profile
from femur_lib.evaluation import score
from femur_lib.inference import segment
from femur_lib.phantom.cohort import SIZES, make_cohort, stacks
from femur_lib.phantom.parameters import DIFFICULTIES, Person
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person
from femur_lib.runs import load_run
from femur_lib.training import train
from femur_lib.volumes import Volume

NETWORKS = ("2d-unpadded-f16-l2", "3d-f8-l3", "3d-f8-l3-d1.2.4")
PROFILE = Profile(
    profile="order",
    grid_2d=(128, 128, 32),
    grid_3d=(64, 64, 32),
    epochs=40,
    first_epochs=20,
    patience=8,
    learning_rate=1e-3,
    batch_size_2d=8,
    evaluation_slices="central",
)


def altered(person: Person) -> dict[str, Person]:
    """The same woman, scanned again with one thing wrong."""
    clean = replace(
        person, protocol=replace(person.protocol, fold_over=0, ghost=0), hip=replace(person.hip, cyst_radius=0)
    )
    return {
        "as she is": clean,
        "cyst of 8 mm": replace(clean, hip=replace(clean.hip, cyst_radius=8.0)),
        "fold-over x 0.6": replace(clean, protocol=replace(clean.protocol, fold_over=0.6)),
        "ghost 0.2": replace(clean, protocol=replace(clean.protocol, ghost=0.2)),
        "SNR 8": replace(clean, protocol=replace(clean.protocol, snr=8.0)),
    }


def main() -> None:
    """Make the cohort, train, score, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--subjects", type=int, default=32)
    parser.add_argument("--difficulty", default="usual", choices=list(DIFFICULTIES))
    a = parser.parse_args()
    cohort = make_cohort(a.out / "cohort", a.subjects, "workshop", difficulty=a.difficulty, progress=print)
    rows = []
    for network in NETWORKS:
        folder = train(cohort, a.out / network, network, PROFILE, 0)
        run = load_run(folder)
        for name in run.record["validation"]:
            person = draw_person(0, int(name.removeprefix("sub-")) - 1, DIFFICULTIES[a.difficulty])
            for what, woman in altered(person).items():
                image, rater, labels = stacks(woman, scan(woman, *SIZES["workshop"]))
                for largest in (False, True):
                    _, mask = segment(replace(run.segmenter, largest_component=largest, every_slice=False), image)
                    for truth, array in (("expert", rater), ("exact", labels == 1)):
                        row = {
                            "network": network,
                            "scan": what,
                            "subject": name,
                            "component": largest,
                            "truth": truth,
                        }
                        rows.append(row | score(Volume(array, image.affine), mask))
    table = pd.DataFrame(rows)
    table.to_csv(a.out / "method_order.csv", index=False)
    scores = ["dice", "precision", "recall", "asd_mm", "msd_mm"]
    clean = table[table.scan == "as she is"]
    pd.set_option("display.width", 160)
    print("\nHeld-out women, means (component: only the largest one is kept)")
    print(clean.groupby(["truth", "network", "component"], sort=False)[scores].mean().round(3).to_string())
    print("\nThe same women with one thing wrong: mean Dice against the expert, with the paper's post-processing")
    as_paper = table[(table.truth == "expert") & (table.component == table.network.str.startswith("2d"))]
    print(as_paper.pivot_table("dice", "network", "scan", sort=False).round(3).to_string())


if __name__ == "__main__":
    main()
