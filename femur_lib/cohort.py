"""A cohort: scans, masks and who they belong to, as they lie on disk.

The layout follows BIDS (https://bids-specification.readthedocs.io), one row and one folder a hip::

    COHORT/
      dataset_description.json
      participants.tsv                participant_id  patient  side  group
      sub-01L/anat/sub-01L_T1w.nii.gz
      derivatives/femur/sub-01L/anat/sub-01L_desc-femur_mask.nii.gz

``patient`` is what folds are made by: the two hips of one woman are two participants and one patient.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

import femur_lib
from femur_lib.errors import DataError
from femur_lib.volumes import Volume, check_same_grid, read_mask, read_volume, write_volume

COLUMNS = ["participant_id", "patient", "side", "group"]


@dataclass(frozen=True)
class Subject:
    """One hip: its name, the patient it belongs to, side ("L", "R" or "n/a"), group, and its two files."""

    id: str
    patient: str
    side: str
    group: str
    image: Path
    mask: Path


@dataclass(frozen=True)
class Cohort:
    """The subjects of one folder, in the order of its participants.tsv."""

    root: Path
    subjects: tuple[Subject, ...]

    def __getitem__(self, name: str) -> Subject:
        """The subject of that name."""
        for subject in self.subjects:
            if subject.id == name:
                return subject
        raise KeyError(f"{self.root} has no subject {name}; it has {', '.join(s.id for s in self.subjects)}")

    @property
    def source(self) -> str:
        """What the cohort was made from, as its dataset_description.json says."""
        about = self.root / "dataset_description.json"
        return str(json.loads(about.read_text()).get("Source", "not said")) if about.is_file() else "not said"

    def table(self) -> pd.DataFrame:
        """Participants as a data frame, one row a subject."""
        rows = [(s.id, s.patient, s.side, s.group) for s in self.subjects]
        return pd.DataFrame(rows, columns=COLUMNS)


@dataclass(frozen=True)
class Fold:
    """One way to split a cohort: names of the subjects to train on and of those to validate on."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def image_path(root: Path, subject: str) -> Path:
    """Where a cohort keeps a subject's scan."""
    return root / subject / "anat" / f"{subject}_T1w.nii.gz"


def mask_path(root: Path, subject: str) -> Path:
    """Where a cohort keeps a subject's femur mask."""
    return root / "derivatives" / "femur" / subject / "anat" / f"{subject}_desc-femur_mask.nii.gz"


def read_cohort(root: str | os.PathLike) -> Cohort:
    """Read a cohort's table and see that every file it names is there; no voxel is read yet.

    Raises:
        DataError: the table is missing, lacks a column, is empty, names a subject twice, gives one patient two
            groups, an unknown side, or names a subject whose image or mask is missing.
    """
    root = Path(root)
    path = root / "participants.tsv"
    if not path.is_file():
        raise DataError(root, "no participants.tsv", "a cohort folder", "See data/README.md for the layout.")
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise DataError(
            path, f"a table that cannot be read ({error})", "tab-separated text", "Save it as such."
        ) from None
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        raise DataError(path, f"no column {', '.join(missing)}", f"{', '.join(COLUMNS)}", "Add the column.")
    if table.empty:
        raise DataError(path, "no rows", "one row a hip", "Add the hips.")
    twice = table.participant_id[table.participant_id.duplicated()].unique()
    if len(twice):
        raise DataError(path, f"{', '.join(twice)} in more than one row", "one row a hip", "Name each hip once.")
    groups = table.groupby("patient").group.agg(set)
    for patient, names in groups[groups.map(len) > 1].items():
        raise DataError(
            path,
            f"patient {patient} in the groups {', '.join(sorted(names))}",
            "one group a patient",
            "Folds keep a patient together and groups balanced; give all rows of a patient the same group.",
        )
    strange = sorted(set(table.side) - {"L", "R", "n/a"})
    if strange:
        raise DataError(path, f"side {', '.join(map(repr, strange))}", "L, R or n/a", "Correct the column side.")
    subjects = []
    for row in table.itertuples():
        name = str(row.participant_id)
        image, mask = image_path(root, name), mask_path(root, name)
        for file in (image, mask):
            if not file.is_file():
                raise DataError(
                    file,
                    "no such file",
                    f"the file of {name}",
                    "Add it, or remove the row from participants.tsv.",
                )
        subjects.append(Subject(name, str(row.patient), str(row.side), str(row.group), image, mask))
    return Cohort(root, tuple(subjects))


def read_subject(subject: Subject) -> tuple[Volume, Volume]:
    """A subject's scan and mask, on the scan's own axes, checked against each other (DataError if not alike)."""
    image, mask = read_volume(subject.image), read_mask(subject.mask)
    check_same_grid(subject.mask, mask, subject.image, image)
    return image, mask


def check_cohort(cohort: Cohort, progress: Callable[[str], None] = lambda line: None) -> pd.DataFrame:
    """Read every file of a cohort and describe it: one row a subject.

    Returns:
        A data frame with shape, spacing (mm), axes, mask volume (cm3), the number of mask components, and whether
        the mask touches the scan's border (a femur cut by the field of view has no true volume).

    Raises:
        DataError: the first file that cannot be used.
    """
    from scipy import ndimage

    rows = []
    for subject in cohort.subjects:
        progress(subject.id)
        image, mask = read_subject(subject)
        inside = mask.array[1:-1, 1:-1, 1:-1].sum()
        rows.append(
            {
                "participant_id": subject.id,
                "patient": subject.patient,
                "side": subject.side,
                "group": subject.group,
                "shape": " x ".join(map(str, image.array.shape)),
                "spacing_mm": " x ".join(f"{s:.3g}" for s in image.spacing_mm),
                "axes": "".join(image.axes),
                "mask_cm3": float(mask.array.sum() * np.prod(mask.spacing_mm) / 1000),
                "components": int(ndimage.label(mask.array, np.ones((3, 3, 3)))[1]),
                "touches_border": bool(inside < mask.array.sum()),
            }
        )
    return pd.DataFrame(rows)


def folds(cohort: Cohort, n_folds: int = 4, seed: int = 0) -> list[Fold]:
    """Split by patient, with the groups spread evenly (paper, Model selection: four folds, stratified random).

    A patient's hips always go together: two hips of one woman are not independent, and a network that has seen the
    one is not tested honestly on the other.

    Raises:
        ValueError: fewer patients than folds.
    """
    patients = cohort.table().groupby("patient", sort=True).group.first()
    if len(patients) < n_folds:
        raise ValueError(f"{n_folds} folds need at least {n_folds} patients; {cohort.root} has {len(patients)}")
    # scikit-learn wants every group to have a member in every fold; smaller groups are pooled.
    sizes = patients.value_counts()
    strata = patients.where(patients.map(sizes) >= n_folds, "pooled")
    if (strata == "pooled").sum() < n_folds:
        strata = strata.replace("pooled", sizes.idxmax())
    split = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(patients.index, strata)
    result = []
    for _, held_out in split:
        held_out_patients = set(patients.index[held_out])
        training = tuple(s.id for s in cohort.subjects if s.patient not in held_out_patients)
        validation = tuple(s.id for s in cohort.subjects if s.patient in held_out_patients)
        result.append(Fold(training, validation))
    return result


Add = Callable[[str, str, str, str, Volume, np.ndarray], None]


@contextmanager
def new_cohort(
    out: str | os.PathLike, name: str, source: str, report: list[dict] | None = None, **description: object
) -> Iterator[Add]:
    """Write a cohort that appears at ``out`` whole or not at all.

    Yields a function ``add(subject, patient, side, group, image, mask)``. Files go to a folder beside ``out``, which
    takes its name when the block ends without an error. ``report``, filled in the block, becomes import_report.tsv.

    Raises:
        DataError: ``out`` exists already and is not an empty folder.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise DataError(
            out, "something there already", "a new or empty folder", "Choose another, or remove it yourself."
        )
    partial = out.with_name(f"{out.name}.partial-{os.getpid()}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rows: list[dict[str, object]] = []

    def add(subject: str, patient: str, side: str, group: str, image: Volume, mask: np.ndarray) -> None:
        if subject in (row["participant_id"] for row in rows):
            raise ValueError(f"{subject} is in the cohort already")
        write_hip(partial, subject, image, mask)
        rows.append(dict(zip(COLUMNS, (subject, patient, side, group), strict=True)))

    try:
        yield add
        if not rows:
            raise DataError(source, "no usable scan", "at least one", "Check the folder.")
        if report:
            pd.DataFrame(report).to_csv(partial / "import_report.tsv", sep="\t", index=False)
        write_tables(partial, rows, name, source, **description)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_hip(root: Path, subject: str, image: Volume, mask: np.ndarray) -> None:
    """Write one subject's scan and mask where a cohort keeps them.

    Raises:
        ValueError: a name that BIDS does not allow, or a mask of another shape than the image.
    """
    if not re.fullmatch(r"sub-[A-Za-z0-9]+", subject):
        raise ValueError(f"a subject is named sub- and letters or digits (BIDS), got {subject!r}")
    if mask.shape != image.array.shape:
        raise ValueError(f"{subject}: a mask of shape {mask.shape} for an image of shape {image.array.shape}")
    write_volume(image_path(root, subject), image.array, image.affine)
    write_volume(mask_path(root, subject), mask.astype(np.uint8), image.affine)


def write_tables(root: Path, rows: list[dict[str, object]], name: str, source: str, **description: object) -> None:
    """Write a cohort's participants.tsv (the four columns and any others) and its dataset_description.json."""
    pd.DataFrame(rows).to_csv(root / "participants.tsv", sep="\t", index=False)
    about = {
        "Name": name,
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "GeneratedBy": [{"Name": "femur_lib", "Version": femur_lib.__version__}],
        "Source": source,
        **description,
    }
    (root / "dataset_description.json").write_text(json.dumps(about, indent=2) + "\n")
