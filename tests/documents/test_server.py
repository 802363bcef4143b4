"""The shared server's settings, read as JupyterHub reads them; JupyterHub itself is not installed here."""

import os
import pwd
import runpy
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from traitlets.config import Config

ROOT = Path(__file__).parents[2]
GIGABYTE = 2**30


class Spawner:
    """In the place of JupyterHub's own, which would change the account here."""

    def make_preexec_fn(self, name):
        return lambda: os.environ.update(ACCOUNT=name)


@pytest.fixture
def settings(monkeypatch) -> SimpleNamespace:
    """What the file defines, for two learners who have 3 GB each."""
    spawner = ModuleType("jupyterhub.spawner")
    spawner.LocalProcessSpawner = Spawner
    monkeypatch.setitem(sys.modules, "jupyterhub", ModuleType("jupyterhub"))
    monkeypatch.setitem(sys.modules, "jupyterhub.spawner", spawner)
    for name, value in {"TOKEN": "word", "LEARNERS": "anna berta", "MEMORY_GB": "3"}.items():
        monkeypatch.setenv(name, value)
    config = Config()
    found = runpy.run_path(
        str(ROOT / "teaching/server/jupyterhub_config.py"), init_globals={"get_config": lambda: config}
    )
    return SimpleNamespace(**found)


def test_who_may_sign_in_and_what_each_gets(settings):
    assert settings.c.Authenticator.allowed_users == {"anna", "berta"}
    assert settings.c.DummyAuthenticator.password == "word"
    assert settings.c.Spawner.mem_limit == 3 * GIGABYTE
    assert (Path(settings.c.Spawner.environment["PYTHONPATH"]) / "femur_lib").is_dir()


def test_a_learners_processes_have_a_limit_and_the_learners_account(settings):
    limited = settings.WithLimit().make_preexec_fn("anna")
    asked = "import os, resource; print(*resource.getrlimit(resource.RLIMIT_DATA), os.environ['ACCOUNT'])"
    told = subprocess.run([sys.executable, "-c", asked], preexec_fn=limited, capture_output=True, text=True, check=True)
    assert told.stdout == f"{3 * GIGABYTE} {3 * GIGABYTE} anna\n"


@pytest.mark.parametrize("known", [False, True])
def test_the_first_start_makes_an_account_and_each_one_writes_the_exercises_as_that_learner(
    settings, monkeypatch, known
):
    accounts = {"anna": SimpleNamespace(pw_dir="/srv/anna", pw_gid=1001)} if known else {}
    monkeypatch.setattr(pwd, "getpwnam", lambda name: accounts[name])
    started = []

    def run(command, **how):
        started.append((command, how))
        accounts["anna"] = SimpleNamespace(pw_dir="/srv/anna", pw_gid=1001)

    monkeypatch.setattr(subprocess, "run", run)
    spawner = SimpleNamespace(user=SimpleNamespace(name="anna"), environment={})
    settings.prepare(spawner)
    *before, ((python, program), how) = started
    assert [command[0] for command, _ in before] == ([] if known else ["useradd"])
    assert (python, program.is_file(), how["user"], how["group"]) == (sys.executable, True, "anna", 1001)
    assert (
        how["env"]["FEMUR_HOME"] == spawner.notebook_dir == spawner.environment["FEMUR_HOME"] == "/srv/anna/hip-course"
    )
