"""The shape of the library, counted: rooms, the imports between them, floors, circles, and lines.

    python benchmarks/structure.py [CHECKOUT] [--revision REV]

A *room* is a module or a package directly inside femur_lib; ``__init__`` is not one. An *arrow* leads from a room to
another one that it imports anywhere, at the top of a file or inside a function; each pair counts once. The *floors* are
the rooms on the longest chain of arrows. ``--revision`` counts a commit of that checkout's history instead of its
working tree; the lines of the core path are then those of the files that had the same task.
"""

import argparse
import ast
import io
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

PACKAGE = "femur_lib"
CORE = {  # the files that take a scan to a mask and a score, each with earlier ones that were merged into it
    "architecture": ("costs", "receptive_field"),
    "unet": ("networks",),
    "losses": (),
    "dataset": ("feeding",),
    "inference": ("masks", "segmentation"),
    "runs": ("records",),
    "training": ("fitting",),
    "evaluation": ("prediction",),
}


def rooms(package: Path) -> dict[str, list[Path]]:
    """The Python files of each room."""
    found = {p.stem: [p] for p in sorted(package.glob("*.py")) if p.stem != "__init__"}
    packages = [p for p in sorted(package.iterdir()) if (p / "__init__.py").is_file()]
    return found | {p.name: sorted(p.rglob("*.py")) for p in packages}


def imported(path: Path, package: Path) -> Iterator[str]:
    """The full names of what a file imports from the package, of modules and of what is in them alike."""
    parents = (package.name, *path.relative_to(package).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = parents[: len(parents) + 1 - node.level] if node.level else ()
            origin = ".".join([*above, *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def arrows(package: Path) -> dict[str, set[str]]:
    """For each room, the other rooms that it imports."""
    files = rooms(package)
    found: dict[str, set[str]] = {}
    for room, paths in files.items():
        names = (name.split(".") for path in paths for name in imported(path, package))
        found[room] = {n[1] for n in names if n[0] == package.name and len(n) > 1 and n[1] in files} - {room}
    return found


def circles(below: dict[str, set[str]]) -> list[list[str]]:
    """Groups of rooms that can each be reached from one another."""
    reached = {room: set(others) for room, others in below.items()}
    for through in below:  # Warshall's transitive closure
        for room in below:
            if through in reached[room]:
                reached[room] |= reached[through]
    groups = {tuple(sorted(o for o in reached[room] if room in reached[o])) for room in below if room in reached[room]}
    return [list(group) for group in sorted(groups)]


def floors(below: dict[str, set[str]]) -> list[str]:
    """The longest chain of rooms without a circle, from the top down."""
    longest: dict[str, list[str]] = {}

    def chain(room: str, above: tuple[str, ...] = ()) -> list[str]:
        if room not in longest:
            chains = [chain(other, (*above, room)) for other in sorted(below[room] - {*above, room})]
            longest[room] = [room, *max(chains, key=len, default=[])]
        return longest[room]

    return max((chain(room) for room in sorted(below)), key=len, default=[])


def lines(paths: list[Path]) -> int:
    """How many lines some files have together."""
    return sum(len(path.read_text("utf-8").splitlines()) for path in paths)


def report(checkout: Path) -> str:
    """All counts of a checkout, one on a line."""
    package = checkout / PACKAGE
    files, below = rooms(package), arrows(package)
    core = {room: [p for n in (room, *earlier) for p in files.get(n, [])] for room, earlier in CORE.items()}
    chain, around = floors(below), circles(below)
    counts = {
        "rooms": f"{len(files)}: {', '.join(files)}",
        "arrows": sum(map(len, below.values())),
        "floors": f"{len(chain)}: {' > '.join(chain)}",
        "circles": f"{len(around)} {'; '.join(', '.join(group) for group in around)}".strip(),
        "lines of the core path": f"{sum(map(lines, core.values()))}: "
        + ", ".join(f"{room} {lines(paths)}" for room, paths in core.items()),
        f"lines of {PACKAGE}": lines(list(package.rglob("*.py"))),
        "lines of tests": lines(list((checkout / "tests").rglob("*.py"))),
    }
    return "\n".join(f"{name:<24}{count}" for name, count in counts.items())


def main() -> None:
    """Count the working tree or a commit, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, nargs="?", default=Path(__file__).parents[1])
    parser.add_argument("--revision", help="a commit, a branch or a tag, instead of the working tree")
    a = parser.parse_args()
    if not a.revision:
        print(report(a.checkout))
        return
    packed = subprocess.run(
        ["git", "archive", a.revision, PACKAGE, "tests"], cwd=a.checkout, capture_output=True, check=True
    )
    with tempfile.TemporaryDirectory() as folder, tarfile.open(fileobj=io.BytesIO(packed.stdout)) as archive:
        archive.extractall(folder, filter="data")
        print(report(Path(folder)))


if __name__ == "__main__":
    main()
