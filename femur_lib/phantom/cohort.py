"""Many synthetic hips, made side by side and written as a cohort on disk, with the truth beside it.

Besides the files that every cohort has (``femur_lib.cohort``), there are under ``derivatives/truth``::

    sub-001/anat/sub-001_dseg.nii.gz    exact labels: 1 the paper's mask, 2 the rest of the femur, 3 pelvis
    dseg.tsv                            what the labels mean
    truth.tsv                           every parameter and landmark of every subject

The mask that networks train on (``derivatives/femur``) is an *expert's*: it follows the exact border with a smooth
error, as people do. The exact mask is label 1; if the whole femur was asked for, it is labels 1 and 2.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import joblib
import numpy as np
import pandas as pd

import femur_lib
from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import beside, refuse_here, write_json
from femur_lib._runtime.locks import exclusive_lock
from femur_lib.cohort import Cohort, read_cohort, write_hip, write_tables
from femur_lib.phantom.femur import cut_level, in_scanner, landmarks
from femur_lib.phantom.field import FIELD_OF_VIEW_MM
from femur_lib.phantom.painting import LABELS
from femur_lib.phantom.parameters import DIFFICULTIES, Person
from femur_lib.phantom.scanner import Scan, scan
from femur_lib.phantom.subject import draw_person
from femur_lib.volumes import Volume, write_volume

# Pixels (rows and columns) and slices. All cover the same 120 x 120 x 90 mm; the paper's scans have the size "paper".
SIZES = {"quick": (96, 30), "workshop": (128, 40), "paper": (512, 60)}
ENOUGH_FOR_TWO = 1e7  # voxels in all; for fewer, starting further processes takes longer than it saves


def make_cohort(
    out: str | os.PathLike,
    subjects: int,
    size: str = "quick",
    seed: int = 0,
    difficulty: str = "usual",
    workers: int = 0,
    progress: Callable[[str], None] = lambda line: None,
    whole_femur: bool = False,
) -> Cohort:
    """Make synthetic hips, one of each woman. Every 86 have 36 fractures elsewhere, 3 fold-overs and a cyst (paper).

    Subject 7 of seed 0 is the same woman at every size and in a cohort of any length. If the work is stopped, even
    killed, the next call makes what is missing; a finished cohort of the same recipe is returned as it is.

    Args:
        out: a new folder.
        subjects: how many women.
        size: a name in ``SIZES``.
        seed: of the women and their scans.
        difficulty: a name in ``DIFFICULTIES``.
        workers: how many processes; 0 takes one for each core, or a single one where the cohort is small.
        progress: called with one line for each subject.
        whole_femur: whether masks hold all of the femur, with its cortex and down to the image's edge, as the public
            pelvis set draws it; the paper's end within the cortex and below the lesser trochanter.

    Raises:
        ValueError: the size or the difficulty is unknown, or there are no subjects.
        DataError: ``out`` holds something else or is the folder that we are in, or an unfinished cohort of another
            recipe lies beside it.
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
        **({"whole_femur": True} if whole_femur else {}),  # cohorts made before there was a choice stay what they are
    }
    if _is_made(out, recipe):  # asked before the lock, too: it may lie where nothing can be written
        return read_cohort(out)
    refuse_here(out)
    # Two processes may want the same cohort, say a notebook and a terminal: the second waits, and finds it made.
    with exclusive_lock(out, progress):
        if not _is_made(out, recipe):
            people = [draw_person(seed, k, DIFFICULTIES[difficulty]) for k in range(subjects)]
            people = [replace(person, whole_femur=whole_femur) for person in people]
            _make(out, recipe, people, workers, progress)
    return read_cohort(out)


def make_once(
    folder: Path, profile: str, subjects: int, seed: int, progress: Callable[[str], None] = lambda line: None
) -> None:
    """Make the synthetic hips of a profile, at the size of its name or else "quick", unless its folder is there."""
    if not folder.exists():
        make_cohort(folder, subjects, profile if profile in SIZES else "quick", seed, progress=progress)


def _is_made(out: Path, recipe: dict) -> bool:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        made = json.loads((out / "dataset_description.json").read_text("utf-8")).get("Recipe")
    except (OSError, ValueError):
        made = None
    if made != recipe:
        what = "synthetic hips of another recipe" if made else "something else already"
        raise DataError(
            f"{out} holds {what}; a new or an empty folder was expected.",
            "Choose another folder, or remove it yourself.",
        )
    return True


def _make(out: Path, recipe: dict, people: list[Person], workers: int, progress: Callable[[str], None]) -> None:
    partial = beside(out, after=".partial")
    note = partial / "recipe.json"
    if partial.exists() and (not note.is_file() or json.loads(note.read_text("utf-8")) != recipe):
        raise DataError(
            f"{partial} is an unfinished cohort of another recipe; one of {recipe['subjects']} subjects, "
            f"{recipe['size']}, seed {recipe['seed']}, or none was expected.",
            "Finish it with its own recipe (recipe.json in it), or remove it yourself.",
        )
    write_json(note, recipe)
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
    """A subject's row of truth.tsv. It is written last: where there is one, the subject is complete."""
    return root / f"{person.name}.json"


def _write_subject(root: Path, person: Person, pixels: int, slices: int) -> str:
    made = scan(person, pixels, slices)
    image, mask, labels = stacks(person, made)
    write_hip(root, person.name, image, mask)
    write_volume(exact_labels_path(root, person.name), labels, image.affine)
    write_json(_row_path(root, person), truth(person, made))
    return person.name


def exact_labels_path(root: Path, subject: str) -> Path:
    """Where a synthetic cohort keeps a subject's exact labels."""
    return root / "derivatives" / "truth" / subject / "anat" / f"{subject}_dseg.nii.gz"


def _finish(root: Path, people: list[Person], recipe: dict) -> None:
    rows = []
    for p in people:
        row = {"participant_id": p.name, "patient": p.name, "side": p.side, "group": p.group}
        rows.append(row | {"sex": "F", "age": round(p.age), "fracture_site": p.fracture_site})
    source = f"femur phantom, {recipe['size']}, seed {recipe['seed']}, {recipe['difficulty']['name']}"
    source += ", whole femur" if people[0].whole_femur else ""
    write_tables(root, rows, "Synthetic hips", source, License="CC0-1.0", Synthetic=True, Recipe=recipe)
    table = pd.DataFrame([json.loads(_row_path(root, p).read_text("utf-8")) for p in people])
    names = pd.DataFrame({"index": list(LABELS), "name": list(LABELS.values())})
    for file, content in (("truth", table), ("dseg", names)):
        content.to_csv(root / "derivatives" / "truth" / f"{file}.tsv", sep="\t", index=False)
    for p in people:
        _row_path(root, p).unlink()
    (root / "recipe.json").unlink()


def stacks(person: Person, made: Scan) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A scan as a coronal stack (rows, columns, slices): int16 image, expert's mask, exact labels (uint8).

    Of a right hip, columns run from lateral to medial: a stack's columns always grow towards the patient's left.
    """
    image, mask, labels = (
        np.moveaxis(a[:, :, ::-1] if person.side == "R" else a, 0, 2) for a in (made.image, made.rater, made.labels)
    )
    # A coronal stack (axes I, L, P) that fills the field of view around the scanner's origin.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2] = (-f / n for f, n in zip(FIELD_OF_VIEW_MM, image.shape, strict=True))
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(image.shape) - 1) / 2)
    affine[3, 3] = 1
    return Volume(image, affine), mask, labels


def truth(person: Person, made: Scan) -> dict[str, object]:
    """All that is known of a subject, flat: parameters, landmarks (mm in the NIfTI's RAS frame), volumes (cm³)."""
    hip, protocol = person.hip, person.protocol
    row: dict[str, object] = {"participant_id": person.name}
    row |= {n: getattr(person, n) for n in ("side", "group", "fracture_site", "age", "rater_border_mm", "rater_cut_mm")}
    row |= asdict(hip) | {name: value for name, value in asdict(protocol).items() if name not in ("place", "turn")}
    row |= {f"turn_{axis}_degrees": angle for axis, angle in zip("xyz", protocol.turn, strict=True)}
    mark = landmarks(hip)
    points = {"head_centre": np.zeros(3)}
    points |= {name: getattr(mark, name) for name in ("neck_base", "greater_trochanter", "lesser_trochanter")}
    to_right = 1 if person.side == "R" else -1
    for name, point in points.items():
        x, y, z = in_scanner(point, hip, protocol)
        row |= {f"{name}_r_mm": float(to_right * x), f"{name}_a_mm": float(y), f"{name}_s_mm": float(z)}
    row["cut_s_mm"] = cut_level(hip, protocol)
    voxel_cm3 = np.prod(FIELD_OF_VIEW_MM) / 1000 / made.labels.size
    volumes = {"mask": made.labels == 1, "rater": made.rater, "femur": made.labels % 3 > 0, "pelvis": made.labels == 3}
    return row | {f"{name}_cm3": float(np.count_nonzero(where) * voxel_cm3) for name, where in volumes.items()}
