"""Notebook 04's tables and intervals, on predictions made by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from sklearn import metrics

from lib.data.faces import LANDMARKS, UNKNOWN, Faces
from lib.multitask import analysis
from lib.multitask import trials as plan
from lib.multitask.analysis import ACCURACY, NME, Predictions
from lib.multitask.audit import table_1
from lib.multitask.measures import landmark_errors, trivial_scores

# frontal: eyes .4 apart
SHAPE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
NOSE = LANDMARKS.index("nose")
SIZE = 100  # px: the eyes are 40 apart


def faces(landmarks, attributes, extent=None) -> Faces:
    count = len(landmarks)
    return Faces(
        torch.zeros(count, 3, SIZE, SIZE, dtype=torch.uint8),
        torch.tensor(np.asarray(landmarks), dtype=torch.float32),
        torch.tensor(np.asarray(attributes), dtype=torch.int8),
        torch.tensor(extent if extent is not None else [[SIZE, SIZE]] * count).float(),
        tuple(map(str, range(count))),
        tuple(f"attribute {place}" for place in range(np.shape(attributes)[1])),
    )


def small(seeds=2) -> Predictions:
    """Three faces, two attributes; every landmark of seed s is .04 (s + 1) to the right."""
    truth = faces([SHAPE] * 3, [[1, 0], [1, 1], [0, UNKNOWN]])
    landmarks = np.stack([[SHAPE + np.array([0.04 * (seed + 1), 0])] * 3 for seed in range(seeds)])
    logits = np.array([[[2, -1], [-2, 1], [-1, 5]], [[2, 1], [-2, -1], [1, 5]]], float)[:seeds]
    size = (SIZE, SIZE)
    errors = [landmark_errors(each, truth.landmarks, size) for each in landmarks]
    shape = np.repeat(SHAPE[None] + np.array([0, 0.02]), 3, 0)
    blind = landmark_errors(shape, truth.landmarks, size)
    usual = np.array([[1.0, -1.0]] * 3)
    return Predictions(
        [truth] * seeds,
        {**dict.fromkeys(plan.VARIANTS, errors), plan.TRIVIAL: [blind] * seeds},
        {**{name: list(logits) for name in plan.VARIANTS}, plan.TRIVIAL: [usual] * seeds},
        {**{name: list(landmarks) for name in plan.VARIANTS}, plan.TRIVIAL: [shape] * seeds},
    )


# tables


def test_the_table_of_variants_by_hand():
    """.04 and .08 over .4; right are 2, 1 and 1 attributes of 5 known ones, then 1, 0 and 0."""
    found = small()
    nme, right = (np.stack(found.scores(plan.SMTN, measure)) for measure in (NME, ACCURACY))
    assert nme == pytest.approx(np.array([[10] * 3, [20] * 3]), rel=1e-5)
    assert right == pytest.approx(100 * np.array([[2, 1, 1], [1, 0, 0]]) / (5 / 3))
    table = analysis.variant_table(found)
    assert table["variant"].tolist()[:-2:2] == list(plan.VARIANTS)
    assert table["kind"].value_counts().to_dict() == {
        plan.PAPER: 8, plan.CONTROL: 18, plan.LITERATURE: 6, plan.TRIVIAL: 2,
    }  # fmt: skip
    nme, accuracy = table[table["variant"] == plan.SMTN].itertuples()
    assert (nme.measure, accuracy.measure, nme.n) == (NME, ACCURACY, 2)
    assert nme.value == pytest.approx(15, rel=1e-5) and accuracy.value == pytest.approx(50)
    half = stats.t.ppf(0.975, 1) * 5  # two seeds, all faces alike
    assert [nme.low, nme.high] == pytest.approx([15 - half, 15 + half], rel=1e-4)
    assert accuracy.low < 50 < accuracy.high


def test_trivial_rows_by_hand():
    """The mean shape is .02 of .4 off; yes and no are right for 2, 1 and 0 of 5 known ones."""
    found = small()
    for nme in found.scores(plan.TRIVIAL, NME):
        assert nme == pytest.approx(np.full(3, 5), rel=1e-5)
    for right in found.scores(plan.TRIVIAL, ACCURACY):
        assert right == pytest.approx(100 * np.array([2, 1, 0]) / (5 / 3))
    rows = analysis.variant_table(found).tail(2)
    assert rows["value"].tolist() == pytest.approx([5, 60], rel=1e-5)


def test_seeds_with_faces_of_their_own_are_the_units():
    """Of 2, 3 and 4 faces; the interval is that of the three means, however the faces spread."""
    counts = (2, 3, 4)
    truth = [faces([SHAPE] * count, [[1]] * count) for count in counts]
    errors = [np.full((count, 5), 0.1 * count) for count in counts]
    for part in errors:
        part += np.linspace(-0.05, 0.05, len(part))[:, None]
    better = [part - gain for part, gain in zip(errors, (0.01, 0.02, 0.06), strict=True)]
    logits = [np.ones((count, 1)) for count in counts]
    found = Predictions(truth, {"A": errors, "B": better[:2], "C": better}, {"A": logits}, {})
    level = found.mean(found.scores("A", NME))
    expected = stats.ttest_1samp([20, 30, 40], 0).confidence_interval()
    assert (level.value, level.n) == (pytest.approx(30), 3)
    assert (level.low, level.high) == pytest.approx(tuple(expected))
    gain = found.less("C", "A", NME)
    expected = stats.ttest_1samp([-1, -2, -6], 0).confidence_interval()
    assert (gain.low, gain.high) == pytest.approx(tuple(expected)) and gain.value == -3
    fewer = found.less("A", "B", NME)  # of the two seeds that both have
    assert (fewer.value, fewer.n) == (pytest.approx(1.5), 2)
    right = found.scores("A", ACCURACY)
    assert [part.tolist() for part in right] == [[100.0] * count for count in counts]


def less(found: Predictions, variant: str, other: str) -> dict[str, pd.Series]:
    """The rows of one variant less another, by measure."""
    table = analysis.differences(found)
    rows = table[(table["variant"] == variant) & (table["other"] == other)]
    assert rows["measure"].is_unique
    return {row["measure"]: row for _, row in rows.iterrows()}


def test_differences_are_paired():
    """Faces and seeds of very different errors: only the difference's spread counts."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0.1, 5, (4, 200, 1)) + np.zeros((4, 200, 5))
    better = base - 0.01 + rng.normal(0, 0.002, base.shape)
    truth = [faces([SHAPE] * 200, [[1]] * 200)] * 4
    logits = dict.fromkeys((*plan.VARIANTS, plan.TRIVIAL), np.ones((4, 200, 1)))
    found = Predictions(truth, dict.fromkeys(logits, base) | {plan.SMTN: better}, logits, {})
    gain = less(found, plan.SMTN, plan.BASELINE)[NME]
    assert gain["value"] == pytest.approx(100 * (better - base).mean())
    assert -1.05 < gain["low"] < gain["value"] < gain["high"] < -0.95
    assert gain["n"] == 4
    mixed = {**found.errors, plan.SMTN: better[:, rng.permutation(200)]}
    loose = less(replace(found, errors=mixed), plan.SMTN, plan.BASELINE)[NME]
    assert loose["value"] == pytest.approx(gain["value"])
    assert loose["high"] - loose["low"] > 50 * (gain["high"] - gain["low"])


def test_every_two_variants_are_compared():
    found = small()
    logits = {**found.logits, plan.SMTN: np.full((2, 3, 2), 1.0)}  # says yes to all
    errors = {**found.errors, plan.CONV: np.stack(found.errors[plan.CONV]) / 2}
    found = replace(found, logits=logits, errors=errors)
    table = analysis.differences(found)
    both = table["measure"].isin([NME, ACCURACY])
    assert both.sum() == 17 * 16 * 2
    parts = table[~both]
    assert set(parts["variant"]) == {plan.SMTN, plan.CONV, plan.TUNED}
    assert set(parts["other"]) == {plan.BASELINE} and len(parts) == 3 * 6  # none looks aside
    # right are 1, 2 and 0 of 5 known ones; the baseline's seeds have 4 and 1
    smtn, conv = (less(found, name, plan.BASELINE) for name in (plan.SMTN, plan.CONV))
    assert (smtn[NME]["value"], smtn[ACCURACY]["value"]) == pytest.approx((0, 60 - 50))
    half = stats.t.ppf(0.975, 1) * 2.5  # seeds of -5 and -10, all faces alike
    ends = [conv[NME][name] for name in ("value", "low", "high")]
    assert ends == pytest.approx([-7.5, -7.5 - half, -7.5 + half], rel=1e-4)
    back = less(found, plan.BASELINE, plan.CONV)[NME]
    assert [-back[name] for name in ("value", "high", "low")] == pytest.approx(ends)
    # the mean shape is .05 of the eyes' distance off, the networks .15
    assert less(found, plan.TRIVIAL, plan.SMTN)[NME]["value"] == pytest.approx(-10, rel=1e-5)


def test_parts_of_a_difference_by_hand():
    """Two of five faces look aside and gain 6 points, the others 2; noses gain three times that."""
    landmarks = np.repeat(SHAPE[None], 5, 0)
    landmarks[:2, NOSE, 0] += 0.2
    base = np.full((2, 5, 5), 0.5)
    gain = np.repeat([[0.06, 0.06, 0.02, 0.02, 0.02]], 2, 0)[..., None] * np.ones(5)
    gain[:, :, NOSE] *= 3
    logits = dict.fromkeys((*plan.VARIANTS, plan.TRIVIAL), np.ones((2, 5, 1)))
    errors = dict.fromkeys(logits, base) | {plan.SMTN: base - gain}
    found = Predictions([faces(landmarks, [[1]] * 5)] * 2, errors, logits, {})
    rows = less(found, plan.SMTN, plan.BASELINE)
    values = {name: row["value"] for name, row in rows.items() if name != ACCURACY}
    mean = (2 * 6 + 3 * 2) / 5
    assert values == pytest.approx({
        "NME": -7 / 5 * mean,
        "NME of the left eye": -mean,
        "NME of the right eye": -mean,
        "NME of the nose": -3 * mean,
        "NME of the left mouth corner": -mean,
        "NME of the right mouth corner": -mean,
        "NME of the nose less that of others": -2 * mean,
        "NME of turned faces": -7 / 5 * 6,
        "NME of turned faces less that of others": -7 / 5 * 4,
    })  # fmt: skip


def test_landmarks_and_error_curves_by_hand():
    found = small()
    errors = np.stack(found.errors[plan.SMTN]) * np.arange(1, 6)
    found = replace(found, errors={**found.errors, plan.SMTN: errors})
    bars = analysis.variant_table(found, analysis.LANDMARK_NME)
    mine = bars[bars["variant"] == plan.SMTN]
    assert mine["measure"].tolist() == [f"NME of the {name}" for name in LANDMARKS]
    assert mine["value"].to_numpy() == pytest.approx(15 * np.arange(1, 6), rel=1e-5)
    rows = analysis.face_errors(found, (plan.SMTN, plan.CONV))
    rows = {name: part["error"].tolist() for name, part in rows.groupby("variant")}
    assert rows[plan.CONV] == pytest.approx([10] * 3 + [20] * 3, rel=1e-5)
    assert rows[plan.SMTN] == pytest.approx([30] * 3 + [60] * 3, rel=1e-5)  # mean of landmarks
    assert rows["mean shape"] == pytest.approx([5] * 6, rel=1e-5)


def test_frames_by_hand():
    """The original of the second face is twice as high; the third's eyes are close together."""
    narrow = SHAPE.copy()
    narrow[:2, 0] = 0.49, 0.51
    truth = faces([SHAPE, SHAPE, narrow], [[1]] * 3, [[200, 200], [200, 400], [200, 200]])
    off = np.array([[0, 0.04]])
    landmarks = truth.landmarks.numpy()[None] + off
    shape = np.repeat(SHAPE[None, None], 3, 1)
    points = {plan.SMTN: landmarks, plan.TRIVIAL: shape}
    found = replace(small(), truth=[truth], landmarks=points)
    table = analysis.frames(found, [plan.SMTN]).set_index("variant")
    row = table.loc[plan.SMTN]
    # pixels off over pixels of the eyes: 4 / 40, 4 / 40, 4 / 2
    assert row["network"] == pytest.approx((0.1 + 0.1 + 2) / 3, rel=1e-4)
    # 8 / 80, 16 / 80, 8 / 4
    assert row["original"] == pytest.approx((0.1 + 0.2 + 2) / 3, rel=1e-4)
    assert row["median"] == pytest.approx((8 + 16 + 8) / 80 / 3, rel=1e-4)
    # the mean shape is only wrong at the third's eyes: .19 of 100 px over 2, two of 15 errors
    assert table.loc["mean shape", "network"] == pytest.approx(2 * 19 / 2 / 15, rel=1e-4)
    assert table.loc["mean shape", "median"] == pytest.approx(2 * 38 / 80 / 15, rel=1e-4)


def test_the_table_of_attributes_is_scikit_learns():
    """Of all answers together; two seeds on the same faces, or each on half of them."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (300, 2)) * (rng.random((300, 2)) < 0.6)
    labels[:20, 0] = UNKNOWN
    logits = rng.normal(size=(300, 2)) + labels
    halves = [slice(150), slice(150, 300)]
    usual = np.array([[1.0, -1.0]] * 150)
    found = replace(
        small(),
        truth=[faces(np.broadcast_to(SHAPE, (150, 5, 2)), labels[half]) for half in halves],
        logits={
            plan.SMTN: [logits[half] for half in halves],
            plan.CONV: [-logits[half] for half in halves],
            plan.TRIVIAL: [usual, usual],
        },
    )
    table = analysis.attribute_table(found, (plan.SMTN, plan.CONV))
    assert table["variant"].tolist() == [plan.SMTN] * 2 + [plan.CONV] * 2
    truth, said, row = labels[20:, 0], logits[20:, 0] > 0, table.iloc[0]
    assert row["attribute"] == "attribute 0" and row["n"] == 280
    for name, score in (
        ("accuracy", metrics.accuracy_score),
        ("balanced_accuracy", metrics.balanced_accuracy_score),
        ("f1", metrics.f1_score),
    ):
        assert row[name] == pytest.approx(score(truth, said)), name
    assert row["rate"] == row["majority"] == pytest.approx(truth.mean())
    other = table.iloc[3]
    assert other["majority"] == pytest.approx(1 - labels[:, 1].mean()) != other["accuracy"]
    same = found.truth[0]
    twice = replace(found, truth=[same, same])
    row = analysis.attribute_table(twice, (plan.SMTN,)).iloc[0]
    answers = np.concatenate([logits[half][20:, 0] > 0 for half in halves])
    expected = metrics.accuracy_score(np.tile(labels[20:150, 0], 2), answers)
    assert (row["n"], row["accuracy"]) == (260, pytest.approx(expected))


def test_the_gain_in_parts_adds_up():
    """4 points by training longer, 3 by splitting, -1 by sharing."""
    levels = {plan.BASELINE: 0.5, plan.LONG: 0.46, plan.COPIES: 0.43, plan.TUNED: 0.44}
    errors = {name: [np.full((3, 5), levels.get(name, 1.0))] * 2 for name in plan.VARIANTS}
    found = replace(small(), errors=errors | {plan.TRIVIAL: [np.ones((3, 5))] * 2})
    table = analysis.gain_in_parts(analysis.differences(found))
    nme = table[table["measure"] == NME]
    assert nme["part"].tolist() == list(analysis.GAINS) and len(table) == 2 * len(nme)
    assert nme["value"].tolist() == pytest.approx([-4, -3, 1, -6])
    assert (nme["low"] == nme["high"]).all() and set(nme["n"]) == {2}


# turned faces


def rolled(landmarks: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (landmarks - 0.5) @ turn.T + 0.5


@pytest.mark.parametrize("degrees", [0, 30, -60, 90, 180])
@pytest.mark.parametrize(
    ("nose", "aside"), [(0, False), (0.1, False), (-0.1, False), (0.2, True), (-0.2, True)]
)
def test_turned_is_not_rolled(nose, aside, degrees):
    """The nose is off by shares of the eyes' .4; the limit is .35 of it."""
    face = SHAPE.copy()
    face[NOSE, 0] += nose
    assert analysis.turned(rolled(face, degrees)[None]).tolist() == [aside]
    assert analysis.turned(0.1 * rolled(face, degrees)[None]).tolist() == [aside]


def test_a_profile_is_turned_and_the_nose_may_be_long():
    profile, long = SHAPE.copy(), SHAPE.copy()
    profile[:3] = [0.4, 0.4], [0.42, 0.4], [0.3, 0.6]
    long[NOSE, 1] = 0.95
    assert analysis.turned(np.stack([profile, long])).tolist() == [True, False]


def test_examples_are_at_quantiles():
    """Of all faces, then of those that look aside: the middle, nine tenths, the worst."""
    landmarks = np.repeat(SHAPE[None], 21, 0)
    landmarks[:11, NOSE, 0] += 0.2
    errors = np.repeat(np.linspace(0, 1, 21)[None, :, None], 5, 2)
    errors = np.concatenate([errors, errors[:, ::-1]])  # seed 0 decides
    found = replace(small(), truth=[faces(landmarks, np.ones((21, 1)))] * 2)
    found = replace(found, errors={plan.SMTN: list(errors)})
    assert analysis.examples(found, plan.SMTN) == {  # the worst of those aside is there already
        "median": 10, "90 %": 18, "worst": 20, "aside, median": 5, "aside, 90 %": 9,
    }  # fmt: skip


def test_table_1_has_the_papers_numbers_beside_ours():
    found = small()
    said = np.array([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]])
    logits = {**found.logits, plan.TUNED: [said, said]}
    table = analysis.table_1(table_1(), analysis.variant_table(replace(found, logits=logits)))
    assert table["paper"].tolist()[:-1] == [81.1, 79.8, 85.4, 87.3, 89.9, 89.6, 89.4, 90.0]
    assert table["value"].isna().tolist() == [True] * 4 + [False] * 5
    assert table["value"].tolist()[4:] == pytest.approx([50, 50, 50, 80, 60])
    assert table["method"].iloc[-1] == "majority class"
    variants = [plan.BASELINE, plan.SMTN, plan.CONV, plan.TUNED]
    assert table["variant"].tolist()[4:8] == variants


def test_trivial_scores_are_those_of_the_table():
    found = small()
    train = faces([SHAPE + np.array([0, 0.02])] * 3, [[1, 0], [1, 0], [0, 1]])
    scores = trivial_scores(train, found.truth[0])
    assert scores["faces"] == 3 and scores["nme"] == pytest.approx(0.05, rel=1e-5)
    assert scores["accuracy"] == pytest.approx(3 / 5)  # of the known ones
