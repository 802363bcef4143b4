"""The command line, as a user meets it: the whole way on a tiny cohort, and one clear line for each mistake."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import warnings

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import yaml

from femur_lib._runtime.errors import DataError
from femur_lib.cli import main, parser
from femur_lib.cohort import image_path
from femur_lib.inference import predict_volume
from femur_lib.runs import load_run
from femur_lib.volumes import read_volume

LINES = [
    "phantom o", "import pelvis a b", "import pairs a b c", "import folder a b", "import dicom a b",
    "check a", "train a b --network n", "evaluate a b",
    "search a b --network n", "study quick", "predict a b --out o", "quality a --out o", "export a b",
    "report a --out o", "score --truth a --predictions b --out c", "course progress a",
]  # fmt: skip


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """A profile that takes seconds instead of minutes."""
    path = tmp_path_factory.mktemp("profile") / "tiny.yaml"
    settings = {"profile": "tiny", "grid_2d": [24, 24, 8], "grid_3d": [16, 16, 8], "epochs": 2, "first_epochs": 1,
                "learning_rate": 0.01, "batch_size_2d": 4, "folds": 2}  # fmt: skip
    path.write_text(yaml.safe_dump(settings))
    return path


def test_the_whole_way_from_cohort_to_report(tiny_cohort, profile, tmp_path, capsys):
    hips, run, out = tiny_cohort.root, tmp_path / "runs" / "run", tmp_path / "runs" / "run" / "predictions"
    assert main(["check", str(hips)]) == 0
    assert "7 scans of 6 patients" in capsys.readouterr().out
    assert main(["train", str(hips), str(run), "--network", "3d-f2-l1", "--profile", str(profile), "--fold", "1"]) == 0
    assert main(["predict", str(run), "--cohort", str(hips), "--out", str(out)]) == 0
    record = json.loads((run / "run.json").read_text())
    assert {p.name.removesuffix("_mask.nii.gz") for p in out.glob("*_mask.nii.gz")} == set(record["validation"])
    assert main(["score", "--truth", str(hips), "--predictions", str(out), "--out", str(run / "scores.csv")]) == 0
    scores = pd.read_csv(run / "scores.csv")
    assert sorted(scores.participant_id) == sorted(record["validation"])
    assert scores.dice.between(0, 1).all()
    page = tmp_path / "quality.html"
    assert main(["quality", str(out), "--images", str(hips), "--out", str(page), "--csv", str(page) + ".csv"]) == 0
    assert set(pd.read_csv(f"{page}.csv").name) == set(record["validation"])
    assert main(["quality", str(out), "--out", str(page)]) == 1  # there already
    elsewhere = ["--out", str(tmp_path / "q.html"), "--csv", str(hips / "participants.tsv" / "q.csv")]
    assert main(["quality", str(out), *elsewhere]) == 1  # below a file
    assert not (tmp_path / "q.html").exists()
    (run / "scores.csv").unlink()
    assert main(["evaluate", str(run), str(hips)]) == 0
    pd.testing.assert_frame_equal(pd.read_csv(run / "scores.csv"), scores, check_exact=False, rtol=1e-5)
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "3d-f2-l1, fold 1" in page
    assert all(name in page for name in record["validation"])
    assert "http" not in page.replace("https://www.w3.org", "")  # one file, nothing fetched


def test_single_images_are_predicted_by_name(tiny_cohort, profile, tmp_path):
    run = tmp_path / "run"
    arguments = [str(tiny_cohort.root), str(run), "--network", "2d-unpadded-f2-l1", "--profile", str(profile)]
    assert main(["train", *arguments, "--all-subjects", "--epochs", "1"]) == 0
    image = tiny_cohort.subjects[0].image
    assert main(["predict", str(run), str(image), "--out", str(tmp_path / "out"), "--threshold", "0.4"]) == 0
    name = image.name.removesuffix(".nii.gz")
    assert nib.load(tmp_path / "out" / f"{name}_mask.nii.gz").shape == nib.load(image).shape


def test_several_runs_are_averaged_and_quality_shows_their_disagreement(trained_runs, tiny_cohort, tmp_path, capsys):
    runs = [str(trained_runs[kind]) for kind in ("3d", "2d")]
    scan, out = tiny_cohort.subjects[0].image, tmp_path / "out"
    assert main(["predict", *runs, str(scan), "--out", str(out)]) == 0
    assert "2 runs are averaged; threshold" in capsys.readouterr().out
    each = [predict_volume(load_run(run).segmenter, read_volume(scan)).array for run in runs]
    found = read_volume(next(out.glob("*_probability.nii.gz"))).array
    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)
    assert main(["quality", str(out), "--out", str(tmp_path / "q.html"), "--csv", str(tmp_path / "q.csv")]) == 0
    assert 0 < pd.read_csv(tmp_path / "q.csv").disagreement.item() < 1


def test_a_cohort_is_predicted_where_none_of_several_runs_was_trained(trained_runs, tiny_cohort, tmp_path, capsys):
    run, out = trained_runs["3d"], tmp_path / "out"
    other = shutil.copytree(run, tmp_path / "other")
    record = json.loads((other / "run.json").read_text())
    held_out = record["validation"]
    (other / "run.json").write_text(json.dumps(record | {"training": held_out[1:]}))
    both = ["predict", str(run), str(other), "--cohort", str(tiny_cohort.root), "--out", str(out)]
    assert main(both) == 0
    assert [p.name.removesuffix("_mask.nii.gz") for p in out.glob("*_mask.nii.gz")] == held_out[:1]
    (other / "run.json").write_text(json.dumps(record | {"training": held_out}))
    assert main(both) == 1
    assert "no scan that is new to all of the runs" in capsys.readouterr().err


def test_predict_can_be_asked_for_one_pass_and_for_flips(trained_runs, tiny_cohort, tmp_path, monkeypatch):
    scan, run = str(tiny_cohort.subjects[0].image), str(trained_runs["2d-unpadded"])

    def answer(name: str, *options: str) -> np.ndarray:
        assert main(["predict", run, scan, "--out", str(tmp_path / name), *options]) == 0
        return nib.load(next((tmp_path / name).glob("*_probability.nii.gz"))).get_fdata()

    nine, flipped = answer("nine"), answer("flip", "--flip")
    assert np.abs(flipped - nine).max() > 1e-3
    monkeypatch.setattr("femur_lib.inference.nine_patches", lambda *a: 1 / 0)
    once = answer("one", "--patches", "one")  # with one level and 24 pixels the nine patches are aligned
    np.testing.assert_allclose(once, nine, atol=1e-5)


def test_predict_computes_as_the_profile_says_unless_told_otherwise(tmp_path, monkeypatch):
    asked = []

    def load(run, precision="", patches=""):
        asked.append(precision)
        raise DataError("stop", "here")

    monkeypatch.setattr("femur_lib.runs.load_run", load)
    for option in ([], ["--precision", "auto"]):
        assert main(["predict", "run", "x.nii.gz", "--out", str(tmp_path / "o"), *option]) == 1
    assert asked == ["", "auto"]


def test_a_warning_is_one_line_and_later_ones_are_left_as_they_were(monkeypatch, capsys):
    before = warnings.showwarning
    monkeypatch.setattr("femur_lib.cli._check", lambda a: warnings.warn("too large", RuntimeWarning, stacklevel=1))
    assert main(["check", "x"]) == 0
    assert capsys.readouterr().err == "femur: warning: too large\n"
    assert warnings.showwarning is before


@pytest.mark.parametrize("line", LINES)
def test_a_verb_is_done_by_the_function_of_its_name(line):
    assert f"_{line.replace(' ', '_')}".startswith(parser().parse_args(line.split()).run.__name__)


@pytest.mark.parametrize("verb", ["train", "search"])
def test_a_network_may_still_be_called_an_experiment(verb):
    assert parser().parse_args([verb, "a", "b", "--experiment", "3d-f2-l1"]).network == "3d-f2-l1"


def test_phantom_makes_what_check_accepts(tmp_path, capsys):
    assert main(["phantom", str(tmp_path / "hips"), "--subjects", "2"]) == 0
    assert main(["check", str(tmp_path / "hips")]) == 0
    assert "sub-002" in capsys.readouterr().out


def truncate(root):
    path = image_path(root, "sub-01L")
    path.write_bytes(path.read_bytes()[:2000])


def two_groups(root):
    table = pd.read_csv(root / "participants.tsv", sep="\t")
    table.loc[table.participant_id == "sub-01L", "group"] = "control"
    table.to_csv(root / "participants.tsv", sep="\t", index=False)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (truncate, "incomplete: its gzip data end too early"),
        (two_groups, "p01 in the groups control, fracture"),
    ],
)
def test_bad_input_is_said_in_one_line_and_nothing_is_written(cohort_copy, profile, tmp_path, capsys, spoil, says):
    spoil(cohort_copy)
    before = sorted(p for p in tmp_path.rglob("*"))
    hips, run = str(cohort_copy), str(tmp_path / "run")
    for command in (["check", hips], ["train", hips, run, "--network", "3d-f2-l1", "--profile", str(profile)]):
        assert main(command) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert re.search(says, line)
        assert hips in line
    kept = tmp_path / ".femur-cache"  # of scans that could be read; harmless, for it goes by their content
    assert [p for p in sorted(tmp_path.rglob("*")) if kept not in (p, *p.parents)] == before


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("check nowhere", "nowhere holds no participants.tsv"),
        ("train {hips} r --network 3d-f2-l1 --profile fast", "There is no profile fast"),
        ("train {hips} r --network 3d-f2-l1 --fold 9", "0 to 3"),
        ("train {hips} r --network 3d-f2-l1 --epochs 0", "--epochs is 0"),
        ("predict nowhere scan.nii.gz --out o", "nowhere holds no run.json"),
        ("predict nowhere --out o", "either IMAGE or --cohort"),
        ("predict nowhere scan.nii.gz --out o --threshold 1", "--threshold is 1.0"),
        ("predict nowhere --cohort {hips} --out o --pelvis", "--pelvis is for scans of both hips"),
        ("evaluate nowhere {hips}", "nowhere holds no run.json"),
        ("report nowhere --out r.html", "nowhere holds no run.json, in it or below"),
        ("import pelvis nowhere o", "nowhere holds neither data/images"),
        ("export nowhere o", "nowhere holds no run.json"),
        ("phantom o --subjects 0", "--subjects is 0; at least 1"),
        ("train drawn r --network 3d-f2-l2 --profile drawn --fold 0", "--fold 0 is for a cohort"),
        ("train drawn r --network 3d-f2-l2 --profile drawn --all-subjects", "--all-subjects is for a cohort"),
        ("phantom . --subjects 1", ". is the folder that you are in"),
        ("train drawn . --network 3d-f2-l2 --profile drawn", ". is a folder, but not a run"),
        ("predict . scan.nii.gz --out o", ". holds no run.json"),
        ("export . o", ". holds no run.json"),
        ("import folder {hips} .", ". is the folder that you are in"),
        ("import dicom {hips} .", ". is the folder that you are in"),
        ("score --truth {hips} --predictions {hips} --out .", ". is a folder; the name of a file"),
        ("score --truth {hips} --predictions {hips} --out . --overwrite", ". is a folder; the name of a file"),
    ],
)
def test_a_mistake_is_said_in_one_line(tiny_cohort, tmp_path, monkeypatch, capsys, command, says):
    monkeypatch.chdir(tmp_path)
    assert main(command.format(hips=tiny_cohort.root).split()) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_evaluated_from_within_its_folder(trained_runs, tiny_cohort, tmp_path, monkeypatch):
    monkeypatch.chdir(shutil.copytree(trained_runs["3d"], tmp_path / "runs" / "run"))
    assert main(["evaluate", ".", str(tiny_cohort.root)]) == 0
    assert (tmp_path / "runs" / "run" / "scores.csv").is_file()
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["run"]


def test_help_comes_without_anything_heavy():
    """Start-up stays quick because nothing heavy is imported, which unlike seconds can be tested anywhere."""
    code = "import sys; from femur_lib.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "heavy = {'tensorflow', 'keras', 'pandas', 'scipy', 'nibabel', 'matplotlib'} & set(sys.modules)\n"
    code += "assert not heavy, heavy"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_search_prepares_the_backend_for_its_largest_network_before_it_starts(tiny_cohort, tmp_path):
    code = f"""
import sys
from femur_lib import cli, config
def prepared(profile, network, features):
    print(features, "tensorflow" in sys.modules)
    raise SystemExit
config.prepare_backend = prepared
cli.main(["search", {str(tiny_cohort.root)!r}, "s", "--network", "2d-f8-l2", "--features", "8", "64", "16"])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["64", "False"], done.stderr


@pytest.mark.parametrize("given", [{"LC_ALL": "C", "PYTHONUTF8": "0"}, {"PYTHONIOENCODING": "ascii"}], ids=str)
def test_help_is_printed_in_any_locale(given):
    code = "import sys; from femur_lib.cli import main; sys.exit(main(['train', '--help']))"
    environment = {**os.environ, "PYTHONCOERCECLOCALE": "0", **given}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"2d-unpadded-f64-l3 ?" in done.stdout


@pytest.mark.parametrize(
    ("number", "path", "says"),
    [
        (
            errno.EROFS,
            "/ro/run/.77-a.csv",
            "/ro/run/a.csv cannot be read or written: read-only file system. Choose a p",
        ),
        (
            errno.EACCES,
            "/srv/.hips.lock",
            "/srv/hips cannot be read or written: permission denied. Choose another pl",
        ),
        (
            errno.EPERM,
            "/a/hips.partial-77/x",
            "/a/hips/x cannot be read or written: operation not permitted. Choose an",
        ),
        (errno.ENAMETOOLONG, "/long", "/long cannot be read or written: file name too long. Choose a shorter name."),
        (errno.ENXIO, "/dev/x", "/dev/x cannot be read or written: no such device or address. Check the path."),
        (errno.EMFILE, "/a/b", "/a/b cannot be read or written: too many open files. Allow more open files at a time"),
        (errno.EIO, None, "Something cannot be read or written: input/output error. Check whether the disk"),
    ],
)
def test_an_error_of_the_system_is_one_sentence_with_the_path_and_the_cure(monkeypatch, capsys, number, path, says):
    def fail(a):
        raise OSError(number, os.strerror(number), *([path] if path else []))

    monkeypatch.setattr("femur_lib.cli._check", fail)
    assert main(["check", "hips"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"femur: {says}")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_hips_are_not_waited_for_where_no_lock_can_be_made(capsys):
    assert main(["phantom", "/proc/hips", "--subjects", "1"]) == 1
    assert capsys.readouterr().err.startswith("femur: /proc/hips cannot be read or written: no such file or directory.")
