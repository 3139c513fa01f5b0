"""The JAX peer computes what the slow twin does, so that its times are of the same thing.

Runs only where JAX is installed.
"""

import json
import subprocess
import sys

import numpy as np
import pytest

from neulvm_neo.parameters import Parameters

from .oracle import mesoscopic as oracle

jax = pytest.importorskip("jax", reason="JAX is not installed (extra: benchmarks)")
from neulvm_neo.experiments.peers import jax_scan  # noqa: E402

DT, WINDOW = 0.002, 24
CASES = {  # t_ref and delay per population, s
    "whole bins": ([0.004, 0.002], [0.0, 0.004]),
    "fractions of bins": ([0.0031, 0.0004], [0.0, 0.0033]),
}


def problem(t_ref, delay, seed=0, T=60):
    rng = np.random.default_rng(seed)
    K = len(t_ref)
    p = Parameters(
        J=rng.normal(0.0, 4.0, (K, K)),
        tau_m=rng.uniform(0.008, 0.012, K),
        u_rest=rng.uniform(6.0, 9.0, K),
        threshold=rng.uniform(2.0, 3.0, K),
        tau_syn=rng.uniform(0.003, 0.006, K),
        t_ref=np.array(t_ref),
        delay=np.array(delay),
        n_neurons=rng.integers(40, 80, K).astype(float),
    )
    labels = np.arange(K + 2) % K
    counts = rng.random((T, labels.size)) < 0.06
    counts[:, 0] = False
    n = rng.poisson(2.0, (T, K)) + rng.uniform(0.0, 0.5, (T, K))
    return p, n, counts, labels, rng.uniform(5.0, 20.0, K), rng.normal(0.0, 1.0, (T, K))


def as_trial(p, n, counts, labels, history_rate, stimulus):
    spikes = [np.flatnonzero(column).tolist() for column in counts.T]
    return {
        "parameters": {name: np.asarray(value).tolist() for name, value in p._asdict().items()},
        "bin_size": DT,
        "n": n.tolist(),
        "spikes": spikes,
        "labels": labels.tolist(),
        "history_rate": history_rate.tolist(),
        "stimulus": stimulus.tolist(),
    }


@pytest.mark.parametrize(
    "case, scheme, density", [("fractions of bins", "second-order", "gaussian"), ("whole bins", "euler", "binomial")]
)
def test_value_expected_counts_and_gradients_are_those_of_the_slow_twin(case, scheme, density):
    p, n, *others = problem(*CASES[case])
    result = jax_scan.measure(as_trial(p, n, *others), scheme, WINDOW, density=density, repeats=1)

    def twin(p, n):
        return oracle.log_joint(p, n, *others, DT, scheme, result["windows"], density)

    expected = twin(p, n)
    np.testing.assert_allclose(result["n_bar"], expected.n_bar, rtol=1e-10)
    assert result["part_a"] == pytest.approx(expected.part_a, rel=1e-10)
    assert result["part_b"] == pytest.approx(expected.part_b, rel=1e-10)
    assert result["value"] == pytest.approx(expected.part_a + expected.part_b, rel=1e-10)
    if density == "gaussian":
        np.testing.assert_allclose(result["variance"], expected.variance, rtol=1e-10)

    rng = np.random.default_rng(1)
    for name, size in {"n": 1.0, "J": 1.0, "tau_m": 1e-3, "u_rest": 1.0, "threshold": 1.0}.items():
        gradient = np.array(result["gradients"][name])
        direction = size * rng.normal(size=gradient.shape)

        def along(h, name=name, direction=direction):
            at = (
                twin(p, n + h * direction)
                if name == "n"
                else twin(p._replace(**{name: getattr(p, name) + h * direction}), n)
            )
            return at.part_a + at.part_b

        coarse, fine = ((along(h) - along(-h)) / (2 * h) for h in (4e-4, 2e-4))
        assert (4 * fine - coarse) / 3 == pytest.approx(np.sum(gradient * direction), rel=1e-6, abs=1e-6), name


def test_the_script_reads_a_problem_and_writes_a_result_without_this_package(tmp_path):
    """In single precision, from another folder, in isolated mode: nothing but NumPy and JAX is at hand."""
    given = problem(*CASES["whole bins"], T=30)
    asked = {"trial": as_trial(*given), "scheme": "exponential", "window": WINDOW, "dtype": "float32", "repeats": 2}
    command = [sys.executable, "-I", jax_scan.__file__]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    p, n, *others = given
    expected = oracle.log_joint(p, n, *others, DT, "exponential", result["windows"], "binomial")
    np.testing.assert_allclose(result["n_bar"], expected.n_bar, rtol=1e-3)
    assert result["value"] == pytest.approx(expected.part_a + expected.part_b, rel=1e-4)
    assert len(result["seconds"]) == 2 and min(result["seconds"]) > 0.0
    assert result["compile_seconds"] > 0.0 and result["version"].startswith("JAX ")
