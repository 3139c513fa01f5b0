"""inference/tasks.py: a fit is the same wherever its tasks run, bit for bit, whatever becomes of those who run them."""

import ast
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import joblib
import numpy as np
import pytest
import quantities as pq
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_info
from tqdm import tqdm

import neulvm_neo
from neulvm_neo import Circuit, NeuLVM, simulate_microscopic
from neulvm_neo.inference import tasks

_KERNELS = Path(neulvm_neo.__file__).parent / "kernels"

pytestmark = [
    pytest.mark.filterwarnings("ignore:EM has not converged"),
    # of the libraries that run the tasks elsewhere
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

CIRCUIT = Circuit(
    [200, 100], names=["E", "I"], J=[[10, -10], [15, 0]] * pq.mV, u_rest=[13, 11] * pq.mV, tau_syn=[3, 6] * pq.ms,
    signs=[1, -1], t_ref=4 * pq.ms, free=("u_rest", "threshold"),
)  # fmt: skip
METHODS = {
    "smc": {"max_iter": 6},
    "viterbi": {"method": "viterbi", "max_iter": 2},
    "few free values": {"circuit": CIRCUIT.replace(free=("u_rest",)), "max_iter": 2},
}


@pytest.fixture(scope="module")
def trials():
    return [
        simulate_microscopic(CIRCUIT, duration=0.1 * pq.s, n_recorded=2, random_state=seed).spiketrains
        for seed in (1, 2)
    ]


def model_of(method, **settings):
    common = dict(circuit=CIRCUIT, labels="population", bin_size=2 * pq.ms, n_init=2, n_particles=5, random_state=3)
    return NeuLVM(**{**common, **METHODS[method], **settings})


def bits(method, trials, **settings):
    """Everything that a fit finds and infers, as bytes."""
    model = model_of(method, **settings).fit(trials)
    numbers = [model.log_likelihood_, model.score(trials), model.u_rest_, model.threshold_, *model.activity_]
    return b"".join(np.asarray(x).tobytes() for x in numbers)


@pytest.fixture(scope="module")
def serial(trials):
    return {method: bits(method, trials) for method in METHODS}


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("dask.distributed", reason="Dask is not installed: pip install neulvm-neo[scale]")
    local = distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50)
    with local, distributed.Client(local) as client:
        yield client


# --- the same wherever it runs ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_find_what_one_finds(serial, trials, method):
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert bits(method, trials) == serial[method]


@pytest.mark.parametrize("method", METHODS)
def test_a_dask_cluster_finds_what_one_process_finds(serial, trials, method, cluster):
    with joblib.parallel_config(backend="dask"):
        assert bits(method, trials) == serial[method]


def test_a_worker_that_is_killed_costs_its_task_only(serial, trials, cluster):
    before = cluster.run(os.getpid)

    def kill():
        time.sleep(0.5)
        os.kill(next(iter(before.values())), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    with joblib.parallel_config(backend="dask"):
        killer.start()
        found = bits("smc", trials)
    killer.join()
    assert found == serial["smc"]
    cluster.wait_for_workers(2)
    assert set(cluster.run(os.getpid).values()) != set(before.values())


def test_a_grid_search_on_a_cluster_with_fits_that_have_tasks_of_their_own(trials, cluster):
    grid, model = {"bin_size": [2 * pq.ms, 4 * pq.ms]}, model_of("viterbi", max_iter=1)
    here = GridSearchCV(model, grid, cv=2, refit=False).fit(trials)
    with joblib.parallel_config(backend="dask"):
        there = GridSearchCV(model, grid, cv=2, refit=False).fit(trials)
    for fold in ("split0_test_score", "split1_test_score"):
        assert here.cv_results_[fold].tolist() == there.cv_results_[fold].tolist()


# --- the small print ----------------------------------------------------------------------------------------------


def test_results_come_in_the_order_of_the_tasks():
    def slow_first(i):
        time.sleep(0.05 * (3 - i))
        return i

    calls = [joblib.delayed(slow_first)(i) for i in range(4)]
    assert tasks.run(calls, n_jobs=4) == tasks.run(calls, n_jobs=1) == tasks.run(calls) == [0, 1, 2, 3]


def test_one_job_stays_here_whatever_the_backend():
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert tasks.run([joblib.delayed(os.getpid)()], n_jobs=1) == [os.getpid()]
        assert os.getpid() not in tasks.run([joblib.delayed(os.getpid)()] * 2)


def test_tasks_elsewhere_have_one_blas_thread():
    def most_threads():
        return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)

    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert tasks.run([joblib.delayed(most_threads)()] * 2) == [1, 1]


def test_blas_threads_come_back_when_the_last_has_finished():
    def threads():
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    first, second = tasks.one_blas_thread(), tasks.one_blas_thread()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert set(threads()) <= {1}
    second.__exit__(None, None, None)
    assert threads() == before


def test_a_progress_bar_counts_what_was_done_elsewhere_once():
    with tqdm(total=5, disable=False, file=open(os.devnull, "w")) as bar:
        advance = tasks.Advance(bar)
        advance()
        pickle.loads(pickle.dumps(advance))(3)
        assert bar.n == 1
        advance.up_to(4)
        advance.up_to(2)
        assert bar.n == 4


# --- compiled and loaded kernels ----------------------------------------------------------------------------------


def _kernels():
    """(file, name) of every kernel to its decorator and the kernels that it calls."""
    trees = {path.stem: ast.parse(path.read_text()) for path in _KERNELS.glob("*.py")}
    kernels = {}
    for file, tree in trees.items():
        home = {
            alias.name: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
        }
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                names = {ast.unparse(c.func) for c in ast.walk(node) if isinstance(c, ast.Call)}
                kernels[file, node.name] = ast.unparse(node.decorator_list[0]), {(home.get(n, file), n) for n in names}
    return kernels


def test_kernels_whose_last_bits_depend_on_their_company_are_inlined_by_other_kernels():
    kernels = _kernels()
    loose = {kernel for kernel, (decorator, _) in kernels.items() if "fastmath" in decorator}
    for _ in kernels:  # what calls them is as loose as they are
        loose |= {kernel for kernel, (_, called) in kernels.items() if called & loose}
    called = set().union(*(called for _, called in kernels.values()))
    assert ("mesoscopic", "settled_cohorts") in loose & called
    # neurons one by one, products and sums in one instruction at most: nothing whose order could change
    rest = {("microscopic", "integrate")}
    for kernel in sorted(loose & called - rest):
        assert "inline" in kernels[kernel][0], f"{kernel} is called by other kernels: forceinline=True"


_DIGEST = """
import hashlib, json
import numpy as np, quantities as pq
from neulvm_neo import Circuit
from neulvm_neo.inference.liu_west import liu_west
from neulvm_neo.inference.particles import particle_filter
from neulvm_neo.likelihood import Observation, joint
from neulvm_neo.parameters import ParameterSpace, parameters_of

def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(x).tobytes() for x in arrays)).hexdigest()

rng, T = np.random.default_rng(0), 120
circuit = Circuit([200, 100], names=["E", "I"], t_ref=4 * pq.ms)
parameters, space = parameters_of(circuit), ParameterSpace(circuit)
n, y = rng.poisson(3.0, (T, 2)).astype(float), rng.random((T, 4)) < 0.04
trial = Observation.from_counts(y, np.array([0, 0, 1, 1]), 2, np.full(2, 10.0))
histories = np.array([[10.0, 10.0], [5.0, 20.0]])
found = {}
for scheme in ("second-order", "euler"):
    x = joint(parameters, n, trial, bin_size=0.002, scheme=scheme, density="others")
    gradients = x.g_n, x.g_history_rate, x.g_stimulus, *x.g_parameters
    found[scheme] = digest(x.part_a, x.part_b, x.n_bar, x.variance, *gradients)
x = particle_filter(parameters, trial, histories, bin_size=0.002, rng=rng, n_particles=20, n_paths=1)
found["filter"] = digest(x.log_increments, x.predicted, x.n, x.n_std, x.n_lower, x.n_upper, x.n_bar, x.paths)
thetas = np.array([space.draw(rng) for _ in range(20)])
x = liu_west(space, thetas, [trial], histories, bin_size=0.002, scheme="second-order", rng=rng, n_particles=10)
found["liu_west"] = digest(x.mean, x.covariance)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_kernels_give_the_same_bits_when_compiled_and_when_loaded(tmp_path):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-c", _DIGEST]
    compiled, loaded, again = (
        json.loads(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )
    assert compiled == loaded == again
