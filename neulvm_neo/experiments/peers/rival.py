"""A rival model fitted to one recording, for `neulvm experiment winner-take-all` and `neulvm evaluate`.

Stands alone with the scripts beside it and runs in any environment with their libraries::

    python rival.py < problem.json > result.json

The problem: ``script``, the name of a module beside this one, and what its function ``fit`` takes: ``counts`` (spikes
per bin and neuron), ``bin_size`` in s, ``seconds`` of free simulation, ``seed``, and settings of its own. The result:
``version``; ``latents``, per bin of the model, inferred from the trial (a GLM has none); ``simulated``, in a free
simulation the rates (Hz) that recorded neurons have, per bin and neuron; ``bin_size`` of both in s; and what else `fit`
tells.

With a ``task`` another function of the module is called: ``predict`` takes ``training`` and ``test`` in place of
``counts`` and ``seconds``, and ``constant``, expected spikes per bin and neuron. It returns ``gain``, per bin of the
model the log-likelihood (nats) of `test` given the bins before, beyond that of Poisson neurons with constant rates;
``bin_size``; and ``settings``, those that it has chosen.
"""

import importlib
import json
import os
import sys
import time


def main():
    """Read the problem, write the result."""
    problem = json.load(sys.stdin)
    result = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is not the result
    os.environ.setdefault("JAX_TRACEBACK_FILTERING", "off")  # or the last line of a complaint is not the complaint
    began = time.perf_counter()
    module = importlib.import_module(problem.pop("script"))
    task = getattr(module, problem.pop("task", "fit"))
    try:
        libraries = module.libraries()
    except Exception as error:  # not only ImportError: shared libraries that do not fit fail in their own ways
        answer = {"skipped": f"{module.LIBRARY} cannot be imported: {type(error).__name__}: {error}"}
    else:
        answer = task(libraries, **problem) | {"seconds": time.perf_counter() - began}
    with result:
        json.dump(_plain(answer), result)


def _plain(value):
    """Arrays as lists of numbers with seven digits, so that long simulations stay small."""
    if isinstance(value, dict):
        return {name: _plain(x) for name, x in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list):
        return [_plain(x) for x in value]
    return float(f"{value:.7g}") if isinstance(value, float) else value


if __name__ == "__main__":
    main()
