"""A bar is drawn where somebody watches, and nowhere else."""

import io
import sys

import pytest

from lib.engine.training import progress


class Screen(io.StringIO):
    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.fixture
def watch(monkeypatch):
    """Goes through a bar and returns what came on (standard output, standard error)."""

    def watch(*, terminal=False, session=False, kernel=False, disabled=False):
        out, err = Screen(False), Screen(terminal)
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        for name, there in (("JPY_SESSION_NAME", session), ("TQDM_DISABLE", disabled)):
            monkeypatch.setenv(name, "1") if there else monkeypatch.delenv(name, raising=False)
        if kernel:
            monkeypatch.setitem(sys.modules, "ipykernel", sys)
        else:
            monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
        assert list(progress(range(3), desc="trials", mininterval=0)) == [0, 1, 2]
        return out.getvalue(), err.getvalue()

    return watch


def test_in_a_terminal(watch):
    out, err = watch(terminal=True)
    assert not out and "trials: 100%" in err


def test_in_an_open_notebook(watch):
    out, err = watch(session=True, kernel=True)
    assert not err and "trials:  33%" in out
    assert not out.rpartition("\r")[2].strip()  # nothing is left of it


def test_not_in_a_process_that_the_kernel_started(watch):
    assert watch(session=True) == ("", "")


def test_not_in_a_notebook_that_is_executed_headless(watch):
    assert watch(kernel=True) == ("", "")


@pytest.mark.parametrize("where", [{"terminal": True}, {"session": True, "kernel": True}])
def test_not_where_it_is_turned_off(watch, where):
    assert watch(**where, disabled=True) == ("", "")
