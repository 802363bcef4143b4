"""Say in which folder `make run` works: one for each profile and cohort.

    python workflow/runs_folder.py PROFILE [COHORT]

prints runs/PROFILE, or runs/PROFILE-COHORT; and if that was made with other settings or of other scans, runs/PROFILE-2
and so on. There ``parameters.yaml`` has what the notebooks are given, and ``made-of.json`` what they depend on. make
executes them again when ``made-of.json`` is new.
"""

import json
import os
import re
import sys
from contextlib import suppress
from itertools import count
from pathlib import Path

from femur_lib._runtime.errors import DataError, said
from femur_lib._runtime.files import checksums, write_json
from femur_lib.cohort import read_cohort
from femur_lib.config import home, load_profile, own_folder
from femur_lib.runs import compare, data_hash

MADE_OF = "made-of.json"


def runs_folder(profile: str, cohort: str = "") -> Path:
    """The folder of a profile and a cohort, with both files in it; below the checkout it is a relative path.

    Raises:
        DataError: there is no such profile or cohort, or one that cannot be used.
    """
    name = Path(profile).stem if profile.endswith((".yaml", ".yml")) else profile
    made_of = {"profile": load_profile(profile).model_dump(mode="json"), "patients": "", "data_sha256": ""}
    if cohort:
        scans = read_cohort(cohort)
        name += f"-{Path(cohort).resolve().name}"
        made_of["patients"] = checksums(scans.root, ["participants.tsv"])["participants.tsv"]
        made_of["data_sha256"] = data_hash(scans, [subject.id for subject in scans.subjects])
    name = re.sub(r"[^\w.-]+", "-", name)
    if re.search(r"\s", str(own_folder(name))) and not own_folder(name).is_relative_to(home()):
        raise DataError(f"{own_folder(name)} has a blank in its name; make needs one without.", "Set FEMUR_HOME.")
    for number in count(1):
        folder = own_folder(f"runs/{name}" if number == 1 else f"runs/{name}-{number}")
        kept = folder / MADE_OF
        old = json.loads(kept.read_text("utf-8")) if kept.is_file() else made_of
        with suppress(DataError):
            compare(folder, old, made_of)
            break
        print(f"{folder} was made with other settings or of other scans.", file=sys.stderr)
    if not kept.is_file() or old != made_of:
        write_json(kept, made_of)
    whole_paths = {
        "profile": str(Path(profile).resolve()) if profile.endswith((".yaml", ".yml")) else profile,
        "cohort": str(Path(cohort).resolve()) if cohort else "",
        "runs": str(folder),
    }
    write_json(folder / "parameters.yaml", whole_paths)  # JSON is YAML, too
    return folder.relative_to(home()) if folder.is_relative_to(home()) else folder


if __name__ == "__main__":
    try:
        sys.stdout.buffer.write(os.fsencode(runs_folder(*sys.argv[1:])) + b"\n")
    except (DataError, OSError) as error:
        sys.exit(f"make run: {said(error)}")
