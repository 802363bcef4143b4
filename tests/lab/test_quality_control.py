"""Quality without truth: what is wrong with a mask is found, named and put first; the page is whole or not there."""

import re

import nibabel as nib
import numpy as np
import pytest
from conftest import affine_of, write_nifti

from femur_lib._runtime.errors import DataError
from femur_lib.cohort import new_cohort, read_cohort
from femur_lib.lab.quality_control import EXTENTS, disagreement, find_images, measures, quality, robust_z, unsure
from femur_lib.lab.quality_page import doubtful_slices, write_quality_page
from femur_lib.volumes import Volume, from_stack

SHAPE, SPACING = (20, 16, 10), (1.0, 2.0, 3.0)
STACK = affine_of("ILP", SPACING)
NOISE = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)


def femur(height=14, shift=0) -> np.ndarray:
    """A block of a stack that ends at the lower border, ``height`` rows high and moved to the side."""
    mask = np.zeros(SHAPE, bool)
    mask[-height:, 5 + shift : 11 + shift, 3:7] = True
    return mask


def with_stray(size: int) -> np.ndarray:
    mask = femur()
    mask[1:4, 13:15, :size] = True
    return mask


def write(folder, name: str, mask: np.ndarray, probability: np.ndarray | None = None) -> None:
    """What femur predict leaves of a scan."""
    if probability is None:
        probability = np.where(mask, 0.99, 0.01)
    write_nifti(folder / f"{name}_mask.nii.gz", mask.astype(np.uint8), STACK)
    write_nifti(folder / f"{name}_probability.nii.gz", probability.astype(np.float32), STACK)


@pytest.fixture
def folder(tmp_path):
    """Six predictions with nothing wrong."""
    for k in range(6):
        write(tmp_path / "p", f"good{k}", femur(14 + k % 2))
    return tmp_path / "p"


def images(tmp_path):
    """Scans of the six."""
    for k in range(6):
        write_nifti(tmp_path / "images" / f"good{k}.nii.gz", NOISE, STACK)
    return tmp_path / "images"


def test_nothing_is_unusual_about_masks_that_are_alike(folder):
    table = quality(folder)
    assert set(table.reasons) == {"nothing unusual"}
    assert (table.suspicion == 0).all()
    assert table.disagreement.isna().all()


@pytest.mark.parametrize("axes", ["ILP", "RAS", "SPL", "PIR"])
def test_measures_are_the_same_whatever_the_axes(axes):
    mask = femur()
    mask[0, 0, 0] = True  # a stray voxel at three borders, which are not the femur's
    order = [next(k for k, pair in enumerate(("IS", "LR", "PA")) if letter in pair) for letter in axes]
    stored = Volume(np.zeros(np.take(SHAPE, order)), affine_of(axes, np.take(SPACING, order)))
    found = measures(from_stack(mask, stored))
    assert found["components"] == 2
    assert found["outside_largest"] == pytest.approx(1 / (14 * 6 * 4 + 1))
    assert found["volume_cm3"] == pytest.approx((14 * 6 * 4 + 1) * 6 / 1000)
    assert [found[column] for column in EXTENTS] == pytest.approx([14, 12, 12])
    assert found["fill"] == 1
    assert found["touches"] == ("inferior",)


@pytest.mark.parametrize(
    ("place", "border"),
    [
        ((0, 8, 5), "superior"), ((-1, 8, 5), "inferior"), ((9, 0, 5), "right"),
        ((9, -1, 5), "left"), ((9, 8, 0), "anterior"), ((9, 8, -1), "posterior"),
    ],
)  # fmt: skip
def test_borders_go_by_their_place_in_the_patient(place, border):
    mask = np.zeros(SHAPE, bool)
    mask[place] = True
    assert measures(Volume(mask, STACK))["touches"] == (border,)


def test_an_empty_mask_comes_first(folder):
    write(folder, "empty", np.zeros(SHAPE, bool), np.zeros(SHAPE))
    write(folder, "scraps", with_stray(5))
    table = quality(folder)
    assert table.iloc[0]["name"] == "empty"
    assert table.iloc[0].reasons == "the mask is empty"
    assert table.iloc[0].components == 0


def test_stray_pieces_are_found_the_larger_the_worse(folder):
    write(folder, "some", with_stray(2))
    write(folder, "more", with_stray(6))
    table = quality(folder)
    assert list(table.name[:2]) == ["more", "some"]
    assert "2 pieces, 9.7% of the mask outside the largest" in table.iloc[0].reasons


def test_an_unusual_volume_and_shape_are_found(folder):
    write(folder, "short", femur(6))
    short = quality(folder).iloc[0]
    assert short["name"] == "short"
    assert "its volume is 0.864 cm³, that of most others 2.09 cm³ (median)" in short.reasons
    assert "its height is 6 mm, that of most others 14 mm" in short.reasons
    assert short.volume_z < -3
    assert short.shape_z < -3


def test_a_range_takes_five_others(tmp_path):
    for k in range(5):
        write(tmp_path, f"s{k}", femur(14 if k else 4))
    assert quality(tmp_path).volume_z.isna().all()
    write(tmp_path, "s5", femur())
    assert quality(tmp_path).set_index("name").volume_z["s0"] < -3


def test_an_unsure_network_is_noticed(folder):
    write(folder, "unsure", femur(), np.where(femur(), 0.6, 0.01))
    row = quality(folder).iloc[0]
    assert (row["name"], row.uncertain) == ("unsure", 1.0)
    assert "unsure voxels are 100% of the number it marked (the other scans': 0%)" in row.reasons
    assert unsure(np.array([0.1, 0.1001, 0.5, 0.9])).tolist() == [False, True, True, False]


def test_predictions_that_differ_are_noticed_and_a_folder_need_not_have_every_scan(folder, tmp_path):
    write(tmp_path / "other", "good1", femur(15))
    write(tmp_path / "other", "good2", femur(14, shift=3))
    table = quality(folder, [tmp_path / "other"]).set_index("name")
    assert table.index[0] == "good2"
    assert table.disagreement["good2"] == pytest.approx(0.5)
    assert "Dice 0.500" in table.reasons["good2"]
    assert table.disagreement["good1"] == 0
    assert np.isnan(table.disagreement["good0"])


def test_disagreement_is_by_mean_dice_and_empty_masks_agree():
    a, none = np.array([True, True, False]), np.zeros(3, bool)
    assert disagreement(a, [a, none]) == 0.5
    assert disagreement(none, [none]) == 0


def test_a_border_that_only_one_touches_is_unusual_and_the_shaft_s_cut_is_not(folder):
    write(folder, "aside", femur(14, shift=5))
    row = quality(folder).iloc[0]
    assert row["name"] == "aside"
    assert row.reasons == "it touches the scan's left border"


def test_a_shaft_that_ends_early_is_unusual_where_others_are_cut(folder):
    write(folder, "early", np.roll(femur(), -2, axis=0))
    assert "ends before the scan's lower border" in quality(folder).iloc[0].reasons


def test_the_cut_through_the_shaft_is_no_surprise_even_in_one_scan_alone(tmp_path):
    for k in range(6):
        write(tmp_path, f"s{k}", femur() if k == 0 else np.roll(femur(), -2, axis=0))
    assert set(quality(tmp_path).reasons) == {"nothing unusual"}


def test_a_border_that_most_touch_is_no_surprise(tmp_path):
    for k in range(6):
        write(tmp_path, f"s{k}", femur(14, shift=5))
    assert set(quality(tmp_path).reasons) == {"nothing unusual"}


def test_a_cohort_s_masks_give_the_range_but_never_a_scan_s_own(folder, tmp_path):
    with new_cohort(tmp_path / "cohort", "tiny", "tests") as add:
        for k in range(7):  # its own mask, which sub-0 must not be compared with, is the only one like it
            add(f"sub-{k}", f"p{k}", "R", "all", Volume(NOISE, STACK), femur(14 if k == 0 else 8))
    write(folder, "sub-0", femur(14))
    table = quality(folder, cohort=read_cohort(tmp_path / "cohort")).set_index("name")
    assert table.volume_z["sub-0"] == pytest.approx(robust_z(14, [8] * 6))
    assert (table.volume_z > 3).all()


def test_robust_z_is_not_moved_by_one_far_value():
    assert robust_z(5, [1, 2, 3, 4, 1000]) == pytest.approx(2 / 1.4826)
    assert np.isnan(robust_z(5, [1, 2, 3, 4]))


def test_bad_input_is_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"holds no \*_mask.nii.gz"):
        quality(tmp_path)
    with pytest.raises(DataError, match="p is the folder to be judged"):
        quality(folder, [folder])
    write(tmp_path / "strangers", "stranger", femur())
    with pytest.raises(DataError, match="strangers has no mask of any of these scans"):
        quality(folder, [tmp_path / "strangers"])
    with pytest.raises(DataError, match="a mask of good0, and no image has this name"):
        quality(folder, images={})
    write_nifti(folder / "good3_mask.nii.gz", femur().astype(np.uint8) * 2, STACK)
    with pytest.raises(DataError, match=r"good3_mask.*values other than 0 and 1"):
        quality(folder)
    (folder / "good2_probability.nii.gz").unlink()
    with pytest.raises(DataError, match=r"good2_probability.nii.gz does not exist"):
        quality(folder)


@pytest.mark.parametrize("what", ["probability", "other", "image"])
def test_another_grid_is_refused(folder, tmp_path, what):
    moved = STACK.copy()
    moved[0, 3] += 5
    places = {
        "probability": folder / "good1_probability.nii.gz",
        "other": tmp_path / "other" / "good1_mask.nii.gz",
        "image": tmp_path / "images" / "good1.nii.gz",
    }
    images(tmp_path)
    write(tmp_path / "other", "good1", femur())
    array = np.asarray(nib.load(places[what]).dataobj)
    write_nifti(places[what], array, moved)
    with pytest.raises(DataError, match=r"good1.*grids lie up to 5 mm"):
        quality(folder, [tmp_path / "other"], images=find_images(tmp_path / "images"))


def test_images_are_found_in_a_cohort_and_in_a_plain_folder(tiny_cohort, tmp_path):
    assert find_images(tiny_cohort.root) == {s.id: s.image for s in tiny_cohort.subjects}
    write_nifti(tmp_path / "hip.nii.gz", np.zeros((2, 2, 2)))
    assert set(find_images(tmp_path)) == {"hip"}
    with pytest.raises(DataError, match=r"nowhere is not a folder"):
        find_images(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no scan"):
        find_images(tmp_path / "empty")


def test_the_page_is_one_file_with_a_card_a_scan_likely_failures_first(folder, tmp_path):
    write(folder, "<b>stray", with_stray(6))
    write(folder, "empty", np.zeros(SHAPE, bool), np.zeros(SHAPE))
    write(tmp_path / "other", "good1", femur(15))
    table = write_quality_page(folder, tmp_path / "page.html", [tmp_path / "other"])
    page = (tmp_path / "page.html").read_text()
    cards = re.findall(r"<h2>\d+\. (.*?)</h2>", page)
    assert cards == [n.replace("<b>", "&lt;b&gt;") for n in table.name]
    assert cards[:2] == ["empty", "&lt;b&gt;stray"]
    assert page.count("data:image/png;base64,") == page.count("<img alt=") == 8
    assert "http" not in page
    assert "<b>" not in page
    assert page.count('<th scope="row">') == 8


def test_the_page_shows_the_scan_where_there_are_images(folder, tmp_path):
    write_quality_page(folder, tmp_path / "page.html", images=find_images(images(tmp_path)))
    assert 'alt="scan of good0' in (tmp_path / "page.html").read_text()


def test_bad_input_leaves_no_page_and_the_old_one_stays(folder, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("old")
    (folder / "good5_mask.nii.gz").write_bytes(b"no scan")
    with pytest.raises(DataError, match="good5_mask"):
        write_quality_page(folder, page)
    assert page.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["page.html"]


def test_slices_are_drawn_where_most_is_in_doubt():
    mask, doubtful = np.zeros((2, *SHAPE), bool)
    mask[6:, 5:11, :9] = True
    doubtful[10, 6, 9] = True
    doubtful[10:13, 2, 9] = True  # more, but beside the mask
    coronal, column = doubtful_slices(mask, doubtful)
    assert coronal[-1] == 9
    assert len(set(coronal)) == 3
    assert column == 6
