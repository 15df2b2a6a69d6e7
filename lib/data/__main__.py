"""``python -m lib.data``: lists the data sets, fetches those that may be, writes their table."""

import re
import sys

import click

from lib.data.catalogue import DATASETS, download, folder_of, is_present, lacking
from lib.engine.files import REPOSITORY, data_root, say_anything, write_atomically

README = REPOSITORY / "data" / "README.md"


@click.group(invoke_without_command=True)
@click.option("--data-root", "root", help="Folder of the data sets (default: $DATA_ROOT, data/).")
@click.pass_context
def main(context: click.Context, root: str | None) -> None:
    """List every data set: whether it is here, size, licence, where it is looked for."""
    context.obj = root
    if context.invoked_subcommand:
        return
    click.echo(f"data root: {data_root(root)}\n")
    for name, dataset in DATASETS.items():
        state, *remarks = state_of(name, root)
        place = f"looked for in: {folder_of(name, root)}"
        click.echo(f"{name:16} {state:20} {dataset.what}")
        for remark in (f"licence: {dataset.licence}", place, *remarks):
            click.echo(f"{'':16} {remark}")


@main.command()
@click.pass_obj
def check(root: str | None) -> None:
    """Say of each set what it takes on disk, what it lacks, or how to get it."""
    for name in DATASETS:
        click.echo(f"{name:28} {'; '.join(state_of(name, root))}")


def state_of(name: str, root: str | None) -> list[str]:
    """Whether a set is complete, incomplete or absent, its size, what it lacks, how to get it."""
    folder, dataset = folder_of(name, root), DATASETS[name]
    missing = lacking(name, root)
    if missing and not is_present(name, root):
        return ["absent", f"get it: {dataset.how}"]
    paths = [folder / file for file in dataset.files] or folder.rglob("*")
    size = sum(path.stat().st_size for path in paths if path.is_file())
    lacks = [f"lacks {part}" for part in missing]
    return [f"{'incomplete' if missing else 'complete'}, {size / 1e6:.1f} MB", *lacks]


@main.command("download")
@click.argument("name")
@click.pass_obj
def fetch(root: str | None, name: str) -> None:
    """Fetch the data set NAME (checked against its checksum)."""
    try:
        click.echo(f"{name} is in {download(name, root)}")
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


@main.command("readme")
def write_readme() -> None:
    """Write the table of the data sets into data/README.md."""
    write_atomically(README, with_table(README.read_text(encoding="utf-8")))


def with_table(text: str) -> str:
    """A Markdown text whose table under the head | name | what | ... is that of the catalogue."""
    rows = ["| name | what | licence | where below the data root | how to get it |"]
    rows.append("|---|---|---|---|---|")
    for dataset in DATASETS.values():
        where = f"`{dataset.folder}/`" if not dataset.embedded else f"package `{dataset.embedded}`"
        how = re.sub(r"^python -m lib\.data download \S+?(?=,|$)", r"`\g<0>`", dataset.how)
        how = how.replace("*", r"\*")
        rows.append(f"| `{dataset.name}` | {dataset.what} | {dataset.licence} | {where} | {how} |")
    table = "\n".join(rows) + "\n"
    return re.sub(r"^\| name \| what .*\n(\|.*\n)*", lambda _: table, text, flags=re.MULTILINE)


if __name__ == "__main__":
    say_anything()
    main()
