"""Search for a learning rate and a number of maps, which the paper says it did not do (Discussion, limitations).

The scans of the fold that will be scored take no part. The search splits the others once more, by patient, and goes by
the Dice of those held out in this inner split. Optuna proposes the trials (Akiba et al. 2019); each is a run like any
other. A search that was stopped, or even killed, goes on when it is started again: finished trials are kept, and the
one that was cut short continues.
"""

import os
from dataclasses import replace
from pathlib import Path

import pandas as pd

from femur_lib._runtime.errors import DataError, TrainingFailed
from femur_lib._runtime.words import Progress
from femur_lib.architecture import with_features
from femur_lib.cohort import Cohort
from femur_lib.config import Profile, resolve
from femur_lib.runs import kept_epoch, read_history
from femur_lib.training import split, train


def search(
    cohort: Cohort,
    folder: str | os.PathLike,
    network: str,
    profile: Profile,
    fold: int | None = 0,
    trials: int = 20,
    features: tuple[int, ...] = (8, 16, 32),
    rates: tuple[float, float] = (1e-5, 1e-2),
    progress: Progress = print,
) -> pd.DataFrame:
    """Train ``trials`` times with different maps and rates, and compare.

    Args:
        cohort: where the scans are.
        folder: for ``search.db`` and a run for each trial.
        network: the network whose F is searched, such as ``3d-f16-l4``.
        profile: all other settings.
        fold: the fold that will be scored later and takes no part here; with None all scans take part.
        trials: how many in all, those of earlier starts included.
        features: the values of F to choose among.
        rates: the lowest and the highest learning rate; it is searched on a logarithmic scale.
        progress: gets the lines of the trainings.

    Returns:
        One row for each finished trial, best first: trial, dice (of the inner validation scans at the epoch that was
        kept), features, learning_rate, run (its folder's name, or "failed").

    Raises:
        DataError: the name is not a network's, there is nothing to try, ``folder`` holds a search with other settings,
            or Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise DataError(
            "A search takes optuna, which is not installed.", 'Install it: pip install "femur-lib[search]".'
        ) from None
    if trials < 1 or not features or not 0 < rates[0] <= rates[1] < float("inf") or min(features) < 1:
        raise DataError(
            f"{trials} trials with F among {features} and rates from {rates[0]} to {rates[1]} leave nothing to try.",
            "Give at least one trial, one F, and two rates above zero, the lower one first.",
        )
    for name in (network, with_features(network, max(features))):
        resolve(profile, name)  # raises if it is not a network's name, or cannot be built
    training, _ = split(cohort, profile, fold)
    inner = replace(cohort, subjects=tuple(s for s in cohort.subjects if s.id in training))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    irrelevant = {"profile", "learning_rate", "networks", "study", "study_folds"}
    settings = profile.model_dump_json(exclude=irrelevant)
    asked = {"network": network, "fold": fold, "features": list(features), "rates": list(rates), "rest": settings}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{(folder / 'search.db').resolve()}",
        study_name="femur",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=profile.seed),
    )
    if study.user_attrs.get("asked", asked) != asked:
        raise DataError(
            f"{folder} holds a search with other settings; the same were expected.", "Choose another folder."
        )
    study.set_user_attr("asked", asked)
    for trial in study.get_trials(states=(optuna.trial.TrialState.RUNNING,)):  # cut short: its run goes on
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)

    def one(trial) -> float:
        maps = trial.suggest_categorical("features", features)
        rate = float(f"{trial.suggest_float('learning_rate', *rates, log=True):.3g}")
        name = with_features(network, maps)
        run = folder / f"{name}-rate{rate:g}"
        progress(f"trial {trial.number + 1}: {name}, learning rate {rate:g}")
        try:
            train(inner, run, name, profile.model_copy(update={"learning_rate": rate}), 0, progress=progress)
        except TrainingFailed as failure:
            progress(f"failed: {failure}")
            return 0.0
        trial.set_user_attr("run", run.name)
        return float(read_history(run, "val_dice").val_dice[kept_epoch(run)])

    done = (optuna.trial.TrialState.COMPLETE,)
    while len(study.get_trials(states=done)) < trials:
        study.optimize(one, n_trials=1)
    rows = [
        {"trial": t.number + 1, "dice": t.value, **t.params, "run": t.user_attrs.get("run", "failed")}
        for t in study.get_trials(states=done)
    ]
    return pd.DataFrame(rows).sort_values("dice", ascending=False, ignore_index=True)
