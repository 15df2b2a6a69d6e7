"""The recipes for more than one machine: a notebook on a Dask cluster, and the Slurm job script."""

import os
import subprocess
import sys

import nbformat
import pytest
from faults import ENVIRONMENT, finish, start, write_study

from lib.engine.files import REPOSITORY

SWEEP = """
from lib.engine import sweep
from lib.ledger.report import Report
from trials import grid, work
report = Report("01_study", profile)
table = sweep.run(work, grid(8), report.trials, engine=engine, address=address)
print("done:", sorted(table["square"].astype(int)))
"""
PARAMETERS = 'profile = "quick"  # size\nengine = "joblib"  # or dask\naddress = ""  # scheduler'


def test_a_notebook_sweeps_on_a_cluster(tmp_path, monkeypatch):
    from dask.distributed import LocalCluster

    monkeypatch.setenv("PYTHONPATH", ENVIRONMENT["PYTHONPATH"])  # for the workers too
    study = write_study(tmp_path / "notebooks", SWEEP, parameters=PARAMETERS)
    reports = tmp_path / "reports"
    local = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with LocalCluster(**local) as cluster:
        workers = {info["pid"] for info in _information(cluster).values()}
        scheduler = ("-p", "engine", "dask", "-p", "address", cluster.scheduler_address)
        process = start(study, reports, *scheduler)
        said = finish(process)
    assert process.returncode == 0, said
    executed = nbformat.read(reports / "quick" / "01_study" / "executed.ipynb", 4)
    assert f"done: {[number**2 for number in range(8)]}" in str(executed)
    log = (reports / "quick" / "01_study" / "log").read_text().splitlines()
    assert len(log) == 8
    assert {int(line.split()[1]) for line in log} <= workers  # and not in the kernel


def _information(cluster) -> dict:
    from dask.distributed import Client

    with Client(cluster) as client:
        return client.run(lambda: {"pid": os.getpid()})


def test_the_slurm_job_is_one_gpu_and_one_trial_at_a_time():
    pytest.importorskip("dask_jobqueue")
    command = [sys.executable, str(REPOSITORY / "clusters" / "slurm.py"), "2", "--show"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    script = done.stdout
    assert done.returncode == 0, done.stderr
    assert script.startswith("#!")
    for line in ("#SBATCH --gres=gpu:1", "#SBATCH --cpus-per-task=8", "#SBATCH -t 24:00:00"):
        assert line in script
    assert sys.executable in script and "--nthreads 1" in script
    assert "#SBATCH -p" not in script  # no partition but the cluster's own


def test_the_readme_of_the_recipes_names_what_is_there():
    text = (REPOSITORY / "clusters" / "README.md").read_text(encoding="utf-8")
    for name in ("jobqueue.yaml", "slurm.py"):
        assert f"]({name})" in text and (REPOSITORY / "clusters" / name).exists()
