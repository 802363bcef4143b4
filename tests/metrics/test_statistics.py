"""Paired comparisons with Holm's correction, intervals over subjects, and the verdict on a claim."""

import numpy as np
import pandas as pd
import pytest
from conftest import verdict
from scipy.stats import wilcoxon

from femur_lib.metrics.statistics import compare, interval, symbol, triangle


def scores(seed: int = 0, subjects: int = 30) -> pd.DataFrame:
    """Three networks: b better than a by 0.01 on nearly every subject, c like a."""
    rng = np.random.default_rng(seed)
    a = rng.normal(0.93, 0.02, subjects)
    b, c = a + rng.normal(0.01, 0.005, subjects), a + rng.normal(0, 0.005, subjects)
    return pd.DataFrame({"a": a, "b": b, "c": c})


def p_of(first, second) -> float:
    return compare(pd.DataFrame({"a": first, "b": second})).p[0]


@pytest.mark.parametrize(
    ("p", "mark"),
    [(0.05, "ns"), (0.0499, "*"), (0.01, "*"), (0.0099, "**"), (0.001, "**"), (0.00099, "***"), (1, "ns")],
)
def test_symbols_are_those_of_table_4(p, mark):
    assert symbol(p) == mark


def test_holm_by_hand():
    """Three pairs: the smallest p times three, the next times two, none smaller than the one before, none above 1."""
    table = compare(scores()).sort_values("p")
    raw, corrected = table.p.to_numpy(), table.p_holm.to_numpy()
    assert corrected[0] == pytest.approx(min(1, 3 * raw[0]))
    assert corrected[1] == pytest.approx(min(1, max(corrected[0], 2 * raw[1])))
    assert corrected[2] == pytest.approx(min(1, max(corrected[1], raw[2])))


def test_the_symbol_is_that_of_the_corrected_p():
    # Six subjects, all better: p = 2 / 2^6 = 0.031; three such pairs, and Holm makes it 0.094.
    better = pd.DataFrame({"a": np.zeros(6), "b": np.arange(1, 7), "c": 3.0 * np.arange(1, 7)})
    table = compare(better)
    assert table.p.tolist() == [0.03125] * 3
    assert table.p_holm.tolist() == [0.09375] * 3
    assert table.symbol.tolist() == ["ns"] * 3


def test_p_by_hand():
    # Differences 1, 2, 3, 4, 5, -6: ranks against are 6. Of 64 signs, 14 have a sum of at most 6: none, 1, 2, 3, 4,
    # 5, 6, 1+2, 1+3, 1+4, 1+5, 2+3, 2+4, 1+2+3. Two sides: 28 / 64.
    assert p_of([1, 2, 3, 4, 5, -6], np.zeros(6)) == pytest.approx(28 / 64)


@pytest.mark.parametrize(("subjects", "p"), [(1, 1), (2, 0.5), (5, 0.0625), (6, 0.03125)])
def test_the_smallest_p_that_a_number_of_subjects_can_give(subjects, p):
    assert p_of(np.arange(1, subjects + 1), np.zeros(subjects)) == pytest.approx(p)


def test_the_test_is_paired():
    s = scores()
    row = compare(s).iloc[0]
    assert (row["first"], row["second"]) == ("a", "b")
    assert row.p == pytest.approx(wilcoxon(s.a, s.b).pvalue)
    assert row.symbol == "***"
    assert row.median_difference == pytest.approx(np.median(s.a - s.b))
    shuffled = s.assign(b=s.b.sample(frac=1, random_state=0).to_numpy())
    assert compare(shuffled).iloc[0].p > row.p


def test_which_network_is_first_changes_the_sign_alone():
    s = scores()
    one, other = compare(s[["a", "b"]]).iloc[0], compare(s[["b", "a"]]).iloc[0]
    assert one.p == pytest.approx(other.p)
    assert one.median_difference == pytest.approx(-other.median_difference)


def test_two_equal_networks_do_not_differ():
    s = scores()
    s["b"] = s["a"]
    assert compare(s).iloc[0].p == 1
    assert p_of([0.1 + 0.2, 0.3], [0.3, 0.1 + 0.2]) == 1  # nor do their last bits


def test_a_subject_on_whom_both_score_the_same_is_left_out():
    assert p_of([1, 2, 3, 4, 5, 6, 0], np.zeros(7)) == pytest.approx(0.03125)


def test_equal_differences_are_ties_whatever_their_last_bit():
    # Five differences of 0.01, which floating point makes four different numbers of, and a larger one against.
    first = np.array([0.94, 0.95, 0.96, 0.97, 0.98, 0.50])
    second = np.array([0.93, 0.94, 0.95, 0.96, 0.97, 0.55])
    assert p_of(first, second) == pytest.approx(p_of([1, 1, 1, 1, 1, -5], np.zeros(6)))
    assert len(set(first - second)) > 2


def test_table_4_has_each_pair_once():
    laid_out = triangle(compare(scores()))
    assert (laid_out.index.tolist(), laid_out.columns.tolist()) == (["a", "b"], ["b", "c"])
    assert laid_out.loc["b", "b"] == ""
    assert laid_out.loc["a", "b"] == "***"
    assert laid_out.loc["b", "c"] == "***"
    assert laid_out.loc["a", "c"] == "ns"


def test_what_cannot_be_compared_is_refused():
    s = scores()
    with pytest.raises(ValueError, match="two networks"):
        compare(s[["a"]])
    with pytest.raises(ValueError, match="one name"):
        compare(s[["a", "b", "a"]])
    with pytest.raises(ValueError, match="subjects"):
        compare(s[:0])
    s.loc[4, "b"] = np.nan
    with pytest.raises(ValueError, match="subject 4"):
        compare(s)


def test_an_interval_holds_the_mean_and_narrows_with_subjects():
    rng = np.random.default_rng(0)
    few, many = rng.normal(0.9, 0.1, 16), rng.normal(0.9, 0.1, 1600)
    (a, b), (c, d) = interval(few), interval(many)
    assert a < few.mean() < b
    assert d - c < (b - a) / 5


def test_an_interval_is_about_as_wide_as_that_of_a_normal_mean():
    values = np.random.default_rng(1).normal(0.9, 0.1, 200)
    low, high = interval(values)
    assert high - low == pytest.approx(2 * 1.96 * values.std() / np.sqrt(200), rel=0.05)


def test_an_interval_depends_on_a_seed_and_not_on_chance_or_gaps():
    few = np.random.default_rng(0).normal(0.9, 0.1, 16)
    assert interval(few) == interval(few)
    assert interval(few, seed=1) != interval(few)
    assert interval(np.append(few, np.nan)) == interval(few)
    assert np.isnan(interval(few[:1])).all()
    assert interval(np.full(5, 0.5)) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("shift", "one_fold", "another_seed", "said"),
    [
        (0.02, 0, 0.01, "holds"),
        (-0.02, 0, 0.01, "does not hold"),
        (0.02, 0, np.nan, "holds"),  # no other seed was tried
        (0.02, 0, 0.03, "cannot be told"),  # another seed alone changes more
        (0.02, -0.03, 0.01, "cannot be told"),  # one fold says the opposite
        (-0.02, 0.03, 0.01, "cannot be told"),
        (0.0005, 0, np.nan, "cannot be told"),  # the interval holds 0
    ],
)
def test_a_claim_holds_if_scans_folds_and_another_seed_agree(shift, one_fold, another_seed, said):
    fold_of = pd.Series({f"s{i}": i % 4 for i in range(16)})
    scan = np.arange(16)
    difference = pd.Series(shift + 0.003 * np.sin(scan) + one_fold * (scan % 4 == 2), index=fold_of.index)
    found = verdict(difference, fold_of, another_seed)
    twins, of_twins = (pd.concat([x, x.add_suffix("-other")]) for x in (difference, fold_of))
    again = verdict(twins, of_twins, another_seed, {name: name.split("-")[0] for name in twins.index})
    assert (again["from"], again["to"]) == pytest.approx((found["from"], found["to"]))  # a second hip adds no patient
    assert found["verdict"] == said
    assert found["difference"] == pytest.approx(difference.mean())
    assert found["from"] < found["difference"] < found["to"]
    in_folds = difference.groupby(fold_of).mean()
    assert found["folds > 0"] == f"{(in_folds > 0).sum()} of 4"
    assert found["another seed"] == pytest.approx(another_seed, nan_ok=True)
