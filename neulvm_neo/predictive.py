"""Posterior-predictive checks: the recording beside recordings that the fitted circuit makes by itself."""

from dataclasses import dataclass

import numpy as np

from .spike_statistics import BANDS, mean_of

BAND = 0.90  # of the replicates
# A check fails at p values up to this: two-sided, the least that 100 replicates give. Shared among neurons.
FAILS = 0.02


@dataclass(frozen=True, eq=False)
class Check:
    """One number of the recording beside the same number of every replicate.

    Parameters
    ----------
    quantity : {"rate", "rate spread", "CV", "LV", "power", "correlation"}
    populations : tuple of str
        One, or two for correlations between populations.
    band : tuple of float, optional
        Of "power": from, to (Hz).
    recorded : float
        NaN if the recording has too few spikes for it.
    replicates : numpy.ndarray, shape (n_replicates,)
        NaN where a replicate has.
    """

    quantity: str
    populations: tuple
    recorded: float
    replicates: np.ndarray
    band: tuple | None = None

    @property
    def label(self):
        """What is checked, in words."""
        where = " and ".join(self.populations)
        if self.quantity == "power":
            return f"power {band_text(self.band)} of {where}"
        units = " (Hz)" if self.quantity in ("rate", "rate spread") else ""
        return f"{self.quantity} of {where}{units}"

    @property
    def is_known(self):
        """Whether the recording and most replicates have enough spikes."""
        return bool(np.isfinite(self.recorded) and 2 * np.isfinite(self.replicates).sum() > self.replicates.size)

    @property
    def median(self):
        """Median of the replicates."""
        return float(np.median(self._known)) if self._known.size else np.nan

    @property
    def lower(self):
        """Lower end of the band that holds `BAND` of the replicates."""
        return float(np.quantile(self._known, (1 - BAND) / 2)) if self._known.size else np.nan

    @property
    def upper(self):
        """Upper end of the band."""
        return float(np.quantile(self._known, (1 + BAND) / 2)) if self._known.size else np.nan

    @property
    def rank(self):
        """How many replicates are below the recording."""
        return int(np.sum(self._known < self.recorded))

    @property
    def p_value(self):
        """Two-sided posterior-predictive p value; NaN unless `is_known`."""
        return two_sided_p_value(self.recorded, self._known) if self.is_known else np.nan

    @property
    def failed(self):
        """Whether the recording is beyond (nearly) all replicates."""
        return bool(self.p_value <= fails_below(self.replicates.size))

    @property
    def _known(self):
        return self.replicates[np.isfinite(self.replicates)]


def predictive_checks(recorded, replicates, groups, names):
    """Every check of populations that the recording has enough neurons and spikes for.

    Parameters
    ----------
    recorded, replicates : SpikeStatistics
        The latter with a first axis over replicates.
    groups : sequence of numpy.ndarray of int
        Neurons of every population.
    names : sequence of str

    Yields
    ------
    Check
    """
    for k, (members, name) in enumerate(zip(groups, names, strict=True)):
        if not members.size:
            continue
        for quantity, function in _OF_NEURONS.items():
            if quantity != "rate spread" or members.size > 1:
                yield Check(quantity, (name,), float(function(recorded, members)), function(replicates, members))
        for j, band in enumerate(BANDS):
            if np.isfinite(recorded.band_power[j, k]):
                yield Check(
                    "power", (name,), float(recorded.band_power[j, k]), replicates.band_power[:, j, k], band=band
                )
    for k, name in enumerate(names):
        for b in range(k, len(names)):
            if np.isfinite(recorded.correlation[k, b]):
                where = (name,) if b == k else (name, names[b])
                yield Check("correlation", where, float(recorded.correlation[k, b]), replicates.correlation[:, k, b])


_OF_NEURONS = {
    "rate": lambda found, members: found.rates[..., members].mean(axis=-1),
    "rate spread": lambda found, members: found.rates[..., members].std(axis=-1, ddof=1),
    "CV": lambda found, members: mean_of(found.cv[..., members], axis=-1),
    "LV": lambda found, members: mean_of(found.lv[..., members], axis=-1),
}


def two_sided_p_value(value, sample):
    """Share of a sample at least as extreme as a value, on the side where it is, twice; the value is one of them.

    >>> two_sided_p_value(5.0, np.arange(99.0))
    0.14
    """
    below, above = np.sum(sample <= value), np.sum(sample >= value)
    return float(min(2 * (1 + min(below, above)) / (len(sample) + 1), 1.0))


def fails_below(n_replicates):
    """Largest p value with which a check fails: few replicates cannot give smaller ones.

    >>> fails_below(100), round(fails_below(39), 6)
    (0.02, 0.05)
    """
    return max(FAILS, 2 / (n_replicates + 1))


def band_text(band):
    """A band of frequencies in words.

    >>> band_text((0.0, 4.0)), band_text((4.0, 8.0))
    ('below 4 Hz', '4-8 Hz')
    """
    low, high = band
    return f"{low:g}-{high:g} Hz" if low else f"below {high:g} Hz"
