"""The command line ``femur``: every verb is one call into the library.

Nothing heavy is imported before a verb is known, so that help and mistakes answer at once.
"""

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from femur_lib.arguments import parser
from femur_lib.errors import DataError, TrainingFailed


def _pictures_to_files() -> None:
    """Draw without a screen. For this process alone: notebooks started from it show their figures."""
    import matplotlib

    matplotlib.use("agg")


def _say(line: object = "") -> None:
    print(line, flush=True)


def _refuse_to_replace(overwrite: bool, *files: Path) -> None:
    for file in files:
        if file.exists() and not overwrite:
            raise DataError(file, "a file there already", "nothing", "Choose another name, or pass --overwrite.")


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


def _before_tensorflow(profile, architecture) -> None:
    """Set what TensorFlow reads once, when it is imported."""
    from femur_lib.onednn import avoid_where_it_hangs

    avoid_where_it_hangs(architecture, *profile.grid_2d[:2])


def _train(a) -> None:
    from femur_lib.cohort import read_cohort
    from femur_lib.experiments import load_profile

    cohort, profile = read_cohort(a.cohort), load_profile(a.profile)
    if a.epochs is not None and a.epochs < 1:
        raise DataError("--epochs", str(a.epochs), "at least 1", "Ask for more.")
    _before_tensorflow(profile, profile.architecture(a.experiment))
    from femur_lib.training import train

    _say(f"run: {train(cohort, a.folder, a.experiment, profile, None if a.all_subjects else a.fold, a.epochs, _say)}")


def _search(a) -> None:
    from femur_lib.cohort import read_cohort
    from femur_lib.experiments import load_profile, with_features

    cohort, profile = read_cohort(a.cohort), load_profile(a.profile)
    _before_tensorflow(profile, profile.architecture(with_features(a.experiment, max(a.features))))
    from femur_lib.search import search

    table = search(
        cohort, a.folder, a.experiment, profile, a.fold, a.trials, tuple(a.features), tuple(a.rates), _say
    )  # fmt: skip
    _say(table.to_string(index=False))


def _prepare_for(run: Path) -> None:
    """The same for a run; a folder that is no run is refused later."""
    from femur_lib.experiments import Profile

    if (run / "run.json").is_file():
        record = json.loads((run / "run.json").read_text())
        profile = Profile(**record["profile"])
        _before_tensorflow(profile, profile.architecture(record["experiment"]))


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


def _evaluate(a) -> None:
    from femur_lib.cohort import read_cohort

    cohort = read_cohort(a.cohort)
    _prepare_for(a.folder)
    from femur_lib.evaluation import evaluate
    from femur_lib.runs import load_run

    _pictures_to_files()
    _say_scores(evaluate(cohort, load_run(a.folder), _say).scores)


def _study(a) -> None:
    from femur_lib.study import describe, plan
    from femur_lib.study_runner import run_study

    if a.dry_run:
        _say(describe(plan(a.profile, a.cohort, a.runs)))
    else:
        _say(f"tables: {run_study(a.profile, a.cohort, a.runs, a.cores, a.gpus, a.threads, a.snakemake, _say)}")


def _say_scores(table) -> None:
    _say(table.to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    means = table.drop(columns="participant_id")
    _say("mean ± sd: " + ", ".join(f"{c} {means[c].mean():.3f} ± {means[c].std():.3f}" for c in means))


def _export(a) -> None:
    _prepare_for(a.folder)
    from femur_lib.exporting import export

    _say(f"network: {export(a.folder, a.out, a.format, a.patches)}")


def _score(a) -> None:
    from femur_lib.files import write_csv
    from femur_lib.prediction import score_files, truth_paths

    _refuse_to_replace(a.overwrite, a.out)
    table = score_files(truth_paths(a.truth), a.predictions)
    write_csv(a.out, table, float_format="%.6g")
    _say_scores(table)


def _quality(a) -> None:
    from femur_lib.cohort import read_cohort
    from femur_lib.files import write_csv
    from femur_lib.quality import find_images
    from femur_lib.quality_page import write_quality_page

    _refuse_to_replace(a.overwrite, *filter(None, (a.out, a.csv)))
    _pictures_to_files()
    reference = read_cohort(a.reference) if a.reference else None
    images = find_images(a.images) if a.images else None
    table = write_quality_page(a.predictions, a.out, a.others, reference, images)
    if a.csv:
        write_csv(a.csv, table, float_format="%.6g")
    _say(table[["name", "suspicion", "reasons"]].to_string(index=False, float_format=lambda v: f"{v:.3f}"))
    _say(f"page: {a.out}")


def _report(a) -> None:
    from femur_lib.report import write_report

    _pictures_to_files()
    _say(f"report: {write_report(a.runs, a.out)}")


VERBS = {
    "phantom": _phantom, "import pelvis": _import_pelvis, "import pairs": _import_pairs, "check": _check,
    "train": _train, "search": _search, "study": _study, "evaluate": _evaluate, "predict": _predict,
    "quality": _quality, "export": _export, "score": _score, "report": _report,
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; 0 if it went well, 1 for bad input (said in one line), 2 for a wrong command line."""
    a = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"femur: warning: {message}", file=sys.stderr)
            VERBS[a.verb](a)
    except (DataError, TrainingFailed) as error:
        print(f"femur: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("femur: stopped", file=sys.stderr)
        return 130
    return 0
