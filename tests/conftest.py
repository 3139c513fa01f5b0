"""Fixtures shared by all tests."""

from pathlib import Path

import matplotlib
import pytest

matplotlib.use("Agg")

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture
def shared_data():
    """Path of a real recording by its file name; skips where the recordings are not at hand."""

    def path_of(name):
        path = _SHARED_DATA / name
        if not path.is_file():
            pytest.skip(f"real recording {name} not found in {_SHARED_DATA.parent.name}/{_SHARED_DATA.name}")
        return path

    return path_of
