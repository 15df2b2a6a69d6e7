"""From records to tables, on records made by hand; SynFlow against finite differences."""

from __future__ import annotations

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from lib.dip import analysis
from lib.dip.network import Architecture, EncoderDecoder, Layers, stratified
from lib.dip.trials import STOPS
from lib.engine.artefacts import NotStored
from lib.ledger.estimates import Estimate
from lib.ledger.tables import Tables

SMALL = Layers(4, 2, "nearest")


def records(seeds: int = 1, max_depth: int = 4) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both tables of a world as the paper has it: SLC makes one error, depth the other."""
    trained, priors = [], []
    rng = np.random.default_rng(0)
    for a in stratified(max_depth):
        for seed in range(seeds):
            place = {"depth": a.depth, "skips": list(a.skips), "slc": a.slc, "seed": seed}
            one, other = rng.normal(0, 0.01, 2)
            row = {"status": "ok", **place}
            error, prior = 0.1 + 0.05 * a.slc + one, 0.3 - 0.05 * a.depth + other
            errors = {"rmse": error + 1, "rmse_images": [error - 0.01, error + 0.01, error + 3]}
            trained.append(row | errors | {"parameters": 100 * a.depth})
            stops = {f"{stop}_rmse": prior for stop in STOPS}
            priors.append(row | stops | {"fixed_rmse_images": [prior + 0.02, prior - 0.02]})
    return pd.DataFrame(trained), pd.DataFrame(priors)


def test_only_what_has_both_scores_is_paired():
    trained, priors = records()
    priors.loc[3, "status"] = "error"
    scores = analysis.pair_scores(trained.drop(index=[0, 1]), priors.sample(frac=1, random_state=0))
    assert len(scores) == len(trained) - 3
    row = scores.set_index("name").loc["d4-s0"]
    index = trained.index[(trained.depth == 4) & (trained.skips.map(tuple) == (0,))][0]
    assert row["trained_all"] == trained.rmse[index] and row["dip_ema"] == priors.ema_rmse[index]
    assert row["trained"] == pytest.approx(trained.rmse[index] - 1), "of the prior's photographs"


def test_nothing_to_pair_is_an_error():
    trained, priors = records()
    failed = priors.assign(status="error")
    for one, other in ((trained, failed), (trained, pd.DataFrame()), (trained[:2], priors[2:])):
        with pytest.raises(ValueError, match="no finished"):
            analysis.pair_scores(one, other)


def test_means_and_spread_over_seeds():
    scores = analysis.pair_scores(*records(seeds=3))
    networks = analysis.by_architecture(scores)
    assert len(networks) == 30 and (networks["seeds"] == 3).all()
    one = scores[scores.name == "d2-s01"]
    expected = one[["trained", "dip_best"]].mean()
    row = networks.set_index("name").loc["d2-s01", ["trained", "dip_best"]]
    np.testing.assert_allclose(row.astype(float), expected)
    spread = analysis.seed_spread(scores).set_index("axis").loc["trained"]
    assert 0.007 < spread["between seeds"] < 0.013 < 0.05 < spread["between architectures"]
    assert spread["n"] == 30
    with pytest.raises(NotStored, match="two seeds"):
        analysis.seed_spread(scores[scores.seed == 0])


def test_the_photographs_rankings_are_compared():
    """Scipy's numbers; in this world the photographs of a use differ by a constant alone."""
    trained, priors = records()
    errors = np.random.default_rng(1).random((len(trained), 3))
    trained["rmse_images"] = errors.tolist()
    table = analysis.photograph_agreement(trained, priors).set_index(["use", "pair"])
    prior = table.loc[("prior, fixed iteration", "photograph 1 and 2")]
    assert prior["value"] == pytest.approx(1) and prior["n"] == len(trained)
    expected = {
        "photograph 1 and 2": spearmanr(errors[:, 0], errors[:, 1]),
        "these 2 and all 3": spearmanr(errors[:, :2].mean(1), errors.mean(1)),
    }
    for pair, rank in expected.items():
        row = table.loc[("trained", pair)]
        assert row["value"] == pytest.approx(rank.statistic)
        assert row["low"] < row["value"] < row["high"]
    fitted = np.stack(priors["fixed_rmse_images"].tolist())
    for i in range(fitted.shape[1]):
        row = table.loc[("prior and trained", f"photograph {i + 1}")]
        assert row["value"] == pytest.approx(spearmanr(fitted[:, i], errors[:, i]).statistic)
    assert len(table) == 3 + fitted.shape[1]


def test_answers_are_those_of_the_first_photographs():
    rows = [{"answer": "total variation", "rmse_images": [0.1, 0.2, 0.9]}]
    assert analysis.answer_errors(pd.DataFrame(rows), 2) == {"total variation": pytest.approx(0.15)}


def test_the_sample_is_weighted_to_the_family():
    """Depth 3 has 8 members, of SLC 0 to 3: 4, 2, 1, 1. Of SLC 0 one was run, of SLC 1 both."""
    rows = pd.DataFrame(
        {"name": list("abcde"), "depth": 3, "slc": [0, 1, 1, 2, 3], "x": [1.0, 2, 4, 8, 16]}
    )
    counts = analysis.as_family(rows)["name"].value_counts().sort_index()
    assert counts.tolist() == [400, 100, 100, 100, 100]
    whole = analysis.by_architecture(analysis.pair_scores(*records()))
    table = analysis.weighted_table(whole).set_index("number")
    np.testing.assert_allclose(table["as run"], table["as in the family"])
    assert table.loc["share with SLC 0", "as run"] == 15 / 30
    part = analysis.weighted_table(whole[whole["name"] != "d4-s0"]).set_index("number")
    assert part.loc["share with SLC 0", "as in the family"] == pytest.approx(0.5, abs=0.005)


def test_the_papers_world_is_found_again():
    networks = analysis.by_architecture(analysis.pair_scores(*records()))
    eta = analysis.eta_table(networks, draws=50).set_index(["axis", "factor"])
    assert eta.loc[("trained", "slc"), "eta_squared"] > 0.9
    assert eta.loc[("dip_fixed", "depth"), "given_other"] > 0.8
    assert eta.loc[("trained", "slc"), "given_other"] > 0.8
    rank = analysis.correlations(networks)
    assert rank["overall"].value < 0 and abs(rank["within SLC"].value) < 0.4
    worlds, observed = analysis.explain_corner(networks, draws=40)
    worlds = worlds.groupby("SLC <= depth").mean()
    assert observed["correlation"] == pytest.approx(
        spearmanr(networks["dip_fixed"], networks["trained"]).statistic
    )
    assert worlds["correlation"]["kept"] < worlds["correlation"]["broken"] - 0.05
    assert worlds["corner"]["kept"] < worlds["corner"]["broken"]


def test_the_share_above_chance_is_that_of_epsilon_squared():
    """Four networks of two levels: eta squared 16/17, chance 1/3, (16/17 - 1/3) / (2/3)."""
    rows = pd.DataFrame({"trained": [1.0, 2.0, 5.0, 6.0], "slc": [0, 0, 1, 1]})
    share = analysis.above_chance(rows, "trained", "slc", draws=20)
    assert share.value == pytest.approx((16 / 17 - 1 / 3) / (2 / 3)) and share.n == 4


@pytest.mark.parametrize("seed", range(3))
def test_labels_without_meaning_have_no_share_above_chance(seed):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"trained": rng.normal(size=150), "slc": rng.integers(0, 7, 150)})
    share = analysis.above_chance(rows, "trained", "slc", draws=200)
    assert share.low < 0 < share.high and abs(share.value) < 0.1


def test_what_is_left_with_both_factors_fixed():
    """Inside every cell of depth and SLC the two errors are opposed; overall they go together."""
    places = [(d, s, e) for d in (1, 2) for s in (0, 1) for e in (-0.01, 0.0, 0.01)]
    rows = pd.DataFrame(
        [{"depth": d, "slc": s, "trained": d + s + e, "dip_fixed": d + s - e} for d, s, e in places]
    )
    rank = analysis.correlations(rows)
    assert rank["overall"].value > 0.6 and rank["within both"].value == pytest.approx(-1)


def test_quantities_read_the_saved_tables(tmp_path):
    """Each by hand: rows of the two stored tables, and the share that a residual network keeps."""
    plain = pd.DataFrame(
        {"slc": [0], "rmse_images": [[0.1, 0.1]], "trivial_rmse": [0.2]},
    )
    residual = pd.DataFrame(
        {
            "slc": [1, 0, 2],
            "rmse_images": [[0.18, 0.2], [0.1, 0.1], [0.2, 0.2]],
            "trivial_rmse": [0.2] * 3,
        }
    )
    paths = {"as in the report": plain, "global residual": residual}
    images = analysis.residual_images(paths)
    assert len(images) == 8 and set(images["path"]) == {"as in the report", "global residual"}
    (tmp_path / "tables").mkdir()
    images.to_csv(tmp_path / "tables" / "residual_images.csv", index=False)
    line = {"axis": "dip_fixed", "held fixed": "overall", "value": -0.7, "low": -0.8, "high": -0.6}
    pd.DataFrame([line | {"n": 9}]).to_csv(tmp_path / "tables" / "correlation.csv", index=False)
    line = {"axis": "trained", "factor": "slc", "above_chance": 0.9, "low": 0.8, "high": 0.95}
    pd.DataFrame([line | {"n": 9}]).to_csv(tmp_path / "tables" / "eta_squared.csv", index=False)
    tables = Tables(tmp_path)
    share = analysis.residual_share(tables)
    assert share.value == pytest.approx(0.05) and share.n == 2  # .01 and 0 of .1
    assert analysis.correlation(tables, "dip_fixed", "overall") == Estimate(-0.7, -0.8, -0.6, 9)
    assert analysis.explained(tables, "trained", "slc").value == 0.9
    assert analysis.unexplained(tables, "dip_fixed", explained=False).value == -0.7


@pytest.mark.parametrize("architecture", [Architecture(3), Architecture(8, (0, 2, 7))])
def test_a_name_is_read_back(architecture):
    assert analysis.parse(architecture.name) == architecture


def test_synflow_is_the_directional_derivative():
    """Sum of theta dR/dtheta equals d/ds R(s * |theta|) at s = 1, by finite differences.

    The parameters are scaled together, and the statistics of the normalisation stay fixed.
    """
    architecture = Architecture(2, (1,))
    score = analysis.synflow(architecture, SMALL, size=16, channels=1, seed=3)
    torch.manual_seed(3)
    net = EncoderDecoder(architecture, 1, 1, SMALL, global_residual=True).double().eval()

    def output(scale):
        scaled = copy.deepcopy(net)
        with torch.no_grad():
            for parameter in scaled.parameters():
                parameter.copy_(parameter.abs() * scale)
            return float(scaled(torch.ones(1, 1, 16, 16, dtype=torch.float64)).sum())

    step = 1e-5
    derivative = (output(1 + step) - output(1 - step)) / (2 * step)
    assert np.exp(score) == pytest.approx(derivative, rel=1e-6)


def test_synflow_does_not_touch_the_global_generator():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    analysis.synflow(Architecture(1), SMALL, size=8, channels=1, seed=5)
    assert torch.rand(1) == expected
