"""Malformed input of every kind is refused in one line, before any work, and nothing is left behind."""

import gzip
import json
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import write_nifti

from femur_lib._runtime import machine
from femur_lib.cli import main
from femur_lib.cohort import image_path, mask_path

PROFILE = {"profile": "tiny", "grid_2d": [24, 24, 8], "grid_3d": [16, 16, 8], "epochs": 1, "folds": 2}
REMOVED = object()


@pytest.fixture
def place(trained_runs, tiny_cohort, tmp_path, monkeypatch) -> Path:
    """The working folder: a run, a cohort, a scan, a file that is no folder, and a profile."""
    shutil.copytree(trained_runs["3d"], tmp_path / "run")
    shutil.copytree(tiny_cohort.root, tmp_path / "hips")
    shutil.copy(tiny_cohort.subjects[0].image, tmp_path / "scan.nii.gz")
    (tmp_path / "file").write_text("hello")
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(PROFILE))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(capsys, command: str, says: str) -> None:
    """A command ends with one line that says so, and leaves no file (but scans already resampled)."""

    def files() -> list[Path]:
        return sorted(p for p in Path().rglob("*") if p.is_file() and ".femur-cache" not in p.parts)

    before = files()
    assert main(command.split()) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("femur: warning")]
    assert line.startswith("femur: ")
    assert says in line
    assert files() == before


RECORDS = {
    "a word": ("hello", "is damaged"),
    "nothing": ("", "is damaged"),
    "a list": ("[1]", "is damaged"),
    "null": ("null", "is damaged"),
    "another encoding": (b"\xff\xfe\0\1", "is damaged"),
    "no values": ("{}", "network: is not there"),
    "no network": ({"network": REMOVED}, "network: is not there"),
    "no profile": ({"profile": REMOVED}, "profile: is not there"),
    "no training scans": ({"training": REMOVED}, "training: is not there"),
    "a network that is a number": ({"network": 3}, "network: input should be a valid string"),
    "a network of another name": ({"network": "4d-f2"}, "4d-f2 is not the name of a network"),
    "a fold that is text": ({"fold": "first"}, "fold: input should be a valid integer"),
    "a profile that is a name": ({"profile": "quick"}, "profile: input should be a valid dictionary"),
    "a profile of text": ({"profile": {"profile": "x", "folds": "two"}}, "profile.folds: input should be a valid int"),
    "a threshold that is text": ({"threshold": "high"}, "threshold: input should be a valid number"),
    "a threshold that is nothing": ({"threshold": None}, "threshold: input should be a valid number"),
    "a threshold that no probability has": ({"threshold": 5}, "threshold: input should be less than or equal to 1"),
    "a threshold that is not a number": ({"threshold": float("nan")}, "threshold: input should be"),
    "two spacings": ({"grid_spacing_mm": [1.0, 2.0]}, "grid_spacing_mm: list should have at least 3 items"),
    "a spacing of zero": ({"grid_spacing_mm": [0, 0, 0]}, "grid_spacing_mm.0: input should be greater than 0"),
    "scans that are a word": ({"training": "sub-01R"}, "training: input should be a valid list"),
    "parameters that are text": ({"parameters": "many"}, "parameters: input should be a valid integer"),
}


@pytest.mark.parametrize("command", ["predict run scan.nii.gz --out o", "evaluate run hips", "export run o",
                                     "report run --out r.html"], ids=lambda c: c.split()[0])  # fmt: skip
@pytest.mark.parametrize(("record", "says"), RECORDS.values(), ids=list(RECORDS))
def test_a_record_of_another_kind(place, capsys, command, record, says):
    file = Path("run/run.json")
    if isinstance(record, dict):
        changed = json.loads(file.read_text()) | record
        record = json.dumps({key: value for key, value in changed.items() if value is not REMOVED})
    file.write_bytes(record if isinstance(record, bytes) else record.encode())
    refused(capsys, command, says)


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (None, "is missing"),
        ("", "cannot be read as a table"),
        ("hello", "has no rows"),
        (b"\xff\0", "cannot be read as a table"),
        ("epoch,loss,dice\n", "has no rows"),
        ("epoch,loss,dice,precision,recall\na,b,c,d,e\n", "has no numbers in the column"),
    ],
)
@pytest.mark.parametrize("name", ["history.csv", "scores.csv"])
def test_a_report_of_tables_of_another_kind(place, capsys, name, table, says):
    if name == "scores.csv" and table is None:
        pytest.skip("a run need not be scored")
    record = json.loads(Path("run/run.json").read_text())
    del record["files"]  # as of older runs, whose files are not verified
    Path("run/run.json").write_text(json.dumps(record))
    file = Path("run", name)
    if table is None:
        file.unlink()
    else:
        file.write_bytes(table if isinstance(table, bytes) else table.encode())
    refused(capsys, "report run --out r.html", f"{file} {says}")


def test_a_report_of_a_run_that_was_changed(place, capsys):
    with Path("run/history.csv").open("a") as file:
        file.write("3,4\n")
    refused(capsys, "report run --out r.html", "history.csv was changed after it was written")


@pytest.mark.parametrize("text", ["hello", "[1]", ""])
@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("hips/dataset_description.json", "train hips r --network 3d-f2-l1 --profile tiny.yaml"),
        ("r.partial/settings.json", "train hips r --network 3d-f2-l1 --profile tiny.yaml"),
    ],
)
def test_other_json(place, capsys, file, command, text):
    Path(file).parent.mkdir(exist_ok=True)
    Path(file).write_text(text)
    refused(capsys, command, f"{file} is damaged")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"learning_rate": float("inf")}, "learning_rate: Input should be a finite number"),
        ({"min_delta": float("nan")}, "min_delta: Input should be"),
        ({"training_seed": -1}, "training_seed: Input should be greater than or equal to 0"),
        ({"networks": ["hello"]}, "hello is not the name of a network"),
        ({"study": ["hello"]}, "hello is not the name of a network"),
        ({"profile": "../elsewhere"}, "profile: String should match"),
        ({"grid_3d": [10**6, 10**6, 10**6]}, "needs at least"),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)
def test_a_setting_that_no_training_can_have(place, capsys, change, says):
    Path("tiny.yaml").write_text(yaml.safe_dump(PROFILE | change))
    refused(capsys, "train hips r --network 3d-f2-l1 --profile tiny.yaml", says)


@pytest.mark.parametrize("text", [b"\xff\xfe\0", b"a: [", b"a:\tb: c"])
def test_a_profile_that_is_no_yaml(place, capsys, text):
    Path("tiny.yaml").write_bytes(text)
    refused(capsys, "train hips r --network 3d-f2-l1 --profile tiny.yaml", "tiny.yaml is not a profile")


@pytest.mark.parametrize(
    ("network", "says"),
    [
        ("3d-f2-l99", "needs at least"),
        ("2d-f2-l99", "needs at least"),
        ("3d-f2-l9999999", "is not the name of a network"),
        ("3d-f99999999-l1", "is not the name of a network"),
        ("3d-f0-l1", "features and levels must be at least 1"),
        ("3d-f2-l0", "features and levels must be at least 1"),
        ("3d-unpadded-f2-l1", "an unpadded 3D network is not built here"),
        ("2d-unpadded-f2-l1-d1.2", "a dilated centre needs padded convolutions"),
        ("3d-f2-l1-d0", "dilation rates must be different whole numbers"),
        ("3d-f2-l1-d1.2-", "is not the name of a network"),
        ("2d-unpadded-f2-l5", "cannot train 2d-unpadded-f2-l5: an unpadded network with 5 levels has no output"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "search"])
def test_a_network_that_no_machine_can_hold(place, capsys, verb, network, says):
    refused(capsys, f"{verb} hips r --network {network} --profile tiny.yaml", says)


def test_a_network_is_refused_where_even_its_answers_do_not_fit_by_far():
    machine.refuse_hopeless("3d-f32-l4", 8 * 10**9, 4 * 10**9)  # only warned of
    with pytest.raises(ValueError, match=r"3d-f32-l4 needs at least 4e\+03 GB of memory, and this machine has 4\.0"):
        machine.refuse_hopeless("3d-f32-l4", 4 * 10**12, 4 * 10**9)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("search hips s --network 3d-f2-l1 --rates 1e-5 inf", "leave nothing to try"),
        ("search hips s --network 3d-f2-l1 --features 0", "leave nothing to try"),
        ("phantom o --seed -1", "--seed is -1; 0 or more"),
        ("study quick hips --cores -1", "--cores is -1; 0 or more"),
        ("study quick hips --gpus -1", "--gpus is -1; 0 or more"),
        ("study quick hips --threads -1", "--threads is -1; 0 or more"),
        ("check file/hips", "file/hips holds no participants.tsv"),
        ("train hips file/r --network 3d-f2-l1 --profile tiny.yaml", "file"),
        ("predict run scan.nii.gz --out file/o", "file/o"),
        ("export run file/o", "file"),
        ("report run --out file/r.html", "file"),
        ("study quick hips --runs file/s --dry-run", "file is a file; a folder for the runs"),
    ],
)
def test_a_number_or_a_place_that_cannot_be(place, capsys, command, says):
    refused(capsys, command, says)


@pytest.mark.parametrize(
    "options", ["--fold 0 --all-subjects", "--all-subjects --fold 0", "--fold 1.0", "--epochs 1e9"]
)
def test_options_that_contradict_one_another(place, options):
    with pytest.raises(SystemExit) as ended:
        main(f"train hips r --network 3d-f2-l1 --profile tiny.yaml {options}".split())
    assert ended.value.code == 2


def test_axes_that_are_none_even_where_the_file_says_them_itself(place, capsys):
    with pytest.raises(SystemExit):
        main(["predict", "run", "scan.nii.gz", "--out", "o", "--axes", "XYZ"])
    assert "'XYZ' does not name three axes" in capsys.readouterr().err


@pytest.mark.parametrize("cut", [100, 348])
def test_a_scan_that_ends_within_its_header(place, capsys, cut):
    write_nifti(Path("whole.nii").absolute(), np.arange(512, dtype=np.float32).reshape(8, 8, 8))
    Path("cut.nii").write_bytes(Path("whole.nii").read_bytes()[:cut])
    refused(capsys, "predict run cut.nii --out o", "cut.nii")


def test_a_mask_without_background(place, capsys):
    file = mask_path(Path("hips"), "sub-01R")
    mask = nib.load(file)
    nib.save(nib.Nifti1Image(np.ones(mask.shape, np.uint8), mask.affine), file)
    refused(capsys, "check hips", "in every voxel")


def header(at: int, form: str, *values: float):
    """Other numbers in a NIfTI header, from a byte on."""
    packed = struct.pack(f"<{form}", *values)
    return lambda raw: raw[:at] + packed + raw[at + len(packed) :]


IMAGES = {
    "terabytes": (
        header(40, "8h", 3, 32000, 32000, 32000, 1, 1, 1, 1),
        "is incomplete: 18784 of 131072000000352 bytes",
    ),
    "more voxels than there are": (header(40, "8h", 3, 25, 24, 8, 1, 1, 1, 1), "is incomplete: 18784 of 19552 bytes"),
    "a side of no voxels": (header(40, "8h", 3, 0, 24, 8, 1, 1, 1, 1), "holds an array of shape (0, 24, 8)"),
    "a side of less than none": (header(40, "8h", 3, -24, 24, 8, 1, 1, 1, 1), "holds an array of shape (-24, 24, 8)"),
    "two sides of less than none": (
        header(40, "8h", 3, -24, -24, 8, 1, 1, 1, 1),
        "holds an array of shape (-24, -24, 8)",
    ),
    "nine axes": (header(40, "8h", 9, 24, 24, 8, 1, 1, 1, 1), "header that cannot be read"),
    "no axes": (header(40, "8h", 0, 24, 24, 8, 1, 1, 1, 1), "holds an array of shape (0,)"),
    "two axes": (header(40, "8h", 2, 24, 192, 1, 1, 1, 1, 1), "holds an array of shape (24, 192)"),
    "four axes": (header(40, "8h", 4, 24, 24, 4, 2, 1, 1, 1), "holds an array of shape (24, 24, 4, 2) (2 volumes)"),
    "an unknown type": (header(70, "h", 9999), "data code 9999 not recognized"),
    "bits": (header(70, "hh", 1, 1), "data code 1 not supported"),
    "complex numbers": (header(70, "hh", 32, 64), "has complex values"),
    "colours": (header(70, "hh", 128, 24), "is a colour image"),
    "values that begin before the file": (header(108, "f", -1), "offset -1 too low"),
    "values that begin behind the file": (header(108, "f", 1e9), "is incomplete: 18784 of"),
    "values that begin nowhere": (header(108, "f", float("nan")), "cannot convert float NaN"),
    "a slope beyond all numbers": (header(112, "f", 1e38), "4608 voxels that are NaN or infinite"),
    "an infinite intercept": (header(112, "ff", 1, float("inf")), "invalid intercept inf"),
    "places that are not numbers": (header(280, "12f", *[float("nan")] * 12), "has an affine that cannot be inverted"),
    "all places in one": (header(280, "12f", *[0.0] * 12), "has an affine that cannot be inverted"),
    "voxels of a kilometre": (
        header(280, "12f", 1e6, 0, 0, 0, 0, 1e6, 0, 0, 0, 0, 1e6, 0),
        "has voxels of 1e+06 x 1e+06 x 1e+06 mm",
    ),
    "another format's name": (header(344, "4s", b"xxxx"), "is an Analyze header"),
    "an end too early": (lambda raw: raw[:-100], "is incomplete: 18684 of 18784 bytes"),
    "something behind it": (lambda raw: raw + b"abc", "goes on for 3 bytes after the last voxel"),
    "the header alone": (lambda raw: raw[:348], "is incomplete: 348 of 18784"),
    "one value everywhere": (lambda raw: raw[:352] + bytes(len(raw) - 352), "has the same value, 0, in every voxel"),
    "a value that is not a number": (
        lambda raw: raw[:352] + b"\xff" * 4 + raw[356:],
        "has 1 voxels that are NaN or infinite",
    ),
    "nothing": (lambda raw: b"", "is not a NIfTI file"),
    "a word": (lambda raw: b"hello", "is not a NIfTI file"),
}


@pytest.mark.parametrize(("change", "says"), IMAGES.values(), ids=list(IMAGES))
def test_an_image_of_another_kind(place, capsys, change, says):
    file = image_path(Path("hips"), "sub-01R")
    file.write_bytes(gzip.compress(change(gzip.decompress(file.read_bytes()))))
    refused(capsys, "check hips", says)


PARTICIPANTS = {
    "nothing": (lambda text: "", "is empty"),
    "a header alone": (lambda text: text.splitlines()[0] + "\n", "has no rows"),
    "a side called leftish": (lambda text: text.replace("\tR\t", "\tleftish\t"), "has the side 'leftish'"),
    "a row twice": (lambda text: text + text.splitlines()[1] + "\n", "names sub-01R in more than one row"),
    "a row of tabs": (lambda text: text + "\t\t\t\n", "has only empty fields in line 9"),
    "a name that leads out": (lambda text: text.replace("sub-01R", "../x"), "names the hip '../x', which is a path"),
    "commas": (lambda text: text.replace("\t", ","), "has no column participant_id"),
}


@pytest.mark.parametrize(("change", "says"), PARTICIPANTS.values(), ids=list(PARTICIPANTS))
def test_a_table_of_patients_of_another_kind(place, capsys, change, says):
    file = Path("hips/participants.tsv")
    file.write_text(change(file.read_text()))
    refused(capsys, "check hips", says)


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("predict run scan.nii.gz scan.nii.gz --out o", "share a name"),
        ("predict run nowhere.nii.gz --out o", "nowhere.nii.gz does not exist"),
        ("predict run hips --out o", "holds no DICOM file"),
        ("predict run scan.nii.gz --out o --threshold nan", "--threshold is nan"),
        ("score --truth hips --predictions nowhere --out s.csv", "nowhere holds no *_mask"),
        ("quality nowhere --out q.html", "nowhere holds no *_mask"),
        ("quality hips --out q.html", "hips holds no *_mask"),
        ("import pairs hips nowhere o", "nowhere is not a folder"),
        ("import pelvis hips o", "hips holds neither"),
        ("phantom hips --subjects 1", "hips holds something else already"),
    ],
)
def test_a_file_or_a_folder_of_another_kind(place, capsys, command, says):
    refused(capsys, command, says)


@pytest.mark.parametrize(("seconds", "reads"), [("2.5", 2.5), (None, 0.0)])
def test_a_stopwatch(tmp_path, seconds, reads):
    from femur_lib.training import _seconds

    if seconds:
        (tmp_path / "seconds.json").write_text(seconds)
    assert _seconds(tmp_path / "seconds.json") == reads


@pytest.mark.parametrize("text", ["hello", "[]", "", '"x"'])
def test_a_stopwatch_of_another_kind(tmp_path, text):
    from femur_lib.training import _seconds

    (tmp_path / "seconds.json").write_text(text)
    with pytest.raises(ValueError, match=r"seconds\.json is damaged"):
        _seconds(tmp_path / "seconds.json")


def test_too_little_memory_is_said_in_one_line(place, capsys, monkeypatch):
    def none(*_):
        raise MemoryError("Unable to allocate 29.1 TiB")

    monkeypatch.setattr("femur_lib.cohort.read_volume", none)
    refused(capsys, "check hips", "There is not enough memory (Unable to allocate 29.1 TiB).")


def test_scores_without_names_of_scans_have_no_pictures(place):
    pd.DataFrame({"dice": [0.9], "precision": [0.9], "recall": [0.9]}).to_csv("run/scores.csv", index=False)
    assert main(["report", "run", "--out", "r.html"]) == 0


def test_scores_whose_scans_are_paths(place, capsys):
    scores = {"participant_id": ["../../scan"], "dice": [0.9], "precision": [0.9], "recall": [0.9]}
    pd.DataFrame(scores).to_csv("run/scores.csv", index=False)
    refused(capsys, "report run --out r.html", "names the scan '../../scan', which is a path")


@pytest.mark.slow
def test_all_of_them_at_once(faults):
    """Not a test of its own: how many inputs the tests above refuse, for results/faults/faults.csv."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not stopwatch", __file__]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1])
    (passed,) = re.findall(r"^(\d+) passed", ended.stdout, re.M)
    assert ended.returncode == 0
    assert int(passed) >= 200
    faults("a malformed input", int(passed), "refused in one line, nothing written")
