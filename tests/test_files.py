"""What is written appears whole or not at all."""

import json
import subprocess
import sys

import pytest

from femur_lib.files import checksums, damage, whole


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path):
    with whole(tmp_path / "new" / "a.txt") as path:
        path.write_text("all of it")
        assert not (tmp_path / "new" / "a.txt").exists()
    assert (tmp_path / "new" / "a.txt").read_text() == "all of it"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


def write_half(path):
    with whole(path) as half_written:
        half_written.write_text("half")
        raise RuntimeError


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


ADD_ONE = """
import sys, time
from pathlib import Path
from femur_lib.locks import alone
counter = Path(sys.argv[1]) / "counter"
for _ in range(20):
    with alone(counter, print):
        number = int(counter.read_text())
        time.sleep(0.001)  # long enough for another process to read the same number
        counter.write_text(str(number + 1))
"""


def test_processes_that_want_one_folder_take_turns_and_leave_no_lock(tmp_path):
    (tmp_path / "counter").write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", ADD_ONE, tmp_path], stdout=subprocess.PIPE) for _ in range(4)]
    for worker in workers:
        worker.communicate()
        assert worker.returncode == 0
    assert (tmp_path / "counter").read_text() == "80"
    assert [p.name for p in tmp_path.iterdir()] == ["counter"]


@pytest.fixture
def sealed(tmp_path):
    """A folder with two files and a record that vouches for them."""
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    (tmp_path / "record.json").write_text(json.dumps({"files": checksums(tmp_path, ("a", "b"))}))
    return tmp_path


def test_a_folder_as_it_was_written_is_not_damaged(sealed):
    assert damage(sealed, "record.json") == ""
    (sealed / "record.json").write_text("{}")  # of a run from before there were checksums
    assert damage(sealed, "record.json") == ""


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "b").unlink(), "no b"),
        (lambda f: (f / "b").write_text("twO"), "a b that was changed"),
        (lambda f: (f / "record.json").unlink(), "no record.json"),
        (lambda f: (f / "record.json").write_text('{"files": {'), "a damaged record.json"),
        (lambda f: (f / "record.json").write_text("[]"), "a damaged record.json"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(sealed, spoil, says):
    spoil(sealed)
    assert says in damage(sealed, "record.json")
