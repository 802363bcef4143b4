"""What is written appears whole or not at all."""

import pytest

from femur_lib.files import whole


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
