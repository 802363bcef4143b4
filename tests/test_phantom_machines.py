"""The same hips on any machine, and on either side."""

import os
import platform
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from femur_lib.phantom.cohort import stacks
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person

SCAN = """
import sys
import numpy as np
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person
made = scan(draw_person(4, 1), 96, 12)
np.savez(sys.argv[1], image=made.image, labels=made.labels, rater=made.rater)
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="emulates an older x86 processor")
def test_an_older_processor_makes_the_same_truth_and_grey_levels_within_one(tmp_path):
    """OpenBLAS and NumPy are told to do without the wide instructions, so that they add in another order."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    older = {"OPENBLAS_CORETYPE": "Nehalem", "NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    file = tmp_path / "older.npz"
    subprocess.run([sys.executable, "-c", SCAN, str(file)], env=os.environ | older, check=True)
    made, other = scan(draw_person(4, 1), 96, 12), np.load(file)
    np.testing.assert_array_equal(made.labels, other["labels"])
    np.testing.assert_array_equal(made.rater, other["rater"])
    difference = np.abs(made.image.astype(int) - other["image"])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001


def test_the_same_seed_makes_the_same_arrays_again():
    one, two = (scan(draw_person(4, 1), 96, 6) for _ in range(2))
    for name in ("image", "labels", "rater"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_left_is_the_mirror_of_right():
    person = draw_person(4, 1)
    made = scan(person, 96, 6)
    (right, right_mask, right_labels), (left, left_mask, left_labels) = (
        stacks(replace(person, side=side), made) for side in "RL"
    )
    np.testing.assert_array_equal(right.array, left.array[:, ::-1])
    np.testing.assert_array_equal(right_mask, left_mask[:, ::-1])
    np.testing.assert_array_equal(right_labels, left_labels[:, ::-1])
    # Below the head, the shaft of a right hip lies towards the patient's right: at lower columns.
    rows = np.flatnonzero(right_mask.any((1, 2)))
    head, shaft = (np.nonzero(right_mask[r])[0].mean() for r in (rows[5], rows[-5]))
    assert shaft < head
