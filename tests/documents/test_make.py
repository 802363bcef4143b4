"""`make run` executes the notebooks when, and only when, something that they are made of has changed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import script

from femur_lib._runtime.errors import DataError

ROOT = Path(__file__).parents[2]
runs_folder = script("workflow/runs_folder.py").runs_folder
STAND_INS = {
    # For how many notebooks there is memory. In the place of site/build.py: a page. In that of workflow/runs_folder.py:
    # what it was asked, and a folder.
    "python": 'test "$1" = -c && { echo 2; exit; };'
    ' test "$1" = site/build.py && { mkdir -p "$3"; touch "$3/index.html"; echo "$2" >> built; exit; };'
    ' printf "%s|" "$@" > asked; test -n "$3" && test ! -d "$3" && exit 1; mkdir -p runs/x;'
    " test -f runs/x/made-of.json || touch runs/x/made-of.json; echo runs/x",
    "papermill": 'echo "$7" >> executed; touch "$8"; test "$6" = runs/x/parameters.yaml',
    "femur": 'touch "$4"',
}
PROFILE = {"profile": "mine", "grid_3d": [16, 16, 8], "epochs": 2, "networks": ["3d-f2-l2"]}


# --- make, with stand-ins for all programs that it starts


@pytest.fixture
def course(tmp_path) -> Path:
    """A checkout with the real Makefile and two notebooks."""
    course = tmp_path / "checkout"
    for folder in ("notebooks", "femur_lib", "profiles", "bin"):
        (course / folder).mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", course)
    for file in ("notebooks/00_one.ipynb", "notebooks/01_two.ipynb", "ready"):
        (course / file).touch()
    for name, line in STAND_INS.items():
        (course / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
        (course / "bin" / name).chmod(0o755)
    return course


def make_run(course: Path, **given: object) -> tuple[int, str]:
    """`make run`: how many notebooks it executed, and what make said."""
    (course / "executed").write_text("")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "-C", str(course), "run", "BIN=bin", "READY=ready", *(f"{k}={v}" for k, v in given.items())]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True)
    return len((course / "executed").read_text().splitlines()), ended.stdout + ended.stderr


def test_nothing_is_done_again_while_nothing_has_changed(course):
    assert make_run(course)[0] == 2
    count, said = make_run(course)
    assert count == 0
    assert "The report to look at:      runs/x/report.html" in said
    assert "The course as pages:        runs/x/pages/index.html" in said
    (course / "notebooks" / "01_two.ipynb").touch()
    assert make_run(course)[0] == 1


def test_two_notebooks_run_at_a_time_and_one_that_uses_anothers_training_waits(course):
    for number in ("02", "04", "05", "06"):
        (course / "notebooks" / f"{number}_x.ipynb").touch()
    (course / "bin" / "papermill").write_text(
        '#!/bin/sh\necho "+ $7" >> order; sleep 0.2; touch "$8"; echo "- $7" >> order\n'
    )
    make_run(course)
    order = [(sign, name[10:12]) for sign, name in map(str.split, (course / "order").read_text().splitlines())]
    running = np.cumsum([1 if sign == "+" else -1 for sign, _ in order])
    assert order[:2] == [("+", "00"), ("-", "00")]
    assert running.max() == 2
    for waits, needed in (("05", "02"), ("05", "04"), ("06", "05")):
        assert order.index(("+", waits)) > order.index(("-", needed))


def test_a_changed_page_is_built_again_and_executes_nothing(course):
    make_run(course)
    (course / "docs").mkdir()
    (course / "docs" / "new.md").touch()
    assert make_run(course)[0] == 0
    make_run(course)
    assert (course / "built").read_text() == "runs/x\n" * 2


def test_all_is_executed_again_when_what_it_is_made_of_is_new(course):
    make_run(course)
    (course / "runs" / "x" / "made-of.json").touch()
    assert make_run(course)[0] == 2


@pytest.mark.parametrize("file", ["lab/templates/page.html.j2", "weights/mine/model.keras"])
def test_all_is_executed_again_when_a_part_of_the_library_that_is_no_program_changed(course, file):
    part = course / "femur_lib" / file
    part.parent.mkdir(parents=True)
    part.touch()
    make_run(course)
    part.touch()
    assert make_run(course)[0] == 2


@pytest.mark.parametrize("file", ["data/meine Hüften/README.md", "docs/my notes.md", "profiles/mein größtes.yaml"])
def test_a_users_file_with_a_blank_in_its_name_stands_in_nobodys_way(course, file):
    (course / file).parent.mkdir(parents=True, exist_ok=True)
    (course / file).touch()
    count, said = make_run(course)
    assert count == 2
    assert "The report to look at" in said


def test_a_missing_cohort_stops_at_once(course):
    make_run(course)
    count, said = make_run(course, COHORT="nowhere")
    assert count == 0
    assert "report to look at" not in said


def test_blanks_umlauts_and_apostrophes_in_names_arrive_as_they_are(course):
    cohort, profile = course / "Jörgs  'alte' Hüften", "mein größtes.yaml"
    cohort.mkdir()
    assert make_run(course, COHORT=cohort, PROFILE=profile)[0] == 2
    assert (course / "asked").read_text() == f"workflow/runs_folder.py|{profile}|{cohort}|"


def test_the_kernel_is_the_environments_whatever_kernels_a_user_has(course):
    (course / ".venv").symlink_to(sys.prefix)  # make asks its checkout's
    mine = course / "home" / ".local" / "share" / "jupyter" / "kernels" / "python3"
    mine.mkdir(parents=True)
    (mine / "kernel.json").write_text('{"argv": ["/nowhere/python"], "display_name": "mine"}')
    asked = "from jupyter_client.kernelspec import get_kernel_spec as get; print(get('python3').argv[0])"
    (course / "ask.mk").write_text(f'include Makefile\nask:\n\t@{sys.executable} -c "{asked}"\n')
    # Jupyter prefers an environment to the home by itself only where the user owns it, which a class does not.
    environment = {"HOME": str(course / "home"), "PATH": os.environ["PATH"], "JUPYTER_PREFER_ENV_PATH": "0"}
    ended = subprocess.run(["make", "-C", str(course), "-f", "ask.mk", "ask"], env=environment, capture_output=True)
    assert b"nowhere" not in ended.stdout
    assert b"python" in ended.stdout


# --- the folder that it works in


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """Where the runs' folders are made."""
    monkeypatch.setenv("FEMUR_HOME", str(tmp_path))
    return tmp_path / "runs"


def write_profile(path: Path, **changed: object) -> str:
    path.write_text(json.dumps(PROFILE | changed))
    return str(path)


def made_of(folder: Path) -> int:
    """When the file was written by which make knows whether to execute the notebooks again."""
    return (folder / "made-of.json").stat().st_mtime_ns


def test_the_folder_has_the_names_of_profile_and_cohort(place, cohort_copy):
    assert runs_folder("quick") == place / "quick"
    assert runs_folder("quick", str(cohort_copy)) == place / "quick-copy"
    given = json.loads((place / "quick-copy" / "parameters.yaml").read_text())
    assert given == {"profile": "quick", "cohort": str(cohort_copy), "runs": str(place / "quick-copy")}


def test_names_that_make_cannot_use_are_replaced(place, cohort_copy, tmp_path):
    cohort = cohort_copy.rename(tmp_path / "Jörgs  'alte' Hüften")
    folder = runs_folder(write_profile(tmp_path / "mein größtes.yaml"), str(cohort))
    assert folder == place / "mein-größtes-Jörgs-alte-Hüften"
    assert json.loads((folder / "parameters.yaml").read_text())["cohort"] == str(cohort)


def test_an_edited_profile_has_a_folder_of_its_own_and_the_old_one_when_it_is_as_it_was(place, tmp_path, capsys):
    profile = write_profile(tmp_path / "mine.yaml")
    written = made_of(runs_folder(profile))
    write_profile(tmp_path / "mine.yaml", epochs=3)
    assert runs_folder(profile) == place / "mine-2"
    assert capsys.readouterr().err == f"{place / 'mine'} was made with other settings or of other scans.\n"
    write_profile(tmp_path / "mine.yaml")
    assert made_of(runs_folder(profile)) == written
    write_profile(tmp_path / "mine.yaml", networks=["2d-f2-l2"])  # changes no training, but what the notebooks show
    assert made_of(runs_folder(profile)) > written


def test_a_cohort_counts_by_what_its_files_hold(place, cohort_copy):
    written = made_of(runs_folder("quick", str(cohort_copy)))
    for file in cohort_copy.rglob("*.nii.gz"):
        file.touch()  # copied, but not changed
    assert made_of(runs_folder("quick", str(cohort_copy))) == written
    table = cohort_copy / "participants.tsv"
    table.write_text(table.read_text().replace("p06", "p05"))
    assert runs_folder("quick", str(cohort_copy)) == place / "quick-copy-2"
    mask = next(cohort_copy.rglob("sub-01R*mask.nii.gz"))
    shutil.copy(next(cohort_copy.rglob("sub-01L*mask.nii.gz")), mask)
    assert runs_folder("quick", str(cohort_copy)) == place / "quick-copy-3"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (("quick", "nowhere"), "^nowhere holds no participants.tsv; the folder of a cohort was expected"),
        (("quikc",), "^There is no profile quikc;"),
    ],
)
def test_a_missing_cohort_or_profile_is_said_before_a_folder_is_made(place, given, says):
    with pytest.raises(DataError, match=says):
        runs_folder(*given)
    assert not place.exists()


def test_a_place_with_a_blank_is_refused_for_make_cannot_work_there(tmp_path, monkeypatch):
    monkeypatch.setenv("FEMUR_HOME", str(tmp_path / "my own"))
    with pytest.raises(DataError, match="has a blank in its name; make needs one without"):
        runs_folder("quick")
