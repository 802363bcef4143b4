"""The command line ``femur``: every verb is one call into the library.

Nothing heavy is imported before a verb is known, so that help and mistakes answer at once.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from femur_lib import __version__
from femur_lib._runtime.errors import DataError, TrainingFailed, said, warn_once
from femur_lib._runtime.machine import PRECISIONS

INTRODUCTION = """\
Segment the proximal femur in MR images, step by step:

  femur phantom hips --subjects 12 --size quick        make synthetic hips to try everything on
  femur check hips                                     look a cohort over before any work
  femur train hips run --network 3d-f8-l3 --profile quick --fold 0
  femur evaluate run hips                              segment and score the scans it was not trained on
  femur report run --out report.html                   a page to look at
  femur study workshop                                 the paper's 18 networks on four folds, and the tables
  femur predict run scan.nii.gz --out segmented        segment your own scans
  femur quality segmented --out quality.html           which of them to look at first
  femur export run network                             for use elsewhere, without TensorFlow

A cohort is a folder of scans and masks (data/README.md). Bring your own with `femur import`.
"""


DRAWN = "drawn"  # what stands for a cohort where hips are drawn while a network is trained
AXES = "the directions of the axes, such as LIP, for files that do not say them (sform and qform unset, or an identity)"
SERIES = "the number of the DICOM series, for folders that hold several (without it they are listed)"

LABEL = "the value that means femur in the masks, or the name of 3D Slicer's segment"
LAYOUTS = """\
nnU-Net, Medical Segmentation Decathlon    imagesTr/x_0000.nii.gz, labelsTr/x.nii.gz, dataset.json
nnU-Net's predictions                      x.nii.gz beside plans.json, and the scans' folder as --images
TotalSegmentator                           s0001/mri.nii.gz, s0001/segmentations/femur_left.nii.gz
BIDS                                       sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz, its mask in derivatives
one folder a case (MIScnn, KiTS)           case_00000/imaging.nii.gz, case_00000/segmentation.nii.gz
scans and masks                            in two folders, images and masks, or in one: x.nii.gz, x_mask.nii.gz

Every format that is read will do in place of .nii.gz. A scan of both hips is cut in two."""


def _axes(text: str) -> str:
    if text and sorted("RLAPSI".find(letter) // 2 for letter in text) != [0, 1, 2]:
        raise argparse.ArgumentTypeError(
            f"{text!r} does not name three axes; one of R and L, one of A and P, and one "
            "of S and I were expected, such as LIP"
        )
    return text


def parser() -> argparse.ArgumentParser:
    """The parser; what it parses has ``run``, the function that does what the verb says, and that verb's arguments."""
    plain = argparse.RawDescriptionHelpFormatter
    main = argparse.ArgumentParser("femur", description=INTRODUCTION, formatter_class=plain)
    main.add_argument("--version", action="version", version=f"femur {__version__}")
    verbs = main.add_subparsers(dest="verb", required=True, metavar="VERB")

    def verb(name: str, run: Callable, summary: str, more: str = "", under=verbs) -> argparse.ArgumentParser:
        p = under.add_parser(name.split()[-1], help=summary, description=f"{summary}\n\n{more}", formatter_class=plain)
        p.set_defaults(run=run)
        return p

    p = verb("phantom", _phantom, "Make a cohort of synthetic hips, with an expert's and exact masks.", "No download, no patient: good for trying things; results on them say nothing about patients.\nIf it is stopped, or even killed, start it again and it goes on.")  # fmt: skip
    p.add_argument("out", type=Path, help="a new folder")
    p.add_argument("--subjects", type=int, default=12, help="how many hips (paper: 86)")
    p.add_argument("--size", default="quick", choices=["quick", "workshop", "paper"], help="96x96x30, 128x128x40 or 512x512x60 voxels")  # fmt: skip
    p.add_argument("--difficulty", default="usual", choices=["easy", "usual", "hard"], help="what makes the task hard, from noise to the expert's errors")  # fmt: skip
    p.add_argument("--seed", type=int, default=0, help="the same seed makes the same hips")
    p.add_argument("--whole-femur", action="store_true", help="masks of all of the femur with its cortex, as the public pelvis set has them")  # fmt: skip
    p.add_argument(
        "--workers",
        type=int,
        default=0,
        help="how many processes; 0: one per core, or one in all if the cohort is small",
    )

    imports = verbs.add_parser("import", help="Make a cohort from scans you have.").add_subparsers(
        required=True, metavar="SOURCE"
    )
    p = verb("import pelvis", _import_pelvis, "The public pelvis set (CPTAC-UCEC images, pelvic_project masks), one volume for each hip.", "data/README.md tells where to get both.", imports)  # fmt: skip
    p.add_argument("source", type=Path, help="the folder that holds data/ and mask/, or caseNN_*.nii.gz")
    p.add_argument("out", type=Path, help="a new folder")
    p = verb("import pairs", _import_pairs, "Any folder of images and any of masks, paired by name.", "", imports)
    p.add_argument("images", type=Path)
    p.add_argument("masks", type=Path)
    p.add_argument("out", type=Path, help="a new folder")
    p.add_argument("--label", type=_label, default=1, help=LABEL)
    p.add_argument("--ignore-other-labels", action="store_true", help="other values are background")
    p.add_argument("--axes", type=_axes, default="", help=AXES)
    p.add_argument("--participants", type=Path, help="a table participant_id, patient, side, group (tab-separated); needed where a patient has two hips")  # fmt: skip

    p = verb("import folder", _import_folder, "A folder as it is laid out: what it holds is recognised and said first.", LAYOUTS, imports)  # fmt: skip
    p.add_argument("source", type=Path)
    p.add_argument("out", type=Path, help="a new folder")
    p.add_argument("--dry-run", action="store_true", help="only say what is recognised, and what is not used")
    p.add_argument("--label", type=_label, help=f"{LABEL}; default: the one that the layout calls femur, otherwise 1")
    p.add_argument("--ignore-other-labels", action="store_true", help="other values are background")
    p.add_argument("--pelvis", action="store_true", help="each scan shows both hips: cut it in two")
    p.add_argument("--images", type=Path, help="the folder of the scans, where SOURCE holds masks alone")
    p.add_argument(
        "--leave-out",
        nargs="+",
        default=[],
        metavar="PATTERN",
        help="files below SOURCE to pass over, such as 'derivatives/auto/*'",
    )
    p.add_argument("--axes", type=_axes, default="", help=AXES)
    p.add_argument(
        "--participants",
        type=Path,
        help="a table participant_id, patient, side, group (tab-separated), instead of what the layout says",
    )

    p = verb("import dicom", _import_dicom, "DICOM series to NIfTI files, to draw masks on; `import pairs` then makes a cohort.", "Only voxels and where they lie are copied, and no field about the patient.", imports)  # fmt: skip
    p.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="each holds a DICOM series, under any names; or an enhanced file",
    )
    p.add_argument("out", type=Path, help="a new folder; each file in it is named after its FOLDER")
    p.add_argument("--series", default="", metavar="NUMBER", help=SERIES)

    p = verb("check", _check, "Read every file of a cohort to its end, and say what is there, what is wrong, and what is unlike the rest.")  # fmt: skip
    p.add_argument("cohort", type=Path)
    p.add_argument("--profile", help="also name femora that lie partly outside the slices that this profile trains on")

    p = verb("train", _train, "Train one network on one fold.", "If it is stopped, or even killed, start it again and it goes on. RUN appears when it is finished.")  # fmt: skip
    p.add_argument("cohort", type=Path, help="a folder of scans and masks; or drawn, for hips that are drawn meanwhile (the profile drawn)")  # fmt: skip
    p.add_argument("folder", type=Path, metavar="RUN", help="a new folder for the network and its record")
    p.add_argument(
        "--network",
        "--experiment",
        dest="network",
        required=True,
        help="a network: 3d-f16-l4, 3d-f32-l4-d1.2.4.8, 2d-unpadded-f64-l3 …",
    )
    p.add_argument("--profile", default="quick", help="sizes and recipe: a name in profiles/, or a YAML file")
    who = p.add_mutually_exclusive_group()
    who.add_argument("--fold", type=int, help="which fold to hold out, from 0; default: 0")
    who.add_argument("--all-subjects", action="store_true", help="hold nobody out")
    p.add_argument("--epochs", type=int, help="instead of the profile's")

    p = verb("search", _search, "Look for a learning rate and a number of maps, on scans that will not be scored.", "If it is stopped, or even killed, start it again and it goes on.")  # fmt: skip
    p.add_argument("cohort", type=Path)
    p.add_argument("folder", type=Path, metavar="SEARCH", help="a folder for the search and its runs")
    p.add_argument("--network", "--experiment", dest="network", required=True, help="the network whose F is searched")
    p.add_argument("--profile", default="quick", help="sizes and recipe: a name in profiles/, or a YAML file")
    p.add_argument("--fold", type=int, default=0, help="the fold that is scored later and takes no part, from 0")
    p.add_argument("--trials", type=int, default=20)
    p.add_argument("--features", type=int, nargs="+", default=[8, 16, 32], help="the F to choose among")
    p.add_argument("--rates", type=float, nargs=2, default=[1e-5, 1e-2], metavar=("LOW", "HIGH"), help="of the learning rate")  # fmt: skip

    p = verb("evaluate", _evaluate, "Segment and score every scan of a cohort that a run was not trained on.", "predictions/, scores.csv, components.csv and curves.npz go into the run's folder.")  # fmt: skip
    p.add_argument("folder", type=Path, metavar="RUN", help="a finished run")
    p.add_argument("cohort", type=Path)

    p = verb("study", _study, "Train every network of a profile on every fold, then make the tables.", "If it is stopped, or even killed, start it again and it goes on. workflow/README.md tells of clusters, several GPUs and the cost.")  # fmt: skip
    p.add_argument("profile", help="a name in profiles/, or a YAML file")
    p.add_argument("cohort", nargs="?", default="", help="default: synthetic hips, made beside the runs")
    p.add_argument(
        "--runs", default="", help="the folder for all runs; default: runs/PROFILE in the checkout, or below FEMUR_HOME"
    )
    p.add_argument("--cores", type=int, default=0, help="how many of this machine's cores to use; default: all")
    p.add_argument("--gpus", type=int, help="how many of this machine's GPUs to use, one a training; default: all")
    p.add_argument("--threads", type=int, default=0, help="cores for each training; with fewer than --cores, several are trained at once")  # fmt: skip
    p.add_argument("--dry-run", action="store_true", help="only say what is done and left, and how long it took before")
    p.add_argument(
        "--snakemake",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="OPTION",
        help="all that follows goes to Snakemake: --snakemake --executor slurm --jobs 20",
    )

    p = verb("predict", _predict, "Segment scans; probability and mask come out on each scan's own grid.")
    p.add_argument("folder", type=Path, metavar="RUN", help="a finished run, or hip-drawn, which comes with the library; or several, whose probabilities are averaged")  # fmt: skip
    p.add_argument(
        "images",
        type=Path,
        nargs="*",
        metavar="IMAGE",
        help="NIfTI, NRRD, MetaImage or MGH files, folders that hold a DICOM series each, or enhanced DICOM files; folders before them that hold a run.json are further runs",
    )  # fmt: skip
    p.add_argument("--cohort", type=Path, help="instead of IMAGE: the scans of a cohort that no RUN was trained on")
    p.add_argument("--subjects", choices=["unseen", "all"], default="unseen", help="which scans of the cohort")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--pelvis", action="store_true", help="each IMAGE shows both hips: find, segment and label them, 1 the right one and 2 the left one")  # fmt: skip
    p.add_argument("--resample", action="store_true", help="take scans whose coronal slices are not as thick as those of the training, and resample them for the network")  # fmt: skip
    p.add_argument("--threshold", type=float, help="instead of the run's own")
    p.add_argument("--largest-component", action=argparse.BooleanOptionalAction, help="default: for 2D networks only, as in the paper")  # fmt: skip
    p.add_argument("--flip", action=argparse.BooleanOptionalAction, help="average with the prediction for the mirrored scan; default: as the run's profile says")  # fmt: skip
    p.add_argument("--patches", choices=["nine", "one"], help="of unpadded networks: the paper's nine patches, or one pass; default: as the run's profile says")  # fmt: skip
    p.add_argument("--precision", default="", choices=PRECISIONS, help="of the arithmetic; default: as the run's profile says")  # fmt: skip
    p.add_argument("--axes", type=_axes, default="", help=AXES)
    p.add_argument("--series", default="", metavar="NUMBER", help=SERIES)
    p.add_argument("--overwrite", action="store_true", help="replace files of the same name")

    p = verb("quality", _quality, "One HTML page of predictions without truth, likely failures first.", "Pieces, volume, shape, borders, and where networks are unsure or disagree. Nothing in it knows whether a mask is right.")  # fmt: skip
    p.add_argument("predictions", type=Path, help="the --out of femur predict")
    p.add_argument("--images", type=Path, help="the scans: a cohort, or a folder of scans; without it probabilities are drawn")  # fmt: skip
    p.add_argument("--others", type=Path, nargs="+", default=[], help="the same scans predicted otherwise: by other folds, or with --flip and without; default: by each run alone, where femur predict averaged several")  # fmt: skip
    p.add_argument("--reference", type=Path, help="a cohort whose masks are trusted, for the usual volume and shape; default: the other predictions")  # fmt: skip
    p.add_argument("--out", type=Path, required=True, help="an HTML file")
    p.add_argument("--csv", type=Path, help="the same as a table")
    p.add_argument("--overwrite", action="store_true")

    p = verb("export", _export, "Hand a network on: a folder with it, its recipe and a small runner.", "With onnx the runner needs no TensorFlow. README.txt in the folder says how to run it.")  # fmt: skip
    p.add_argument("folder", type=Path, metavar="RUN", help="a finished run")
    p.add_argument("out", type=Path, help="a new folder")
    p.add_argument("--format", default="onnx", choices=["onnx", "keras", "savedmodel"])
    p.add_argument(
        "--patches", choices=["nine", "one"], help="of unpadded networks; default: as the run's profile says"
    )

    p = verb("score", _score, "Compare predicted masks with true ones: Dice, precision, recall, specificity, ASD, MSD (mm).")  # fmt: skip
    p.add_argument("--truth", type=Path, required=True, help="a cohort, or a folder of masks named as the predictions")
    p.add_argument("--predictions", type=Path, required=True, help="the --out of femur predict, or masks named as nnU-Net names them (hip07.nii.gz)")  # fmt: skip
    p.add_argument("--label", type=int, default=1, help="the value that means femur in all of them")
    p.add_argument("--axes", type=_axes, default="", help=AXES)
    p.add_argument("--out", type=Path, required=True, help="a CSV file; means go beside it, into one that ends in _summary.csv")  # fmt: skip
    p.add_argument("--overwrite", action="store_true")

    p = verb("report", _report, "One HTML page of every run in a folder: record, curves, scores, pictures.", "A run's scores.csv and predictions/ are shown if they lie in its folder.")  # fmt: skip
    p.add_argument("runs", type=Path)
    p.add_argument("--out", type=Path, required=True)

    courses = verbs.add_parser("course", help="For who teaches the course.").add_subparsers(
        required=True, metavar="WHAT"
    )
    p = verb("course progress", _course_progress, "Who has solved what, where the class is stuck, and what it predicted.", "Each FOLDER is a learner's, and its name is the learner's name.", courses)  # fmt: skip
    p.add_argument(
        "folders",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="an exercises folder, or one that has exercises/ or hip-course/exercises/ in it",
    )
    p.add_argument("--out", type=Path, help="the same and each single exercise as an HTML page")
    p.add_argument("--overwrite", action="store_true")
    return main


def _pictures_to_files() -> None:
    """Draw without a screen. For this process alone: notebooks started from it show their figures."""
    import matplotlib

    matplotlib.use("agg")


def _say(line: object = "") -> None:
    print(line, flush=True)


def _refuse_to_replace(overwrite: bool, *files: Path) -> None:
    from femur_lib._runtime.files import refuse_folder

    for file in files:
        refuse_folder(file)
        if file.exists() and not overwrite:
            raise DataError(f"{file} exists already.", "Choose another name, or pass --overwrite.")


def _phantom(a) -> None:
    from femur_lib.phantom.cohort import make_cohort

    if a.subjects < 1:
        raise DataError(f"--subjects is {a.subjects}; at least 1 was expected.", "Ask for more.")
    if a.seed < 0:
        raise DataError(f"--seed is {a.seed}; 0 or more was expected.", "Correct it.")
    if a.workers < 0:
        raise DataError(f"--workers is {a.workers}; 0 or more was expected.", "Leave it out to use every core.")
    make_cohort(a.out, a.subjects, a.size, a.seed, a.difficulty, a.workers, _say, a.whole_femur)


def _import_pelvis(a) -> None:
    from femur_lib.lab.import_pelvis import CITATION, import_pelvis

    table = import_pelvis(a.source, a.out, _say)
    _say(f"{len(table)} hips in {a.out}. Cite: {CITATION}")


def _import_pairs(a) -> None:
    from femur_lib.lab.import_pairs import import_pairs

    table = import_pairs(a.images, a.masks, a.out, a.label, a.ignore_other_labels, a.participants, a.axes, _say)
    _say(f"{len(table)} scans of {table.patient.nunique()} patients in {a.out}")


def _import_dicom(a) -> None:
    from femur_lib.lab.import_dicom import import_dicom

    _say(f"{len(import_dicom(a.folders, a.out, a.series, _say))} scans in {a.out}")


def _import_folder(a) -> None:
    from femur_lib.lab.import_folder import import_folder

    table = import_folder(
        a.source, a.out, a.label, a.ignore_other_labels, a.participants, a.images, a.pelvis, a.leave_out, a.axes,
        a.dry_run, _say,
    )  # fmt: skip
    if table is None:
        _say("nothing is written: --dry-run")
    else:
        _say(f"{len(table)} hips of {table.patient.nunique()} patients in {a.out}")


def _label(text: str) -> int | str:
    return int(text) if text.isdecimal() else text


def _check(a) -> None:
    from femur_lib.cohort import check_cohort, read_cohort

    cohort = read_cohort(a.cohort)
    slices = None
    if a.profile:
        from femur_lib.config import load_profile

        profile = load_profile(a.profile)
        slices = min(profile.grid(2).slices, profile.grid(3).slices)
    table = check_cohort(cohort, slices=slices)
    _say(table.to_string(index=False, float_format=lambda v: f"{v:.1f}"))
    _say(f"{len(table)} scans of {table.patient.nunique()} patients: every file can be used.")


def _train(a) -> None:
    from femur_lib.cohort import read_cohort
    from femur_lib.config import load_profile, prepare_backend

    drawn = str(a.cohort) == DRAWN and not a.cohort.exists()
    cohort, profile = None if drawn else read_cohort(a.cohort), load_profile(a.profile)
    if a.epochs is not None and a.epochs < 1:
        raise DataError(f"--epochs is {a.epochs}; at least 1 was expected.", "Ask for more.")
    if cohort is None and (a.fold is not None or a.all_subjects):
        raise DataError(
            f"{'--all-subjects' if a.fold is None else f'--fold {a.fold}'} is for a cohort; of women who are drawn, every "
            "eighth is held out.",
            "Leave it out.",
        )
    prepare_backend(profile, a.network)
    if cohort is None:
        from femur_lib.lab.drawn import train_drawn

        _say(f"run: {train_drawn(a.folder, a.network, profile, a.epochs, _say)}")
        return
    from femur_lib.training import train

    _say(f"run: {train(cohort, a.folder, a.network, profile, None if a.all_subjects else a.fold or 0, a.epochs, _say)}")


def _search(a) -> None:
    from femur_lib.cohort import read_cohort
    from femur_lib.config import load_profile, prepare_backend

    cohort, profile = read_cohort(a.cohort), load_profile(a.profile)
    prepare_backend(profile, a.network, max(a.features))
    from femur_lib.lab.search import search

    table = search(
        cohort, a.folder, a.network, profile, a.fold, a.trials, tuple(a.features), tuple(a.rates), _say
    )  # fmt: skip
    _say(table.to_string(index=False))


def _predict(a) -> None:
    from femur_lib.cohort import read_cohort
    from femur_lib.evaluation import predict_files, say_left_out, scans_of_cohort, scans_of_files, several_as_one
    from femur_lib.lab.pelvis import predict_pelves
    from femur_lib.runs import load_run, run_folder, scans_known_to

    runs = [a.folder, *takewhile(lambda path: (run_folder(path) / "run.json").is_file(), a.images)]
    a.images = a.images[len(runs) - 1 :]
    if bool(a.images) == bool(a.cohort):
        raise DataError("femur predict takes either IMAGE or --cohort.", "Give one of them; see femur predict --help.")
    if a.threshold is not None and not 0 <= a.threshold < 1:
        raise DataError(
            f"--threshold is {a.threshold}; a probability of at least 0 and below 1 was expected.", "Correct it."
        )
    if a.pelvis and a.cohort:
        raise DataError("--pelvis is for scans of both hips; the scans of a cohort show one each.", "Leave it out.")
    cohort = read_cohort(a.cohort) if a.cohort else None
    scans = scans_of_files(a.images) if cohort is None else []
    loaded = [load_run(run, a.precision, a.patches) for run in runs]
    if cohort is not None:
        seen = [name for run in loaded for name in scans_known_to(run.record)] if a.subjects == "unseen" else []
        scans = scans_of_cohort(cohort, leave_out=seen)
        say_left_out(cohort, scans, _say)
        if not scans:
            new = "the run was not trained on" if len(runs) == 1 else "is new to all of the runs"
            raise DataError(f"{a.cohort} has no scan that {new}.", "Pass --subjects all.")
    _pictures_to_files()
    of_each = {"flip": a.flip, "resample": a.resample or None}
    of_all = {"threshold": a.threshold, "largest_component": a.largest_component}
    if _given(of_each):
        loaded = [replace(run, segmenter=replace(run.segmenter, **_given(of_each))) for run in loaded]
    segmenter = replace(several_as_one(loaded, _say), **_given(of_all))
    (predict_pelves if a.pelvis else predict_files)(segmenter, scans, a.out, a.overwrite, _say, a.axes, a.series)


def _given(options: dict) -> dict:
    return {name: value for name, value in options.items() if value is not None}


def _evaluate(a) -> None:
    from femur_lib.cohort import read_cohort

    cohort = read_cohort(a.cohort)
    from femur_lib.evaluation import evaluate, summary
    from femur_lib.runs import WEIGHTS, load_run, run_folder

    if run_folder(a.folder).parent == WEIGHTS:
        raise DataError(
            f"{a.folder} came with the library, and scores would be written into its folder.",
            f"Use femur predict {a.folder} --cohort {a.cohort} --out FOLDER, and femur score.",
        )
    _pictures_to_files()
    scores = evaluate(cohort, load_run(a.folder), _say).scores
    _say_scores(scores, summary(scores, len(scores)))


def _study(a) -> None:
    from femur_lib.paper.study import describe, plan, run_study

    for name in ("cores", "gpus", "threads"):
        if (getattr(a, name) or 0) < 0:
            raise DataError(f"--{name} is {getattr(a, name)}; 0 or more was expected.", "Correct it.")
    if a.dry_run:
        _say(describe(plan(a.profile, a.cohort, a.runs)))
    else:
        _say(f"tables: {run_study(a.profile, a.cohort, a.runs, a.cores, a.gpus, a.threads, a.snakemake, _say)}")


def _say_scores(table, means) -> None:
    _say(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    told = (f"{m.score} {m.mean:.3f} ± {m.sd:.3f} ({m.scans} of {m.of})" for m in means.itertuples())
    _say("mean ± sd (of how many scans): " + ", ".join(told))


def _export(a) -> None:
    from femur_lib.lab.export import export

    _say(f"network: {export(a.folder, a.out, a.format, a.patches)}")


def _score(a) -> None:
    from femur_lib._runtime.files import write_csv
    from femur_lib.evaluation import score_files, summary, truth_paths

    _refuse_to_replace(a.overwrite, a.out)
    means_file = a.out.with_name(f"{a.out.stem}_summary.csv")
    _refuse_to_replace(a.overwrite, means_file)
    truth = truth_paths(a.truth)
    table = score_files(truth, a.predictions, a.label, a.axes)
    means = summary(table, len(truth))
    write_csv(a.out, table, float_format="%.6g")
    write_csv(means_file, means, float_format="%.6g")
    _say_scores(table, means)


def _quality(a) -> None:
    from femur_lib._runtime.files import atomic_write
    from femur_lib.cohort import read_cohort
    from femur_lib.evaluation import BY_RUN
    from femur_lib.lab.quality_control import find_images
    from femur_lib.lab.quality_page import write_quality_page

    _refuse_to_replace(a.overwrite, *filter(None, (a.out, a.csv)))
    _pictures_to_files()
    reference = read_cohort(a.reference) if a.reference else None
    images = find_images(a.images) if a.images else None
    others = a.others or sorted((a.predictions / BY_RUN).glob("[!.]*"))
    with atomic_write(a.csv) if a.csv else nullcontext() as half_written:  # a place that cannot be is refused first
        table = write_quality_page(a.predictions, a.out, others, reference, images)
        if half_written:
            table.to_csv(half_written, index=False, float_format="%.6g")
    _say(table[["name", "suspicion", "reasons"]].to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    _say(f"page: {a.out}")


def _report(a) -> None:
    from femur_lib.lab.report import write_report

    _pictures_to_files()
    _say(f"report: {write_report(a.runs, a.out)}")


def _course_progress(a) -> None:
    from femur_lib.course import class_table as tables

    if a.out:
        _refuse_to_replace(a.overwrite, a.out)
    lines = tables.read_class(a.folders)
    tried = tables.tries(lines)
    _say(tables.by_notebook(tried).to_string(index=False))
    for row in tables.stuck(lines, tried).itertuples(index=False):
        _say(f"exercise {row[0]}: right {row[1]}, not yet {row[2]}; {row[3]}")
    for row in tables.predictions(lines).itertuples(index=False):
        _say(f"prediction {row[0]}: {row[2]}")
    if a.out:
        _say(f"page: {tables.write_class_page(a.out, lines)}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 if it went well, 1 for bad input (said in one line), 2 for a wrong command line."""
    for stream in (sys.stdout, sys.stderr):  # of an older locale: "?" stands for what its letters lack
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    a = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = warn_once("femur")
            a.run(a)
    except (DataError, TrainingFailed, OSError, MemoryError) as error:
        print(f"femur: {said(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("femur: stopped", file=sys.stderr)
        return 130
    return 0
