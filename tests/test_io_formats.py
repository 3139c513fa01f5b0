"""io/__init__.py: every format of the table keeps spike trains, and the folder called io harms nobody."""

import doctest
import importlib
import pathlib
import subprocess
import sys

import neo
import neulvm_neo.io
import pytest
from neulvm_neo.io import FORMATS, read, write

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(params=[*FORMATS, ".spikes"])
def suffix(request, monkeypatch):
    if request.param == ".nix":
        pytest.importorskip("nixio")
    if request.param == ".spikes":  # what a newcomer adds: one file, one line
        monkeypatch.setitem(FORMATS, ".spikes", ("_template:read", "_template:write"))
    return request.param


def make_block():
    block = neo.Block()
    block.segments.append(neo.Segment())
    for unit_id, times in ((3, [0.25, 1.0]), (7, [1.5])):
        train = neo.SpikeTrain(times, units="s", t_start=0.125, t_stop=2.0, unit_id=unit_id)
        block.segments[0].spiketrains.append(train)
    return block


def test_every_format_returns_the_trains_it_was_given(tmp_path, suffix):
    write(tmp_path / f"a{suffix}", make_block())
    trains = read(tmp_path / f"a{suffix}").segments[0].spiketrains
    assert [train.rescale("s").magnitude.tolist() for train in trains] == [[0.25, 1.0], [1.5]]
    assert [train.annotations["unit_id"] for train in trains] == [3, 7]
    assert all(
        (float(train.t_start.rescale("s")), float(train.t_stop.rescale("s"))) == (0.125, 2.0) for train in trains
    )


def test_no_format_alters_what_it_is_given_or_overwrites_unasked(tmp_path, suffix):
    block, path = make_block(), tmp_path / f"a{suffix}"
    write(path, block)
    assert [dict(train.annotations) for train in block.segments[0].spiketrains] == [{"unit_id": 3}, {"unit_id": 7}]
    with pytest.raises(FileExistsError, match="exists"):
        write(path, block)
    write(path, block, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_suffixes_outside_the_table_are_read_by_neo_and_not_written(tmp_path):
    with pytest.raises(ValueError, match="no format to write with this suffix; known are .nwb, .nix, .pkl"):
        write(tmp_path / "a.xyz", make_block())
    (tmp_path / "a.xyz").write_text("?")
    with pytest.raises(ValueError, match="no format of Neo"):
        read(tmp_path / "a.xyz")


def test_the_suffix_may_be_in_capitals(tmp_path):
    write(tmp_path / "A.NWB", make_block())
    assert len(read(tmp_path / "A.NWB", units=[7]).segments[0].spiketrains) == 1


def test_the_template_refuses_what_its_format_cannot_hold(tmp_path):
    from neulvm_neo.io import _template

    with pytest.raises(ValueError, match="holds one trial, the Block has 2"):
        _template.write(tmp_path / "a.spikes", [make_block().segments[0], make_block().segments[0]])
    (tmp_path / "a.spikes").write_text("3 0.25\n")
    with pytest.raises(ValueError, match="first line must be"):
        _template.read(tmp_path / "a.spikes")


def test_all_public_names_exist():
    assert all(hasattr(neulvm_neo.io, name) for name in neulvm_neo.io.__all__)


@pytest.mark.parametrize("path", sorted((ROOT / "io").glob("*.py")), ids=lambda path: path.stem)
def test_examples_in_the_docstrings_run(path):
    module = importlib.import_module("neulvm_neo.io" + ("" if path.stem == "__init__" else f".{path.stem}"))
    assert doctest.testmod(module).failed == 0


def test_importing_io_loads_neither_pynwb_nor_h5py():
    heavy = ("pynwb", "hdmf", "h5py", "nwbinspector", "neo")
    code = f"import sys, neulvm_neo.io; print([name for name in {heavy} if name in sys.modules])"
    assert _python("-c", code).strip() == "[]"


def test_the_folder_io_stands_in_for_the_standard_library_when_it_is_found_first():
    code = "import io, neulvm_neo.io as ours; print(io.StringIO('a').read(), callable(ours.read_nwb))"
    assert _python("-X", "frozen_modules=off", "-c", code, PYTHONPATH=str(ROOT)).strip() == "a True"


def _python(*arguments, **environment):
    import os

    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
