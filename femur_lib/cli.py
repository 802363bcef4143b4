"""The command line ``femur``: every verb is one call into the library.

Nothing heavy is imported before a verb is known, so that help and mistakes answer at once.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from femur_lib import __version__
from femur_lib.errors import DataError
from femur_lib.precision import PRECISIONS

INTRODUCTION = """\
Segment the proximal femur in MR images, step by step:

  femur phantom hips --subjects 12 --size quick        make synthetic hips to try everything on
  femur check hips                                     look a cohort over before any work
  femur train hips run --experiment 3d-f8-l3 --profile quick --fold 0
  femur predict run --cohort hips --out run/predictions
  femur export run network                             for use elsewhere, without TensorFlow
  femur score --truth hips --predictions run/predictions --out run/scores.csv
  femur report run --out report.html

A cohort is a folder of scans and masks (data/README.md). Bring your own with `femur import`.
"""


def _pictures_to_files() -> None:
    """Draw without a screen. For this process alone: notebooks started from it show their figures."""
    import matplotlib

    matplotlib.use("agg")


def _say(line: object = "") -> None:
    print(line, flush=True)


def _parser() -> argparse.ArgumentParser:
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("femur", description=INTRODUCTION, formatter_class=plain)
    parser.add_argument("--version", action="version", version=f"femur {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run, summary: str, more: str = "", under=verbs) -> argparse.ArgumentParser:
        p = under.add_parser(name, help=summary, description=f"{summary}\n\n{more}", formatter_class=plain)
        p.set_defaults(run=run)
        return p

    p = verb("phantom", _phantom, "Make a cohort of synthetic hips, with an expert's and exact masks.", "No download, no patient: good for trying things; results on them say nothing about patients.\nStopped, even killed, it goes on when started again.")  # fmt: skip
    p.add_argument("out", type=Path, help="a new folder")
    p.add_argument("--subjects", type=int, default=12, help="how many hips (paper: 86)")
    p.add_argument("--size", default="quick", choices=["quick", "workshop", "paper"], help="96x96x30, 128x128x40 or 512x512x60 voxels")  # fmt: skip
    p.add_argument("--difficulty", default="usual", choices=["easy", "usual", "hard"], help="what makes the task hard, from noise to the expert's errors")  # fmt: skip
    p.add_argument("--seed", type=int, default=0, help="the same seed makes the same hips")
    p.add_argument("--workers", type=int, default=0, help="processes; 0: one a core, or one where the cohort is small")

    imports = verbs.add_parser("import", help="Make a cohort from scans you have.").add_subparsers(
        required=True, metavar="SOURCE"
    )
    p = verb("pelvis", _import_pelvis, "The public pelvis set (CPTAC-UCEC images, pelvic_project masks), one volume a hip.", "data/README.md tells where to get both.", imports)  # fmt: skip
    p.add_argument("source", type=Path, help="the folder that holds data/ and mask/, or caseNN_*.nii.gz")
    p.add_argument("out", type=Path, help="a new folder")
    p = verb("pairs", _import_pairs, "Any folder of images and any of masks, paired by name.", "", imports)
    p.add_argument("images", type=Path)
    p.add_argument("masks", type=Path)
    p.add_argument("out", type=Path, help="a new folder")
    p.add_argument("--label", type=int, default=1, help="the value that means femur in the masks")
    p.add_argument("--ignore-other-labels", action="store_true", help="other values are background")
    p.add_argument("--participants", type=Path, help="a table participant_id, patient, side, group (tab-separated); needed where a patient has two hips")  # fmt: skip

    p = verb("check", _check, "Read every file of a cohort and say what is there, or what is wrong.")
    p.add_argument("cohort", type=Path)

    p = verb("train", _train, "Train one network on one fold.", "Stopped, even killed, it goes on when started again. RUN appears when it is finished.")  # fmt: skip
    p.add_argument("cohort", type=Path)
    p.add_argument("folder", type=Path, metavar="RUN", help="a new folder for the network and its record")
    p.add_argument("--experiment", required=True, help="a network: 3d-f16-l4, 3d-f32-l4-d1.2.4.8, 2d-unpadded-f64-l3 …")
    p.add_argument("--profile", default="quick", help="sizes and recipe: a name in profiles/, or a YAML file")
    who = p.add_mutually_exclusive_group()
    who.add_argument("--fold", type=int, default=0, help="which fold to hold out, from 0")
    who.add_argument("--all-subjects", action="store_true", help="hold nobody out")
    p.add_argument("--epochs", type=int, help="instead of the profile's")

    p = verb("predict", _predict, "Segment scans; probability and mask come out on each scan's own grid.")
    p.add_argument("folder", type=Path, metavar="RUN", help="a finished run")
    p.add_argument("images", type=Path, nargs="*", metavar="IMAGE", help="NIfTI files")
    p.add_argument("--cohort", type=Path, help="instead of IMAGE: the scans of a cohort that RUN was not trained on")
    p.add_argument("--subjects", choices=["unseen", "all"], default="unseen", help="which scans of the cohort")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--threshold", type=float, help="instead of the run's own")
    p.add_argument("--largest-component", action=argparse.BooleanOptionalAction, help="default: for 2D networks only, as in the paper")  # fmt: skip
    p.add_argument("--flip", action=argparse.BooleanOptionalAction, help="average with the prediction for the mirrored scan; default: as the run's profile says")  # fmt: skip
    p.add_argument("--patches", choices=["nine", "one"], help="of unpadded networks: the paper's nine patches, or one pass; default: as the run's profile says")  # fmt: skip
    p.add_argument("--precision", default="auto", choices=PRECISIONS, help="of the arithmetic")  # fmt: skip
    p.add_argument("--overwrite", action="store_true", help="replace files of the same name")

    p = verb("export", _export, "Hand a network on: a folder with it, its recipe and a small runner.", "With onnx the runner needs no TensorFlow. README.txt in the folder says how to run it.")  # fmt: skip
    p.add_argument("folder", type=Path, metavar="RUN", help="a finished run")
    p.add_argument("out", type=Path, help="a new folder")
    p.add_argument("--format", default="onnx", choices=["onnx", "keras", "savedmodel"])
    p.add_argument(
        "--patches", choices=["nine", "one"], help="of unpadded networks; default: as the run's profile says"
    )

    p = verb("score", _score, "Compare predicted masks with true ones: Dice, precision, recall, specificity, ASD, MSD (mm).")  # fmt: skip
    p.add_argument("--truth", type=Path, required=True, help="a cohort, or a folder of masks named as the predictions")
    p.add_argument("--predictions", type=Path, required=True, help="the --out of femur predict")
    p.add_argument("--out", type=Path, required=True, help="a CSV file")
    p.add_argument("--overwrite", action="store_true")

    p = verb("report", _report, "One HTML page of every run in a folder: record, curves, scores, pictures.", "A run's scores.csv and predictions/ are shown if they lie in its folder.")  # fmt: skip
    p.add_argument("runs", type=Path)
    p.add_argument("--out", type=Path, required=True)
    return parser


def _phantom(a) -> None:
    from femur_lib.phantom.cohort import make_cohort

    if a.subjects < 1:
        raise DataError("--subjects", str(a.subjects), "at least 1", "Ask for more.")
    if a.workers < 0:
        raise DataError("--workers", str(a.workers), "0 or more", "Leave it out for one a core.")
    make_cohort(a.out, a.subjects, a.size, a.seed, a.difficulty, a.workers, _say)


def _import_pelvis(a) -> None:
    from femur_lib.sources.pelvis import CITATION, import_pelvis

    table = import_pelvis(a.source, a.out, _say)
    _say(f"{len(table)} hips in {a.out}. Cite: {CITATION}")


def _import_pairs(a) -> None:
    from femur_lib.sources.pairs import import_pairs

    table = import_pairs(a.images, a.masks, a.out, a.label, a.ignore_other_labels, a.participants, _say)
    _say(f"{len(table)} scans of {table.patient.nunique()} patients in {a.out}")


def _check(a) -> None:
    from femur_lib.cohort import check_cohort, read_cohort

    cohort = read_cohort(a.cohort)
    table = check_cohort(cohort)
    _say(table.to_string(index=False, float_format=lambda v: f"{v:.1f}"))
    _say(f"{len(table)} scans of {table.patient.nunique()} patients: every file can be used.")


def _train(a) -> None:
    from femur_lib.cohort import read_cohort
    from femur_lib.experiments import load_profile

    cohort, profile = read_cohort(a.cohort), load_profile(a.profile)
    if a.epochs is not None and a.epochs < 1:
        raise DataError("--epochs", str(a.epochs), "at least 1", "Ask for more.")
    from femur_lib.onednn import avoid_where_it_hangs

    avoid_where_it_hangs(profile.architecture(a.experiment), *profile.grid_2d[:2])
    from femur_lib.training import train

    _say(f"run: {train(cohort, a.folder, a.experiment, profile, None if a.all_subjects else a.fold, a.epochs, _say)}")


def _prepare_for(run: Path) -> None:
    """What must be known of a run before TensorFlow is imported. A folder that is no run is refused later."""
    from femur_lib.experiments import Profile
    from femur_lib.onednn import avoid_where_it_hangs

    if (run / "run.json").is_file():
        record = json.loads((run / "run.json").read_text())
        profile = Profile(**record["profile"])
        avoid_where_it_hangs(profile.architecture(record["experiment"]), *profile.grid_2d[:2])


def _predict(a) -> None:
    from femur_lib.cohort import read_cohort
    from femur_lib.prediction import predict_files, scans_of_cohort, scans_of_files

    if bool(a.images) == bool(a.cohort):
        raise DataError("femur predict", "both or neither of IMAGE and --cohort", "one of them", "See --help.")
    if a.threshold is not None and not 0 <= a.threshold < 1:
        raise DataError("--threshold", str(a.threshold), "a probability, 0 to below 1", "Correct it.")
    cohort = read_cohort(a.cohort) if a.cohort else None
    scans = scans_of_files(a.images) if cohort is None else []
    _prepare_for(a.folder)
    from femur_lib.runs import load_run

    run = load_run(a.folder, a.precision, a.patches)
    if cohort is not None:
        seen = run.record["training"] if a.subjects == "unseen" else []
        scans = scans_of_cohort(cohort, leave_out=seen)
        if not scans:
            raise DataError(a.cohort, "no scan that the run was not trained on", "some", "Pass --subjects all.")
    _pictures_to_files()
    asked = {"threshold": a.threshold, "largest_component": a.largest_component, "flip": a.flip}
    segmenter = replace(run.segmenter, **{k: v for k, v in asked.items() if v is not None})
    predict_files(segmenter, scans, a.out, a.overwrite, _say)


def _export(a) -> None:
    _prepare_for(a.folder)
    from femur_lib.exporting import export

    _say(f"network: {export(a.folder, a.out, a.format, a.patches)}")


def _score(a) -> None:
    from femur_lib.files import whole
    from femur_lib.prediction import score_files, truth_paths

    if a.out.exists() and not a.overwrite:
        raise DataError(a.out, "a file there already", "nothing", "Choose another name, or pass --overwrite.")
    table = score_files(truth_paths(a.truth), a.predictions)
    with whole(a.out) as half_written:
        table.to_csv(half_written, index=False, float_format="%.6g")
    _say(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    means = table.drop(columns="participant_id")
    _say("mean ± sd: " + ", ".join(f"{c} {means[c].mean():.3f} ± {means[c].std():.3f}" for c in means))


def _report(a) -> None:
    from femur_lib.report import write_report

    _pictures_to_files()
    _say(f"report: {write_report(a.runs, a.out)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 if it went well, 1 for bad input (said in one line), 2 for a wrong command line."""
    a = _parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"femur: warning: {message}", file=sys.stderr)
            a.run(a)
    except (DataError, FloatingPointError) as error:
        print(f"femur: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("femur: stopped", file=sys.stderr)
        return 130
    return 0
