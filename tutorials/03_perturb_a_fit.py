# %% [markdown]
# # A fit to experiment on: pulses, lesions, and what the recording leaves open
#
# A fit is a circuit, so one can do to it what one would like to do to the tissue: stimulate a population, weaken a
# coupling, change a threshold. We fit a simulated recording, whose truth we know, and see which predictions hold. This
# runs in less than a minute, because the recording is short and the fit coarse.

# %%
import matplotlib.pyplot as plt
import numpy as np
import quantities as pq

from neulvm_neo import NeuLVM, simulate_mesoscopic, simulate_microscopic
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.plotting import population_colors

# %% [markdown]
# ## A fit
#
# The network of the first tutorial: two excitatory populations compete through an inhibitory one. Six seconds, twelve
# neurons.

# %%
truth = winner_take_all()
recording = simulate_microscopic(truth, duration=6 * pq.s, n_recorded=4, random_state=5)
model = NeuLVM(truth, labels="population", bin_size=4 * pq.ms, n_init=1, max_iter=4, n_particles=50, random_state=2)
model.fit(recording.spiketrains)
print(model.circuit_)

# %% [markdown]
# ## A pulse
#
# A stimulus is what the current would do to the membrane in the end, R I, in mV: one number per bin and population.
# It may also be a Neo AnalogSignal, a current in pA if the circuit has a `resistance`, or, as here, a function of
# time. Runs of the same seed are the same until the pulse, so every trial can be compared with itself. Bins are shorter
# than those of the fit: in 4 ms such a pulse moves potentials by 4 mV, and bins that long would not resolve what comes
# of it (a `CoarseBinsWarning` says so).

# %%
dt, onset, amplitude = 0.001, 0.5, 20 * pq.mV


def pulse(population):
    """Four milliseconds of current into one population."""

    def stimulus(times):
        after = times.rescale("s").magnitude - onset
        now = (after > 0) & (after < 0.004)
        return amplitude * now[:, None] * (np.arange(3) == population)

    return stimulus


def run(circuit, seed, stimulus=None):
    """Activity (Hz) of E1 and E2 for 1.2 s."""
    settings = dict(duration=1.2 * pq.s, bin_size=dt * pq.s, warm_up=1 * pq.s)
    return simulate_mesoscopic(circuit, stimulus=stimulus, random_state=seed, **settings).activity[:, :2]


def leader(activity, begin, end):
    """The more active of the two from `begin` to `end` (s)."""
    return int(np.argmax(activity[round(begin / dt) : round(end / dt)].mean(axis=0)))


def switches(circuit, whom, n_trials=60):
    """Share of trials in which the other population leads after a pulse to the one that leads ("active") or not."""
    count = 0
    for seed in range(n_trials):
        first = leader(run(circuit, seed), onset - 0.2, onset)
        target = first if whom == "active" else 1 - first
        count += leader(run(circuit, seed, pulse(target)), 0.9, 1.2) != first
    return count / n_trials


for name, circuit in {"truth": truth, "fit": model.circuit_}.items():
    told = ", ".join(f"{100 * switches(circuit, whom):.0f} % to the {whom}" for whom in ("active", "silent"))
    print(f"{name}: of the pulses to one population, so many switch the network: {told}")

# %% [markdown]
# ## Weaker inhibition
#
# `Circuit.replace` gives a changed copy. Columns of `J` are sources: here the inhibitory population loses a tenth of
# its effect.


# %%
def mean_rates(circuit):
    """Hz, in 20 s without a pulse."""
    return simulate_mesoscopic(circuit, duration=20 * pq.s, random_state=1).activity.mean(axis=0)


for name, circuit in {"truth": truth, "fit": model.circuit_}.items():
    weaker = circuit.replace(J=circuit.J * np.array([1.0, 1.0, 0.9]))
    print(f"{name}: {mean_rates(circuit).round(1)} Hz, with weaker inhibition {mean_rates(weaker).round(1)} Hz")

# %% [markdown]
# ## What the recording leaves open
#
# Rates come out nearly right, what pulses do perhaps does not. Spontaneous activity does not determine everything
# that an experiment depends on: the activity of I hardly varies, so its coupling and the resting potentials shift
# potentials alike. Make inhibition stronger and raise `u_rest` by as much as the mean inhibition grew, and rates stay
# much as they were, until there is a pulse. With the true circuit:

# %%
answers = {}
for factor in (0.5, 1.0, 2.0):
    J = truth.J * np.array([1.0, 1.0, factor])
    made_up = truth.tau_m * (truth.J - J)[:, 2] * mean_rates(truth)[2] * pq.Hz
    circuit = truth.replace(J=J, u_rest=truth.u_rest + made_up.rescale("mV"))
    answers[factor] = switches(circuit, "active"), switches(circuit, "silent")
    active, silent = answers[factor]
    print(f"J_i {J[0, 2]:.1f}: {mean_rates(circuit).round(1)} Hz, shares of switches {active:.2f} and {silent:.2f}")

# %% [markdown]
# So ask a fit how far it knows what your experiment depends on: `model.uncertainty(X)` gives an interval for every
# value and says which of them the recording does not tell apart, `model.interval(f)` one for any function of them, and
# `model.draw_circuits(n)` circuits that are as probable as these intervals say. Pulse all of them
# to see how much of an experiment the recording foretells. Give a fit the iterations and starts of the defaults, and as
# long a recording as you have.
#
# ## A picture

# %%
figure, axes = plt.subplots(2, 2, figsize=(9, 4.5), sharex=True, sharey=True, layout="constrained")
times = (np.arange(1200) + 0.5) * dt - onset
for row, (name, circuit) in zip(axes, {"truth": truth, "fit": model.circuit_}.items(), strict=True):
    seed = next(s for s in range(100) if leader(run(circuit, s), onset - 0.2, onset) == 0)
    for place, target, said in zip(row, (0, 1), ("active", "silent"), strict=True):
        activity = run(circuit, seed, pulse(target))
        smooth = np.apply_along_axis(np.convolve, 0, activity, np.full(21, 1 / 21), "valid")
        for k, color in enumerate(population_colors(3)[:2]):
            place.plot(times[10:-10], smooth[:, k], color=color, label=truth.names[k])
        place.axvline(0, color="k", lw=0.8, ls=":")
        place.set_title(f"{name}: pulse to the {said} population", fontsize="medium")
axes[0, 0].legend(frameon=False)
axes[0, 0].set_ylim(0, 60)
for place in axes[1]:
    place.set_xlabel("time after the pulse (s)")
for place in axes[:, 0]:
    place.set_ylabel("activity (Hz)")
figure.savefig("perturbed.png")
assert answers[0.5] != answers[2.0]
