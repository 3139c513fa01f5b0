"""A `GoodnessOfFit` in words: two tables, and what the model does not explain in sentences."""

from itertools import groupby

import numpy as np

from .predictive import BAND, FAILS, band_text, fails_below
from .rescaling import LEVEL

_NAMED = 5  # neurons in a sentence
_RESCALING_HEAD = ("", "spikes", "expected", "KS distance", f"{LEVEL:.0%} band", "p", "", "next interval r", "p", "")


def summary(found):
    """The whole of it as text."""
    members = ", ".join(f"{name} {np.sum(found.labels == k)}" for k, name in enumerate(found.names))
    trials = f"{found.n_trials} trials, " if found.n_trials > 1 else ""
    lines = [
        f"Goodness of fit: {len(found.neuron_ids)} neurons ({members}), {trials}{found.duration:g} s",
        f"log p(spikes) = {found.log_likelihood:.1f} nats, in bits per spike",
        f"  {found.bits_per_spike_population:+.3f} against one constant rate per population",
        f"  {found.bits_per_spike:+.3f} against one constant rate per neuron",
        "",
        "Given the past (time rescaling): how far intervals are from what the model predicts",
        *_table(_RESCALING_HEAD, _rescaling_rows(found)),
        "",
        f"By itself ({found.n_replicates} recordings that the fitted circuit makes; correlations in windows of "
        f"{1e3 * found.correlation_window:g} ms)",
        *_table(("", "recorded", "model", f"{BAND:.0%} band", "p", ""), [_check_row(c) for c in found.checks]),
        "",
    ]
    n_checks = sum(check.is_known for check in found.checks)
    sentences, least = failures(found), fails_below(found.n_replicates)
    lines += ["What the model does not explain:" if sentences else "Nothing was found that the model does not explain."]
    lines += [f"- {sentence}" for sentence in sentences]
    lines += [f"* p is {least:.2g} or less; of {n_checks} checks by itself, {least * n_checks:.1f} are so by chance."]
    return "\n".join(lines)


def failures(found):
    """What the model does not explain, one sentence each: a tuple of str, empty if nothing is found."""
    return (*_by_itself(found), *_of_single_rates(found), *_given_the_past(found))


def _by_itself(found):
    failed = [check for check in found.checks if check.failed]
    for _, alike in groupby(failed, lambda check: (check.quantity, check.populations, check.median < check.recorded)):
        first, *others = alike
        yield _of_power(first, *others) if first.quantity == "power" else _sentence(first, found)


def _given_the_past(found):
    units = found.populations
    for k, name in enumerate(found.names):
        if units.p_value[k] <= FAILS:
            yield (
                f"Given the past, intervals of {name} are {_how_different(units, k)} than the model predicts "
                f"(KS distance {units.distance[k]:.3f}, {LEVEL:.0%} of right models stay below {units.band[k]:.3f})."
            )
        if units.count_p_value[k] <= FAILS:
            yield (
                f"{name} fired {units.n_spikes[k]} spikes where the model, given the past, expected "
                f"{units.expected[k]:.0f}."
            )
        if units.serial_p_value[k] <= FAILS:
            r = units.serial_correlation[k]
            if r > 0:
                said = "Short intervals follow short ones, and long ones long ones,"
                why = "something changes slowly that the model does not follow"
            else:
                said = "Short and long intervals alternate"
                why = "rounding spikes to bins does this to regular neurons, so try smaller bins"
            yield f"{said} in {name} beyond what the model predicts (Spearman {r:+.2f}): {why}."
    neurons, share = found.neurons, FAILS / max(len(found.neuron_ids), 1)
    for own, of_population, what in (
        (neurons.p_value, units.p_value, "intervals do not come as predicted from the past"),
        (neurons.count_p_value, units.count_p_value, "the number of spikes is not as predicted from the past"),
    ):
        # where the whole population is off, this has been said
        if (outliers := np.flatnonzero((own <= share) & ~(of_population <= FAILS)[found.labels])).size:
            said = _listed(found, outliers, own, lambda i: "")
            yield f"In {outliers.size} of {len(found.neuron_ids)} neurons {what}, unlike in their population: {said}."


def _of_single_rates(found):
    # shared among the neurons of a population, which are compared with all of theirs in the replicates
    share = fails_below(found.n_replicates) / np.bincount(found.labels, minlength=len(found.names))[found.labels]
    # where the whole population is off, this has been said
    off = [found.names.index(c.populations[0]) for c in found.checks if c.quantity == "rate" and c.failed]
    outliers = np.flatnonzero((found.rate_p_value <= share) & ~np.isin(found.labels, off))
    if outliers.size:

        def rates(i):
            model = found.replicates.rates[:, found.labels == found.labels[i]]
            low, high = np.quantile(model, [(1 - BAND) / 2, (1 + BAND) / 2])
            return f" {_number(found.recorded.rates[i])} Hz instead of {_number(low)} to {_number(high)} Hz"

        said = _listed(found, outliers, found.rate_p_value, rates)
        share = f"{outliers.size} of {len(found.neuron_ids)} neurons"
        yield f"{share} fire at rates that the model's neurons do not have: {said}."


def _listed(found, which, p_values, say):
    worst = which[np.argsort(p_values[which], kind="stable")][:_NAMED]
    said = [f"{found.neuron_ids[i]} ({found.names[found.labels[i]]}){say(i)}" for i in worst]
    return "; ".join(said) + (f"; and {which.size - _NAMED} more" if which.size > _NAMED else "")


def _how_different(units, k):
    u, surplus = units.residuals[k], units.n_spikes[k] - units.expected[k]
    error = (u.mean() - 0.5) * np.sqrt(12 * u.size)  # standard errors
    if abs(error) < 2:
        return "more variable" if u.var() > 1 / 12 else "more regular"
    if (error < 0) == (surplus > 0):
        return "shorter" if error < 0 else "longer"
    # bursts between pauses have mostly short intervals, but not more spikes than expected
    return "more variable" if error < 0 else "more regular"


def _sentence(check, found):
    recorded, model = _number(check.recorded), _number(check.median)
    band = f"{BAND:.0%} of replicates: {_number(check.lower)} to {_number(check.upper)}"
    where, less = " and ".join(check.populations), check.median < check.recorded
    window = f"{1e3 * found.correlation_window:g} ms"
    if check.quantity == "rate":
        return f"{where} fires {model} Hz in the model ({band} Hz) where {recorded} Hz were recorded."
    if check.quantity == "rate spread":
        how = "less" if less else "more"
        return (
            f"Rates of the neurons of {where} differ {how} in the model (standard deviation {model} Hz; {band} Hz) "
            f"than recorded ({recorded} Hz)" + ("; in the model they are all alike." if less else ".")
        )
    if check.quantity == "CV":
        how = "more regularly" if less else "more irregularly"
        return f"{where} fires {how} in the model (CV of intervals {model}; {band}) than recorded ({recorded})."
    if check.quantity == "LV":
        how = "differ less" if less else "differ more"
        return (
            f"Successive intervals of {where} {how} in the model (local variation {model}; {band}) than recorded "
            f"({recorded})."
        )
    how = "less" if less else "more"
    return (
        f"Neurons of {where} fire {how} together in the model (correlation in windows of {window}: {model}; {band}) "
        f"than recorded ({recorded})."
    )


def _of_power(*checks):
    bands = _enumerated(band_text(check.band) for check in checks)
    model, recorded = (
        _enumerated(_number(getattr(check, what)) for check in checks) for what in ("median", "recorded")
    )
    how = "less" if checks[0].median < checks[0].recorded else "more"
    return (
        f"Spikes of {checks[0].populations[0]} fluctuate {how} in the model than recorded, {bands}: {model} times the "
        f"power of Poisson spikes, recorded {recorded}."
    )


def _enumerated(texts):
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def _rescaling_rows(found):
    for units, names in ((found.populations, found.names), (found.pooled, ("all",))):
        for k, name in enumerate(names):
            yield (
                name, str(units.n_spikes[k]), f"{units.expected[k]:.0f}", _known(units.distance[k], ".3f"),
                _known(units.band[k], ".3f"), _known(units.p_value[k], ".2g"), _star(units.p_value[k] <= FAILS),
                _known(units.serial_correlation[k], "+.3f"), _known(units.serial_p_value[k], ".2g"),
                _star(units.serial_p_value[k] <= FAILS),
            )  # fmt: skip


def _check_row(check):
    if not check.is_known:
        return check.label, _number(check.recorded), "too few spikes", "", "", ""
    band = f"{_number(check.lower)} to {_number(check.upper)}"
    recorded, model = _number(check.recorded), _number(check.median)
    return check.label, recorded, model, band, f"{check.p_value:.2g}", _star(check.failed)


def _table(head, rows):
    rows = [head, *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield "  ".join(["", row[0].ljust(widths[0]), *cells]).rstrip()


def _star(is_so):
    return "*" if is_so else ""


def _number(value):
    return _known(value, ".3g" if abs(value) >= 0.1 else ".2g")


def _known(value, form):
    return f"{value:{form}}" if np.isfinite(value) else "-"
