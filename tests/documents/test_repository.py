"""What a reader relies on: the ways in name what exists, and no machine is named."""

import re
import subprocess
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def tracked() -> list[Path]:
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    return [ROOT / n for n in names if n] or [p for p in ROOT.rglob("*") if p.is_file() and ".venv" not in p.parts]


def test_environment_yml_asks_for_extras_that_exist():
    asked = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"][-1]["pip"]
    (extras,) = re.findall(r"-e \.\[([^\]]+)\]", "\n".join(asked))
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])


def test_a_class_in_containers_fits_the_image():
    image = dict(re.findall(r"^(\w+) (.+)$", (ROOT / "Dockerfile").read_text(), re.M))  # the last of each kind
    (learner,) = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"].values()
    assert learner["build"] == "."
    assert image["USER"] == "learner"
    own = ("runs", "exercises")  # where the library puts them, for want of a FEMUR_HOME
    assert learner["volumes"] == [f"{image['WORKDIR']}/{name}" for name in own]
    assert "FEMUR_HOME" not in (ROOT / "Dockerfile").read_text() + str(learner["environment"])
    assert f"mkdir -p {' '.join(own)}" in (ROOT / "Dockerfile").read_text()  # so that the volumes are the learner's
    assert "teaching/build_exercises.py;" in image["CMD"]  # at each start, since the volume of an older image stays
    assert learner["ports"][0].split(":")[1] == image["EXPOSE"]
    assert f"--port={image['EXPOSE']}" in image["CMD"]
    assert learner["environment"]["JUPYTER_TOKEN"].startswith("${TOKEN:?")  # without a word nobody is let in
    assert "TOKEN=a-word-for-the-class > .env" in (ROOT / "compose.yaml").read_text()  # which every command reads
    for ignored in (".gitignore", ".dockerignore"):  # the word goes neither into the repository nor into the image
        assert ".env" in [line.strip("/") for line in (ROOT / ignored).read_text().splitlines()]


def test_tensorflow_is_an_extra_and_no_base_dependency():
    assert not [d for d in PROJECT["project"]["dependencies"] if d.startswith("tensorflow")]


def test_the_lock_holds_every_dependency_with_hashes_and_no_index():
    lock = (ROOT / "requirements.lock").read_text()
    assert "://" not in lock
    locked = {re.sub(r"[-_.]+", "-", n).lower() for n in re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.M)}
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + extras["cpu"] + extras["notebooks"] + extras["dicom"] + extras["site"]
    wanted += PROJECT["dependency-groups"]["dev"]
    names = {re.sub(r"[-_.]+", "-", re.match(r"[A-Za-z0-9._-]+", w)[0]).lower() for w in wanted}
    assert names <= locked


def test_no_file_names_a_path_of_a_machine_or_an_index():
    paths = r"(?<![\w.])/(work|farm|tmp|home(?!/learner)|root|Users)/"  # a container's learner has a home of its own
    forbidden = re.compile(paths + "|py" + r"pi\.org|python" + r"hosted\.org")
    for path in tracked():
        if path.suffix in (".png", ".gz", ".keras") or not path.is_file():
            continue
        found = forbidden.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path.relative_to(ROOT)}: {found[0]}"


def test_the_readme_is_short_and_names_every_notebook():
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) < 120
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert path.name in readme


def test_the_page_about_the_command_line_names_every_verb():
    from femur_lib.cli import parser

    page = (ROOT / "docs/commands.md").read_text()
    verbs = next(a for a in parser()._actions if a.dest == "verb").choices
    for verb in verbs:
        assert f"femur {verb}" in page
