"""The tutorials run from top to bottom in an empty folder."""

import warnings
from pathlib import Path

import pytest
from sklearn.exceptions import ConvergenceWarning

_TUTORIALS = sorted((Path(__file__).resolve().parents[1] / "tutorials").glob("*.py"))


@pytest.mark.parametrize("path", _TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path, tmp_path, monkeypatch, capsys):
    import matplotlib.pyplot as plt

    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a tutorial stops early, and says so
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), {"__name__": "__main__"})
    plt.close("all")
    assert capsys.readouterr().out


@pytest.mark.parametrize("path", _TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_made_of_cells(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# %% [markdown]"
    assert lines[1].startswith("# # ")
    assert "# %%" in lines


def test_there_are_tutorials():
    assert {path.stem for path in _TUTORIALS} >= {"01_first_fit", "02_own_nwb_file", "03_perturb_a_fit"}
