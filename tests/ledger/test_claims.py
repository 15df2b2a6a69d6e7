"""Claims as data: what the file may say, and what follows from an estimate."""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd
import pytest
import yaml

from lib.engine.files import committed_reports
from lib.ledger.claims import (
    AGREES,
    DIFFERS,
    OPPOSED,
    SUPPORTED,
    TOO_WIDE,
    UNDECIDED,
    Rule,
    compare_number,
    explain_undecided,
    judge_run,
    load_claims,
    parse_rule,
    untestable,
)
from lib.ledger.estimates import Estimate, mean_interval
from lib.ledger.tables import Missing, Tables

PACKAGES = ("lib.continual", "lib.dip", "lib.transfer", "lib.multitask", "lib.image_weights")
INF = np.inf


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("> 0.9", Rule(0.9, INF)),
        ("< -1.1", Rule(-INF, -1.1)),
        ("within 0.3", Rule(-0.3, 0.3)),
        ("0.5 to 0.6", Rule(0.5, 0.6)),
    ],
)
def test_rules_are_read(text, rule):
    assert parse_rule(text) == rule


@pytest.mark.parametrize("text", ["0.9", ">0.9", "> high", "within", "about 1 to 2", ""])
def test_what_is_no_rule_is_named(text):
    with pytest.raises(ValueError, match="a rule is"):
        parse_rule(text)


@pytest.mark.parametrize(
    ("ends", "finding"),
    [
        ((1.0, 1.4), SUPPORTED),
        ((0.2, 0.9), OPPOSED),
        ((0.7, 1.4), UNDECIDED),
        ((0.9, 1.4), UNDECIDED),  # the border itself is outside
    ],
)
def test_the_interval_decides(ends, finding):
    assert parse_rule("> 0.9").finding(Estimate(sum(ends) / 2, *ends, 5)) == finding


def test_an_exact_p_decides_in_place_of_the_interval():
    rule = parse_rule("> 0")
    assert rule.finding(Estimate(0.9, -0.1, 1, 6, p=0.02)) == SUPPORTED
    assert rule.finding(Estimate(-0.9, -1, 0.1, 6, p=0.02)) == OPPOSED
    assert rule.finding(Estimate(0.6, 0.1, 1, 6, p=0.14)) == UNDECIDED


def test_no_finding_from_what_is_no_number():
    with pytest.raises(ValueError, match="no finding"):
        parse_rule("> 0").finding(Estimate(np.nan, 0, 1, 3))


def test_a_row_is_untestable_where_a_trivial_answer_passes():
    rule = parse_rule("< 1.1")
    assert untestable(rule, {"grey picture": 1.3}) == ""
    assert "grey picture: 1.05" in untestable(rule, {"black": 1.3, "grey picture": 1.05})


def test_a_row_is_untestable_where_a_task_was_not_learned():
    rule, task = parse_rule("< 1.1"), {"method": "piggyback", "task": 2}
    assert untestable(rule, {}, [(task, Estimate(0.5, 0.1, 0.9, 3))]) == ""
    assert "method piggyback, task 2" in untestable(rule, {}, [(task, Estimate(0.5, -0.1, 1, 3))])
    # of a single run no interval is known: the gain itself must be above 0
    assert untestable(rule, {}, [(task, mean_interval(np.array([0.5])))]) == ""
    assert untestable(rule, {}, [(task, mean_interval(np.array([-0.5])))])


def test_the_number_of_the_paper_is_compared():
    ours = Estimate(1.29, 1.2, 1.4, 5)
    assert compare_number([1.3], ours, [2.0]) == AGREES
    assert compare_number([1.5], ours, [2.0]) == DIFFERS
    assert compare_number([1.06, 1.3], ours, [2.0]) == AGREES  # a print of two readings
    assert compare_number([1.3], ours, [1.35]) == TOO_WIDE  # the trivial answer is in it too
    assert compare_number([1.3], mean_interval(np.array([1.3])), []) == TOO_WIDE


def test_undecided_says_what_it_would_have_seen_and_what_it_takes():
    """Half of the interval; n by the power of a paired t test, from statsmodels."""
    from statsmodels.stats.power import TTestPower

    values = np.array([0.3, -0.1, 0.2, 0.4, -0.2])
    told = explain_undecided(parse_rule("> 0"), mean_interval(values))
    effect = values.mean() / values.std(ddof=1)
    needed = int(np.ceil(TTestPower().solve_power(effect, power=0.8, alpha=0.05)))
    assert told == f"±0.32 around 0 would have been seen; n = {needed} would tell"
    assert "single run" in explain_undecided(parse_rule("> 0"), mean_interval(values[:1]))


# --- a whole ledger ---------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Writes a study's package of the test, and judges a run of it."""
    package = tmp_path / "toy_study"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "analysis.py").write_text(
        "from lib.ledger.estimates import mean_interval\n"
        "def mean(tables, column, times=1):\n"
        "    return mean_interval(times * tables.rows('runs', column)[column].to_numpy())\n"
        "def gain(tables, column):\n"
        "    return mean(tables, column)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("toy_study", "toy_study.analysis"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    folder = tmp_path / "reports"
    (folder / "tables").mkdir(parents=True)
    runs = pd.DataFrame({"good": [1.0, 1.1, 1.2], "bad": [-1.0, 0.2, 0.9], "one": [2.0, 2.0, 2.0]})
    runs.to_csv(folder / "tables" / "runs.csv", index=False)

    def judged(*entries, profile="medium"):
        whole = dict.fromkeys(("quick", "medium"), "smaller") | {"paper": "as in the paper"}
        rows = [
            {"id": f"c{place}", "statement": "It is.", "whose": "paper", "measure": "a mean"}
            | {
                "rule": "> 0",
                "evidence": "tables/runs.csv",
                "quantity": {"mean": {"column": "good"}},
            }
            | entry
            for place, entry in enumerate(entries)
        ]
        text = yaml.safe_dump({"paper": "09", "scale": whole, "per": "seeds", "claims": rows})
        (package / "claims.yaml").write_text(text)
        return judge_run("toy_study", folder, profile)

    return judged


def test_the_parts_of_a_verdict(study):
    ledger = study(
        {"printed": 1.05},
        {"quantity": {"mean": {"column": "bad"}}},
        {"trivial": {"doubled": {"times": 2}}},
        {"learned": [{"column": "bad"}]},
        {"quantity": {"mean": {"column": "absent"}}},
        {"whose": "construction", "quantity": {"mean": {"column": "one"}}},
        {"rule": "< 0", "printed": [1.05, 3]},
    ).set_index("id")
    assert ledger["comparable"].tolist() == [
        *("smaller", "smaller"),
        *("untestable here", "untestable here", "awaits its records"),
        *("smaller", "smaller"),
    ]
    assert ledger["finding"].tolist() == [
        *(SUPPORTED, UNDECIDED),
        *("", "", ""),
        *(SUPPORTED, OPPOSED),
    ]
    assert ledger.loc["c0", "number"] == AGREES and ledger.loc["c0", "value"] == pytest.approx(1.1)
    assert "doubled" in ledger.loc["c2", "why"] and "column bad" in ledger.loc["c3", "why"]
    assert "no column absent" in ledger.loc["c4", "why"]
    assert "the paper's own number does not pass either" in ledger.loc["c6", "why"]
    assert ledger.loc["c6", "printed"] == "1.05 or 3"


def test_controls_of_one_family_are_corrected_by_holm(study):
    """One control of p = .0083 holds alone; beside 9 of p = .85 Holm's p is .083."""
    alone = study({"whose": "ours", "family": "f", "rule": "> 0.7"})
    assert alone["finding"].tolist() == [SUPPORTED]
    other = {"whose": "ours", "family": "f", "quantity": {"mean": {"column": "bad"}}}
    many = study({"whose": "ours", "family": "f", "rule": "> 0.7"}, *[other] * 9)
    assert many["finding"].tolist() == [UNDECIDED] * 10
    assert "Holm" in many["why"][0]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"colour": "red"}, "c0: .* unexpected keyword argument 'colour'"),
        ({"whose": "mine"}, "c0: whose must be"),
        ({"rule": "big"}, "c0: a rule is"),
        ({"quantity": {"median": {}}}, "c0: .* has no quantity median"),
        ({"quantity": {"mean": {}, "gain": {}}}, "c0: quantity must be one"),
    ],
)
def test_a_wrong_line_is_named_with_its_file(study, entry, message):
    with pytest.raises(ValueError, match=rf"claims\.yaml: {message}"):
        study(entry)


def test_a_claim_that_is_there_twice_is_named(study):
    with pytest.raises(ValueError, match="same is there twice"):
        study({"id": "same"}, {"id": "same"})


def test_tables_name_what_they_lack(tmp_path):
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "t.csv").write_text("a,b\n1,x\n2,y\n")
    tables = Tables(tmp_path)
    assert tables.rows("t", "a", b="y")["a"].tolist() == [2]
    with pytest.raises(Missing, match="no table u"):
        tables["u"]
    with pytest.raises(Missing, match="no column c"):
        tables.rows("t", "c")
    with pytest.raises(Missing, match="no row with b z"):
        tables.rows("t", b="z")
    (tmp_path / "tables" / "broken.csv").write_text("")
    with pytest.raises(ValueError, match=r"broken\.csv is not a readable table"):
        tables["broken"]


# --- the claims of the five papers -------------------------------------------------------------


@pytest.mark.parametrize("package", PACKAGES)
def test_every_study_has_claims_and_headlines(package):
    study = load_claims(package)
    headlines = [claim for claim in study.claims if claim.headline]
    assert 5 <= len(headlines) <= 8
    assert all(claim.statement.endswith((".", ".)")) for claim in study.claims)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_committed_ledger_follows_from_the_committed_tables(package, tmp_path):
    """Nothing in it was typed or copied: judged again, each row comes out the same."""
    (folder,) = committed_reports().glob(f"medium/{load_claims(package).paper}_*")
    for kind in ("tables", "figures"):
        (tmp_path / kind).symlink_to(folder / kind)
    judge_run(package, tmp_path, "medium")
    ours, committed = (pd.read_csv(path / "claims.csv") for path in (tmp_path, folder))
    pd.testing.assert_frame_equal(ours, committed, rtol=1e-4)
    assert "as in the paper" not in set(ours["comparable"])
