"""The README's picture: every scored scan of a run with manual and predicted contours, worst Dice first.

    python docs/picture.py RUN COHORT docs/hips.png

RUN holds scores.csv and predictions/ (femur predict, femur score).
"""

import sys
from pathlib import Path

import pandas as pd

from femur_lib.cohort import read_cohort, read_subject
from femur_lib.figures import contact_sheet, save
from femur_lib.volumes import Volume, read_labels


def main(run: Path, cohort: Path, out: Path) -> None:
    """Draw and save it."""
    subjects = read_cohort(cohort)
    scans, predicted = [], []
    for row in pd.read_csv(run / "scores.csv").sort_values("dice").itertuples():
        image, mask = read_subject(subjects[str(row.participant_id)])
        scans.append((f"Dice {row.dice:.3f}, ASD {row.asd_mm:.2f} mm", image, mask))
        labels = read_labels(run / "predictions" / f"{row.participant_id}_mask.nii.gz")
        predicted.append(Volume(labels.array == 1, labels.affine))
    save(contact_sheet(scans, columns=4, predicted=predicted), out)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
