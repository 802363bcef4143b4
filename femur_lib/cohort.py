"""A cohort: scans, masks and whose they are, as they lie on disk; and its folds, by patient.

The layout follows BIDS (https://bids-specification.readthedocs.io), with one row and one folder for each hip::

    COHORT/
      dataset_description.json
      participants.tsv                participant_id  patient  side  group
      sub-01L/anat/sub-01L_T1w.nii.gz
      derivatives/femur/sub-01L/anat/sub-01L_desc-femur_mask.nii.gz

Folds are made by ``patient``: the two hips of one woman are two participants and one patient.
"""

import csv
import json
import os
import re
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import StratifiedKFold

import femur_lib
from femur_lib._runtime.errors import DataError, raise_all
from femur_lib._runtime.files import is_name, new_folder, read_json
from femur_lib.volumes import (
    Volume,
    faces_touched,
    femur_outside,
    on_grid_of,
    read_mask,
    read_volume,
    to_stack,
    volume_cm3,
    write_volume,
)

COLUMNS = ["participant_id", "patient", "side", "group"]
SIDES = ("L", "R", "n/a")
ENDINGS = "_image|_T1w|_0000"  # of images' names, where they do not count; the last is nnU-Net's
# How much larger or smaller than the cohort's median a scan may be: beyond the first it is named, and beyond the second
# (femur_lib.inference.SPACING_TOLERANCE) a network that was trained on the others would refuse it.
UNUSUAL, UNFIT = 1.25, 1.5


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
    def description(self) -> dict:
        """What its dataset_description.json says."""
        about = self.root / "dataset_description.json"
        return read_json(about, "Correct the file, or remove it.") if about.is_file() else {}

    @property
    def source(self) -> str:
        """What the cohort was made from."""
        return str(self.description.get("Source", "unknown"))

    @property
    def synthetic(self) -> bool:
        """Whether its hips were drawn by a program; older cohorts say so in their source alone."""
        return bool(self.description.get("Synthetic", self.source.startswith("femur phantom")))

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
    """Read a cohort's table and check that every file it names exists; no voxel is read yet.

    Raises:
        DataError: the table is missing or cannot be used (:func:`read_participants`), or names a subject by a path,
            or one whose image or mask is missing.
    """
    root = Path(root)
    path = root / "participants.tsv"
    if not path.is_file():
        raise DataError(
            f"{root} holds no participants.tsv; the folder of a cohort was expected.",
            "data/README.md describes the layout.",
        )
    table, subjects, faults = read_participants(path), [], []
    for name, patient, side, group in table[COLUMNS].itertuples(index=False):
        if not is_name(name):
            what = f"{path} names the hip {name!r}, which is a path; a plain name such as sub-01R was expected."
            faults.append(DataError(what, "Rename the hip, and its files with it."))
            continue
        image, mask = image_path(root, name), mask_path(root, name)
        faults += [
            DataError(f"{file} does not exist; participants.tsv names {name}.", "Add the file, or remove the row.")
            for file in (image, mask)
            if not file.is_file()
        ]
        subjects.append(Subject(name, patient, side, group, image, mask))
    raise_all(faults)
    return Cohort(root, tuple(subjects))


def read_participants(path: str | os.PathLike) -> pd.DataFrame:
    """The table of a cohort, or one that is to become it: text, without spaces around it, and free of contradictions.

    Raises:
        DataError: it cannot be read, lacks a column, has no rows, empty rows or rows of different length, names a hip
            twice or a patient not at all, gives one patient two groups, or has an unknown side. All such faults are
            listed.
    """
    path = Path(path)
    rows = _read_rows(path)
    if not rows:
        raise DataError(f"{path} is empty; one row for each hip was expected.", "Add the hips.")
    (_, columns), *rows = rows
    missing = [c for c in COLUMNS if c not in columns]
    if missing:
        raise DataError(
            f"{path} has no column {', '.join(missing)}; the columns {', '.join(COLUMNS)} were expected, separated by "
            "tabs.",
            "Add what is missing.",
        )
    doubled = [c for c in COLUMNS if columns.count(c) > 1]
    if doubled:
        raise DataError(f"{path} has the column {', '.join(doubled)} more than once.", "Keep one of them.")
    if not rows:
        raise DataError(f"{path} has no rows; one row for each hip was expected.", "Add the hips.")
    empty = [str(line) for line, cells in rows if not any(cells)]
    if empty:
        raise DataError(
            f"{path} has only empty fields in line {', '.join(empty)}; one hip in each line was expected.",
            "Remove such lines.",
        )
    raise_all(
        [
            DataError(
                f"{path} has {len(cells)} fields in line {line}; {len(columns)} were expected.", "Correct the line."
            )
            for line, cells in rows
            if len(cells) != len(columns)
        ]
    )
    table = pd.DataFrame([cells for _, cells in rows], columns=columns, dtype=object)
    faults = []
    for column in COLUMNS[:2]:
        blank = [str(line) for (line, _), value in zip(rows, table[column], strict=True) if not value]
        if blank:
            faults.append(
                DataError(f"{path} has no {column} in line {', '.join(blank)}; each hip needs one.", "Fill it in.")
            )
    twice = table.participant_id[table.participant_id.duplicated()].unique()
    if len(twice):
        faults.append(DataError(f"{path} names {', '.join(twice)} in more than one row.", "Name each hip once."))
    groups = table[table.patient != ""].groupby("patient").group.agg(set)
    for patient, names in groups[groups.map(len) > 1].items():
        faults.append(
            DataError(
                f"{path} has patient {patient} in the groups {', '.join(sorted(names))}; one group was expected, since "
                "folds keep a patient together and groups balanced.",
                "Give all rows of a patient the same group.",
            )
        )
    strange = sorted(set(table.side) - set(SIDES))
    if strange:
        faults.append(
            DataError(
                f"{path} has the side {', '.join(map(repr, strange))}; L, R or n/a was expected.",
                "Correct the column side.",
            )
        )
    raise_all(faults)
    return table


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """The lines of a tab-separated file that are not blank, with their numbers, as cells without spaces around them."""
    if not path.is_file():
        raise DataError(f"{path} does not exist; a tab-separated table was expected.", "Check the path.")
    raw = path.read_bytes()
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = raw.decode(encoding)
        if "\0" in text:
            raise ValueError("it holds binary data")
        reader = csv.reader(text.splitlines(), delimiter="\t", strict=True)
        lines = [(reader.line_num, [unicodedata.normalize("NFC", cell.strip()) for cell in cells]) for cells in reader]
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is not text in UTF-8: its byte {error.start + 1} is not.", "Save it as tab-separated UTF-8 text."
        ) from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as tab-separated text ({error}).", "Save it as such.") from None
    return [(line, cells) for line, cells in lines if len(cells) > 1 or any(cells)]


def read_subject(subject: Subject) -> tuple[Volume, Volume]:
    """A subject's scan and mask on the scan's own axes.

    Raises:
        DataError: one of them cannot be used, or they do not lie on the same grid.
    """
    image, mask = read_volume(subject.image), read_mask(subject.mask)
    return image, on_grid_of(subject.mask, mask, subject.image, image)


def check_cohort(
    cohort: Cohort,
    progress: Callable[[str], None] = lambda line: None,
    slices: int | None = None,
    compare: bool = True,
) -> pd.DataFrame:
    """Read every file of a cohort to its end and describe it, one row for each subject.

    Masks that look unlike a femur, and patients with two hips of one side, are named in warnings.

    Args:
        cohort: the cohort.
        progress: gets each subject's name.
        slices: name femora that lie partly outside so many central slices, too; None does not.
        compare: also compare the scans with one another: those unlike the others are named, or refused (below).

    Returns:
        A data frame with shape, spacing (mm), axes, the mask's volume (cm³) and number of components, and whether the
        mask touches the scan's border (a femur that the field of view cuts off has no true volume).

    Raises:
        DataError: files that cannot be used, or that a network trained on the others would refuse; all are listed.
    """
    from scipy import ndimage

    for (patient, side), names in cohort.table().groupby(["patient", "side"]).participant_id:
        if len(names) > 1 and side != "n/a":
            warnings.warn(
                f"{cohort.root / 'participants.tsv'} gives patient {patient} more than one hip of side {side} "
                f"({', '.join(names)}). Unless they are scans of the same hip, correct the patient or the side.",
                stacklevel=2,
            )
    rows, sizes, faults = [], {}, []
    for subject in cohort.subjects:
        progress(subject.id)
        try:
            image, mask = read_subject(subject)
        except DataError as error:
            faults.append(error)
            continue
        for doubt in doubts(mask):
            warnings.warn(f"{subject.mask} {doubt}.", stacklevel=2)
        outside = 0 if slices is None else femur_outside(to_stack(mask).array, slices)
        if outside:
            warnings.warn(
                f"{subject.mask} has {outside} femur voxels outside the central {slices} slices.", stacklevel=2
            )
        stack = to_stack(image)
        sizes[subject] = (
            *(n * mm for n, mm in zip(stack.array.shape, stack.spacing_mm, strict=True)),
            *stack.spacing_mm,
        )
        rows.append(
            {
                "participant_id": subject.id,
                "patient": subject.patient,
                "side": subject.side,
                "group": subject.group,
                "shape": " x ".join(map(str, image.array.shape)),
                "spacing_mm": " x ".join(f"{s:.3g}" for s in image.spacing_mm),
                "axes": "".join(image.axes),
                "volume_cm3": volume_cm3(mask),
                "components": int(ndimage.label(mask.array, np.ones((3, 3, 3)))[1]),
                "touches_border": bool(faces_touched(mask)),
            }
        )
    raise_all(faults + (_misfits(sizes) if compare else []))
    return pd.DataFrame(rows)


def doubts(mask: Volume) -> list[str]:
    """What makes one doubt that a mask is a femur's, in words that follow the file's name."""
    share, faces = float(mask.array.mean()), faces_touched(mask)
    if len(faces) == 6 or share > 0.5:
        return [f"fills {share:.0%} of the scan and touches {len(faces)} of its 6 borders; it may be inverted"]
    return []


SIZES = ("height", "width", "depth", "row spacing", "column spacing", "slice spacing")


def _misfits(sizes: dict[Subject, tuple[float, ...]]) -> list[DataError]:
    """Name the scans whose field of view or spacing is not like the others'; those far off are returned as faults.

    A network sees height and width resampled to its grid, and slices as they are, so these three decide what fits it.
    It goes by the median of the scans that it is trained on, which may be anywhere within the cohort's middle half.
    """
    faults: list[DataError] = []
    if not sizes:
        return faults
    low, usual, high = np.quantile(list(sizes.values()), (0.25, 0.5, 0.75), axis=0)
    for subject, found in sizes.items():
        ratio = np.maximum(np.array(found) / usual, usual / np.array(found))
        if ratio.max() <= UNUSUAL:
            continue
        furthest = np.maximum(np.array(found) / low, high / np.array(found))
        said = ", ".join(
            f"{SIZES[k]} {found[k]:.4g} mm instead of {usual[k]:.4g}" for k in np.flatnonzero(ratio > UNUSUAL)
        )
        hint = " (both hips?)" if found[1] > UNFIT * usual[1] else ""
        sentence = f"{subject.image} is unlike most scans of the cohort: {said}{hint}."
        if furthest[[0, 1, 5]].max() > UNFIT * (1 + 1e-6):
            faults.append(DataError(sentence, "Crop or resample it to be like them, or leave it out."))
        else:
            warnings.warn(sentence, stacklevel=3)
    return faults


def folds(cohort: Cohort, n_folds: int = 4, seed: int = 0) -> list[Fold]:
    """Split by patient, with the groups spread evenly (paper, Model selection: four folds, stratified random).

    A patient's hips always go together: two hips of one woman are not independent, and a network that has seen one of
    them is not tested honestly on the other.

    Raises:
        ValueError: fewer patients than folds.
    """
    patients = cohort.table().groupby("patient", sort=True).group.first()
    if len(patients) < n_folds:
        raise ValueError(f"{n_folds} folds need at least {n_folds} patients; {cohort.root} has {len(patients)}")
    # scikit-learn wants each group to have a member in every fold, so smaller groups are pooled.
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
    takes its name when the block ends without an error. What the block adds to ``report`` becomes import_report.tsv.

    Raises:
        DataError: ``out`` exists already and is not an empty folder.
    """
    rows: list[dict[str, object]] = []
    with new_folder(out) as partial:

        def add(subject: str, patient: str, side: str, group: str, image: Volume, mask: np.ndarray) -> None:
            if subject in (row["participant_id"] for row in rows):
                raise ValueError(f"{subject} is in the cohort already")
            write_hip(partial, subject, image, mask)
            rows.append(dict(zip(COLUMNS, (subject, patient, side, group), strict=True)))

        yield add
        if not rows:
            raise DataError(f"{source} holds no scan that can be used.", "Check the folder.")
        if report:
            pd.DataFrame(report).to_csv(partial / "import_report.tsv", sep="\t", index=False)
        write_tables(partial, rows, name, source, **description)


def write_hip(root: Path, subject: str, image: Volume, mask: np.ndarray) -> None:
    """Write one subject's scan and mask where a cohort keeps them.

    Raises:
        ValueError: a name that BIDS does not allow, or a mask of another shape than the image.
    """
    if not re.fullmatch(r"sub-[A-Za-z0-9]+", subject):
        raise ValueError(f"a subject is named sub- and letters or digits (BIDS), got {subject!r}")
    if mask.shape != image.array.shape:
        raise ValueError(f"{subject}: a mask of shape {mask.shape} for an image of shape {image.array.shape}")
    write_volume(image_path(root, subject), image.array, image.affine, image.forms)
    write_volume(mask_path(root, subject), mask.astype(np.uint8), image.affine, image.forms)


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
