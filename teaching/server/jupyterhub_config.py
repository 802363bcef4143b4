"""One machine for a class: an account for each learner, the course read-only, and a limit to everybody's memory.

See README.md beside this file. Run as root on a Linux machine of its own:

    TOKEN=a-word-for-the-class LEARNERS="anna berta" .venv/bin/jupyterhub -f teaching/server/jupyterhub_config.py

A learner signs in with a name of that list and the class's word. The account is made then, with a home of its own;
there ``hip-course`` takes all that the learner makes.
"""

import os
import pwd
import resource
import subprocess
import sys
from pathlib import Path

from jupyterhub.spawner import LocalProcessSpawner

COURSE = Path(__file__).parents[2]
MEMORY = int(float(os.environ.get("MEMORY_GB", "4")) * 2**30)
OWN = "hip-course"  # below each home

c = get_config()  # noqa: F821


class WithLimit(LocalProcessSpawner):
    """The server of a learner, under the learner's account; none of its processes may take more memory than agreed."""

    def make_preexec_fn(self, name):
        """What is done in the new process before the server runs in it."""
        become = super().make_preexec_fn(name)

        def limited():
            resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
            become()

        return limited


def prepare(spawner) -> None:
    """Make the learner's account and exercises, where there are none; what a learner has changed is kept."""
    name = spawner.user.name
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        subprocess.run(
            ["useradd", "--create-home", "--key", "HOME_MODE=0700", "--shell", "/bin/bash", name], check=True
        )
        account = pwd.getpwnam(name)
    own = Path(account.pw_dir) / OWN
    subprocess.run(
        [sys.executable, COURSE / "teaching" / "build_exercises.py"],
        check=True, user=name, group=account.pw_gid, extra_groups=[], cwd=account.pw_dir,
        env=os.environ | {"HOME": account.pw_dir, "FEMUR_HOME": str(own), "PYTHONPATH": str(COURSE)},
    )  # fmt: skip
    spawner.environment["FEMUR_HOME"] = str(own)
    spawner.notebook_dir = str(own)


c.JupyterHub.bind_url = os.environ.get("BIND", "http://:8000")
c.JupyterHub.authenticator_class = "dummy"
c.DummyAuthenticator.password = os.environ["TOKEN"]
c.Authenticator.allowed_users = set(os.environ["LEARNERS"].split())

c.JupyterHub.spawner_class = WithLimit
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.pre_spawn_hook = prepare
c.Spawner.default_url = "/lab/tree/exercises"
c.Spawner.mem_limit = MEMORY
c.Spawner.start_timeout = 120
c.Spawner.environment = {
    "PYTHONPATH": str(COURSE),
    "TF_NUM_INTRAOP_THREADS": "2",
    "TF_NUM_INTEROP_THREADS": "2",
    "PYTHONDONTWRITEBYTECODE": "1",
}
