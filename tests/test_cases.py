"""The kinds of files that labs have, case by case: each is used rightly, named or refused; none gives a wrong result.

A bright ellipsoid stands for the femur and a network that finds what is bright for a trained one, so that each mask can
be compared voxel for voxel. DICOM's cases stand with the tests of DICOM.
"""

import gzip
import json
import re
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from conftest import Bright, affine_of, rotation, tiny_hip, write_nrrd

from femur_lib.architecture import Architecture
from femur_lib.cli import main
from femur_lib.inference import Segmenter
from femur_lib.preprocessing import Grid
from femur_lib.volumes import ENDING

AFFINE = affine_of("LIP", (2, 2, 5), origin=(10, -20, 30))
SCANS = [tiny_hip(seed)[0].array.astype(np.int16) for seed in range(3)]
FEMORA = [tiny_hip(seed)[1].astype(np.uint8) for seed in range(3)]
IMAGE, MASK = SCANS[1], FEMORA[1]
CM3 = MASK.sum() * 20 / 1000


@pytest.fixture(autouse=True)
def _in_a_new_folder_with_a_run(tmp_path, monkeypatch):
    segmenter = Segmenter(Bright(), Architecture(3, 2, 1), Grid(24, 24, 8), grid_spacing_mm=(2, 2, 5))
    run = SimpleNamespace(segmenter=segmenter)
    monkeypatch.setattr("femur_lib.runs.load_run", lambda *_: run)
    monkeypatch.chdir(tmp_path)


# --- making files


def nifti(array, affine=AFFINE, kind=nib.Nifti1Image, sform=None, qform=None, codes=(1, 1), unit="mm"):
    image = kind(array, affine, dtype=array.dtype)
    image.header.set_xyzt_units(unit)
    image.set_sform(affine if sform is None else sform, codes[0])
    image.set_qform(affine if qform is None else qform, codes[1], strip_shears=True)
    return image


def save(image, path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return Path(path)


def pair(image=None, mask=None, name="hip01", mask_name="", **both):
    save(nifti(IMAGE, **both) if image is None else image, f"images/{name}.nii.gz")
    save(nifti(MASK, **both) if mask is None else mask, f"masks/{mask_name or name + '_mask'}.nii.gz")


def two(first="hip01", second="hip02"):
    pair(name=first)
    pair(nifti(SCANS[2]), nifti(FEMORA[2]), second)


def header(path, **fields):
    raw = bytearray(path.read_bytes())
    values = np.frombuffer(bytes(raw[:348]), nib.nifti1.header_dtype).copy()
    for field, value in fields.items():
        values[field] = value
    path.write_bytes(values.tobytes() + raw[348:])


def turned(about_x, about_y, about_z):
    return nib.affines.from_matvec(rotation(about_x, about_y, about_z)) @ AFFINE


def moved(x=0.0, y=0.0, z=0.0):
    return nib.affines.from_matvec(np.eye(3), [x, y, z])


def resampled(*shape):
    """The same scan on a grid of another shape with the same extent."""
    steps = np.array(IMAGE.shape) / shape
    index = [((np.arange(n) + 0.5) * step).astype(int) for n, step in zip(shape, steps, strict=True)]
    return nifti(IMAGE[np.ix_(*index)], AFFINE @ np.diag([*steps, 1]))


def mha(path):
    pytest.importorskip("SimpleITK")
    lps, size = np.diag([-1, -1, 1, 1]) @ AFFINE, (2, 2, 5)
    fields = {
        "NDims": [3], "BinaryData": ["True"], "TransformMatrix": (lps[:3, :3] / size).T.ravel(), "Offset": lps[:3, 3],
        "ElementSpacing": size, "DimSize": IMAGE.shape, "ElementType": ["MET_SHORT"], "ElementDataFile": ["LOCAL"],
    }  # fmt: skip
    text = "".join(f"{key} = {' '.join(map(str, values))}\n" for key, values in fields.items())
    Path(path).write_bytes(text.encode() + IMAGE.tobytes(order="F"))


# --- what came out


def femur_in_world(path):
    """The centres of a mask's femur voxels, in tenths of a millimetre."""
    image = nib.load(path)
    voxels = np.argwhere(np.asarray(image.dataobj) > 0.5)[:, :3]  # those of a series of one are its only volume's
    centres = nib.affines.apply_affine(image.affine, voxels)
    return {tuple(point) for point in np.rint(centres * 10).astype(int).tolist()}


def same(path, other) -> bool:
    mine, others = sorted(femur_in_world(path)), sorted(femur_in_world(other))
    return len(mine) == len(others) and bool(np.abs(np.array(mine) - np.array(others)).max() <= 1)


def cohorts_masks():
    return sorted(Path("OUT").glob("derivatives/femur/*/anat/*_mask.nii.gz"))


def femur(command: str, capsys) -> tuple[int, str]:
    code = main(command.split())
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return code, said.out + said.err


def refused(command: str, says: str, capsys) -> None:
    """Exit code 1, one sentence, and nothing left behind."""
    before = set(Path().rglob("*"))
    code, said = femur(command, capsys)
    assert code == 1
    assert said.count("\n") == 1
    assert re.search(says, said), said
    assert set(Path().rglob("*")) == before


PAIRS = "import pairs images masks OUT"
SHEAR = AFFINE @ np.array([[1, 0, 0, 0], [0, 1, 0.67, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
FAR = moved(-240.0391, 12.5, -1174.1) @ turned(0, 0, 7)
TEXT = {"descrip": b"OKAPI^OLGA 19560301", "aux_file": b"OKAPI", "intent_name": b"OKAPI", "db_name": b"OKAPI"}


def pixdim_disagrees():
    for folder, name, array in (("images", "hip01", IMAGE), ("masks", "hip01_mask", MASK)):
        header(save(nifti(array, codes=(1, 0)), f"{folder}/{name}.nii"), pixdim=[1, 2, 2, 10, 0, 0, 0, 0])


def in_axes(image, axes):
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(axes))
    return image.as_reoriented(turn)


def with_axes(count):
    end = (..., *[None] * count)
    pair(nifti(IMAGE[end]), nifti(MASK[end]), f"hip0{count}")


def img_and_hdr():
    pair()
    save(nifti(IMAGE, kind=nib.Nifti1Pair), "images/hip02.img")
    save(nifti(MASK, kind=nib.Nifti1Pair), "masks/hip02_mask.img")


def upper_case():
    pair()
    Path("images/hip01.nii.gz").rename("images/HIP01.NII.GZ")
    Path("masks/hip01_mask.nii.gz").rename("masks/HIP01_mask.NII.GZ")


def resource_forks():
    pair()
    for name in ("images/._hip01.nii.gz", "masks/._hip01_mask.nii.gz"):
        Path(name).write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X        " + bytes(90))


def mask_without_image():
    pair()
    save(nifti(MASK), "masks/hip09_mask.nii.gz")


def text_in_header():
    image = nifti(IMAGE)
    for field, text in TEXT.items():
        image.header[field] = text
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"OKAPI^OLGA fell on the stairs"))
    pair(image)


def umlauts():
    pair(name=unicodedata.normalize("NFC", "Hüfte7"), mask_name=unicodedata.normalize("NFD", "Hüfte7_mask"))


def slicer():
    pytest.importorskip("SimpleITK")
    write_nrrd(Path("images/hip01.nrrd"), IMAGE, AFFINE)
    write_nrrd(Path("masks/hip01.seg.nrrd"), MASK, AFFINE)
    save(nifti(MASK), "as/mask.nii.gz")


ACCEPTED = {  # what makes it, and what is said about it
    "base": (pair, ""),
    "base_oblique": (lambda: pair(affine=turned(18, 0, -11)), ""),
    "forms_other_side": (lambda: pair(qform=np.diag([-1, 1, 1, 1]) @ AFFINE), "qform and an sform that differ"),
    "sheared": (lambda: pair(affine=SHEAR, codes=(1, 0)), ""),
    "pixdim_disagrees": (pixdim_disagrees, "a pixdim of 2 x 2 x 10 mm"),
    "rounding_far_from_origin": (lambda: pair(nifti(IMAGE, FAR), nifti(MASK, np.round(FAR, 4))), ""),
    "mask_in_other_axis_order": (lambda: pair(mask=in_axes(nifti(MASK), "PSR")), ""),
    "metre": (lambda: pair(affine=np.diag([0.001, 0.001, 0.001, 1]) @ AFFINE, unit="meter"), ""),
    "unknown_unit": (lambda: pair(unit="unknown"), ""),
    "int64": (lambda: pair(nifti(IMAGE.astype(np.int64)), nifti(MASK.astype(np.int64))), ""),
    "uint16_above_32767": (lambda: pair(nifti((IMAGE * 120).astype(np.uint16))), ""),
    "four_axes": (lambda: with_axes(1), ""),
    "five_axes": (lambda: with_axes(2), ""),
    "img_and_hdr": (img_and_hdr, r"not used: .*hip02\.img"),
    "upper_case_suffix": (upper_case, "sub-HIP01"),
    "nrrd": (slicer, ""),
    "text_in_header": (text_in_header, ""),
    "mask_almost_one": (lambda: pair(mask=nifti(MASK * np.float32(0.9999))), ""),
    "resource_forks": (resource_forks, "^[^.]*sub-hip01\n"),
    "mask_without_image": (mask_without_image, r"not used: masks/hip09_mask\.nii\.gz"),
    "composed_and_decomposed_umlaut": (umlauts, "sub-Hufte7"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_accepted_by_import_and_check(case, capsys):
    make, says = ACCEPTED[case]
    make()
    code, said = femur(PAIRS, capsys)
    assert code == 0
    assert re.search(says, said), said
    if not says:
        assert "warning" not in said
    (mask,) = cohorts_masks()
    given = next(Path("as" if case == "nrrd" else "masks").glob("[!.]*"))
    if case == "metre":
        assert femur_in_world(mask) == {tuple(p) for p in np.rint(np.array(world_of_base()) * 10).astype(int).tolist()}
    else:
        assert same(mask, given)
    scan = next(Path("OUT").glob("sub-*/anat/*.nii.gz"))
    largest = np.asarray(nib.load(scan).dataobj).max()
    assert largest == int(IMAGE.max()) * (120 if case == "uint16_above_32767" else 1)
    assert not any(b"OKAPI" in gzip.decompress(file.read_bytes()) for file in (mask, scan))
    code, said = femur("check OUT", capsys)
    assert code == 0
    assert f" {CM3:.1f} " in said


def world_of_base():
    return nib.affines.apply_affine(AFFINE, np.argwhere(MASK))


def one_hot():
    pair(mask=nifti(np.stack([1 - MASK, MASK], -1)))


def mask_checksum():
    pair()
    path = Path("masks/hip01_mask.nii.gz")
    raw = bytearray(path.read_bytes())
    raw[-6] ^= 0xFF
    path.write_bytes(raw)


def one_name():
    pair(name="a")
    save(nifti(SCANS[2]), "images/a.nii")


def one_stem():
    pair(name="a_T1w", mask_name="a")
    save(nifti(SCANS[2]), "images/a_0000.nii.gz")


REFUSED = {
    "codes_zero": (lambda: pair(codes=(0, 0)), r"hip01\.nii\.gz has no orientation \(sform and qform both have"),
    "identity_affine": (lambda: pair(affine=np.eye(4), codes=(2, 0)), r"hip01\.nii\.gz has an identity affine"),
    "shift_far_from_origin": (
        lambda: pair(nifti(IMAGE, FAR), nifti(MASK, moved(0, 0, 0.9) @ FAR)),
        r"hip01_mask\.nii\.gz has an affine that differs .* 0\.9 mm",
    ),
    "mask_255": (lambda: pair(mask=nifti(MASK * np.uint8(255))), r"hip01_mask\.nii\.gz has the values \[0, 255\]"),
    "mask_one_hot": (one_hot, r"hip01_mask\.nii\.gz holds an array of shape \(24, 24, 8, 2\) \(2 volumes\)"),
    "mask_soft": (lambda: pair(mask=nifti(MASK * np.float32(0.7))), r"hip01_mask\.nii\.gz .*not whole numbers.*probab"),
    "nii_and_nii_gz_of_one_name": (one_name, r"a\.nii\.gz and images/a\.nii share a name"),
    "two_images_of_one_stem": (one_stem, r"a_T1w\.nii\.gz and images/a_0000\.nii\.gz share a name"),
    "chinese_names": (lambda: two("患者甲", "患者乙"), "患者.* has no Latin letter"),
    "mask_checksum": (mask_checksum, r"hip01_mask\.nii\.gz is damaged: it fails its gzip checksum"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_by_import(case, capsys):
    make, says = REFUSED[case]
    make()
    refused(PAIRS, says, capsys)


def test_mask_255_with_its_label(capsys):
    pair(mask=nifti(MASK * np.uint8(255)))
    assert femur(PAIRS + " --label 255", capsys)[0] == 0
    assert same(cohorts_masks()[0], "masks/hip01_mask.nii.gz")


@pytest.mark.parametrize(("case", "mask"), [("mask_all_ones", MASK * 0 + 1), ("mask_inverted", 1 - MASK)])
def test_a_mask_that_is_no_femurs_is_named(case, mask, capsys):
    pair(mask=nifti(mask))
    assert re.search(r"hip01_mask.*(the value 1 in every voxel|may be inverted)", femur(PAIRS, capsys)[1])


def test_dots_and_spaces(capsys):
    two("hip.01.left", "hip 02 (new)")
    assert femur(PAIRS, capsys)[0] == 0
    for mask, name in zip(cohorts_masks(), ("hip.01.left", "hip 02 (new)"), strict=True):
        assert same(mask, f"masks/{name}_mask.nii.gz")


# --- tables

HEAD = "participant_id\tpatient\tside\tgroup\n"
GOOD = HEAD + "hip01\tp1\tL\tcontrol\nhip02\tp1\tR\tcontrol\n"
TABLES = {  # text, encoding, and what is said if it is refused
    "bom_and_crlf": (GOOD.replace("\n", "\r\n"), "utf-8-sig", ""),
    "utf16": (GOOD, "utf-16", ""),
    "patient_with_space": (GOOD.replace("\tp1\tR", "\tp1 \tR"), "utf-8", ""),
    "latin1": (GOOD.replace("control", "gesünder"), "latin-1", "is not text in UTF-8"),
    "empty": ("", "utf-8", "is empty"),
    "ragged": (GOOD.replace("R\tcontrol\n", "R\tcontrol\tmore\n"), "utf-8", "has 5 fields in line 3"),
    "id_twice": (GOOD + "hip01\tp7\tR\tfracture\n", "utf-8", "names hip01 in more than one row"),
    "patient_blank": (GOOD.replace("p1", ""), "utf-8", "has no patient in line 2, 3"),
    "sides_in_words": (GOOD.replace("\tL", "\tleft").replace("\tR", "\tr"), "utf-8", "the side 'left', 'r'"),
    "groups_differ": (GOOD.replace("R\tcontrol", "R\tfracture"), "utf-8", "patient p1 in the groups control, fracture"),
}


@pytest.mark.parametrize("case", TABLES)
def test_table(case, capsys):
    text, encoding, says = TABLES[case]
    two()
    Path("participants.tsv").write_bytes(text.encode(encoding))
    command = PAIRS + " --participants participants.tsv"
    if says:
        refused(command, f"participants.tsv {says}|participants.tsv has {says}", capsys)
        return
    assert femur(command, capsys)[0] == 0
    table = pd.read_csv("OUT/participants.tsv", sep="\t")
    assert table[["patient", "side"]].values.tolist() == [["p1", "L"], ["p1", "R"]]
    assert femur("check OUT", capsys)[0] == 0


# --- layouts


def layout_nnunet_raw(scan="imagesTr/HIP_{}_0000.nii.gz", labels='{"background": 0, "femur": 1}'):
    Path("dataset.json").write_text('{"labels": ' + labels + "}")
    return lay_out(scan, "labelsTr/HIP_{}.nii.gz")


def layout_msd():
    given = layout_nnunet_raw("imagesTr/HIP_{}.nii.gz", '{"0": "background", "1": "femur"}')
    Path("imagesTr/._HIP_1.nii.gz").write_bytes(b"\0\5\26\7" + bytes(90))
    return given


def layout_bids():
    name = "sub-{0}/ses-1/anat/sub-{0}_ses-1"
    Path("participants.tsv").write_text("participant_id\tage\nsub-1\t61\nsub-2\t58\n")
    return lay_out(f"{name}_T1w.nii.gz", f"derivatives/manual/{name}_label-femur_mask.nii.gz")


def layout_one_folder_a_case():
    return lay_out("case_0000{}/imaging.nii.gz", "case_0000{}/segmentation.nii.gz")


def layout_totalsegmentator():
    empty = np.zeros_like(MASK)
    save(nifti(np.concatenate(SCANS[1:])), "s0001/mri.nii.gz")
    return [
        save(nifti(np.concatenate([empty, FEMORA[2]])), "s0001/segmentations/femur_left.nii.gz"),
        save(nifti(np.concatenate([FEMORA[1], empty])), "s0001/segmentations/femur_right.nii.gz"),
    ]


def lay_out(scan, mask):
    """Two scans and their masks, which are returned."""
    for k in (1, 2):
        save(nifti(SCANS[k]), scan.format(k))
    return [save(nifti(FEMORA[k]), mask.format(k)) for k in (1, 2)]


LAYOUTS = {
    layout_nnunet_raw: ["import folder . OUT", "import pairs imagesTr labelsTr OUT"],
    layout_msd: ["import folder . OUT", "import pairs imagesTr labelsTr OUT"],
    layout_bids: ["import folder . OUT"],
    layout_one_folder_a_case: ["import folder . OUT"],
    layout_totalsegmentator: ["import folder . OUT"],
}


@pytest.mark.parametrize(("layout", "command"), [(layout, c) for layout, commands in LAYOUTS.items() for c in commands])
def test_layout(layout, command, capsys):
    given = layout()
    assert femur(command, capsys)[0] == 0
    assert all(same(mask, other) for mask, other in zip(cohorts_masks(), given, strict=True))
    sides = pd.read_csv("OUT/participants.tsv", sep="\t", keep_default_na=False).side.tolist()
    assert sides == (["R", "L"] if layout is layout_totalsegmentator else ["n/a", "n/a"])


# --- predict


def predicted(names: str, capsys, scan=None) -> str:
    """Masks of the files equal the base's femur, or that of ``scan``; what was said."""
    code, said = femur(f"predict RUN {names} --out OUT", capsys)
    assert code == 0
    save(nifti(MASK) if scan is None else scan, "expected.nii.gz")
    for name in names.split():
        assert same(f"OUT/{ENDING.sub('', name)}_mask.nii.gz", "expected.nii.gz")
    return said


def big_endian():
    save(nib.Nifti1Image(IMAGE.astype(">i2"), AFFINE, nifti(IMAGE).header.as_byteswapped(">")), "scan.nii.gz")


PREDICTED = {
    "base": lambda: save(nifti(IMAGE), "scan.nii.gz"),
    "nifti2": lambda: save(nifti(IMAGE, kind=nib.Nifti2Image), "scan.nii.gz"),
    "big_endian": big_endian,
    "gz_not_gzipped": lambda: Path("scan.nii.gz").write_bytes(nifti(IMAGE).to_bytes()),
    "nii_gzipped": lambda: Path("scan.nii").write_bytes(gzip.compress(nifti(IMAGE).to_bytes())),
    "scaling_zero": lambda: header(save(nifti(IMAGE), "scan.nii"), scl_slope=0, scl_inter=5),
    "scaling_nan": lambda: header(save(nifti(IMAGE), "scan.nii"), scl_slope=np.nan, scl_inter=np.nan),
    "scaling_inf": lambda: header(save(nifti(IMAGE), "scan.nii"), scl_slope=np.inf, scl_inter=np.inf),
    "mha": lambda: mha("scan.mha"),
}


@pytest.mark.parametrize("case", PREDICTED)
def test_predicted_as_the_base(case, capsys):
    PREDICTED[case]()
    (scan,) = Path().iterdir()
    assert "warning" not in predicted(scan.name, capsys)


def test_base_oblique_is_predicted_on_its_own_grid(capsys):
    affine = turned(18, 0, -11)
    save(nifti(IMAGE, affine), "scan.nii.gz")
    predicted("scan.nii.gz", capsys, nifti(MASK, affine))
    np.testing.assert_allclose(nib.load("OUT/scan_mask.nii.gz").affine, affine, atol=1e-4)


def test_forms_rotated(capsys):
    given = nib.load(save(nifti(IMAGE, qform=turned(0, 0, 25), codes=(4, 1)), "scan.nii.gz"))
    assert "qform and an sform that differ" in predicted("scan.nii.gz", capsys)
    mask = nib.load("OUT/scan_mask.nii.gz")
    assert (mask.header["sform_code"], mask.header["qform_code"]) == (4, 1)
    np.testing.assert_allclose(mask.get_qform(), given.get_qform(), atol=1e-4)


def test_slices_added_at_both_ends(capsys):
    save(nifti(np.pad(IMAGE, [(0, 0), (0, 0), (2, 6)], mode="edge"), AFFINE @ moved(0, 0, -2)), "scan.nii.gz")
    code, said = femur("predict RUN scan.nii.gz --out OUT", capsys)
    assert code == 0
    mine, base = femur_in_world("OUT/scan_mask.nii.gz"), femur_in_world(save(nifti(MASK), "base.nii.gz"))
    assert 2 * len(mine & base) > 0.9 * (len(mine) + len(base)) or "scan.nii.gz has 16 slices" in said
    assert mine <= base  # and never a femur elsewhere


def test_padding(capsys):
    padded = IMAGE.copy()
    padded[:2] = -32768
    save(nifti(padded), "scan.nii.gz")
    assert "voxels of -32768" in femur("predict RUN scan.nii.gz --out OUT", capsys)[1]


def colour():
    rgb = np.zeros(IMAGE.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"] = IMAGE // 4
    save(nib.Nifti1Image(rgb, AFFINE), "scan.nii.gz")


def trailing_bytes():
    path = save(nifti(IMAGE), "scan.nii.gz")
    path.write_bytes(path.read_bytes() + b"something after the end")


def truncated(name):
    path = save(nifti(IMAGE), name)
    path.write_bytes(path.read_bytes()[:-1000])


NOT_PREDICTED = {
    "two_volumes": (lambda: save(nifti(np.stack([IMAGE, IMAGE[::-1]], -1)), "scan.nii.gz"), r"\(2 volumes\)"),
    "colour": (colour, r"is a colour image \(RGB\)"),
    "complex": (lambda: save(nifti(IMAGE.astype(np.complex64)), "scan.nii.gz"), "has complex values"),
    "trailing_bytes": (trailing_bytes, "goes on for 23 bytes"),
    "truncated, packed": (lambda: truncated("scan.nii.gz"), "is incomplete"),
    "truncated": (lambda: truncated("scan.nii"), "is incomplete"),
    "longest_name": (lambda: save(nifti(IMAGE), f"{'x' * 240}.nii.gz"), "is too long a name"),
    "thin_slices": (lambda: save(resampled(24, 24, 24), "scan.nii.gz"), r"coronal slices are 1\.67 mm thick"),
    "thick_slices": (lambda: save(resampled(24, 24, 4), "scan.nii.gz"), "coronal slices are 10 mm thick"),
    "axial": (lambda: save(resampled(24, 6, 20), "scan.nii.gz"), "2 mm thick.* axial planes"),
    "sagittal": (lambda: save(resampled(6, 24, 20), "scan.nii.gz"), "2 mm thick.* sagittal planes"),
    "pelvis": (lambda: save(nifti(np.concatenate(SCANS[1:])), "scan.nii.gz"), "wider than one hip"),
}


@pytest.mark.parametrize("case", NOT_PREDICTED)
def test_refused_by_predict(case, capsys):
    make, says = NOT_PREDICTED[case]
    make()
    (scan,) = Path().iterdir()
    refused(f"predict RUN {scan} --out OUT", says, capsys)


def test_mixed_slices(capsys):
    for k in range(1, 9):
        thick = nifti(IMAGE, AFFINE @ np.diag([1, 1, 1.45, 1])), nifti(MASK, AFFINE @ np.diag([1, 1, 1.45, 1]))
        pair(*(thick if k in (3, 6) else ()), name=f"hip{k:02d}")
    assert femur(PAIRS, capsys)[0] == 0
    said = femur("check OUT", capsys)[1]
    assert re.findall(r"(sub-\w+)_T1w\S+ is unlike .*slice spacing 7\.25 mm instead of 5", said) == [
        "sub-hip03",
        "sub-hip06",
    ]


# --- scores


def score(capsys, more="") -> tuple[pd.DataFrame, pd.DataFrame, str]:
    code, said = femur("score --truth truth --predictions predictions --out s.csv" + more, capsys)
    assert code == 0
    return pd.read_csv("s.csv", index_col=0), pd.read_csv("s_summary.csv", index_col=0), said


def drawn(predicted=(0, 1, 2), names="hip{}_mask", value=1, empty=()):
    for k in range(3):
        save(nifti(FEMORA[k] * np.uint8(value)), f"truth/hip{k}.nii.gz")
    for k in predicted:
        mask = np.roll(FEMORA[k % 3], 1, 0) * np.uint8(0 if k in empty else value)
        save(nifti(mask), f"predictions/{names.format(k)}.nii.gz")


def test_score_half_missing(capsys):
    drawn((0, 2))
    _, means, said = score(capsys)
    assert "hip1: no prediction" in said
    assert means.loc["dice", ["scans", "of"]].tolist() == [2, 3]


def test_score_prediction_without_truth(capsys):
    drawn((0, 1, 2, 9))
    table, _, said = score(capsys)
    assert "hip9_mask.nii.gz has no true mask" in said
    assert len(table) == 3


def test_score_empty_prediction(capsys):
    drawn(empty=(1,))
    table, means, _ = score(capsys)
    assert table.loc["hip1", "dice"] == 0
    assert np.isnan(table.loc["hip1", "asd_mm"])
    assert means.scans[["dice", "asd_mm"]].tolist() == [3, 2]


def test_score_nnunet_names(capsys):
    drawn(names="hip{}")
    for name in ("dataset.json", "plans.json", "predict_from_raw_data_args.json"):
        Path("predictions", name).write_text(json.dumps({}))
    assert score(capsys)[0].dice.between(0.8, 0.99).tolist() == [True] * 3


def test_score_label_2(capsys):
    drawn(value=2)
    refused("score --truth truth --predictions predictions --out s.csv", r"has the values \[0, 2\]", capsys)
    assert len(score(capsys, " --label 2")[0]) == 3


# --- outputs


@pytest.mark.parametrize("command", [PAIRS, "predict RUN images/hip01.nii.gz --out OUT"])
def test_target_under_a_file(command, capsys):
    pair()
    Path("a_file").write_text("not a folder\n")
    refused(command.replace("OUT", "a_file/OUT"), "a_file.* cannot be read or written", capsys)


@pytest.mark.parametrize("command", [PAIRS, "predict RUN images/hip01.nii.gz --out OUT"])
def test_target_read_only(command, capsys, monkeypatch):
    def locked(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))  # as for anyone but the superuser

    pair()
    monkeypatch.setattr(Path, "mkdir", locked)
    refused(command.replace("OUT", "locked/OUT"), "locked.* cannot be read or written: permission denied", capsys)
