"""What the tests of trials share: one store of trained classifiers a module."""

import pytest
import torch

from lib.engine.sweep import Context


@pytest.fixture(scope="module")
def context(tmp_path_factory) -> Context:
    """Each classifier is trained, and each set of images generated, once."""
    return Context(torch.device("cpu"), artefacts=tmp_path_factory.mktemp("store"))
