"""Synthetic hips: one woman is the same on either side and at every size, and a cohort mends what it has lost."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from femur_lib.cohort import image_path
from femur_lib.phantom import cohort
from femur_lib.phantom.cohort import make_cohort
from femur_lib.phantom.field import Field
from femur_lib.phantom.scanner import scan
from femur_lib.phantom.subject import draw_person


def test_scanning_knows_nothing_of_the_side():
    """Left is then the exact mirror of right, noise included, since only the way to disk turns a right hip round."""
    right, left = (scan(replace(draw_person(11, 2), side=side), 96, 12) for side in "RL")
    for one, other in zip(vars(right).values(), vars(left).values(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_she_has_the_same_mask_at_every_size():
    """Each pixel of the smaller scan, and the pixel of the larger whose centre is nearest."""
    small, large = (scan(draw_person(11, 2), pixels, 12) for pixels in (96, 128))
    _, z, x = Field(96, 12).axes_mm(96)
    rows, columns = (np.argmin(np.abs(Field(128, 12).axes_mm(128)[i][:, None] - a), 0) for i, a in ((1, z), (2, x)))
    for one, other in ((small.labels == 1, large.labels == 1), (small.rater, large.rater)):
        other = other[:, rows][:, :, columns]
        assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.98


@pytest.fixture
def stopped(tmp_path, monkeypatch) -> Path:
    """A cohort of three stopped at the third: where it was to be."""
    write = cohort._write_subject

    def fails_at_the_third(root, person, pixels, slices):
        if person.number == 2:
            raise KeyboardInterrupt
        return write(root, person, pixels, slices)

    with monkeypatch.context() as patched:
        patched.setattr(cohort, "_write_subject", fails_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            make_cohort(tmp_path / "hips", 3, seed=5, workers=1)
    return tmp_path / "hips"


def test_a_subject_that_was_half_written_is_made_again_and_the_others_are_kept(stopped):
    partial = stopped.with_name("hips.partial")
    kept, lost = image_path(partial, "sub-001"), image_path(partial, "sub-002")
    as_it_was, written = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    (partial / "sub-002.json").unlink()
    made = make_cohort(stopped, 3, seed=5, workers=1)
    assert image_path(stopped, "sub-002").read_bytes() == as_it_was
    assert image_path(stopped, "sub-001").stat().st_mtime_ns == written
    assert len(made.subjects) == 3
    assert [p.name for p in stopped.parent.iterdir()] == ["hips"]
