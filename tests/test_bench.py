"""`neulvm bench`: what it writes, how it counts, and that a side that is not there is never made up."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import quantities as pq

from neulvm_neo import cli, simulate_mesoscopic
from neulvm_neo.experiments import bench, bench_tables, measurements, processes
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.experiments.peers import brian_network, nest_network
from neulvm_neo.kernels import floor
from neulvm_neo.parameters import parameters_of

_TINY = bench.Plan(2, 0.0, 1, 0.1, (50, 100), (100, 1000), (1, 2), (10, 20), 1.0)


@pytest.fixture(scope="module")
def trial():
    return measurements.example(duration=0.4, bin_size=0.004, n_recorded=2, seed=1)


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """A function that replaces the script of a peer by a few lines of Python."""

    def replace(name, code):
        script = tmp_path / f"{name}_script.py"
        script.write_text(f"import json, sys\nproblem = json.load(sys.stdin)\n{code}")
        monkeypatch.setitem(bench.SCRIPTS, name, str(script))

    return replace


def _answers(seconds=2.0, **extra):
    return f"print('hello')\nprint(json.dumps({dict(seconds=[seconds], version='Peer 1.0', **extra)!r}))"


@pytest.fixture
def quick_ours(monkeypatch, trial):
    """Our side without processes; every job takes a second and its floor a quarter."""
    real = bench.start

    def start(command, problem=None, limit=60.0):
        if problem is None:
            return processes.Outcome(None, None, False, 0.5, 2**20)
        if "-m" not in command:
            return real(command, problem, limit)
        job = command[-1]
        result = {"seconds": [1.0, 1.5], "rates": [1.0, 2.0, 3.0], "windows": [5, 5, 5]}
        result |= {"n_bar": [[1.0, 2.0]], "value": -7.0}
        result["floor"] = {"cells": 100, "dtype": "float64", "seconds": 0.25, "ns_per_cell": 2.5e6}
        if job == "example":
            result = trial
        elif job == "growth":
            result = {"sizes": problem["sizes"], "seconds": [[float(size), size + 1.0] for size in problem["sizes"]]}
        elif job == "memory":
            result = {"seconds": [3.0], "n_bins": 7, "before": 2**20, "after": 3 * 2**20}
        elif job == "forward":
            result["library_seconds"] = 4.0
        elif job == "particles":
            result["population_bins"] = 10
        return processes.Outcome(json.loads(json.dumps(result)), None, False, 1.0, 2**20)

    monkeypatch.setattr(bench, "start", start)
    monkeypatch.setattr(bench, "QUICK", _TINY)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_slopes_are_exponents_of_growth(exponent):
    sizes = [1, 2, 4, 8, 100]
    assert bench.slope(sizes, [3e-3 * size**exponent for size in sizes]) == pytest.approx(exponent)


@pytest.mark.parametrize(
    "kernel, dtype, rtol",
    [
        (floor.two_exponentials, np.float64, 1e-12),
        (floor.two_exponentials_single, np.float32, 1e-5),
        (floor.two_library_exponentials, np.float64, 1e-12),
    ],
)
def test_the_floor_computes_two_exponentials_per_cell_and_sweep(kernel, dtype, rtol):
    a, b = np.linspace(0, 1, 37, dtype=dtype), np.linspace(2, 5, 37, dtype=dtype)
    expected_a, expected_b = a.copy(), b.copy()
    kernel(a, b, 3)
    for _ in range(3):
        expected_a, expected_b = np.exp(-expected_a), np.exp(-expected_b)
    np.testing.assert_allclose(a, expected_a, rtol=rtol)
    np.testing.assert_allclose(b, expected_b, rtol=rtol)


def test_the_example_is_a_trial_that_json_keeps(trial):
    again = json.loads(json.dumps(trial))
    assert again == trial
    assert np.shape(trial["n"]) == (100, 3) and len(trial["spikes"]) == len(trial["labels"]) == 6
    parameters, n, observation = measurements._problem(again)
    assert parameters.tau_m.tolist() == [0.02] * 3 and n.dtype == float
    assert observation.n_bins == 100 and observation.labels.tolist() == [0, 0, 1, 1, 2, 2]


def test_our_gradient_job_counts_its_cells(trial):
    result = measurements.gradient(trial=trial, scheme=bench.SCHEME, window=20, budget=0.0, n_bar=True)
    assert len(result["seconds"]) == 3 and min(result["seconds"]) > 0
    assert result["floor"]["cells"] == 100 * 3 * 20 and result["floor"]["dtype"] == "float64"
    per_cell = result["floor"]["seconds"] / result["floor"]["cells"]
    assert result["floor"]["ns_per_cell"] == pytest.approx(1e9 * per_cell)
    assert np.shape(result["n_bar"]) == (100, 3)
    json.dumps(result)


def test_our_forward_job_times_the_plain_exponentials_of_as_many_cells(trial):
    result = measurements.forward(trial=trial, scheme=bench.SCHEME, budget=0.0)
    assert result["library_seconds"] > 0
    assert result["floor"]["cells"] == 100 * sum(result["windows"])


def test_our_simulation_jobs_tell_rates():
    for result in (
        measurements.mesoscopic(duration=0.2, bin_size=0.002, delay=0.002, budget=0.0),
        measurements.microscopic(duration=0.2, time_step=0.0002, delay=0.0, budget=0.0),
    ):
        assert len(result["rates"]) == 3 and 15 < result["rates"][2] < 35
    assert result["neuron_steps"] == 1000 * 1000


def test_our_particle_job_counts_particles(trial):
    result = measurements.particles(trial=trial, scheme=bench.SCHEME, n_particles=4, budget=0.0)
    assert result["population_bins"] == 4 * 3 * 100
    assert result["floor"]["cells"] == 4 * 100 * sum(result["windows"])
    assert np.isfinite(result["log_likelihood"])


@pytest.mark.parametrize(
    "along, size, shape, hidden",
    [("bins", 250, (250, 3), 1000), ("populations", 2, (100, 2), 400), ("neurons", 50, (100, 3), 50)],
)
def test_a_problem_grows_along_one_size(trial, along, size, shape, hidden):
    (parameters, n, observation), window = measurements._grown(trial, along, size)
    assert n.shape == shape and observation.n_bins == shape[0] and window is None
    assert parameters.n_neurons.sum() == hidden
    assert all(times.max(initial=0) < shape[0] for times in observation.spikes)


def test_ages_grow_by_the_window(trial):
    assert measurements._grown(trial, "ages", 33)[1] == 33
    result = measurements.growth(trial=trial, scheme=bench.SCHEME, along="ages", sizes=[10, 20], budget=0.0)
    assert result["sizes"] == [10, 20] and [len(times) for times in result["seconds"]] == [3, 3]


def test_the_memory_job_measures_its_process(trial):
    result = measurements.memory(trial=trial, scheme=bench.SCHEME, duration=1.0)
    assert result["n_bins"] == 250
    assert 2**24 < result["before"] <= result["after"]


def test_a_job_reads_and_writes_json(trial, monkeypatch, capsys):
    import io

    problem = {"trial": trial, "scheme": bench.SCHEME, "window": 10, "budget": 0.0}
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps(problem)))
    measurements.main(["gradient"])
    assert json.loads(capsys.readouterr().out)["windows"] == [10, 10, 10]


def test_every_row_of_a_run_has_the_same_fields(quick_ours, peers):
    for name in bench.SCRIPTS:
        peers(name, _answers(n_bar=[[1.0, 2.0 + 1e-6]], value=-8.0, rates=[1.0, 2.0, 3.0]))
    measured = json.loads(json.dumps(bench.run(quick=True)))
    assert [row["row"] for row in measured["rows"]] == list(bench.ROWS)
    for row in measured["rows"]:
        assert set(row) == {"row", "what", "ours", "peer", "ratio", "floor", "distance", "details"}
        assert row["what"].endswith(".") and row["ours"]["seconds"] > 0 and row["ours"]["peak_memory"] == 2**20
        assert (row["ratio"] is None) == (row["peer"] is None)
        assert (row["distance"] is None) == (row["floor"] is None)
    rows = {row["row"]: row for row in measured["rows"]}
    assert rows["gradient-jax"]["ratio"] == 2.0 and rows["gradient-jax"]["distance"] == 4.0
    assert rows["gradient-jax"]["details"]["largest_relative_difference_of_n_bar"] == pytest.approx(5e-7, rel=1e-3)
    assert rows["gradient-jax"]["details"]["difference_of_value"] == 1.0
    assert rows["gradient-jax"]["peer"]["n_calls"] == _TINY.rounds
    assert rows["forward"]["peer"] == {"name": "np.exp loop", "seconds": 4.0}
    assert rows["growth-bins"]["details"]["slope"] == pytest.approx(1.0)
    assert rows["memory"]["details"]["increase"] == 2 * 2**20
    assert rows["start-up"]["details"]["neulvm --help"] == 0.5
    assert measured["settings"]["threads"] == 1 and measured["settings"]["scheme"] == bench.SCHEME
    assert {"cpu", "cores", "versions", "load_before", "load_after"} <= set(measured["machine"])
    assert {"python", "numpy", "numba", "neulvm-neo"} <= set(measured["machine"]["versions"])


def test_the_page_on_speed_shows_the_run_that_is_kept():
    root = Path(__file__).resolve().parents[1]
    measured = json.loads((root / "docs" / "bench.json").read_text(encoding="utf-8"))
    assert bench_tables.markdown(measured) in (root / "docs" / "speed.md").read_text(encoding="utf-8")
    kept = [row["row"] for row in measured["rows"]]
    assert kept == [name for name in bench.ROWS if name in kept] and len(kept) > 15  # rows may be younger than the run


def test_a_run_can_be_shown_in_markdown(quick_ours, peers):
    for name in bench.SCRIPTS:
        peers(name, _answers(n_bar=[[1.0, 2.0]], value=-8.0, rates=[1.0, 2.0, 3.0]))
    lines = bench_tables.markdown(bench.run(quick=True, rows=["memory", "mesoscopic-nest", "growth-bins"])).splitlines()
    assert [line.count("|") for line in lines] == [7, 7, 7, 7, 0, 0]
    assert lines[3].startswith("| Mesoscopic simulation")
    assert "| 1.00 s | Peer 1.0 2.00 s | 2.0 | 4.0 | 1 MiB / " in lines[3]
    assert lines[5] == "Value and gradients grow with (exponent): bins 1.00."


@pytest.mark.parametrize(
    "code, trouble, reason",
    [
        ("import a_peer_nobody_has", "skipped", "a_peer_nobody_has"),
        ("print(json.dumps({'skipped': 'import jax: broken'}))", "skipped", "import jax: broken"),
        ("raise ValueError('no such model')", "failed", "ValueError: no such model"),
        ("sys.exit(3)", "failed", "code 3"),
        ("print('not JSON')", "failed", "did not answer in JSON"),
        ("", "failed", "did not answer in JSON"),
    ],
)
def test_a_peer_that_is_missing_is_skipped_and_one_that_breaks_has_failed(quick_ours, peers, code, trouble, reason):
    peers("jax", code)
    (row,) = bench.run(quick=True, rows=["gradient-jax"])["rows"]
    assert set(row["peer"]) == {"name", trouble} and row["peer"]["name"] == "JAX"
    assert reason in row["peer"][trouble]
    assert row["ratio"] is None and row["ours"]["seconds"] == 1.0
    assert f"JAX {trouble}" in bench_tables.summary(row) and reason in bench_tables.notes([row])[0]
    assert trouble in bench_tables.table_row(row)


def test_a_process_that_hangs_is_ended(tmp_path):
    outcome = processes.start([sys.executable, "-c", "import time; time.sleep(60)"], {}, limit=0.5)
    assert "not done after 0.5 s" in outcome.trouble and outcome.seconds < 30


def test_a_process_tells_its_own_peak_memory():
    outcome = processes.start([sys.executable, "-c", "x = b'x' * 2**30; print('{}')"], {})
    if outcome.peak_memory is None:
        pytest.skip("this system does not tell the memory of a process that has ended")
    assert outcome.peak_memory == pytest.approx(2**30, rel=0.1)  # far more than this process, which would count too


def test_processes_are_kept_to_one_thread_and_one_core():
    code = (
        "import json, os; print(json.dumps({'threads': os.environ['NUMBA_NUM_THREADS'], "
        "'cores': len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else 1}))"
    )
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    with processes.one_core():
        assert processes.start([sys.executable, "-c", code], {}).result == {"threads": "1", "cores": 1}
    if before is not None:
        assert os.sched_getaffinity(0) == before


@pytest.mark.parametrize("peer, script", [("nest", nest_network), ("brian2", brian_network)])
def test_a_peer_whose_import_breaks_says_why(peer, script, tmp_path, monkeypatch):
    (tmp_path / f"{peer}.py").write_text("raise AttributeError('ptp')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    outcome = processes.start([sys.executable, script.__file__], {"level": "mesoscopic"})
    assert outcome.missing and outcome.trouble == f"import {peer}: AttributeError: ptp"


def test_weights_in_nest_are_those_of_the_same_network():
    connections = []

    class Nest:
        def Connect(self, source, target, rule, synapse):
            connections.append((source, target, synapse["weight"], synapse["delay"]))

    parameters = {name: value.tolist() for name, value in parameters_of(winner_take_all())._asdict().items()}
    nest_network._connect(Nest(), {"parameters": parameters, "time_step": 0.0002}, ["E1", "E2", "I"], 2, {})
    sources, targets, weights, delays = zip(*connections, strict=True)
    assert sources == ("E1", "E2", "I") and set(targets) == {"I"} and set(delays) == {0.2}
    np.testing.assert_allclose(weights, [2.08, 2.08, -4.16])  # pA, by hand: J / N * C / tau_syn
    assert nest_network._synaptic_times(parameters) == (3.0, 6.0)
    with pytest.raises(ValueError, match="one tau_syn"):
        nest_network._synaptic_times(parameters | {"tau_syn": [0.003, 0.004, 0.006]})


@pytest.mark.parametrize("level, step", [("mesoscopic", 0.0005), ("microscopic", 0.0002)])
def test_nest_fires_as_we_do(level, step):
    pytest.importorskip("nest")
    parameters = {name: value.tolist() for name, value in parameters_of(winner_take_all())._asdict().items()}
    problem = {"level": level, "parameters": parameters, "time_step": step, "duration": 2.0, "warm_up": 0.5,
               "repeats": 1, "seed": 1}  # fmt: skip
    outcome = processes.start([sys.executable, nest_network.__file__], problem)
    ours = simulate_mesoscopic(winner_take_all(), duration=2 * pq.s, random_state=1).activity.mean(axis=0)
    rates = outcome.result["rates"]
    assert rates[2] == pytest.approx(ours[2], rel=0.05)
    assert rates[0] + rates[1] == pytest.approx(ours[0] + ours[1], rel=0.1)


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        ({"rows": ["gradients"]}, "'gradients' is unknown; choose from gradient-jax"),
        ({"peer_pythons": {"neuron": sys.executable}}, "'neuron' is unknown; choose from jax"),
        ({"peer_pythons": {"nest": "no/such/python"}}, "no/such/python, for nest, is no program"),
    ],
)
def test_what_cannot_be_measured_is_refused_at_once(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        bench.run(**arguments)


def test_the_command_prints_tables_and_writes_json(quick_ours, peers, tmp_path, capsys):
    for name in bench.SCRIPTS:
        peers(name, _answers(n_bar=[[1.0, 2.0]], value=-8.0, rates=[1.0, 2.0, 3.0]))
    peers("brian2", "import a_peer_nobody_has")
    out = tmp_path / "bench.json"
    assert cli.main(["bench", "--quick", "--out", str(out), "--peer-python", f"nest={sys.executable}"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"gradient-jax +1.00 s +Peer 1.0", shown)
    assert "Brian2 skipped: ModuleNotFoundError" in shown and "growth-neurons" in shown
    assert [row["row"] for row in json.loads(out.read_text())["rows"]] == list(bench.ROWS)
    assert cli.main(["bench", "--quick", "--out", str(out)]) == 2
    assert "overwrite" in capsys.readouterr().err


def test_the_command_ends_with_an_error_when_our_side_fails(quick_ours, monkeypatch, tmp_path, capsys):
    fine = bench.start

    def broken(command, problem=None, limit=60.0):
        if command[-1] == "forward":
            return processes.Outcome(None, "ValueError: oh", False, 1.0, None)
        return fine(command, problem, limit)

    monkeypatch.setattr(bench, "start", broken)
    out = tmp_path / "bench.json"
    assert cli.main(["bench", "--quick", "--rows", "forward", "growth-ages", "--out", str(out)]) == 2
    output = capsys.readouterr()
    assert output.err == "neulvm: not measured: forward.\n" and "ours failed: ValueError: oh" in output.out
    assert [row["row"] for row in json.loads(out.read_text())["rows"]] == ["forward", "growth-ages"]


@pytest.mark.parametrize("text", ["nest", "=x", "nest="])
def test_an_interpreter_without_its_peer_is_refused(text, capsys):
    with pytest.raises(SystemExit):
        cli.main(["bench", "--peer-python", text])
    assert "is not NAME=PATH" in capsys.readouterr().err


def test_a_row_measured_for_real(monkeypatch):
    monkeypatch.setattr(bench, "QUICK", _TINY._replace(rounds=1))
    (row,) = bench.run(quick=True, rows=["forward"])["rows"]
    assert row["ours"]["n_calls"] == 3 and 0 < row["floor"]["seconds"] < row["peer"]["seconds"]
    assert row["floor"]["cells"] == 2500 * sum(row["ours"]["windows"])
    assert row["distance"] == pytest.approx(row["ours"]["seconds"] / row["floor"]["seconds"])
