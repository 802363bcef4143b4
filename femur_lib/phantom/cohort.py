"""Many synthetic hips, made side by side and written as a cohort on disk, with the truth beside it.

To a cohort's usual files (femur_lib/cohort.py) come, under ``derivatives/truth``::

    sub-001/anat/sub-001_dseg.nii.gz    exact labels: 1 the paper's mask, 2 the rest of the femur, 3 pelvis
    dseg.tsv                            what the labels mean
    truth.tsv                           every parameter and landmark of every subject

The mask that a cohort trains on (``derivatives/femur``) is an *expert's*: it follows the exact border with a smooth
error, as people do. The exact one is label 1.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

import femur_lib
from femur_lib.cohort import Cohort, read_cohort, write_hip, write_tables
from femur_lib.errors import DataError
from femur_lib.files import whole
from femur_lib.locks import alone
from femur_lib.phantom.bones import LABELS
from femur_lib.phantom.femur import cut_level, in_scanner, landmarks
from femur_lib.phantom.field import FIELD_OF_VIEW_MM
from femur_lib.phantom.parameters import DIFFICULTIES, Difficulty, Person
from femur_lib.phantom.scanner import Scan, scan
from femur_lib.phantom.subject import draw_person
from femur_lib.volumes import Volume, write_volume

# Pixels (rows and columns) and slices. All cover the same 120 x 120 x 90 mm; the paper's is "paper".
SIZES = {"quick": (96, 30), "workshop": (128, 40), "paper": (512, 60)}
ENOUGH_FOR_TWO = 1e7  # voxels in all; starting further processes takes longer than making fewer


def make_cohort(
    out: str | os.PathLike,
    subjects: int,
    size: str = "quick",
    seed: int = 0,
    difficulty: str = "usual",
    workers: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> Cohort:
    """Make synthetic hips, one a woman; each 86 hold 36 fractures elsewhere, 3 fold-overs and a cyst, as the paper's.

    Subject 7 of seed 0 is the same woman at every size and in a cohort of any length. Stopped, even killed, it goes on
    with the subjects that are missing; a finished cohort of the same recipe is returned as it is.

    Args:
        out: a new folder.
        subjects: how many.
        size: a name in ``SIZES``.
        seed: of the women and their scans.
        difficulty: a name in ``DIFFICULTIES``.
        workers: processes; 0 takes one a core, or one where the cohort is small.
        progress: gets one line a subject.

    Raises:
        ValueError: an unknown size or difficulty, or no subjects.
        DataError: ``out`` holds something else, or an unfinished cohort of another recipe lies beside it.
    """
    if size not in SIZES:
        raise ValueError(f"size is one of {', '.join(SIZES)}, got {size!r}")
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty is one of {', '.join(DIFFICULTIES)}, got {difficulty!r}")
    if subjects < 1:
        raise ValueError(f"a cohort has at least one subject, got {subjects}")
    out = Path(out)
    recipe = {
        "subjects": subjects,
        "size": size,
        "seed": seed,
        "difficulty": {"name": difficulty, **asdict(DIFFICULTIES[difficulty])},
        "version": femur_lib.__version__,
    }
    # Two processes that want the same cohort, a notebook and a terminal: the second waits and finds it made.
    with alone(out, progress):
        if not _is_made(out, recipe):
            _make(out, recipe, DIFFICULTIES[difficulty], workers, progress)
    return read_cohort(out)


def _is_made(out: Path, recipe: dict) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        made = json.loads((out / "dataset_description.json").read_text()).get("Recipe")
    except (OSError, ValueError):
        made = None
    if made != recipe:
        what = "synthetic hips of another recipe" if made else "something there already"
        raise DataError(out, what, "a new or empty folder", "Choose another, or remove it yourself.")
    return True


def _make(out: Path, recipe: dict, difficulty: Difficulty, workers: int, progress: Callable[[str], None]) -> None:
    partial = out.with_name(f"{out.name}.partial")
    note = partial / "recipe.json"
    if partial.exists() and (not note.is_file() or json.loads(note.read_text()) != recipe):
        raise DataError(
            partial,
            "an unfinished cohort of another recipe",
            f"none, or one of {recipe['subjects']} subjects, {recipe['size']}, seed {recipe['seed']}",
            "Finish it with its own recipe (recipe.json in it), or remove it yourself.",
        )
    with whole(note) as path:
        path.write_text(json.dumps(recipe, indent=2))
    people = [draw_person(recipe["seed"], k, difficulty) for k in range(recipe["subjects"])]
    pixels, slices = SIZES[recipe["size"]]
    waiting = [p for p in people if not _row_path(partial, p).is_file()]
    if len(waiting) < len(people):
        progress(f"{len(people) - len(waiting)} of {len(people)} were made before")
    if not workers:
        workers = joblib.cpu_count() if len(waiting) * pixels**2 * slices > ENOUGH_FOR_TWO else 1
    jobs = (joblib.delayed(_write_subject)(partial, p, pixels, slices) for p in waiting)
    for name in joblib.Parallel(n_jobs=workers, return_as="generator")(jobs):
        progress(f"{name} of {len(people)}")
    _finish(partial, people, recipe)
    if out.exists():
        out.rmdir()
    partial.rename(out)


def _row_path(root: Path, person: Person) -> Path:
    """A subject's row of truth.tsv. It is written last: where it is, the subject is whole."""
    return root / f"{person.name}.json"


def _write_subject(root: Path, person: Person, pixels: int, slices: int) -> str:
    made = scan(person, pixels, slices)
    image, mask, labels = stacks(person, made)
    write_hip(root, person.name, image, mask)
    write_volume(exact_labels_path(root, person.name), labels, image.affine)
    with whole(_row_path(root, person)) as path:
        path.write_text(json.dumps(truth(person, made)))
    return person.name


def exact_labels_path(root: Path, subject: str) -> Path:
    """Where a synthetic cohort keeps a subject's exact labels."""
    return root / "derivatives" / "truth" / subject / "anat" / f"{subject}_dseg.nii.gz"


def _finish(root: Path, people: list[Person], recipe: dict) -> None:
    rows = [
        {
            "participant_id": p.name,
            "patient": p.name,
            "side": p.side,
            "group": p.group,
            "sex": "F",
            "age": round(p.age),
            "fracture_site": p.fracture_site,
        }
        for p in people
    ]
    source = f"femur phantom, {recipe['size']}, seed {recipe['seed']}, {recipe['difficulty']['name']}"
    write_tables(root, rows, "Synthetic hips", source, License="CC0-1.0", Recipe=recipe)
    table = pd.DataFrame([json.loads(_row_path(root, p).read_text()) for p in people])
    table.to_csv(root / "derivatives" / "truth" / "truth.tsv", sep="\t", index=False)
    names = pd.DataFrame({"index": list(LABELS), "name": list(LABELS.values())})
    names.to_csv(root / "derivatives" / "truth" / "dseg.tsv", sep="\t", index=False)
    for p in people:
        _row_path(root, p).unlink()
    (root / "recipe.json").unlink()


def stacks(person: Person, made: Scan) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A scan as a coronal stack (rows, columns, slices): int16 image, expert's mask, exact labels (uint8).

    On the right side columns run from lateral to medial: a stack's columns grow to the patient's left.
    """
    image, mask, labels = (
        np.moveaxis(a[:, :, ::-1] if person.side == "R" else a, 0, 2) for a in (made.image, made.rater, made.labels)
    )
    return Volume(image, stack_affine(image.shape)), mask, labels


def stack_affine(shape: tuple[int, ...]) -> np.ndarray:
    """The affine of a coronal stack (axes I, L, P) that fills the field of view about the scanner's origin."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2] = (-f / n for f, n in zip(FIELD_OF_VIEW_MM, shape, strict=True))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    affine[3, 3] = 1
    return affine


def truth(person: Person, made: Scan) -> dict[str, object]:
    """All that is known of a subject, flat: parameters, landmarks (mm in the NIfTI's RAS frame), volumes (cm3)."""
    hip, protocol = person.hip, person.protocol
    row: dict[str, object] = {
        "participant_id": person.name,
        "side": person.side,
        "group": person.group,
        "fracture_site": person.fracture_site,
        "age": person.age,
        "rater_border_mm": person.rater_border_mm,
        "rater_cut_mm": person.rater_cut_mm,
        **asdict(hip),
        **{name: value for name, value in asdict(protocol).items() if name not in ("place", "turn")},
        **{f"turn_{axis}_degrees": angle for axis, angle in zip("xyz", protocol.turn, strict=True)},
    }
    mark = landmarks(hip)
    to_right = 1 if person.side == "R" else -1
    for name, point in (
        ("head_centre", np.zeros(3)),
        ("neck_base", mark.neck_base),
        ("greater_trochanter", mark.greater_trochanter),
        ("lesser_trochanter", mark.lesser_trochanter),
    ):
        x, y, z = in_scanner(point, hip, protocol)
        row |= {f"{name}_r_mm": float(to_right * x), f"{name}_a_mm": float(y), f"{name}_s_mm": float(z)}
    row["cut_s_mm"] = cut_level(hip, protocol)
    voxel_cm3 = np.prod(FIELD_OF_VIEW_MM) / 1000 / made.labels.size
    volumes = {"mask": made.labels == 1, "rater": made.rater, "femur": made.labels % 3 > 0, "pelvis": made.labels == 3}
    return row | {f"{name}_cm3": float(np.count_nonzero(where) * voxel_cm3) for name, where in volumes.items()}
