"""What all tests share: quiet, one thread, and nothing written into the repository."""

import os

import pytest
import torch

os.environ["TQDM_DISABLE"] = "1"


def pytest_configure(config):
    config.addinivalue_line("markers", "real_data: needs the folder of data sets, $DATA_ROOT")


def pytest_collection_modifyitems(items):
    if os.environ.get("DATA_ROOT"):
        return
    for item in items:
        if item.get_closest_marker("real_data"):
            item.add_marker(pytest.mark.skip(reason="DATA_ROOT is not set: no real data sets"))


@pytest.fixture(scope="session", autouse=True)
def reports_elsewhere(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REPORTS_ROOT", str(tmp_path_factory.mktemp("reports")))
        yield


@pytest.fixture(autouse=True)
def one_thread():
    """On tensors as small as these, a second thread on a busy core costs ten times the work."""
    torch.set_num_threads(1)
