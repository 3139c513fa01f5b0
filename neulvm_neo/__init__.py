"""neuLVM for Neo, Elephant and NWB: from a few recorded neurons to a working model of the circuit behind them.

========================= ==============================================================================================
`NeuLVM`                  the latent variable model, fitted to recordings in scikit-learn's grammar
`select_n_populations`    how many populations, by held-out likelihood (`one_standard_error` for a GridSearchCV)
`Circuit`                 what is known of a circuit: populations, sizes, parameters, and which of them are free
`simulate_microscopic`    a circuit neuron by neuron
`simulate_mesoscopic`     a circuit as spike counts of whole populations
`SpikeRecording`          what was measured
`SpikeTrainBinner`        spike times to counts
`PopulationClusterer`     units to populations
`PopulationActivity`      rates of populations, simulated or inferred
`FitResult`               all that a fit found
`GoodnessOfFit`           what a fit explains of a recording, and what it does not
========================= ==============================================================================================

Files are read and written by `neulvm_neo.io`, pictures drawn by `neulvm_neo.plotting`.
"""

import importlib as _importlib
import os as _os
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # what `__getattr__` does below, for editors and type checkers
    from .binning import SpikeTrainBinner as SpikeTrainBinner
    from .circuit import Circuit as Circuit
    from .clustering import PopulationClusterer as PopulationClusterer
    from .estimator import NeuLVM as NeuLVM
    from .goodness import GoodnessOfFit as GoodnessOfFit
    from .recording import SpikeRecording as SpikeRecording
    from .results import FitResult as FitResult
    from .results import PopulationActivity as PopulationActivity
    from .selection import one_standard_error as one_standard_error
    from .selection import select_n_populations as select_n_populations
    from .simulation import simulate_mesoscopic as simulate_mesoscopic
    from .simulation import simulate_microscopic as simulate_microscopic

__version__ = "0.1.0"

# Public names load on first use, so that `import neulvm_neo` and `neulvm --help` stay quick.
_HOME_OF = {
    "SpikeRecording": "recording",
    "PopulationActivity": "results",
    "FitResult": "results",
    "SpikeTrainBinner": "binning",
    "PopulationClusterer": "clustering",
    "Circuit": "circuit",
    "simulate_microscopic": "simulation",
    "simulate_mesoscopic": "simulation",
    "GoodnessOfFit": "goodness",
    "NeuLVM": "estimator",
    "select_n_populations": "selection",
    "one_standard_error": "selection",
}

__all__ = ["__version__", *_HOME_OF]

# In a source checkout that is not installed the subpackage `neulvm_neo.io` lies beside this package, in
# <repository>/io.
_here = _os.path.dirname(_os.path.abspath(__file__))
if not _os.path.isdir(_os.path.join(_here, "io")):
    _root = _os.path.dirname(_here)
    if _os.path.isfile(_os.path.join(_root, "io", "nwb.py")):
        __path__.append(_root)


def __getattr__(name):
    """A public name, on first use (PEP 562)."""
    if name in _HOME_OF:
        return getattr(_importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
