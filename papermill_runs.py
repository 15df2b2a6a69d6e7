"""Batch-executes the notebooks headless into ``reports/<profile>/<notebook>/``."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click

from lib.engine import notebooks
from lib.engine.files import REPOSITORY, committed_reports, reports_root
from lib.engine.profiles import PROFILES
from lib.engine.runner import Job, Row, run_all


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


def build_page(root: Path, refresh: bool) -> None:
    """Rebuild the ledger and the index page of all reports, and the README's table on refresh."""
    from lib.ledger.readme import update_readme
    from lib.ledger.report import build_index

    build_index(root, committed=refresh)
    if refresh and root == committed_reports():
        update_readme()
    click.echo(f"\nall results: {root / 'index.html'}")


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
    help="Set a parameter of the notebooks; may be repeated. True, False, None and numbers are "
    "taken as such.",
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
    folder: Path,
) -> None:
    """Run notebooks headless; results go to reports/PROFILE/NOTEBOOK/.

    NOTEBOOK is a name or its beginning, such as 02; without any, all numbered notebooks run. A
    notebook is skipped if its code, lib/, the parameters and requirements.txt are those of its
    last successful run. A failed or stopped run leaves earlier results as they were, and what it
    did in executed.partial.ipynb. The exit code is 1 if any notebook failed.

    $REPORTS_ROOT and $DATA_ROOT move reports/ and data/.
    """
    if refresh and (profile != "quick" or values):
        raise click.UsageError("--refresh takes the quick profile and no -p")
    if any(name == "profile" for name, _ in values):
        raise click.UsageError("the profile is set by --profile, not by -p")
    try:
        chosen = notebooks.find(folder.resolve(), names)
        if listing:
            for path in chosen:
                describe(path)
            return
        parameters = {"profile": profile, **dict(values)}
        for path in chosen:
            notebooks.check_parameters(path, parameters)
        root = reports_root().resolve()
        check_writable(root / profile)
        batch = [
            Job(path, root / profile / path.stem, parameters, force, refresh) for path in chosen
        ]
        rows = run_all(batch, jobs)
        show(rows)
        build_page(root, refresh)
    except (ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("stopped; run again to do the rest", err=True)
        sys.exit(130)
    sys.exit(any(row.error for row in rows))


if __name__ == "__main__":
    main()
