"""neuLVM for Neo, Elephant and NWB: from a few recorded neurons to a working model of the circuit behind them."""

import importlib as _importlib
import os as _os

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
    "NeuLVM": "estimator",
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
    if name in _HOME_OF:
        return getattr(_importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
