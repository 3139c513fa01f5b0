"""`neulvm bench`: neulvm-neo beside what one would use instead, every row measured in one run on one core.

Both sides of a row are processes of their own, started in turns so that a noisy machine hits both: ours are
`measurements`, a peer's is a script in `peers`. This file says what is measured, compares and counts. It imports
nothing heavy, so that the memory of a process is its own.
"""

import shutil
import statistics
import sys
import time
from math import log
from pathlib import Path
from typing import NamedTuple

from .bench_tables import summary
from .processes import load, machine, one_core, start

SCHEME = "second-order"
SCRIPTS = {"jax": "jax_scan.py", "nest": "nest_network.py", "brian2": "brian_network.py"}
_NAMES = {"jax": "JAX", "nest": "NEST", "brian2": "Brian2"}
_SEED = 1
_DENSITY = "binomial"
_JAX_AGES = 250  # 1 s at 4 ms, as in the paper
_AGES_FOR_1E_4 = 34  # fewest, in steps of discretization.LANES, with which n̄ of the example is within 1e-4 (4e-5)
_SETTLED = 1.0  # s; before, windows of different length differ in how they continue the constant past


class Plan(NamedTuple):
    """How long a run takes: turns, seconds of repeated calls per turn, and sizes."""

    rounds: int  # turns of ours and the peer
    budget: float  # s, of repeated calls in one turn
    repeats: int  # of a peer in one turn; the first calls of JAX are slow even when compiled
    simulated: float  # s, in the rows that simulate
    bins: tuple  # growth with the length of a trial
    neurons: tuple
    populations: tuple
    ages: tuple
    memory: float  # s, the long trial


FULL = Plan(3, 1.0, 3, 10.0, (2500, 5000, 10000, 20000), (100, 1000, 10**4, 10**5, 10**6), (1, 2, 4, 8),
            (25, 50, 100, 200, 400), 3600.0)  # fmt: skip
QUICK = Plan(1, 0.3, 3, 10.0, (500, 1000, 2000, 4000), (100, 10**4, 10**6), (1, 2, 4, 8), (50, 100, 200, 400), 300.0)


def run(*, quick=False, rows=None, peer_pythons=None, say=None):
    """Measure.

    Parameters
    ----------
    quick : bool
        Fewer repetitions and smaller sizes; good for a look, not for a claim.
    rows : sequence of str, optional
        Names from `ROWS`; default all.
    peer_pythons : dict of str, optional
        The interpreter of a peer's environment by the peer's name; default the one that runs this.
    say : callable, optional
        Called with one line (str) as rows begin and end.

    Returns
    -------
    dict
        ``machine``, ``settings`` and ``rows``, ready for JSON. A row has ``row``, ``what``, ``ours``, ``peer``,
        ``ratio`` (the peer's best time over ours), ``floor``, ``distance`` (our best time over the floor) and
        ``details``; what does not apply is None. A peer that cannot be imported has ``skipped`` and one that breaks
        ``failed``, with the reason, in place of times.

    Raises
    ------
    ValueError
        If a row or a peer is unknown, or an interpreter is none.
    """
    say = say or (lambda line: None)
    chosen = list(ROWS) if rows is None else list(rows)
    if unknown := [name for name in chosen if name not in ROWS]:
        raise ValueError(f"row {unknown[0]!r} is unknown; choose from {', '.join(ROWS)}.")
    pythons = _checked(peer_pythons or {})
    began, load_before = time.monotonic(), load()
    with one_core() as core:
        bench = _Bench(QUICK if quick else FULL, pythons)
        measured = []
        for name in chosen:
            say(f"{name}: {ROWS[name].__doc__.splitlines()[0]}")
            row = {"row": name, "what": ROWS[name].__doc__.splitlines()[0]} | ROWS[name](bench)
            measured.append(row)
            say(f"  {summary(row)}")
    settings = {"quick": quick, "scheme": SCHEME, "core": core, "threads": 1, "plan": bench.plan._asdict()}
    settings["seconds"] = time.monotonic() - began
    loads = {"load_before": load_before, "load_after": load()}
    return {"machine": machine() | loads, "settings": settings, "rows": measured}


def slope(sizes, seconds):
    """Exponent of growth: the slope of log(seconds) against log(sizes) by least squares.

    Parameters
    ----------
    sizes, seconds : sequences of float

    Returns
    -------
    float
        1 for a time in proportion to the size, 0 for one that does not depend on it.

    Examples
    --------
    >>> round(slope([1, 2, 4], [3.0, 6.0, 12.0]), 6)
    1.0
    """
    return statistics.linear_regression([log(size) for size in sizes], [log(time) for time in seconds]).slope


# --- rows: the first line of each says what is measured ---------------------------------------------------------------


def _gradient_jax(bench):
    """Value and all gradients, three populations, 10 s at 4 ms, 9 neurons: default age window; JAX, tuned, 250 ages."""
    return _gradient(bench, SCHEME, window=None)


def _gradient_jax_1e_4(bench):
    """The same with 34 ages of ours, which leave n̄ within 1e-4 of the one with 250."""
    return _gradient(bench, SCHEME, window=_AGES_FOR_1E_4)


def _gradient_jax_equal(bench):
    """The same with the same 250 ages on both sides, float64."""
    return _gradient(bench, SCHEME, window=_JAX_AGES)


def _gradient_jax_euler(bench):
    """The same, 250 ages on both sides, with the paper's first-order step, which is simpler to compute."""
    return _gradient(bench, "euler", window=_JAX_AGES)


def _gradient_jax_plain(bench):
    """Default age window against JAX, 250 ages, its scan differentiated as it stands: what one writes first."""
    return _gradient(bench, SCHEME, window=None, plain=True)


def _gradient_jax_plain_equal(bench):
    """The same with the same 250 ages on both sides."""
    return _gradient(bench, SCHEME, window=_JAX_AGES, plain=True)


def _gradient(bench, scheme, window, plain=False):
    trial = bench.trial(10.0, 0.004)
    both = {"trial": trial, "scheme": scheme, "density": _DENSITY}
    problem = both | {"window": window, "budget": bench.plan.budget, "n_bar": True}
    peer_problem = both | {"window": _JAX_AGES, "dtype": "float64", "repeats": bench.plan.repeats}
    peer_problem |= {"plain": plain}
    ours, peer = bench.in_turns("gradient", problem, "jax", peer_problem)
    n_bar = ours.pop("n_bar", None), peer.pop("n_bar", None)
    peer.pop("gradients", None)  # as many as bins: not for the record
    details = {"scheme": scheme}
    if None not in n_bar:
        differences = [
            max(abs(a - b) / abs(b) for a, b in zip(*bins, strict=True)) for bins in zip(*n_bar, strict=True)
        ]
        settled = round(_SETTLED / trial["bin_size"])
        details |= {
            "difference_of_value": ours["value"] - peer["value"],
            "largest_relative_difference_of_n_bar": max(differences),
            "largest_relative_difference_of_n_bar_once_settled": max(differences[settled:], default=None),
        }
    return _row(ours, peer, details)


def _forward(bench):
    """Forward sweep of the same example; peer: only the exponentials of as many cells, by np.exp in a compiled loop."""
    problem = {"trial": bench.trial(10.0, 0.004), "scheme": SCHEME, "budget": bench.plan.budget}
    ours, _ = bench.in_turns("forward", problem)
    peer = None
    if "seconds" in ours:
        peer = {"name": "np.exp loop", "seconds": ours.pop("library_seconds")}
    return _row(ours, peer)


def _sweep(bench):
    """Forward sweep alone, without coefficients, potentials and densities: what the floor is the floor of."""
    return _sweep_of(bench, None)


def _sweep_250(bench):
    """The same with 250 ages."""
    return _sweep_of(bench, _JAX_AGES)


def _sweep_of(bench, window):
    problem = {"trial": bench.trial(10.0, 0.004), "scheme": SCHEME, "window": window, "budget": bench.plan.budget}
    ours, _ = bench.in_turns("sweep", problem)
    return _row(ours, None)


def _mesoscopic_nest(bench):
    """Mesoscopic simulation, three populations, steps of 0.5 ms; NEST: gif_pop_psc_exp, its own memory of 5 tau_m."""
    return _simulation(bench, "mesoscopic", *_mesoscopic(bench), "nest")


def _mesoscopic_nest_equal(bench):
    """The same; NEST with a memory of 10 tau_m, which its rates need to be as accurate as ours."""
    return _simulation(bench, "mesoscopic", *_mesoscopic(bench), "nest", memory=0.2)


def _mesoscopic(bench):
    step = 0.0005
    return step, {"duration": bench.plan.simulated, "bin_size": step, "delay": step, "budget": bench.plan.budget}


def _microscopic_nest(bench):
    """Microscopic simulation, 1000 neurons, steps of 0.2 ms; NEST: gif_psc_exp, 680,000 synapses, spikes recorded."""
    return _simulation(bench, "microscopic", *_microscopic(bench), "nest")


def _microscopic_brian2(bench):
    """The same; Brian2: Cython, currents shared by a population's neurons, spikes recorded, compilation not counted."""
    return _simulation(bench, "microscopic", *_microscopic(bench), "brian2", target="cython")


def _microscopic_brian2_cpp(bench):
    """The same; Brian2 as a stand-alone C++ program, which is compiled anew for every simulation (not counted)."""
    return _simulation(bench, "microscopic", *_microscopic(bench), "brian2", rounds=1, target="standalone")


def _microscopic(bench):
    step = 0.0002
    return step, {"duration": bench.plan.simulated, "time_step": step, "delay": 0.0, "budget": bench.plan.budget}


def _simulation(bench, level, step, problem, peer, rounds=None, **settings):
    parameters = bench.trial(10.0, 0.004)["parameters"] | {"delay": [problem["delay"]] * 3}
    peer_problem = {
        "level": level, "parameters": parameters, "time_step": step, "duration": bench.plan.simulated, "warm_up": 0.5,
        "repeats": bench.plan.repeats, "seed": _SEED,
    }  # fmt: skip
    ours, theirs = bench.in_turns(level, problem, peer, peer_problem | settings, rounds)
    return _row(ours, theirs, {"duration": bench.plan.simulated, "time_step": step})


def _particle_filter(bench):
    """Particle filter, 100 particles, 2 s at 4 ms, 9 neurons."""
    problem = {"trial": bench.trial(2.0, 0.004), "scheme": SCHEME, "n_particles": 100, "budget": bench.plan.budget}
    ours, _ = bench.in_turns("particles", problem)
    details = {}
    if "seconds" in ours:
        details["seconds_per_particle_population_bin"] = ours["seconds"] / ours["population_bins"]
        details["seconds_per_cell"] = ours["seconds"] / ours["floor"]["cells"]
    return _row(ours, None, details)


def _growth_bins(bench):
    """Value and gradients against the length of the trial, in bins."""
    return _growth(bench, "bins", bench.plan.bins)


def _growth_populations(bench):
    """Value and gradients against the number of populations."""
    return _growth(bench, "populations", bench.plan.populations)


def _growth_neurons(bench):
    """Value and gradients against the number of hidden neurons (should not depend on it)."""
    return _growth(bench, "neurons", bench.plan.neurons)


def _growth_ages(bench):
    """Value and gradients against the number of ages that are tracked."""
    return _growth(bench, "ages", bench.plan.ages)


def _growth(bench, along, sizes):
    trial = bench.trial(2.0 if bench.plan == QUICK else 10.0, 0.004)
    problem = {"trial": trial, "scheme": SCHEME, "along": along, "sizes": list(sizes), "budget": bench.plan.budget}
    ours, _ = bench.in_turns("growth", problem, best=lambda times: [min(column) for column in zip(*times, strict=True)])
    details = {"along": along, "sizes": list(sizes)}
    if "failed" not in ours:
        details |= {"seconds": ours["seconds"], "slope": slope(sizes, ours["seconds"])}
        ours["seconds"] = ours["seconds"][-1]  # of the largest size
    return _row(ours, None, details)


def _memory(bench):
    """Memory of one value and gradient of a long trial, three populations at 2 ms, checkpoints in place of the tape."""
    problem = {"trial": bench.trial(10.0, 0.002), "scheme": SCHEME, "duration": bench.plan.memory}
    ours, _ = bench.in_turns("memory", problem, rounds=1)
    details = {"duration": bench.plan.memory}
    if "failed" not in ours:
        known = None not in (ours["before"], ours["after"])
        details["increase"] = ours["after"] - ours["before"] if known else None
    return _row(ours, None, details)


# A fit asks for its start when all else is ready; one that never asks is an error, not a long beginning.
FIT_BEGINS = (
    "import os; import numpy as np; import quantities as pq; from neulvm_neo import NeuLVM; "
    "model = NeuLVM(labels=[0, 0, 1, 1], bin_size=4 * pq.ms, n_init=1, start=lambda *given: os._exit(0)); "
    "model.fit(np.eye(20)[:, :4][np.arange(500) % 20]); raise SystemExit('the fit did not ask for its start')"
)


def _start_up(bench):
    """From the start of Python to the first value and gradient, in a new process; details: other beginnings."""
    bench.trial(2.0, 0.004)  # compiles, if this is the first run ever
    first = (
        "import numpy as np; from neulvm_neo.experiments.circuits import winner_take_all; "
        "from neulvm_neo.likelihood import Observation, joint; from neulvm_neo.parameters import parameters_of; "
        "past = np.array([10.0, 10.0, 25.0]); n = np.tile(past * [0.8, 0.8, 0.4], (500, 1)); "
        "observation = Observation.from_counts(np.zeros((500, 0)), [], 3, past); "
        f"joint(parameters_of(winner_take_all()), n, observation, bin_size=0.002, scheme={SCHEME!r})"
    )
    beginnings = {
        "python": ["-c", "pass"],
        "import neulvm_neo": ["-c", "import neulvm_neo"],
        "neulvm --help": ["-m", "neulvm_neo.cli", "--help"],
        "from neulvm_neo import NeuLVM": ["-c", "from neulvm_neo import NeuLVM"],
        "a fit begins to compute": ["-c", FIT_BEGINS],
        "first value and gradient": ["-c", first],
    }
    details, ours = {}, {}
    for what, arguments in beginnings.items():
        bench.start(arguments)  # fills the file system's cache, and numba's
        outcomes = [bench.start(arguments) for _ in range(3)]
        if failed := [outcome for outcome in outcomes if outcome.trouble]:
            ours["failed"] = f"{what}: {failed[0].trouble}"
            continue
        details[what] = min(outcome.seconds for outcome in outcomes)
        ours |= {"seconds": details[what], "peak_memory": max(o.peak_memory or 0 for o in outcomes) or None}
    return _row(ours, None, details)


ROWS = {
    "gradient-jax": _gradient_jax,
    "gradient-jax-1e-4": _gradient_jax_1e_4,
    "gradient-jax-equal": _gradient_jax_equal,
    "gradient-jax-plain": _gradient_jax_plain,
    "gradient-jax-plain-equal": _gradient_jax_plain_equal,
    "gradient-jax-euler": _gradient_jax_euler,
    "forward": _forward,
    "sweep": _sweep,
    "sweep-250": _sweep_250,
    "mesoscopic-nest": _mesoscopic_nest,
    "mesoscopic-nest-equal": _mesoscopic_nest_equal,
    "microscopic-nest": _microscopic_nest,
    "microscopic-brian2": _microscopic_brian2,
    "microscopic-brian2-cpp": _microscopic_brian2_cpp,
    "particle-filter": _particle_filter,
    "growth-bins": _growth_bins,
    "growth-populations": _growth_populations,
    "growth-neurons": _growth_neurons,
    "growth-ages": _growth_ages,
    "memory": _memory,
    "start-up": _start_up,
}


def _row(ours, peer, details=None):
    floor = ours.pop("floor", None)
    timed = "seconds" in ours
    return {
        "ours": ours,
        "peer": peer,
        "ratio": peer["seconds"] / ours["seconds"] if timed and peer is not None and "seconds" in peer else None,
        "floor": floor,
        "distance": ours["seconds"] / floor["seconds"] if timed and floor is not None else None,
        "details": details or {},
    }


class _Bench:
    """What the rows of one run share: the plan, the interpreters, the trials already simulated."""

    def __init__(self, plan, pythons):
        self.plan = plan
        self._pythons = pythons
        self._trials = {}

    def trial(self, duration, bin_size):
        """The paper's three-population network, three recorded neurons of each."""
        key = duration, bin_size
        if key not in self._trials:
            problem = {"duration": duration, "bin_size": bin_size, "n_recorded": 3, "seed": _SEED}
            outcome = self._ours("example", problem)
            if outcome.trouble:
                raise RuntimeError(f"the example could not be simulated: {outcome.trouble}")
            self._trials[key] = outcome.result
        return self._trials[key]

    def in_turns(self, job, problem, peer=None, peer_problem=None, rounds=None, best=min):
        """(ours, the peer's or None): the last results, with the best times of all turns and the largest memory."""
        ours, theirs = [], []
        for _ in range(self.plan.rounds if rounds is None else rounds):
            ours.append(self._ours(job, problem))
            if peer is not None and not (theirs and theirs[-1].trouble):
                python = self._pythons.get(peer, sys.executable)
                script = Path(__file__).parent / "peers" / SCRIPTS[peer]
                theirs.append(start([python, str(script)], peer_problem))
        mine = _together(ours, best)
        if "skipped" in mine:
            mine = {"failed": mine["skipped"]}  # an installation that does not import itself
        return mine, None if peer is None else {"name": _NAMES[peer]} | _together(theirs, best)

    def start(self, arguments):
        return start([sys.executable, *arguments])

    def _ours(self, job, problem):
        return start([sys.executable, "-m", f"{__package__}.measurements", job], problem)


def _together(outcomes, best):
    for outcome in outcomes:
        if outcome.trouble:
            return {"skipped" if outcome.missing else "failed": outcome.trouble}
    results = [outcome.result for outcome in outcomes]
    joined = results[-1] | {"peak_memory": max((o.peak_memory or 0 for o in outcomes), default=0) or None}
    if best is min:
        times = [seconds for result in results for seconds in result["seconds"]]
        joined |= {"seconds": min(times), "median_seconds": statistics.median(times), "n_calls": len(times)}
    else:
        joined["seconds"] = best([[min(times) for times in result["seconds"]] for result in results])
    if "floor" in joined:
        joined["floor"] = min((result["floor"] for result in results), key=lambda floor: floor["seconds"])
    return joined


def _checked(peer_pythons):
    for peer, python in peer_pythons.items():
        if peer not in SCRIPTS:
            raise ValueError(f"peer {peer!r} is unknown; choose from {', '.join(SCRIPTS)}.")
        if shutil.which(python) is None:
            raise ValueError(f"{python}, for {peer}, is no program; give the path of a Python interpreter.")
    return dict(peer_pythons)
