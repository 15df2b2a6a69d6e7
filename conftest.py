"""Settings of nbval, and a place for reports that is not the committed one."""

import os
import tempfile

os.environ["TQDM_DISABLE"] = "1"
if "REPORTS_ROOT" not in os.environ:
    os.environ["REPORTS_ROOT"] = tempfile.mkdtemp(prefix="reports-")


def pytest_collectstart(collector):
    """The text of a checked cell is compared; its HTML twin and its warnings are not."""
    if collector.fspath and collector.fspath.ext == ".ipynb":
        collector.skip_compare += ("stderr", "text/html")
