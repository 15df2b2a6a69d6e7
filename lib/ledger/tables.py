"""The tables that a run has saved, as the quantities of claims read them."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.engine.files import naming
from lib.ledger.estimates import Estimate


class Missing(LookupError):
    """A table, a column or the rows that a quantity needs are not there."""


class Tables(dict[str, pd.DataFrame]):
    """The tables of a run's folder by name: ``tables/NAME.csv``, else ``figures/NAME.csv``.

    Raises ``Missing`` where there is none, ValueError for a damaged one.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __missing__(self, name: str) -> pd.DataFrame:
        paths = [self.folder / kind / f"{name}.csv" for kind in ("tables", "figures")]
        path = next(filter(Path.is_file, paths), None)
        if path is None:
            raise Missing(f"there is no table {name}")
        with naming(path, "table"):
            self[name] = pd.read_csv(path)
        return self[name]

    def rows(self, name: str, *columns: str, **where: Any) -> pd.DataFrame:
        """The rows of a table in which columns have these values, and need other columns.

        Raises ``Missing``, naming the table, for a column that is not there or for no row.
        """
        table = self[name]
        if absent := [column for column in (*columns, *where) if column not in table]:
            raise Missing(f"table {name} has no column {', '.join(absent)}")
        for column, value in where.items():
            table = table[table[column] == value]
        if table.empty:
            told = ", ".join(f"{column} {value}" for column, value in where.items())
            raise Missing(f"table {name} has no row with {told}")
        return table


def estimate_table(keys: Sequence[str], rows: Iterable[Sequence[Any]]) -> pd.DataFrame:
    """Rows of names that end with an estimate, as a table: keys, value, low, high, n."""
    cells = [(*names, mean.value, mean.low, mean.high, mean.n) for *names, mean in rows]
    return pd.DataFrame(cells, columns=[*keys, "value", "low", "high", "n"])


def stored_estimate(
    tables: Tables,
    table: str,
    where: Mapping[str, Any],
    columns: tuple[str, str, str, str] = ("value", "low", "high", "n"),
) -> Estimate:
    """A number with its interval and n, as the one row has it in which columns have values.

    Raises ``Missing`` for no such row and ValueError for several.
    """
    rows = tables.rows(table, *columns, **where)
    if len(rows) > 1:
        raise ValueError(f"table {table} has {len(rows)} rows with {where}, not one")
    value, low, high, n = (float(rows.iloc[0][column]) for column in columns)
    return Estimate(value, low, high, int(n))


def compared_with_print(findings: pd.DataFrame) -> pd.DataFrame:
    """A table of an audit, with ``agrees``: whether ours is the paper's number, where it has one.

    findings: statement, paper (NaN: not given), ours, unit, explanation, and perhaps slack: how far
    apart the two may be for the paper's rounding.
    """
    apart = (findings["paper"] - findings["ours"]).abs()
    agrees = (apart <= findings.get("slack", 0.0) + 1e-9).astype("boolean")
    table = findings.assign(agrees=agrees.where(findings["paper"].notna()))
    return table[["statement", "paper", "ours", "unit", "agrees", "explanation"]]
