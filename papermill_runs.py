"""Batch-executes the notebooks headless into ``reports/<profile>/<notebook>/``."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

import click

from lib.engine import notebooks
from lib.engine.files import (
    REPOSITORY,
    committed_reports,
    reports_root,
    say_anything,
    write_atomically,
)
from lib.engine.profiles import PROFILES, load_profile
from lib.engine.runner import Job, Row, run_all

RESULTS = "00_results"  # reads the committed ledgers of the others
# notebook -> the study's module of trials, and the dataclass of its sizes there
STUDIES = {
    "01_piggyback_continual": ("lib.continual.trials", "ContinualStudy"),
    "02_dip_architecture_study": ("lib.dip.trials", "EncoderDecoderStudy"),
    "03_transfer_emd": ("lib.transfer.trials", "TransferStudy"),
    "04_smtn_celeba": ("lib.multitask.trials", "MultiTaskStudy"),
    "05_image_weight_synthesis": ("lib.image_weights.trials", "ImageWeightStudy"),
}


def show(rows: Sequence[Row]) -> None:
    """Print the closing table and the errors."""
    click.echo(f"\n{'notebook':40} {'status':8} {'minutes':>8} {'peak GiB':>9}")
    for row in rows:
        click.echo(str(row))
    for row in rows:
        if row.error:
            click.echo(f"\n{row.notebook} failed:\n{row.error}")


def describe(path: Path) -> None:
    """Print a notebook's name and parameters."""
    click.echo(f"{path.stem} ({len(notebooks.code_cells(notebooks.read(path)))} code cells)")
    for name, parameter in notebooks.parameters(path).items():
        setting = f"{name} = {parameter['default']}"
        click.echo(f"    {setting:28} {parameter['help']}")


def check_writable(folder: Path) -> None:
    """OSError that names the folder if nothing can be written there."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(2**16))
            probe.flush()
    except OSError as error:
        raise OSError(f"results cannot be written to {folder}: {error.strerror}") from error


def update_committed() -> None:
    """Judge the committed medium runs again, from their tables; write the README's numbers."""
    from lib.ledger.claims import judge_run
    from lib.ledger.results import update_readme

    for notebook, (module, _) in STUDIES.items():
        folder = committed_reports() / "medium" / notebook
        judge_run(module.rpartition(".")[0], folder, "medium")
    update_readme()


def medium_trials(notebook: str) -> Iterable:
    """The trials of a notebook's medium profile with their functions, in the stated order."""
    module, kind = STUDIES[notebook]
    trials = import_module(module)
    return trials.evidence(load_profile(getattr(trials, kind), "medium"))


def collect_evidence(paths: Iterable[Path], minutes: float) -> None:
    """Compute missing trials of the medium profile, and print how many there are."""
    from lib.engine import sweep  # here: it needs torch

    folder = reports_root().resolve() / "medium"
    check_writable(folder)
    plans = {path.stem: partial(medium_trials, path.stem) for path in paths if path.stem in STUDIES}
    sweep.be_nice()
    table = sweep.gather(plans, folder, minutes)
    click.echo(f"\n{table.to_string(index=False)}")


def run_batch(
    paths: Sequence[Path],
    profile: str,
    values: dict[str, str],
    *,
    jobs: int,
    force: bool,
    refresh: bool,
) -> bool:
    """Run notebooks, print their table and build the page; returns whether one failed.

    The notebook of results reads committed ledgers alone: it takes no parameter of the others,
    comes last, and becomes the page.
    """
    studies = [path for path in paths if path.stem != RESULTS]
    parameters = {path: notebooks.typed(path, {"profile": profile, **values}) for path in studies}
    root = reports_root().resolve()
    check_writable(root / profile)
    if refresh and root == committed_reports():
        update_committed()
    batch = [
        Job(path, root / profile / path.stem, parameters[path], force, refresh) for path in studies
    ]
    rows = run_all(batch, jobs)
    for path in paths:
        if path.stem == RESULTS:
            job = Job(path, root / profile / RESULTS, {}, force=True, refresh=refresh)
            rows += run_all([job], 1)
            if not rows[-1].error:
                click.echo(f"\nall results: {publish(job.executed, path, root)}")
    show(rows)
    return any(row.error for row in rows)


def publish(executed: Path, source: Path, root: Path) -> Path:
    """The executed notebook of results as ``index.html`` in the reports, which opens offline."""

    def moved(link: re.Match[str]) -> str:
        return f"{link[1]}{os.path.relpath(source.parent / link[2], root)}{link[3]}"

    page = notebooks.page(executed, source, offline=True)
    relative = r'(href=\\*")(?![a-z]+:|#)([^"\\]+)(\\*")'  # escaped inside a table's data
    page = re.sub(relative, moved, page)
    page = page.replace(
        "</head>", "<style>a { text-decoration: underline !important }</style></head>", 1
    )
    write_atomically(root / "index.html", page)
    return root / "index.html"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("names", metavar="[NOTEBOOK]...", nargs=-1)
@click.option("--list", "listing", is_flag=True, help="List notebooks and parameters; run none.")
@click.option("--profile", type=click.Choice(PROFILES), default="quick", show_default=True)
@click.option(
    "-p",
    "values",
    type=(str, str),
    multiple=True,
    metavar="NAME VALUE",
    help="Set a parameter of the notebooks; may be repeated. It has the type of its default.",
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="How many notebooks run at once.",
)
@click.option("--force", is_flag=True, help="Run even what is up to date.")
@click.option(
    "--refresh",
    is_flag=True,
    help="Also write the outputs of the quick profile into the notebooks themselves.",
)
@click.option(
    "--evidence",
    type=click.FloatRange(min=0),
    metavar="MINUTES",
    help="Run no notebook, but for so long trials that the medium profile lacks, at low priority.",
)
@click.option(
    "--folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=REPOSITORY / "notebooks",
    help="Where the notebooks are (default: notebooks/ of the repository).",
)
def main(
    names: tuple[str, ...],
    listing: bool,
    profile: str,
    values: tuple[tuple[str, str], ...],
    jobs: int,
    force: bool,
    refresh: bool,
    evidence: float | None,
    folder: Path,
) -> None:
    """Run notebooks headless; results go to reports/PROFILE/NOTEBOOK/.

    NOTEBOOK is a name or its beginning, such as 02; without any, all numbered notebooks run. A
    notebook is skipped if its code, the folders of lib/ that it imports, the parameters and
    requirements.txt are those of its last successful run. A failed or stopped run leaves earlier
    results as they were, and what it did in executed.partial.ipynb. The exit code is 1 if any
    notebook failed.

    $REPORTS_ROOT and $DATA_ROOT move reports/ and data/.
    """
    if refresh and (profile != "quick" or values):
        raise click.UsageError("--refresh takes the quick profile and no -p")
    if any(name == "profile" for name, _ in values):
        raise click.UsageError("the profile is set by --profile, not by -p")
    failed = False
    try:
        paths = notebooks.find(folder.resolve(), names)
        if listing:
            for path in paths:
                describe(path)
        elif evidence is not None:
            collect_evidence(paths, evidence)
        else:
            failed = run_batch(
                paths, profile, dict(values), jobs=jobs, force=force, refresh=refresh
            )
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("stopped; run again to do the rest", err=True)
        sys.exit(130)
    sys.exit(failed)


if __name__ == "__main__":
    say_anything()
    main()
