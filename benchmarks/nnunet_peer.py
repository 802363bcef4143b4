"""nnU-Net v2 (Isensee et al. 2021) as a peer of benchmarks/real_hips.py: planned, prepared, augmented and predicted as
it does by default, and trained by its default trainer for a given CPU time.

The rate falls by nnU-Net's polynomial, over the time instead of a number of epochs, and no time goes into its
validation. Masks are its own: the likelier class, with the scan flipped along all three axes.
"""

import json
import os
import resource
import time
from pathlib import Path

import torch
from nnunetv2.experiment_planning import plan_and_preprocess_api as nnunet
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from femur_lib._runtime.files import write_json
from femur_lib.cohort import Cohort
from femur_lib.inference import SUFFIXES

NUMBER, NAME, KIND = 1, "Dataset001_hips", "3d_fullres"


class FewMaps(ExperimentPlanner):
    """nnU-Net's planner, but the first level has as many maps as our network's, a quarter of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.UNet_base_num_features = 8


# What each arm asks the planner for. A step of nnU-Net's own plan takes 80 CPU seconds here; the second network is
# of our network's size and works on our grid's voxels.
PLANS: dict[str, dict] = {
    "nnunet": {},
    "nnunet small": {
        "experiment_planner_class": FewMaps,
        "gpu_memory_target_in_gb": 0.5,
        "overwrite_target_spacing": (5.2, 1.37, 1.37),
    },
}


class Timed(nnUNetTrainer):
    """nnU-Net's default trainer, for so many CPU seconds; it keeps no checkpoint."""

    def train(self, budget: float) -> dict:
        """Train, and tell the steps and the CPU seconds."""
        self.on_train_start()
        self.network.train()
        schedule = PolyLRScheduler(self.optimizer, self.initial_lr, budget)
        started, spent, steps = time.process_time(), 0.0, 0
        while spent < budget:
            schedule.step(spent)
            loss = self.train_step(next(self.dataloader_train))["loss"]
            steps, spent = steps + 1, time.process_time() - started
            print(f"step {steps}, loss {float(loss):.3f}, {spent:.0f} of {budget:.0f} CPU s", flush=True)
        return {"steps": steps, "cpu_seconds": spent}


def used() -> float:
    """CPU seconds of this process and of those that it has waited for."""
    return time.process_time() + sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def prepare(cohort: Cohort, folds: list[dict], arm: str, work: Path) -> tuple[Path, dict]:
    """Plan and preprocess all hips, as nnU-Net does before it trains any fold, unless it is done.

    Of hips held out the plan knows sizes and spacing alone: of MR, each image is normalised by itself.

    Returns:
        nnU-Net's folder of what it has preprocessed, and what is told of the plan and of the CPU time that it took.
    """
    os.environ.update({f"nnUNet_{folder}": str(work / folder) for folder in ("raw", "preprocessed", "results")})
    os.environ.update(nnUNet_n_proc_DA="1")  # threads of the planner
    raw, preprocessed, plan = work / "raw" / NAME, work / "preprocessed" / NAME, arm.replace(" ", "-")
    note = work / f"{plan}.json"
    if not note.is_file():
        started = used()
        for subject in cohort.subjects:
            for file, link in (
                (subject.image, raw / "imagesTr" / f"{subject.id}_0000.nii.gz"),
                (subject.mask, raw / "labelsTr" / f"{subject.id}.nii.gz"),
            ):
                link.parent.mkdir(parents=True, exist_ok=True)
                link.unlink(missing_ok=True)
                link.symlink_to(file.resolve())
        labels = {"background": 0, "femur": 1}
        about = {"channel_names": {"0": "MR"}, "labels": labels, "numTraining": len(cohort.subjects)}
        write_json(raw / "dataset.json", about | {"file_ending": ".nii.gz"})
        nnunet.extract_fingerprint_dataset(NUMBER, num_processes=1, show_progress_bar=False)
        plans, _ = nnunet.plan_experiment_dataset(NUMBER, overwrite_plans_name=plan, **PLANS[arm])
        nnunet.preprocess_dataset(NUMBER, plan, (KIND,), (1,), show_progress_bar=False)
        write_json(preprocessed / "splits_final.json", folds)
        made = plans["configurations"][KIND]
        told = {name: made[name] for name in ("spacing", "patch_size", "batch_size")}
        told["maps"] = made["architecture"]["arch_kwargs"]["features_per_stage"]
        write_json(note, {"plan": told, "preparation_cpu_seconds": round(used() - started, 1)})
    return preprocessed, json.loads(note.read_text())


def train_and_predict(
    cohort: Cohort, folds: list[dict], arm: str, fold: int, work: Path, out: Path, budget: float
) -> dict:
    """Train one fold for ``budget`` CPU seconds, and write the masks of the hips held out to ``out``.

    A network for which the time has not sufficed to see as many hips as there are is not asked for masks.
    """
    preprocessed, told = prepare(cohort, folds, arm, work)
    os.environ.update(nnUNet_n_proc_DA="0")  # batches are made in this process, so that their time counts
    torch.manual_seed(0)
    plans = json.loads((preprocessed / f"{arm.replace(' ', '-')}.json").read_text()) | {"continue_training": False}
    about = json.loads((preprocessed / "dataset.json").read_text())
    trainer = Timed(plans, KIND, fold, about, torch.device("cpu"))
    told |= trainer.train(budget)
    if told["steps"] * trainer.batch_size < len(folds[fold]["train"]):
        return told
    started = time.process_time()
    trainer.set_deep_supervision_enabled(False)
    trainer.network.eval()
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False)
    predictor.manual_initialization(
        trainer.network, trainer.plans_manager, trainer.configuration_manager, [trainer.network.state_dict()],
        about, "", trainer.inference_allowed_mirroring_axes,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    names = folds[fold]["val"]
    predictor.predict_from_files_sequential(
        [[str(cohort[name].image)] for name in names],
        [str(out / f"{name}{SUFFIXES['mask'].removesuffix('.nii.gz')}") for name in names],
    )
    return told | {"prediction_cpu_seconds": round(time.process_time() - started, 1)}
