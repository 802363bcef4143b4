"""Half-width numbers: chosen by what the device does well, and no other masks for it."""

import keras
import numpy as np
import pytest

from femur_lib import precision
from femur_lib.architecture import Architecture
from femur_lib.cohort import read_subject
from femur_lib.networks import unet
from femur_lib.precision import cpu_bfloat16, resolve
from femur_lib.runs import load_run
from femur_lib.scores.overlap import overlap
from femur_lib.segmentation import segment

LARGE, SMALL, TINY = Architecture(3, 32, 4), Architecture(3, 8, 3), Architecture(3, 2, 3)


@pytest.mark.parametrize(
    ("gpus", "cpu", "architecture", "chosen"),
    [
        ([(9, 0)], "", LARGE, "mixed_bfloat16"),
        ([(8, 0)], "amx_bf16", LARGE, "mixed_bfloat16"),
        ([(7, 5)], "", LARGE, "mixed_float16"),
        ([(6, 1)], "", LARGE, "float32"),
        ([(9, 0), (7, 0)], "", LARGE, "mixed_float16"),  # the weakest of several
        ([(0, 0)], "", LARGE, "float32"),  # a device that does not tell
        ([], "amx_bf16", LARGE, "mixed_bfloat16"),
        ([], "", LARGE, "float32"),
        ([], "amx_bf16", SMALL, "float32"),
        ([(9, 0)], "", SMALL, "float32"),
        ([(6, 1)], "avx512_bf16", LARGE, "float32"),
        ([], "avx512_bf16", SMALL, "mixed_bfloat16"),
        ([], "avx512_bf16", TINY, "float32"),
    ],
)
def test_auto_goes_by_the_device_and_the_size_of_the_network(monkeypatch, gpus, cpu, architecture, chosen):
    monkeypatch.setattr(precision, "gpu_capabilities", lambda: gpus)
    monkeypatch.setattr(precision, "cpu_bfloat16", lambda: cpu)
    assert resolve("auto", architecture) == chosen
    assert resolve("float32", architecture) == "float32"  # what is asked for by name is taken


def test_a_precision_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="precision is one of auto, float32"):
        resolve("float64", LARGE)


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("fpu avx2 avx512_bf16 amx_bf16 amx_tile", "amx_bf16"),
        ("fpu avx512_bf16 avx512f", "avx512_bf16"),
        ("fpu avx2 amx_bf16_not", ""),
    ],
)
def test_what_the_cpu_can_do_is_read_off_its_list(tmp_path, flags, found):
    (tmp_path / "cpuinfo").write_text(f"flags\t: {flags}\n")
    assert cpu_bfloat16(tmp_path / "cpuinfo") == found
    assert cpu_bfloat16(tmp_path / "none") == ""


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_only_what_lies_between_input_and_logits_is_half_as_wide(policy):
    model = unet(Architecture(3, 2, 1), precision=policy)
    assert {w.dtype for w in model.trainable_weights} == {"float32"}
    widths = {layer.name: layer.compute_dtype for layer in model.layers}
    assert {n for n, d in widths.items() if d == "float32"} == {"logits", "probability"}
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize("kind", ["3d", "2d", "2d-unpadded"])
def test_dice_of_both_precisions_agrees_to_a_thousandth(trained_runs, tiny_cohort, kind):
    full, half = (load_run(trained_runs[kind], policy) for policy in ("float32", "mixed_bfloat16"))
    assert half.model.get_layer("down0_conv1").compute_dtype == "bfloat16"
    scores, probabilities = [], []
    for run in (full, half):
        pairs = [(read_subject(s)[1], segment(run.segmenter, read_subject(s)[0])) for s in tiny_cohort.subjects]
        probabilities.append(np.stack([p.array for _, (p, _) in pairs]))
        scores.append(np.mean([overlap(truth.array, mask.array)["dice"] for truth, (_, mask) in pairs]))
    assert scores[0] > 0.8  # a network that has learnt
    assert abs(scores[0] - scores[1]) < 1e-3
    assert np.abs(probabilities[0] - probabilities[1]).max() > 1e-6  # it did compute otherwise
