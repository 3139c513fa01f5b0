# %% [markdown]
# # A first fit: from a few recorded neurons to the populations behind them
#
# We simulate a network whose truth we know, record a few of its neurons, and let `NeuLVM` find the activity of all of
# them and the values of the circuit. This runs in less than a minute, because the recording is short and the fit
# coarse; `neulvm demo` does the same with more patience.

# %%
import numpy as np
import quantities as pq

from neulvm_neo import NeuLVM, PopulationClusterer, SpikeTrainBinner, simulate_microscopic
from neulvm_neo.experiments.circuits import winner_take_all
from neulvm_neo.plotting import plot_connectivity, plot_population_activity, plot_raster

# %% [markdown]
# ## A circuit
#
# Two excitatory populations compete through an inhibitory one: now E1 is active, now E2, and chance decides when they
# change over. `J[target, source]` is in mV, potentials are measured from the reset. All values have units; a bare
# number is refused.

# %%
truth = winner_take_all()
print(truth)
plot_connectivity(truth).figure.savefig("connectivity.png")

# %% [markdown]
# ## A recording
#
# All 1000 neurons are simulated, but only the spikes of 25 are kept, as Neo spike trains.

# %%
simulation = simulate_microscopic(truth, duration=20 * pq.s, bin_size=4 * pq.ms, n_recorded=[10, 10, 5], random_state=1)
spiketrains = simulation.spiketrains
print(len(spiketrains), "spike trains; mean activity (Hz):", simulation.activity.mean(axis=0).round(1))

# %% [markdown]
# ## Which neuron belongs to which population?
#
# The clusterer sees spikes only. It gives numbers, ordered by rate; names are ours to give. Inhibitory neurons fire
# fastest here, so cluster 0 is I; which of the two others is called E1 makes no difference (the circuit is symmetric),
# but to compare with the truth we name them as the simulation does.

# %%
clusterer = PopulationClusterer(random_state=0).fit(spiketrains)
print("populations:", clusterer.n_clusters_, "silhouette:", round(clusterer.silhouette_, 2))
print("labels:", clusterer.labels_)

origin = np.array([train.annotations["population"] for train in spiketrains])
name_of = {k: max(truth.names, key=lambda name: np.sum(origin[clusterer.labels_ == k] == name)) for k in range(3)}
labels = [name_of[k] for k in clusterer.labels_]
print("neurons in the right population:", np.sum(origin == labels), "of", len(labels))
plot_raster(spiketrains, labels, truth.names).figure.savefig("raster.png")

# %% [markdown]
# ## The fit
#
# What is known goes into the circuit: sizes, synapses, which couplings exist and their signs. Twelve values are free
# (`truth.free` says which) and start at random, between 0.4 and 2 times the values of the circuit. We fit four seconds
# in which the populations change over, as an array of zeros and ones, and keep four others for a test.

# %%
counts = SpikeTrainBinner(bin_size=4 * pq.ms).fit_transform(spiketrains)
training, test = counts[1250:2250], counts[2500:3500]
model = NeuLVM(truth, labels=labels, bin_size=4 * pq.ms, n_init=1, max_iter=4, n_particles=100, random_state=0)
model.fit(training)
print("J (mV):", model.J_, sep="\n")
print("tau_m:", model.tau_m_)
print("log-likelihood of the training data:", round(model.log_likelihood_, 1), "nats")

# %% [markdown]
# Single values of the circuit are not all well determined by a few seconds: they trade off against each other. Their
# joint effect is, and it is the joint effect that the likelihood of unseen data judges.

# %%
print("unseen data, fit:           ", round(model.score(test), 4), "nats per bin")
p = np.clip(training.mean(axis=0), 1e-4, 1)
constant = np.mean(np.sum(test * np.log(p) + (1 - test) * np.log(1 - p), axis=1))
print("unseen data, constant rates:", round(constant, 4), "nats per bin")
assert model.score(test) > constant

# %% [markdown]
# ## The hidden activity
#
# `transform` gives the activity of whole populations in Hz, one column each, for any recording of the same neurons.
# The true activity of a bin of 4 ms is full of chance that nobody can see through 25 neurons; averaged over 20 bins it
# can be compared.

# %%
activity = model.transform(training)
print(activity.shape)
inferred, true = (rates.reshape(50, 20, 3).mean(axis=1) for rates in (activity, simulation.activity[1250:2250]))
for k, name in enumerate(truth.names):
    r = np.corrcoef(inferred[:, k], true[:, k])[0, 1]
    print(f"{name}: mean {inferred[:, k].mean():.1f} Hz (true {true[:, k].mean():.1f} Hz), correlation {r:.2f}")
plot_population_activity(model.result_.activities[0], smooth=20 * pq.ms)[0].figure.savefig("activity.png")

# %% [markdown]
# ## The model is a working network
#
# It can be simulated: as populations, or neuron by neuron.

# %%
again = model.simulate(2 * pq.s, level="microscopic", random_state=3)
print("free simulation, mean activity (Hz):", again.activity.mean(axis=0).round(1))

# %% [markdown]
# ## Keep it

# %%
model.save("first_fit.npz")
same = NeuLVM.load("first_fit.npz")
assert np.array_equal(same.J_.magnitude, model.J_.magnitude)
