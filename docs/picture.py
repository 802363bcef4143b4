"""The README's picture: every scored scan of a run with manual and predicted contours, the worst Dice first.

    python docs/picture.py RUN COHORT docs/hips.png

RUN is an evaluated run: its folder holds scores.csv and predictions/ (femur evaluate).
"""

import sys
from pathlib import Path

import pandas as pd

from femur_lib.cohort import read_cohort, read_subject
from femur_lib.evaluation import read_prediction
from femur_lib.inference import SUFFIXES
from femur_lib.plotting import contact_sheet, save


def main(run: Path, cohort: Path, out: Path) -> None:
    """Draw and save the picture."""
    subjects = read_cohort(cohort)
    scans, predicted = [], []
    for row in pd.read_csv(run / "scores.csv").sort_values("dice").itertuples():
        image, mask = read_subject(subjects[str(row.participant_id)])
        scans.append((f"Dice {row.dice:.3f}, ASD {row.asd_mm:.2f} mm", image, mask))
        predicted.append(read_prediction(run / "predictions" / f"{row.participant_id}{SUFFIXES['mask']}"))
    save(contact_sheet(scans, columns=4, predicted=predicted), out)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
