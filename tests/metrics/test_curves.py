"""Curves and thresholds from a histogram of probabilities are those of the raw values, and chosen as the paper says."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from femur_lib.inference import threshold_mask
from femur_lib.metrics.curves import (
    BINS,
    THRESHOLDS,
    ProbabilityHistogram,
    bins_of,
    mean_curve_threshold,
    mean_rates,
    read_histograms,
    thresholds_without,
    write_histograms,
)
from femur_lib.metrics.overlap import overlap


def scan(seed: int, voxels: int = 4000, on_bins: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A mask and mostly right probabilities; ``on_bins`` rounds them so that binning loses nothing."""
    rng = np.random.default_rng(seed)
    truth = rng.random(voxels) < 0.15
    p = (1 / (1 + np.exp(-rng.normal(np.where(truth, 1.2, -2.2), 1.5)))).astype(np.float32)
    return truth, np.nextafter(THRESHOLDS[bins_of(p)], np.float32(2)) if on_bins else p


def histogram_of(*scans) -> ProbabilityHistogram:
    histogram = ProbabilityHistogram()
    for truth, p in scans:
        histogram.add(np.asarray(truth, bool), np.asarray(p, np.float32))
    return histogram


# Femur at 0.9, 0.8, 0.4 and background at 0.6, 0.1: cutting below 0.8 gives precision 1 and recall 2/3, below
# 0.4 precision 3/4 and recall 1. The latter is nearer to (1, 1).
SMALL = (np.array([1, 1, 1, 0, 0], bool), np.array([0.9, 0.8, 0.4, 0.6, 0.1], np.float32))

# --- counting

EDGES = [0, 1e-45, 1e-12, 2**-24, 2**-23, 0.25, 0.5, 0.75, 1 - 2**-7, 1 - 2**-23, 1 - 2**-24, 1]


def test_a_threshold_parts_its_bin_from_the_one_below_to_the_last_number():
    drawn = np.random.default_rng(0).random(200_000, np.float32)
    values = np.concatenate(
        [np.float32(EDGES), drawn, drawn**8, 1 - drawn**4, np.nextafter(np.float32(EDGES[1:-1]), 2)]
    )
    bins = bins_of(values)
    assert (bins.min(), bins.max()) == (0, BINS - 1)
    assert (values > THRESHOLDS[bins]).all()
    higher = bins < BINS - 1
    assert (values[higher] <= THRESHOLDS[bins[higher] + 1]).all()


def test_bins_rise_with_probability_and_are_as_fine_towards_1_as_towards_0():
    p = np.sort(np.random.default_rng(1).random(10_000, np.float32))
    assert (np.diff(bins_of(p)) >= 0).all()
    low = np.float32([0.25, 0.01, 2**-20])
    np.testing.assert_array_equal(bins_of(low), BINS - 1 - bins_of(1 - low))
    assert bins_of(np.float32([0.5])) == BINS // 2


def test_scans_are_added_one_after_the_other_in_any_shape_and_histograms_too():
    (t1, p1), (t2, p2) = scan(1), scan(2)
    at_once = histogram_of((np.concatenate([t1, t2]), np.concatenate([p1, p2])))
    in_turn = histogram_of((t1.reshape(10, 20, 20), p1.reshape(10, 20, 20)), (t2, p2))
    for other in (in_turn, histogram_of((t1, p1)) + histogram_of((t2, p2))):
        np.testing.assert_array_equal(other.femur, at_once.femur)
        np.testing.assert_array_equal(other.background, at_once.background)


def test_the_ends_0_and_1_are_counted():
    histogram = histogram_of(([1, 0], [1.0, 0.0]))
    assert (histogram.femur[-1], histogram.background[0]) == (1, 1)
    assert histogram.femur.sum() == histogram.background.sum() == 1


def test_histograms_come_back_from_their_file(tmp_path):
    written = {f"sub-{i}": histogram_of(scan(i)) for i in range(3)}
    write_histograms(tmp_path / "curves.npz", written)
    read = read_histograms(tmp_path / "curves.npz")
    assert list(read) == list(written)
    for name, histogram in written.items():
        np.testing.assert_array_equal(read[name].femur, histogram.femur)
        np.testing.assert_array_equal(read[name].background, histogram.background)


# --- curves


@pytest.mark.parametrize("seed", range(3))
def test_areas_under_both_curves_are_those_of_the_raw_values(seed):
    truth, p = scan(seed)
    histogram = histogram_of((truth, p))
    assert histogram.average_precision() == pytest.approx(average_precision_score(truth, p), abs=1e-4)
    assert histogram.roc()[2] == pytest.approx(roc_auc_score(truth, p), abs=1e-4)


def test_areas_by_hand():
    # Steps of recall 1/3 at precision 1, 1 and 3/4. Of the 6 pairs of femur and background, 5 are in the right order.
    assert histogram_of(SMALL).average_precision() == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert histogram_of(SMALL).roc()[2] == pytest.approx(5 / 6)
    perfect = histogram_of(([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]))
    assert (perfect.average_precision(), perfect.roc()[2]) == pytest.approx((1, 1))


def test_a_network_that_is_sure_of_almost_all_voxels_has_a_whole_curve():
    """With bins of equal width the last would hold nearly all femur voxels, and the curve would end early."""
    rng = np.random.default_rng(0)
    truth = rng.random(20_000) < 0.3
    p = (1 / (1 + np.exp(-rng.normal(np.where(truth, 9, 3), 3)))).astype(np.float32)
    assert (p > 1 - 1 / 4096).mean() > 0.15
    assert histogram_of((truth, p)).average_precision() == pytest.approx(average_precision_score(truth, p), abs=1e-4)


def test_three_of_four_femur_voxels_tied_leave_the_curve_without_points_between_them():
    histogram = histogram_of(([1, 1, 1, 1, 0, 0], [0.9, 0.9, 0.9, 0.3, 0.9, 0.1]))
    assert histogram.tied() == 0.75
    assert histogram.average_precision() == pytest.approx(0.75 * 3 / 4 + 0.25 * 4 / 5)
    assert ProbabilityHistogram().tied() == 0


def test_each_point_has_the_precision_and_recall_of_its_threshold():
    truth, p = scan(0, on_bins=True)
    precision, recall, thresholds = histogram_of((truth, p)).precision_recall()
    for i in range(0, len(thresholds), 97):
        scores = overlap(truth, threshold_mask(p, thresholds[i]))
        assert (precision[i], recall[i]) == pytest.approx((scores["precision"], scores["recall"]))


def test_the_mean_curve_is_the_mean_of_each_subjects_scores():
    scans = [scan(seed, on_bins=True) for seed in range(3)]
    precision, recall, _ = mean_rates([histogram_of(s) for s in scans])
    for i in range(0, len(THRESHOLDS), 4999):
        scores = [overlap(truth, threshold_mask(p, THRESHOLDS[i])) for truth, p in scans]
        assert recall[i] == pytest.approx(np.mean([s["recall"] for s in scores]))
        nothing_marked_is_precise = [1 if np.isnan(s["precision"]) else s["precision"] for s in scores]
        assert precision[i] == pytest.approx(np.mean(nothing_marked_is_precise))


@pytest.mark.parametrize("threshold", [float(t) for t in THRESHOLDS[[1, 5000, 20000, -1]]])
def test_dice_at_a_threshold_is_that_of_the_mask(threshold):
    rng = np.random.default_rng(1)
    truth, p = rng.random(500) < 0.4, rng.random(500).astype(np.float32)
    p[:50] = np.float32(threshold)  # not higher, so not femur
    p[50:90] = np.nextafter(np.float32(threshold), np.float32(2))
    assert histogram_of((truth, p)).dice_at(threshold) == pytest.approx(overlap(truth, p > threshold)["dice"])


# --- thresholds


@pytest.mark.parametrize("within", [0, 0.005, 0.05])
def test_the_lowest_threshold_is_as_good_as_asked_and_the_next_lower_one_is_not(within):
    histogram = histogram_of(scan(3))
    used = THRESHOLDS[THRESHOLDS >= 0]
    dice = np.array([histogram.dice_at(t) for t in used])
    lowest = histogram.lowest_threshold(within)
    assert histogram.dice_at(lowest) >= dice.max() - within
    assert (dice[used < lowest] < dice.max() - within).all()


def test_of_a_network_that_finds_nothing_any_threshold_will_do():
    assert histogram_of((np.array([True, False]), np.array([0.0, 0.0]))).lowest_threshold() == 0.0


def test_thresholds_by_hand():
    best, youden = histogram_of(SMALL).best_threshold(), histogram_of(SMALL).youden_threshold()
    np.testing.assert_array_equal(threshold_mask(SMALL[1], best), [True, True, True, True, False])
    # Cut between 0.6 and 0.8: 2/3 of the femur, no background; between 0.1 and 0.4: all, and half: 1/2. So the first.
    np.testing.assert_array_equal(threshold_mask(SMALL[1], youden), [True, True, False, False, False])


@pytest.mark.parametrize(("on_bins", "loss"), [(True, 1e-9), (False, 2e-3)])
@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_is_nearer_to_perfect_than_the_best(seed, on_bins, loss):
    truth, p = scan(seed, voxels=1500, on_bins=on_bins)

    def distance(threshold: float) -> float:
        scores = overlap(truth, threshold_mask(p, threshold))
        return float(np.hypot(1 - scores["precision"], 1 - scores["recall"]))

    nearest = min(distance(t) for t in np.unique(p)[:-1])
    assert distance(histogram_of((truth, p)).best_threshold()) == pytest.approx(nearest, abs=loss)


def test_the_whole_bin_of_the_best_threshold_is_femur():
    p = np.array([0.5, 0.25], np.float32)
    threshold = histogram_of(([1, 0], p)).best_threshold()
    np.testing.assert_array_equal(threshold_mask(p, threshold), [True, False])
    assert threshold == pytest.approx(0.5)


def test_no_fold_takes_part_in_choosing_its_own_threshold():
    histograms = {name: histogram_of(scan(seed)) for seed, name in enumerate("abcd")}
    fold_of = {"a": 0, "b": 0, "c": 1, "d": 2}
    before = thresholds_without(histograms, fold_of)
    assert before[0] == mean_curve_threshold([histograms["c"], histograms["d"]])
    truth, p = scan(0)
    histograms["a"] = histogram_of((truth, p**4))
    after = thresholds_without(histograms, fold_of)
    assert after[0] == before[0]
    assert after[1] != before[1]
    with pytest.raises(ValueError, match="two folds"):
        thresholds_without(histograms, dict.fromkeys("abcd", 0))
