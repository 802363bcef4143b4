"""Who is drawn: exact counts, bodies as published, and knobs that change what they name."""

from dataclasses import replace

import pandas as pd
import pytest

from femur_lib.phantom.parameters import DIFFICULTIES, Difficulty
from femur_lib.phantom.subject import draw_person


@pytest.mark.parametrize("seed", range(4))
def test_each_86_hold_exactly_what_the_papers_held(seed):
    people = [draw_person(seed, k) for k in range(86, 172)]
    assert sum(p.group == "fracture" for p in people) == 36
    assert sum(p.side == "R" for p in people) == 43
    folded = [k for k, p in enumerate(people) if p.protocol.fold_over]
    cysts = [k for k, p in enumerate(people) if p.hip.cyst_radius]
    assert (len(folded), len(cysts)) == (3, 1)
    assert not set(folded) & set(cysts)
    sites = pd.Series([p.fracture_site for p in people]).value_counts().to_dict()
    assert sites == {"n/a": 50, "arm": 15, "leg": 12, "spine": 4, "ribs": 4, "pelvis": 1}


def test_fracture_means_thinner_cortex_and_less_bone_and_says_nothing_about_size():
    people = [draw_person(seed, k) for seed in range(4) for k in range(86)]
    table = pd.DataFrame([vars(p.hip) | {"group": p.group} for p in people])
    mean = table.groupby("group")[["cortex", "bone_fraction", "head_diameter", "offset"]].mean()
    ratio = mean.loc["fracture"] / mean.loc["control"]
    assert ratio.cortex == pytest.approx(0.90, abs=0.03)
    assert ratio.bone_fraction == pytest.approx(0.86, abs=0.04)
    assert ratio.head_diameter == pytest.approx(1, abs=0.015)
    assert ratio.offset == pytest.approx(1, abs=0.03)


def test_morphometry_is_as_published():
    hips = pd.DataFrame([vars(draw_person(seed, k).hip) for seed in range(6) for k in range(86)])
    published = {
        "head_diameter": (43.2, 2.2),
        "neck_shaft_angle": (125, 5),
        "offset": (41, 4),
        "neck_height": (30.6, 1.7),
    }
    for name, (mean, sd) in published.items():
        assert hips[name].mean() == pytest.approx(mean, abs=0.2 * sd)
        assert hips[name].std() == pytest.approx(sd, rel=0.2)  # the tails are cut
    assert hips.head_diameter.corr(hips.neck_height) == pytest.approx(0.50, abs=0.12)
    assert hips.head_diameter.corr(hips.neck_shaft_angle) == pytest.approx(-0.14, abs=0.12)


@pytest.mark.parametrize(
    ("knob", "value", "changed"),
    [
        ("rotation_degrees", 8.0, "turn"),
        ("position_mm", 7.0, "place"),
        *((name, 0.0, name) for name in ("coil_bias", "rater_border_mm", "rater_cut_mm", "pelvic_marrow_similarity")),
        *((name, 0.6, name) for name in ("cortex", "red_marrow", "trabecular_contrast")),
        ("snr", 8.0, "snr"),
        ("marbling", 0.2, "marbling"),
    ],
)
def test_a_knob_of_difficulty_changes_what_it_names_and_nothing_else(knob, value, changed):
    seen = set()
    for k in range(5):
        a, b = draw_person(3, k), draw_person(3, k, replace(DIFFICULTIES["usual"], **{knob: value}))
        for one, other in ((vars(a), vars(b)), (vars(a.hip), vars(b.hip)), (vars(a.protocol), vars(b.protocol))):
            seen |= {name for name in one if name not in ("hip", "protocol") and one[name] != other[name]}
    assert seen == {changed}


def test_artefacts_grow_with_their_knob():
    people = [draw_person(0, k, Difficulty(artefacts=10)) for k in range(86)]
    assert sum(p.protocol.fold_over > 0 for p in people) == 30
    assert sum(p.hip.cyst_radius > 0 for p in people) == 10
