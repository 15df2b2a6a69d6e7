"""The rule decides the verdict."""

import numpy as np
import pytest

from lib.ledger.claims import VERDICTS, Ledger, above, below, between
from lib.ledger.estimates import Estimate


@pytest.mark.parametrize(
    ("rule", "interval", "profile", "verdict"),
    [
        (above(0), (0.1, 0.4), "medium", "reproduced"),
        (above(0), (0.1, 0.4), "quick", "reproduced"),
        (above(0), (-0.4, -0.1), "medium", "contradicted"),
        (above(0), (-0.1, 0.4), "medium", "not reproduced"),
        (above(0), (-0.1, 0.4), "quick", "not tested at this scale"),
        (below(0.5), (0.1, 0.4), "paper", "reproduced"),
        (below(0.5), (0.6, 0.9), "paper", "contradicted"),
        (between(-0.3, 0.3), (-0.2, 0.2), "medium", "reproduced"),
        (between(-0.3, 0.3), (-0.5, 0.2), "medium", "not reproduced"),
        (between(-0.3, 0.3), (-0.9, -0.4), "medium", "contradicted"),
        (above(0, least=30), (0.1, 0.4), "medium", "not tested at this scale"),
    ],
)
def test_verdict(rule, interval, profile, verdict):
    estimate = Estimate(float(np.mean(interval)), *interval, n=24)
    assert rule.verdict(estimate, profile) == verdict
    assert verdict in VERDICTS


def test_no_verdict_on_nan():
    with pytest.raises(ValueError, match="no verdict"):
        above(0).verdict(Estimate(np.nan, np.nan, np.nan, 24), "medium")


def test_ledger_rows_and_columns():
    book = Ledger("02", profile="medium", dataset="set12", device="CPU")
    book.add(
        "a", "it rises", estimate=Estimate(1, 0.5, 2, 9), rule=above(0), baseline="0", evidence="x"
    )
    book.audit("b", "it is 510", value=510, paper_value="300", evidence="y")
    table = book.table()
    assert list(table.columns) == (
        "id paper statement paper_value our_value ci_low ci_high n baseline verdict "
        "profile dataset device evidence commit"
    ).split(" ")
    assert table.verdict.tolist() == ["reproduced", "audit"]
    assert table.paper_value.tolist() == ["none given", "300"]


def test_a_claim_is_entered_once():
    book = Ledger("02", profile="quick", dataset="photos", device="CPU")
    book.audit("b", "it is 510", value=510, paper_value="300", evidence="y")
    with pytest.raises(ValueError, match="'b'"):
        book.audit("b", "again", value=1, paper_value="", evidence="")
