"""A DICOM series is one volume or is refused by what is wrong with it; a mask goes back to it as DICOM SEG."""

import re
import warnings
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import Bright, affine_of, tiny_hip, write_dicom, write_nifti

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")

from pydicom.dataset import Dataset  # noqa: E402
from pydicom.pixels import get_decoder  # noqa: E402
from pydicom.uid import (  # noqa: E402
    JPEG2000,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from femur_lib._runtime.errors import DataError  # noqa: E402
from femur_lib.architecture import Architecture  # noqa: E402
from femur_lib.cli import main  # noqa: E402
from femur_lib.evaluation import predict_files, scans_of_files  # noqa: E402
from femur_lib.inference import Segmenter  # noqa: E402
from femur_lib.preprocessing import Grid  # noqa: E402
from femur_lib.volumes import Volume, on_grid_of, read_mask, read_volume, write_dicom_seg  # noqa: E402

SHAPE = (7, 6, 5)
ARRAY = np.random.default_rng(0).integers(0, 1000, SHAPE).astype(np.uint16)
AFFINE = affine_of("LIP", (1.2, 1.5, 3.0), (4, -3, 5), (10.0, -20.0, 30.0))


def series(folder: Path, array=ARRAY, affine=AFFINE, **options) -> Path:
    return write_dicom(folder / "series", array, affine, **options)


def same(volume: Volume, array=ARRAY) -> None:
    np.testing.assert_allclose(volume.array, array)
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-4)


def refused(folder: Path, says: str, **more) -> None:
    with pytest.raises(DataError, match=says) as error:
        read_volume(folder, **more)
    assert str(error.value).count("\n") == 0


# --- in


@pytest.mark.parametrize("name", ["IM_{:04d}", "{}.dcm", "a/b/{}.IMA", lambda k: generate_uid(entropy_srcs=[str(k)])])
def test_names_do_not_matter_because_slices_are_sorted_by_position(tmp_path, name):
    (tmp_path / "series" / "a" / "b").mkdir(parents=True)
    same(read_volume(series(tmp_path, np.tile(ARRAY, 3), name=name)), np.tile(ARRAY, 3))


@pytest.mark.parametrize("axes", ["LIP", "RIA", "LPS", "PIL", "RAI"])
def test_every_direction_of_slices_and_pixels_is_understood(tmp_path, axes):
    affine = affine_of(axes, (1.2, 1.5, 3.0), (4, -3, 5))
    volume = read_volume(series(tmp_path, affine=affine))
    expected = on_grid_of("x", Volume(ARRAY, affine), "y", volume)  # slices may run the other way
    np.testing.assert_array_equal(volume.array, expected.array)
    np.testing.assert_allclose(volume.affine, expected.affine)


def test_a_slope_belongs_to_its_slice_and_an_empty_one_is_none(tmp_path):
    def slope(d, k):
        d.RescaleSlope, d.RescaleIntercept = k + 1, -10
        if k == 4:
            d.RescaleSlope = d.RescaleIntercept = None

    factor, offset = np.array([1, 2, 3, 4, 1]), np.array([-10, -10, -10, -10, 0])
    same(read_volume(series(tmp_path, change=slope)), ARRAY * factor + offset)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, DeflatedExplicitVRLittleEndian])
def test_compressed_slices_are_unpacked(tmp_path, syntax):
    def compress(d, k):
        if syntax.is_encapsulated:
            d.compress(syntax, generate_instance_uid=False)
        d.file_meta.TransferSyntaxUID = syntax

    same(read_volume(series(tmp_path, change=compress)))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEG2000, JPEG2000Lossless])
def test_there_are_decoders_for_what_archives_use(syntax):
    assert get_decoder(syntax).is_available


def enhanced(folder: Path, order, copies=1, change=lambda d: None) -> Path:
    """One enhanced file, its frames in an order of their own; further copies are other echoes, ten times as bright."""
    series(folder)
    plain = [pydicom.dcmread(file) for file in sorted((folder / "series").iterdir())]
    for file in (folder / "series").iterdir():
        file.unlink()
    d, shared, frames, pixels = plain[0], Dataset(), [], []
    d.SOPClassUID = d.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage

    def group(**fields):
        item = Dataset()
        for keyword, value in fields.items():
            setattr(item, keyword, value)
        return [item]

    shared.PlaneOrientationSequence = group(ImageOrientationPatient=d.ImageOrientationPatient)
    shared.PixelMeasuresSequence = group(PixelSpacing=d.PixelSpacing, SliceThickness=3)
    organization = generate_uid()
    d.DimensionOrganizationSequence = group(DimensionOrganizationUID=organization)
    d.DimensionIndexSequence = group(
        DimensionOrganizationUID=organization, DimensionIndexPointer=0x00209057, FunctionalGroupPointer=0x00209111
    )
    for k, echo in ((k, echo) for k in order for echo in range(copies)):
        frame = Dataset()
        frame.PlanePositionSequence = group(ImagePositionPatient=plain[k].ImagePositionPatient)
        frame.FrameContentSequence = group(StackID="1", InStackPositionNumber=k + 1, DimensionIndexValues=[k + 1])
        frame.MREchoSequence = group(EffectiveEchoTime=5.0 + echo)
        frame.PixelValueTransformationSequence = group(RescaleSlope=10**echo, RescaleIntercept=k, RescaleType="US")
        frames.append(frame)
        pixels.append(plain[k].PixelData)
    del d.ImagePositionPatient, d.ImageOrientationPatient, d.PixelSpacing
    d.NumberOfFrames, d.PixelData = len(frames), b"".join(pixels)
    d.SharedFunctionalGroupsSequence, d.PerFrameFunctionalGroupsSequence = [shared], frames
    change(d)
    d.save_as(folder / "series" / "enhanced", enforce_file_format=True)
    return folder / "series"


def test_the_frames_of_an_enhanced_file_are_sorted_and_each_has_its_own_scale(tmp_path):
    folder = enhanced(tmp_path, (3, 0, 4, 2, 1))
    for path in (folder, folder / "enhanced"):
        same(read_volume(path), ARRAY + np.arange(5.0))


def test_echoes_of_one_series_are_listed_and_chosen(tmp_path):
    folder = enhanced(tmp_path, (3, 0, 4, 2, 1), copies=2)
    refused(folder, r"holds 2 volumes; .*series 4a \(5 images, 6 x 7, coronal, TE 5 ms\); series 4b .*--series 4a")
    refused(folder, "several volumes of the series 4;", series="4")
    same(read_volume(folder, series="4b"), 10 * ARRAY + np.arange(5.0))


def test_several_series_in_one_folder_are_listed_and_one_is_chosen_by_number(tmp_path):
    series(tmp_path)
    folder = series(tmp_path, ARRAY // 3, name="b{}", SeriesNumber=12)
    refused(folder, r"holds 2 volumes.*series 4 \(5 images.*series 12 \(5 images")
    same(read_volume(folder, series="12"), ARRAY // 3)
    refused(folder, r"holds nothing of the series 5; it holds: series 4 .*12", series="5")


def test_localizers_and_what_is_no_volume_or_no_dicom_are_named_and_left_aside(tmp_path):
    folder = series(tmp_path)
    kind = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    for n, axes in enumerate(("LIP", "LPS", "PIL")):  # three directions in one series
        series(tmp_path, affine=affine_of(axes), name=f"scout{n}-{{}}", SeriesNumber=1, ImageType=kind)
    series(tmp_path, ARRAY[..., :1], name="capture", SOPClassUID=SecondaryCaptureImageStorage, SeriesNumber=90)
    (folder / "read me.txt").write_text("hello")
    (folder / ".DS_Store").write_text("hidden")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        same(read_volume(folder))
    said = " ".join(str(w.message) for w in said)
    assert re.search(r"not DICOM, and is not used: \S*read me\.txt\.", said)
    assert re.search(r"series 4 .* is taken; not used: (series 1[abc] \(5 images[^;]*LOCALIZER\); ){3}series 90 ", said)
    assert "not MR but Secondary Capture Image)" in said


def test_a_slice_that_is_there_twice_is_used_once(tmp_path):
    folder = series(tmp_path)
    again = pydicom.dcmread(folder / "1-03.dcm")
    again.SOPInstanceUID = again.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    again.save_as(folder / "again.dcm")
    with pytest.warns(UserWarning, match=r"again\.dcm is the same image as \S*1-03\.dcm"):
        same(read_volume(folder))
    again.PixelData = bytes(len(again.PixelData))
    again.save_as(folder / "again.dcm")
    refused(folder, r"two different images at one place, \S*1-03\.dcm and \S*again\.dcm")


def test_a_tilted_stack_is_accepted_as_sheared_and_named(tmp_path):
    tilted = AFFINE.copy()
    tilted[:3, 2] += 0.7 * AFFINE[:3, 1] / 1.5
    with pytest.warns(UserWarning, match="tilted stack"):
        volume = read_volume(series(tmp_path, affine=tilted))
    np.testing.assert_allclose(volume.affine, tilted, atol=1e-4)
    assert volume.steps_mm.shape == (3, 3)


def without(k: int):
    return lambda d, number: number != k


def only(k: int, **fields):
    def change(d, number):
        for keyword, value in fields.items() if number == k else ():
            setattr(d, keyword, value)

    return change


def moved(d, k):
    if k == 2:
        d.ImagePositionPatient = [float(v) + 0.9 for v in d.ImagePositionPatient]


def cine(d, k):
    d.ImagePositionPatient, d.TriggerTime = [0, 0, 0], 40 * k


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            without(1),
            r"is incomplete: between \S*1-01\.dcm and \S*1-03\.dcm lie 6 mm instead of 3; 1 slice of .* is miss",
        ),
        (moved, "not evenly spaced"),
        (cine, "5 images, 6 x 7, coronal, all at one position"),
        (only(2, ImagePositionPatient=None), r"1-03\.dcm has no position in the patient"),
        (only(2, ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "is incomplete"),
        (only(2, Rows=3, PixelData=bytes(2 * 3 * 7)), "is incomplete"),
        (only(2, PixelData=bytes(20)), r"1-03\.dcm has pixels that cannot be unpacked"),
        (lambda d, k: setattr(d, "ImageOrientationPatient", None), "without a direction in the patient"),
        (lambda d, k: setattr(d, "PixelSpacing", None), "without a pixel spacing"),
        (lambda d, k: setattr(d, "PixelSpacing", [0, 0]), "pixel spacing that cannot be used"),
        (
            lambda d, k: setattr(d, "ImageOrientationPatient", [2, 0, 0, 0, 0, -2]),
            "a direction or a pixel spacing that",
        ),
        (lambda d, k: setattr(d, "SOPClassUID", CTImageStorage), "not MR but CT Image"),
        (lambda d, k: setattr(d, "PhotometricInterpretation", "RGB"), "not in plain grey levels"),
        (lambda d, k: k == 0, r"holds no MR volume.*a single slice\); .*Give the folder"),
        (lambda d, k: False, "holds no DICOM file"),
    ],
)
def test_what_is_no_volume_is_refused_by_what_is_wrong(tmp_path, change, says):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a single slice in another direction, and of what pydicom thinks of it
        folder = series(tmp_path, change=change)
        refused(folder, says)


@pytest.mark.parametrize("keep", [100, 400, 700])
def test_a_file_that_was_cut_short_is_refused_by_name(tmp_path, keep):
    folder = series(tmp_path)
    file = folder / "1-03.dcm"
    file.write_bytes(file.read_bytes()[:keep])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        refused(folder, r"1-03\.dcm|is incomplete: between \S*1-02\.dcm and \S*1-04\.dcm")


def test_no_test_file_of_pydicom_ends_in_a_traceback_or_is_taken_for_an_mr_volume():
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    files = [file for file in root.rglob("*") if file.is_file()]
    assert len(files) > 100
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in (*files, *{file.parent for file in files}):  # one folder holds MR, CT and others, none a volume
            refused(path, re.escape(str(path)))


# --- on the command line


BRIGHT = Segmenter(Bright(), Architecture(3, 2, 1), Grid(24, 24, 8), grid_spacing_mm=(2, 2, 5))
SECRETS = {
    "PatientComments": "OKAPI", "OtherPatientIDs": "OKAPI", "StudyDescription": "OKAPI", "SeriesDescription": "OKAPI",
    "ProtocolName": "OKAPI", "InstitutionName": "OKAPI", "ReferringPhysicianName": "OKAPI^DR", "ImageComments": "OKAPI",
    "OperatorsName": "OKAPI", "AdditionalPatientHistory": "OKAPI", "StationName": "OKAPI",
}  # fmt: skip
OF_STUDY = {
    "PatientName": "ZEBRA^ZOE", "PatientID": "Z4711", "PatientBirthDate": "19560301", "PatientSex": "F",
    "StudyDate": "20200102", "StudyTime": "101112", "StudyID": "Z1", "AccessionNumber": "Z2",
}  # fmt: skip


@pytest.fixture(scope="module")
def predicted(tmp_path_factory) -> tuple[Path, Path]:
    """A hip as a DICOM series with a patient's texts, and what was predicted for it."""
    root = tmp_path_factory.mktemp("dicom")
    image = tiny_hip(0)[0]
    folder = write_dicom(root / "hip7", np.clip(image.array, 0, None), image.affine, **SECRETS, **OF_STUDY)
    predict_files(BRIGHT, scans_of_files([folder]), root / "out")
    return folder, root / "out"


def test_a_folder_is_predicted_under_its_name(predicted):
    _, out = predicted
    kinds = ("mask.dcm", "mask.nii.gz", "overlay.png", "probability.nii.gz")
    assert sorted(f.name for f in out.iterdir()) == [f"hip7_{kind}" for kind in kinds]


def test_no_text_about_the_patient_reaches_what_we_write_beside_what_a_seg_repeats(predicted):
    _, out = predicted
    for file in out.iterdir():
        raw = bytes(nib.load(file).to_bytes()) if file.name.endswith(".gz") else file.read_bytes()
        assert b"OKAPI" not in raw
        assert b"ZEBRA" not in raw or file.suffix == ".dcm"
    seg = pydicom.dcmread(out / "hip7_mask.dcm")
    assert {keyword: str(seg[keyword].value) for keyword in OF_STUDY} == OF_STUDY
    assert {e.keyword for e in seg if e.tag.group == 0x10} == {k for k in OF_STUDY if k.startswith("Patient")}


def laid_on(seg, shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """Each frame of a SEG, put where it says that it lies: segment numbers on a grid (column, row, slice)."""
    labels = np.zeros(shape, np.uint8)
    for frame, pixels in zip(seg.PerFrameFunctionalGroupsSequence, seg.pixel_array, strict=True):
        x, y, z = map(float, frame.PlanePositionSequence[0].ImagePositionPatient)
        index = np.linalg.inv(affine) @ [-x, -y, z, 1]
        np.testing.assert_allclose(index[:3], [0, 0, np.rint(index[2])], atol=1e-3)
        group = frame if "SegmentIdentificationSequence" in frame else seg.SharedFunctionalGroupsSequence[0]
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        labels[..., int(np.rint(index[2]))][pixels.T > 0] = segment
    return labels


def test_the_seg_lies_on_the_series_voxel_for_voxel_as_the_nifti_mask_does(predicted):
    folder, out = predicted
    scan, mask = read_volume(folder), read_mask(out / "hip7_mask.nii.gz")
    np.testing.assert_allclose(mask.affine, scan.affine, atol=1e-4)
    seg = pydicom.dcmread(out / "hip7_mask.dcm")
    np.testing.assert_array_equal(laid_on(seg, scan.array.shape, scan.affine), mask.array)
    found = highdicom.seg.segread(out / "hip7_mask.dcm").get_volume(combine_segments=True)
    turned = Volume(found.array.transpose(2, 1, 0), found.get_affine("RAS")[:, [2, 1, 0, 3]])
    np.testing.assert_array_equal(on_grid_of("seg", turned, "scan", scan).array, mask.array)
    source = pydicom.dcmread(folder / "1-01.dcm")
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert seg[keyword].value == source[keyword].value
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID != seg.SeriesInstanceUID


def test_both_hips_are_two_segments_with_their_sides_in_codes(tmp_path):
    scan = read_volume(enhanced(tmp_path, (3, 0, 4, 2, 1)))
    labels = np.random.default_rng(1).integers(0, 3, SHAPE)
    names = {1: ("Right femur", "R"), 2: ("Left femur", "L")}
    seg = pydicom.dcmread(write_dicom_seg(tmp_path / "both.dcm", replace(scan, array=labels), names))
    np.testing.assert_array_equal(laid_on(seg, SHAPE, scan.affine), labels)
    kinds = [s.SegmentedPropertyTypeCodeSequence[0] for s in seg.SegmentSequence]
    assert [(k.CodeValue, k.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning) for k in kinds] == [
        ("71341001", "Right"),
        ("71341001", "Left"),
    ]
    algorithm = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert (seg.SegmentSequence[0].SegmentLabel, algorithm.AlgorithmName) == ("Right femur", "femur_lib")


def test_an_empty_mask_is_a_segment_that_marks_nothing_and_the_side_is_that_of_the_series(tmp_path):
    scan = read_volume(series(tmp_path, Laterality="L"))
    path = write_dicom_seg(tmp_path / "x.dcm", replace(scan, array=np.zeros(SHAPE, bool)), {1: ("Femur", "")})
    seg = pydicom.dcmread(path)
    assert seg.pixel_array.shape == (5, 6, 7)
    assert not seg.pixel_array.any()
    kind = seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0]
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"


def test_a_series_that_no_seg_can_belong_to_is_segmented_all_the_same(tmp_path):
    image = tiny_hip(0)[0]
    folder = write_dicom(tmp_path / "hip7", np.clip(image.array, 0, None), image.affine, FrameOfReferenceUID=None)
    with pytest.warns(UserWarning, match=r"hip7_mask\.dcm cannot be written: .* has no FrameOfReferenceUID"):
        predict_files(BRIGHT, scans_of_files([folder]), tmp_path / "out")
    kinds = ("mask.nii.gz", "overlay.png", "probability.nii.gz")
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == [f"hip7_{kind}" for kind in kinds]


def test_import_dicom_writes_nifti_files_whole_or_not_at_all(tmp_path, capsys):
    one, two = (series(tmp_path / name).rename(tmp_path / f"hip{name}") for name in "12")
    assert main(["import", "dicom", str(one), str(two), str(tmp_path / "out")]) == 0
    assert [f.name for f in sorted((tmp_path / "out").iterdir())] == ["hip1.nii.gz", "hip2.nii.gz"]
    same(read_volume(tmp_path / "out" / "hip1.nii.gz"))
    capsys.readouterr()
    (two / "1-02.dcm").unlink()
    assert main(["import", "dicom", str(one), str(two), str(tmp_path / "more")]) == 1
    assert "hip2 is incomplete" in capsys.readouterr().err
    assert not list(tmp_path.glob("more*"))
    assert main(["import", "dicom", str(one), str(tmp_path / "out")]) == 1  # it holds files
    assert main(["import", "dicom", str(tmp_path / "out" / "hip1.nii.gz"), str(tmp_path / "more")]) == 1
    assert "hip1.nii.gz is not DICOM" in capsys.readouterr().err


def test_pairs_may_have_their_images_in_dicom_folders(tmp_path):
    for k in (1, 2):
        image, mask = tiny_hip(k)
        write_dicom(tmp_path / "images" / f"hip{k}", np.clip(image.array, 0, None), image.affine)
        write_nifti(tmp_path / "masks" / f"hip{k}_mask.nii.gz", mask.astype(np.uint8), image.affine)
    assert main(["import", "pairs", *(str(tmp_path / name) for name in ("images", "masks", "out"))]) == 0
    assert (tmp_path / "out" / "sub-hip2" / "anat" / "sub-hip2_T1w.nii.gz").is_file()
