"""The house has floors and doors: who may import whom, and what an import may do."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import neulvm_neo

_PACKAGE = Path(neulvm_neo.__file__).parent
_IO = _PACKAGE.parent / "io"

# A file imports lower floors only; within a package (kernels, inference, experiments, io) also its neighbours.
_FLOOR = {
    "units": 0,
    "recording": 1,
    "results": 1,
    "new_files": 0,
    "binning": 2,
    "van_rossum": 2,
    "clustering": 3,
    "quality": 3,
    "trials": 3,
    "constant_rates": 3,
    "rescaling": 3,
    "spike_statistics": 3,
    "predictive": 4,
    "goodness_words": 5,
    "goodness": 6,
    "circuit_arguments": 3,
    "circuit_text": 3.5,
    "kinds": 3.5,
    "circuit": 4,
    "fit_file": 5,
    "assignment": 5,
    "parameters": 5,
    "kernels": 6,
    "discretization": 6.5,
    "agreement": 7,
    "callbacks": 9,
    "likelihood": 7,
    "network": 7,
    "inference": 8,
    "inference.em": 9,
    "inference.posterior": 9,
    "simulation": 9,
    "settings": 9.5,
    "fitted_network": 9.5,
    "estimator": 10,
    "selection": 11,
    "plotting": 11,
    "goodness_figure": 11.5,  # made of what `plotting` has, shown by experiments and the command line
    "io": 11,
    "experiments": 12,
    "cli": 13,
}

# One door per library: the modules (or packages) in which it may be imported.
_DOORS = {
    "quantities": ("units", "io", "experiments", "cli"),
    "neo": ("units", "io", "experiments", "cli"),
    "elephant": ("binning", "van_rossum", "spike_statistics", "experiments.peers"),
    "sklearn": ("binning", "clustering", "callbacks", "estimator", "selection", "experiments"),
    "numba": ("kernels",),
    "pynwb": ("io",),
    "hdmf": ("io",),
    "h5py": ("io",),
    "nwbinspector": ("io",),
    "nixio": ("io",),
    "matplotlib": ("plotting", "goodness_figure", "experiments"),
    "joblib": ("inference", "simulation", "goodness", "estimator", "experiments"),
    "tomli_w": ("circuit_text",),
    "argparse": ("cli",),
    "jax": ("experiments.peers",),
    "nest": ("experiments.peers",),
    "brian2": ("experiments.peers",),
    "dynamax": ("experiments.peers",),
    "nemos": ("experiments.peers",),
    "ssm": ("experiments.peers",),
}

# heavy, or not installed with the rest: only inside functions
_LATE = (
    "pynwb",
    "hdmf",
    "h5py",
    "nwbinspector",
    "elephant",
    "matplotlib",
    "jax",
    "nest",
    "brian2",
    "dynamax",
    "nemos",
    "ssm",
)


def _sources():
    sources = {path.relative_to(_PACKAGE).with_suffix("").as_posix(): path for path in _PACKAGE.rglob("*.py")}
    sources |= {"io/" + path.relative_to(_IO).with_suffix("").as_posix(): path for path in _IO.rglob("*.py")}
    return {name.replace("/", ".").removesuffix(".__init__"): path for name, path in sources.items()}


_SOURCES = {name: path for name, path in _sources().items() if name != "__init__"}


def _floor(module):
    for name in (module, module.partition(".")[0]):
        if name in _FLOOR:
            return _FLOOR[name]
    raise AssertionError(f"{module} has no floor yet: give it one in the table of tests/test_import_rules.py")


def _imports(module):
    """(absolute name, whether at module level) of everything a module imports."""
    tree = ast.parse(_SOURCES[module].read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    late = {id(node) for function in functions for node in ast.walk(function)}
    is_package = _SOURCES[module].name == "__init__.py"
    parts = ["neulvm_neo", *module.split(".")]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in late
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + is_package] if node.level else []
            source = ".".join([*base, node.module] if node.module else base)
            for alias in node.names:
                yield f"{source}.{alias.name}", id(node) not in late


def _home(name):
    """The module of this package that an absolute name comes from, or None for other packages."""
    if name.partition(".")[0] != "neulvm_neo":
        return None
    rest = name.split(".")[1:]
    while rest:
        if ".".join(rest) in _SOURCES:
            return ".".join(rest)
        if len(rest) == 1 and rest[0] in neulvm_neo._HOME_OF:
            return neulvm_neo._HOME_OF[rest[0]]
        rest.pop()
    return None


def _is_in(module, places):
    return any(module == place or module.startswith(place + ".") for place in places)


@pytest.mark.parametrize("module", sorted(_SOURCES))
def test_imports_go_down_only(module):
    for name, _ in _imports(module):
        home = _home(name)
        if home is None or home == module:
            continue
        neighbours = home.partition(".")[0] == module.partition(".")[0]
        allowed = _floor(home) <= _floor(module) if neighbours else _floor(home) < _floor(module)
        assert allowed, f"{module} (floor {_floor(module)}) imports {home} (floor {_floor(home)})"


@pytest.mark.parametrize("module", sorted(_SOURCES))
def test_libraries_come_in_through_their_door(module):
    for name, _ in _imports(module):
        library = name.partition(".")[0]
        if library in _DOORS:
            assert _is_in(module, _DOORS[library]), f"{module} imports {library}; its door is {_DOORS[library]}"


@pytest.mark.parametrize("module", sorted(_SOURCES))
def test_heavy_libraries_are_imported_inside_functions(module):
    for name, top_level in _imports(module):
        assert not (top_level and name.partition(".")[0] in _LATE), f"{module} imports {name} at module level"


@pytest.mark.parametrize(
    "module, line, rule",
    [
        ("units", "from . import clustering", test_imports_go_down_only),
        ("recording", "from neulvm_neo import PopulationClusterer", test_imports_go_down_only),
        ("kernels.potential", "from ..likelihood import joint", test_imports_go_down_only),
        ("results", "def f():\n    from neulvm_neo.io.nwb import read_nwb", test_imports_go_down_only),
        ("results", "import neo", test_libraries_come_in_through_their_door),
        ("plotting", "import matplotlib.pyplot as plt", test_heavy_libraries_are_imported_inside_functions),
    ],
)
def test_a_breach_of_the_rules_is_noticed(module, line, rule, tmp_path, monkeypatch):
    breach = tmp_path / "breach.py"
    breach.write_text(line)
    monkeypatch.setitem(_SOURCES, module, breach)
    with pytest.raises(AssertionError, match=module):
        rule(module)


def test_only_the_likelihood_calls_the_adjoint_kernels():
    for module in _SOURCES:
        if not _is_in(module, ("likelihood", "kernels")):
            assert not any("_adjoint" in name for name, _ in _imports(module)), module


@pytest.mark.parametrize("module", sorted(name for name in _SOURCES if name.startswith("experiments.peers.")))
def test_peers_stand_alone(module):
    assert all(_home(name) is None for name, _ in _imports(module)), f"{module} must run where this package is not"


@pytest.mark.parametrize("module", sorted(name for name in _SOURCES if not _is_in(name, ("cli",))))
def test_printing_is_for_the_command_line(module):
    for node in ast.walk(ast.parse(_SOURCES[module].read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{module}:{node.lineno} prints; use logging"


def test_there_is_no_drawer_for_everything():
    drawers = ("utils", "util", "helpers", "misc", "common")
    assert not [module for module in _SOURCES if module.rpartition(".")[2] in drawers]


def _in_a_fresh_interpreter(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_importing_has_no_effect():
    code = """
import logging, random, warnings
import numpy as np
import sklearn.base, sklearn.cluster, sklearn.metrics, quantities, scipy.optimize  # effects of others come first
before = (list(logging.root.handlers), logging.root.level, list(warnings.filters), np.geterr(), random.getstate())
seed = np.random.get_state()[1].tobytes()
import neulvm_neo
from neulvm_neo import units, recording, results, binning, clustering, plotting
after = (list(logging.root.handlers), logging.root.level, list(warnings.filters), np.geterr(), random.getstate())
assert before == after
assert seed == np.random.get_state()[1].tobytes()
assert not logging.getLogger("neulvm_neo").handlers
"""
    _in_a_fresh_interpreter(code)


@pytest.mark.parametrize("name", sorted(neulvm_neo._HOME_OF))
def test_public_names_resolve_on_first_use(name):
    home = neulvm_neo._HOME_OF[name]
    assert getattr(neulvm_neo, name).__module__ == f"neulvm_neo.{home}"
    assert name in dir(neulvm_neo)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'NeuLVMM'"):
        neulvm_neo.NeuLVMM  # noqa: B018
