"""Starts a Dask cluster of Slurm jobs for a sweep, and stays until it is stopped.

``python clusters/slurm.py 8`` prints the address that a notebook takes as ``address``.
"""

from __future__ import annotations

import time
from pathlib import Path

import click
import dask
import yaml

CONFIGURATION = Path(__file__).with_name("jobqueue.yaml")


def slurm_cluster(configuration: Path = CONFIGURATION) -> object:
    """The cluster that the file describes, without any job yet."""
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise click.ClickException("dask-jobqueue is missing: pip install dask-jobqueue") from error
    own = yaml.safe_load(configuration.read_text(encoding="utf-8"))
    dask.config.update(dask.config.config, own)  # for good: jobs read it when they are made
    return SLURMCluster()


@click.command()
@click.argument("jobs", type=click.IntRange(min=1))
@click.option("--show", is_flag=True, help="Print the job script and submit nothing.")
def main(jobs: int, show: bool) -> None:
    """Submit JOBS Slurm jobs, each a worker for one GPU."""
    with slurm_cluster() as cluster:
        if show:
            click.echo(cluster.job_script())
            return
        cluster.scale(jobs=jobs)
        click.echo(f"-p engine dask -p address {cluster.scheduler_address}")
        click.echo("Ctrl-C ends the jobs")
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main()
