"""The examples in the docstrings run."""

import doctest
import importlib
from pathlib import Path

import pytest

import neulvm_neo

_ROOTS = {"neulvm_neo": Path(neulvm_neo.__file__).parent, "neulvm_neo.io": Path(neulvm_neo.__file__).parents[1] / "io"}


def _modules():
    names = []
    for package, root in _ROOTS.items():
        for path in sorted(root.rglob("*.py")):
            parts = [part for part in path.relative_to(root).with_suffix("").parts if part != "__init__"]
            if path.name != "__main__.py":
                names.append(".".join([package, *parts]))
    return list(dict.fromkeys(names))


def test_all_modules_are_found():
    assert {"neulvm_neo.units", "neulvm_neo.io.nwb", "neulvm_neo.kernels.microscopic"} <= set(_modules())


@pytest.mark.parametrize("name", _modules())
def test_examples_of(name, tmp_path, monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)  # examples may write files
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    results = doctest.testmod(importlib.import_module(name), optionflags=flags)
    plt.close("all")
    assert results.failed == 0
