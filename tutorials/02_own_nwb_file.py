# %% [markdown]
# # Your own NWB file: read, fit, annotate
#
# The recording of this tutorial is simulated, so that it runs anywhere, but it has what a file of yours has: sorted
# units with a column that says where they come from, trials, and more time than you want to fit. Replace
# `recording.nwb` by your file and start at "Look into the file".

# %%
import neo
import numpy as np
import quantities as pq
from neulvm_neo.io import annotate_nwb, annotated_block, read_nwb, write_nwb

from neulvm_neo import Circuit, NeuLVM, SpikeRecording, simulate_microscopic

# %% [markdown]
# ## A file to work with
#
# Eight neurons of two areas, five trials of one second, in each a stimulus that excites the first area for a while.

# %%
circuit = Circuit(
    n_neurons=[200, 200],
    names=["CA1", "CA3"],
    J=[[6, 8], [4, 6]] * pq.mV,
    tau_m=20 * pq.ms,
    u_rest=7 * pq.mV,
    threshold=7 * pq.mV,
    t_ref=4 * pq.ms,
    tau_syn=4 * pq.ms,
)


def light(times):
    """2 mV to the first area in the middle of every trial."""
    phase = times.rescale("s").magnitude % 1.0
    return ((phase > 0.3) & (phase < 0.6))[:, None] * [[2.0, 0.0]] * pq.mV


simulation = simulate_microscopic(
    circuit, duration=5 * pq.s, bin_size=4 * pq.ms, stimulus=light, n_recorded=4, random_state=2
)
block = neo.Block(description="A simulated recording.")
for i in range(5):
    segment = neo.Segment(contrast=0.1 * i)
    for train in simulation.spiketrains:
        segment.spiketrains.append(train.time_slice(i * pq.s, (i + 1) * pq.s))
    block.segments.append(segment)
areas = [train.annotations["population"] for train in simulation.spiketrains]
write_nwb("recording.nwb", block, unit_columns={"area": areas})

# %% [markdown]
# ## Look into the file
#
# `trials` names an interval table: one Segment per row. `window` reads a part of the file, in seconds of its clock.
# Columns of the units table become annotations of the spike trains.

# %%
recording = read_nwb("recording.nwb", trials="trials", window=(0, 4))
print(len(recording.segments), "trials in the window;", recording.segments[0].annotations)
train = recording.segments[0].spiketrains[0]
print("unit", train.annotations["unit_id"], "of area", train.annotations["area"])
print("rates (Hz):", SpikeRecording.from_neo(recording).rates.round(1))

# %% [markdown]
# ## Fit
#
# `labels="area"` takes the populations from the column. With `labels=None` the neurons would be clustered by their
# spikes. Little is known of the circuit here, so the default one is used: no couplings to begin with, signs unknown,
# 200 neurons per population. That number is an assumption: it sets how strongly the activity of a population fluctuates
# by itself. All trials are fitted together. `own_thresholds=True` because neurons of a real population differ: without,
# the model takes them for alike, and a fit to very different ones predicts worse than their mean rates do.

# %%
start = Circuit.default(2, names=["CA1", "CA3"], t_ref=4 * pq.ms)
model = NeuLVM(
    start, labels="area", bin_size=4 * pq.ms, own_thresholds=True, n_init=1, max_iter=3, n_particles=50, random_state=0
)
model.fit(recording)
print(model.circuit_)

# %% [markdown]
# The activity of every trial, in Hz, with its time axis:

# %%
activity = model.to_neo().segments[0].analogsignals[0]
print(activity.shape, activity.t_start, activity.sampling_rate, activity.array_annotations["channel_names"])

# %% [markdown]
# ## Write it back
#
# `annotate_nwb` copies the file and adds the population of every unit, the activity and the parameters. The source is
# only read. `annotated_block` does the same for Neo objects.

# %%
annotate_nwb("recording.nwb", "annotated.nwb", model.result_)
print([group.name for group in annotated_block(recording, model.result_).groups])

# %% [markdown]
# Any NWB tool can read the copy; here PyNWB.

# %%
import pynwb  # noqa: E402

with pynwb.NWBHDF5IO("annotated.nwb", "r") as io:
    nwb = io.read()
    print(nwb.units.to_dataframe()[["area", "neulvm_population", "neulvm_threshold"]])
    series = nwb.processing["ecephys"]["PopulationActivity"]
    print(series.data.shape, series.unit, series.description)
    print(nwb.processing["ecephys"]["Populations"].to_dataframe().T)
    assert list(nwb.units["neulvm_population"][:]) == areas
    assert np.all(np.isfinite(series.data[:]))

# %% [markdown]
# ## Before you build on it
#
# `neulvm report` says what a fit explains and what it does not, `neulvm evaluate` how well it predicts later spikes
# beside simpler models. Neither is kind: units of a population that are taken for alike and are not, and too few
# iterations, show at once.
