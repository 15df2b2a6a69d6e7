"""What every notebook opens first: the numbers of its profile, where it runs, where results go."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import pandas as pd
import torch
from IPython.display import HTML

from lib.engine import sweep
from lib.engine.artefacts import NotStored
from lib.engine.files import committed_reports
from lib.engine.profiles import Sizes, load_profile
from lib.figures.style import use_style
from lib.ledger.claims import judge_run
from lib.ledger.report import Report
from lib.ledger.results import as_html, in_words, read_ledger


@dataclass
class Study(Generic[Sizes]):
    """One notebook at one profile.

    context: device, data and artefacts, for what runs in a cell. package: the study's module.
    options: what ``sweep.run`` takes besides a function and its trials. trials: what ran, by key.
    """

    notebook: str
    package: str
    profile: str
    sizes: Sizes
    context: sweep.Context
    report: Report
    options: dict[str, Any]
    trials: dict[str, object] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        return self.context.device

    @property
    def note(self) -> str:
        """For captions."""
        return f"{self.profile} profile"

    def run(
        self, function: Callable, trials: Sequence[object], *, complete: bool = False
    ) -> pd.DataFrame:
        """Bring the store up to date with these trials and return their table.

        complete: raise RuntimeError, with the first reason, if one of the trials failed.
        """
        table = sweep.run(function, trials, self.report.trials, **self.options)
        self.trials |= {sweep.trial_key(trial): trial for trial in trials}
        failed = sweep.rows_with(table, "error")
        if complete and len(failed):
            reason = failed["error"].iloc[0]
            raise RuntimeError(f"{len(failed)} trials failed; one of them: {reason}")
        return table

    def whole(self, function: Callable, trials: Sequence[object]) -> pd.DataFrame:
        """As ``run``, for what says something only if every trial is there; else ``NotStored``."""
        if not trials:
            raise NotStored(f"the {self.profile} profile has none of these trials")
        table = self.run(function, trials)
        if (done := len(sweep.rows_with(table, "ok"))) < len(trials):
            raise NotStored(f"{done} of {len(trials)} trials are stored")
        return table

    @contextmanager
    def or_committed(self, *figures: str) -> Iterator[None]:
        """For a cell that needs images or trained networks, which ``engine="stored"`` may lack.

        Then the committed run's figures are shown instead; without any the reason is printed.
        """
        try:
            yield
        except FileNotFoundError as error:
            if self.options["engine"] != "stored":
                raise
            for name in figures:
                self.report.show_committed(name, str(error))
            if not figures:
                print(f"left out: {error}")

    def headlines(self, *ids: str) -> HTML:
        """Claims of the committed medium run in words: these, or those that matter most."""
        ledger = read_ledger(committed_reports() / "medium" / self.notebook)
        by_id = ledger.set_index("id", drop=False)
        return as_html(in_words(by_id.loc[list(ids)] if ids else ledger[ledger["headline"]]))

    def claims(self) -> HTML:
        """Judge the claims on the tables that this run has saved; returns the ledger in words."""
        judge_run(self.package, self.report.folder, self.profile)
        return as_html(in_words(read_ledger(self.report.folder)))

    def provenance(self, dataset: str) -> dict[str, Any]:
        """Save what the results were made with; returns the part that a reader wants to see."""
        parameters = {"profile": self.profile}
        parameters |= {name: self.options[name] for name in ("engine", "jobs")}
        store = sweep.Store(self.report.trials)
        trials = store.table(self.trials.values()) if self.trials else None
        record = self.report.provenance(parameters=parameters, dataset=dataset, trials=trials)
        return {key: record[key] for key in ("profile", "dataset", "trials")}


def open_study(
    notebook: str,
    kind: type[Sizes],
    *,
    profile: str,
    data_root: str = "",
    engine: str = "joblib",
    jobs: int = 0,
    address: str = "",
    device: str = "auto",
) -> Study[Sizes]:
    """Open a notebook's study, whose sizes are of a kind, with the parameters of its first cell.

    Sets the look of figures, and one thread a process: on small maps a second one costs more
    than it gives. device: "auto" for every accelerator that is there, else the CPU. Raises
    ValueError for an unknown profile or engine, or a device that is not there.
    """
    if engine not in sweep.ENGINES:
        raise ValueError(f"engine must be one of {sweep.ENGINES}, not {engine!r}")
    use_style()
    torch.set_num_threads(1)
    report, chosen = Report(notebook, profile), sweep.checked_device(device)
    context = sweep.Context(
        sweep.chosen_device(device),
        data_root=Path(data_root).expanduser() if data_root else None,
        artefacts=report.trials,
        stored=engine == "stored",
    )
    options: dict[str, Any] = {"engine": engine, "jobs": jobs, "address": address}
    options |= {"data_root": data_root, "device": chosen}
    package = kind.__module__.rpartition(".")[0]
    sizes = load_profile(kind, profile)
    return Study(notebook, package, profile, sizes, context, report, options)
