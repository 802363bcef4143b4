"""Three claims that the workshop study does not ask (PAPER.md, rows N13, N16, S4 and S8), at its size.

    nice python benchmarks/open_rows.py OUT

24 synthetic women, the profile ``workshop``, fold 0, two seeds of each training:

as in the study   `2d-f64-l4` and `3d-f32-l4`
no weights        the same with a loss in which both classes count as they are (N13)
one slice         `2d-f64-l4`, whose three channels all show the middle slice (N16)
more cysts        `3d-f32-l4`, with a cyst of 8 mm in every second woman that it is trained on (S4, S8)

All are scored on the held-out women as they are, and once more with a cyst of 8 mm. A second start goes on with what is
there. Writes OUT/open_rows.csv, one row a training and held-out scan.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
from method_order import altered

from femur_lib import dataset, inference
from femur_lib._runtime.files import write_csv
from femur_lib.cohort import Cohort, folds, new_cohort, read_cohort
from femur_lib.config import load_profile
from femur_lib.evaluation import score
from femur_lib.inference import segment
from femur_lib.phantom.cohort import SIZES, make_cohort, stacks
from femur_lib.phantom.parameters import DIFFICULTIES, Person
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person
from femur_lib.runs import load_run
from femur_lib.training import train
from femur_lib.volumes import Volume

FLAT, DEEP = "2d-f64-l4", "3d-f32-l4"
ARMS = {"as in the study": (FLAT, DEEP), "no weights": (FLAT, DEEP), "one slice": (FLAT,), "more cysts": (DEEP,)}
CYST = "cyst of 8 mm"
three_slices = dataset.three_slices


def the_middle_slice(stack, k: int):
    """As ``three_slices``, but all three are the middle one."""
    return three_slices(stack, k)[..., [1, 1, 1]]


def woman(subject: str) -> Person:
    """The synthetic woman of that name."""
    return draw_person(0, int(subject.removeprefix("sub-")) - 1, DIFFICULTIES["usual"])


def with_cysts(cohort: Cohort, training: tuple[str, ...], out: Path) -> Cohort:
    """The same women, and a cyst in every second of ``training``."""
    if not out.exists():
        with new_cohort(out, "more cysts", "femur phantom", synthetic=True) as add:
            for s in cohort.subjects:
                person = woman(s.id)
                if s.id in training[::2]:
                    person = replace(person, hip=replace(person.hip, cyst_radius=8.0))
                image, mask, _ = stacks(person, scan(person, *SIZES["workshop"]))
                add(s.id, s.patient, s.side, s.group, image, mask)
    return read_cohort(out)


def scored(run: Path) -> list[dict]:
    """Scores of a run on its held-out women, as they are and with a cyst; without post-processing."""
    loaded, rows = load_run(run), []
    plain = replace(loaded.segmenter, largest_component=False, every_slice=False)
    for name in loaded.record["validation"]:
        as_she_is = woman(name)
        for what, person in {"as she is": as_she_is, CYST: altered(as_she_is)[CYST]}.items():
            image, mask, _ = stacks(person, scan(person, *SIZES["workshop"]))
            scores = score(Volume(mask, image.affine), segment(plain, image)[1])
            rows.append({"scan": what, "participant_id": name, **scores})
    return rows


def main() -> None:
    """Train, score and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    out = parser.parse_args().out
    profile = load_profile("workshop")
    usual = make_cohort(out / "cohort", profile.subjects, "workshop", progress=print)
    training = folds(usual, profile.folds, profile.seed)[0].training
    cysts = with_cysts(usual, training, out / "more-cysts")
    tables = []
    for seed in (0, 1):
        for arm, networks in ARMS.items():
            for network in networks:
                run = out / f"{arm.replace(' ', '-')}-{network}-seed{seed}"
                recipe = {"base": "paper"} | ({"loss": "cross-entropy"} if arm == "no weights" else {})
                settings = profile.changed(recipe=recipe, training_seed=seed)
                slices = the_middle_slice if arm == "one slice" else three_slices
                dataset.three_slices = inference.three_slices = slices
                table = out / f"{run.name}.csv"
                if not table.exists():
                    train(cysts if arm == "more cysts" else usual, run, network, settings, 0)
                    write_csv(table, pd.DataFrame(scored(run)))
                    shutil.copyfile(run / "run.json", out / f"{run.name}.json")
                tables.append(pd.read_csv(table).assign(arm=arm, network=network, seed=seed))
    found = pd.concat(tables, ignore_index=True)
    write_csv(out / "open_rows.csv", found[["arm", "network", "seed", *found.columns[:-3]]].round(4))
    means = found.groupby(["network", "arm", "scan", "seed"], sort=False)[["dice", "precision", "recall", "asd_mm"]]
    print(means.mean().round(3).to_string())


if __name__ == "__main__":
    main()
