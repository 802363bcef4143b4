"""What is written appears whole or not at all, and later changes to it are noticed."""

import errno
import gzip
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from femur_lib._runtime.errors import DataError
from femur_lib._runtime.files import (
    atomic_write,
    checksums,
    find_damage,
    is_name,
    room,
    unpacked_hash,
    write_json,
)


def test_a_file_takes_its_name_only_when_it_is_whole(tmp_path):
    with atomic_write(tmp_path / "new" / "a.nii.gz") as path:
        path.write_text("all of it")
        assert path.name.endswith(".nii.gz")
        assert not (tmp_path / "new" / "a.nii.gz").exists()
    assert (tmp_path / "new" / "a.nii.gz").read_text() == "all of it"
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.nii.gz"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("sub-01R", True), ("Hüfte 1..2", True), ("", False), (".", False), ("..", False), ("../x", False), ("x/", False),
     ("/x", False), (r"..\x", False), ("C:x", False)],
)  # fmt: skip
def test_a_name_is_no_path(text, expected):
    assert is_name(text) is expected


def write_half(path):
    with atomic_write(path) as half_written:
        half_written.write_text("half")
        raise RuntimeError


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError):
        write_half(tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_is_no_file_to_write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^\. is a folder; the name of a file was expected\."):
        write_half(".")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_with_the_place_and_what_is_free(tmp_path, monkeypatch, number):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_500_000))

    def write() -> None:
        with atomic_write(tmp_path / "new" / "a.txt") as half_written:
            half_written.write_text("half")
            raise OSError(number, os.strerror(number))  # as a library raises it: without the file's name

    with pytest.raises(DataError) as raised:
        write()
    assert str(raised.value) == (
        f"{tmp_path / 'new'}: the disk, or your share of it, is full; 1.5 MB are free. "
        "Make room, and start again: what is finished is kept."
    )
    assert not list((tmp_path / "new").iterdir())


def test_what_will_not_fit_is_refused_before_it_is_begun(tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1_500_000))
    with pytest.raises(DataError, match=r"1\.5 MB are free and 2\.0 GB are needed\."):
        room(tmp_path / "new", 2 * 10**9).__enter__()
    with room(tmp_path / "new", 10**6):
        pass


@pytest.fixture
def sealed(tmp_path):
    """A folder with two files and a record of their checksums."""
    (tmp_path / "a").write_text("one")
    (tmp_path / "b").write_text("two")
    write_json(tmp_path / "record.json", {"files": checksums(tmp_path, ("a", "b"))})
    return tmp_path


def test_a_folder_as_it_was_written_is_not_damaged(sealed):
    assert find_damage(sealed, "record.json") == ""
    (sealed / "record.json").write_text("{}")  # of a run from before there were checksums
    assert find_damage(sealed, "record.json") == ""


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda f: (f / "b").unlink(), "b is missing"),
        (lambda f: (f / "b").write_text("twO"), "b was changed after it was written"),
        (lambda f: (f / "record.json").unlink(), "record.json is missing"),
        (lambda f: (f / "record.json").write_text('{"files": {'), "record.json is damaged"),
        (lambda f: (f / "record.json").write_text("[]"), "record.json is damaged"),
    ],
)
def test_what_is_wrong_with_a_folder_is_said(sealed, spoil, says):
    spoil(sealed)
    assert find_damage(sealed, "record.json") == says


def test_a_packed_file_is_known_by_what_it_holds_and_not_by_when_it_was_packed(tmp_path):
    for name, when in (("a.gz", 1), ("b.gz", 2)):
        (tmp_path / name).write_bytes(gzip.compress(b"voxels", mtime=when))
    (tmp_path / "plain").write_bytes(b"voxels")
    assert len({unpacked_hash(path) for path in tmp_path.iterdir()}) == 1
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"other voxels"))
    assert unpacked_hash(tmp_path / "a.gz") != unpacked_hash(tmp_path / "b.gz")
    (tmp_path / "b.gz").write_bytes(b"voxels")  # the name promises what is not so: what it holds counts
    assert unpacked_hash(tmp_path / "b.gz") == unpacked_hash(tmp_path / "plain")
    (tmp_path / "b.gz").write_bytes(gzip.compress(b"voxels")[:-4])
    with pytest.raises(DataError, match=r"b\.gz is incomplete"):
        unpacked_hash(tmp_path / "b.gz")


ADD_ONE = """
import sys, time
from pathlib import Path
from femur_lib._runtime.locks import exclusive_lock
counter = Path(sys.argv[1]) / "counter"
for _ in range(20):
    with exclusive_lock(counter, print):
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
