"""Starting is quick because little is loaded: who imports what, and when (never how long it takes)."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import neulvm_neo
from neulvm_neo.experiments import bench

# Slow to import, or dragging in what is; numpy and quantities are needed by almost everything.
_HEAVY = (
    "elephant", "h5py", "hdmf", "joblib", "matplotlib", "neo", "nixio", "numba", "nwbinspector", "pandas", "pynwb",
    "scipy", "sklearn", "tqdm",
)  # fmt: skip
_ARRAY = "X = (np.random.default_rng(0).random((200, 4)) < 0.05).astype(float)"


def loaded_after(code):
    """The heavy libraries that a new interpreter has loaded after some code."""
    report = f"import sys; print('loaded:', *[name for name in {_HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rpartition("loaded:")[2].split())


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_after("import neulvm_neo; dir(neulvm_neo); neulvm_neo.__version__") == set()
    assert loaded_after("import sys, neulvm_neo; assert 'numpy' not in sys.modules") == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["fit", "--help"], ["demo", "--help"], ["what"]])
def test_the_command_line_answers_before_loading_anything(arguments):
    code = f"""
from neulvm_neo.cli import main
try:
    main({arguments})
except SystemExit:
    pass
import sys
assert 'numpy' not in sys.modules"""
    assert loaded_after(code) == set()


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("Circuit", set()),
        ("SpikeRecording", set()),
        ("PopulationActivity", set()),
        ("FitResult", set()),
        ("simulate_microscopic", {"numba", "scipy"}),
        ("simulate_mesoscopic", {"numba", "scipy"}),
    ],
)
def test_a_public_name_loads_what_it_needs(name, allowed):
    assert loaded_after(f"from neulvm_neo import {name}") <= allowed


def test_a_simulation_loads_neo_only_for_spike_trains():
    code = """
import quantities as pq
from neulvm_neo import Circuit, simulate_microscopic
simulate_microscopic(Circuit([10]), duration=2 * pq.ms, stimulus=1 * pq.mV, random_state=1"""
    assert loaded_after(f"{code})") <= {"numba", "scipy"}
    assert "neo" in loaded_after(f"{code}, n_recorded=1)")


def test_the_bench_sees_a_fit_begin_to_compute():
    done = subprocess.run([sys.executable, "-c", bench.FIT_BEGINS], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_fit_of_an_array_with_labels_loads_neither_neo_nor_elephant_nor_clustering():
    code = f"""
import sys, warnings
import numpy as np, quantities as pq
from neulvm_neo import Circuit, NeuLVM
warnings.simplefilter("ignore")
{_ARRAY}
model = NeuLVM(Circuit([50]), labels=[0, 0, 0, 0], bin_size=4 * pq.ms, scheme="euler", method="viterbi", n_init=1,
               max_iter=1, random_state=0)
model.fit(X).transform(X)
assert "sklearn.cluster" not in sys.modules and "sklearn.metrics" not in sys.modules"""
    assert not loaded_after(code) & {"neo", "elephant", "matplotlib", "pynwb", "h5py", "hdmf", "nwbinspector"}


def test_type_checkers_see_the_names_that_load_on_first_use():
    tree = ast.parse(Path(neulvm_neo.__file__).read_text())
    seen = {
        alias.asname: node.module
        for block in tree.body
        if isinstance(block, ast.If) and isinstance(block.test, ast.Name) and block.test.id == "TYPE_CHECKING"
        for node in block.body
        for alias in node.names
        if alias.asname == alias.name  # "X as X" is what makes a name public to them
    }
    assert seen == neulvm_neo._HOME_OF
    assert neulvm_neo.__all__ == ["__version__", *neulvm_neo._HOME_OF]
    assert set(dir(neulvm_neo)) == set(neulvm_neo.__all__)
    assert not [name for name in seen if f"`{name}`" not in neulvm_neo.__doc__]
