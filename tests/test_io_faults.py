"""Annotation under fault: killed, out of space, without permission, among others who open and replace the same files.

Whatever happens: the source keeps its bytes, the target is absent, old or complete, and no temporary file stays.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from neulvm_neo.io import NWBReadError, annotate_nwb, read_fit, save_fit

from neulvm_neo import new_files
from neulvm_neo.new_files import copy_unchanged, new_file

from .io_samples import make_fit, make_nwb, sha256

_ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and signals of a Unix system")


def cases(*arguments):
    """What a process of `io_faults` tells, one dict per case."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.io_faults", *map(str, arguments)],
        cwd=_ROOT, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check_kills(told):
    *killed, restart = told
    for case in killed:
        assert case["same"] or case["found"] == "new", case  # in place the source is the target
        allowed = {"absent": {"absent", "new"}, "old": {"old", "new"}, "in place": {"old", "new"}}[case["start"]]
        assert case["found"] in allowed, case
        assert case["left"] == [], case
        assert case["start"] == "in place" or case["same"], case
    assert sum(case["rubbish"] > 0 for case in killed) >= len(killed) // 4  # or nothing was killed while writing
    assert (restart["found"], restart["left"]) == ("new", [])


def test_a_kill_at_any_of_30_instants_leaves_source_and_target_whole(tmp_path):
    told = cases("kill", tmp_path, 20261122, 30)
    assert len(told) == 31
    check_kills(told)


@pytest.mark.slow
def test_a_kill_at_any_of_300_instants_leaves_source_and_target_whole(tmp_path):
    check_kills(cases("kill", tmp_path, 5, 300))


def test_a_full_disk_leaves_source_and_target_whole_and_is_said(tmp_path):
    told = cases("full", tmp_path, 0, 1000, 100_000, 1_600_000)
    assert len(told) == 6
    for i, case in enumerate(told):
        assert case["code"] == 1, case
        last = case["error"].strip().splitlines()[-1]
        assert last.endswith("no space left to write it; nothing was written. Free some, or choose another disk."), case
        assert case["found"] == ("absent" if i % 2 else "old"), case
        assert case["same"] and case["left"] == [], case


def test_the_command_says_that_the_disk_is_full_in_one_sentence(tmp_path):
    path, fit = make_nwb(tmp_path / "rec.nwb", [[1.0]], [[[0.0, 10.0]]]), tmp_path / "fit.npz"
    save_fit(fit, make_fit([0], n_bins=900))
    limit = os.path.getsize(path) + 20_000  # room for the copy, but not for what is added
    code = f"""
import resource, sys
from neulvm_neo.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
sys.exit(main(["annotate", {str(path)!r}, {str(fit)!r}, "--out", {str(tmp_path / "out.nwb")!r}]))"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("neulvm: ") and done.stderr.count("\n") == 1
    assert "no space left to write it; nothing was written" in done.stderr
    assert sorted(os.listdir(tmp_path)) == ["fit.npz", "rec.nwb"]


def test_a_folder_or_file_without_permission_is_named_and_nothing_is_left():
    folder = tempfile.mkdtemp()  # not tmp_path: its parents are closed to other users
    try:
        os.chmod(folder, 0o755)
        in_folder, of_file = cases("forbidden", folder)
    finally:
        shutil.rmtree(folder)
    assert "its folder cannot be written to; choose another place" in in_folder["error"]
    assert "rec.nwb: permission to read it is denied" in of_file["error"]
    for case in (in_folder, of_file):
        assert (case["code"], case["same"], case["left"]) == (1, True, [])


@pytest.fixture
def recording(tmp_path):
    return make_nwb(tmp_path / "rec.nwb", [[1.0, 2.0], [3.0]], [[[0.0, 10.0]]] * 2)


class Elsewhere:
    """Another process that has a file open."""

    def __init__(self, path, mode):
        code = f"import h5py, sys; f = h5py.File({str(path)!r}, {mode!r}); print(len(f), flush=True); sys.stdin.read()"
        code += "; print(f.attrs['nwb_version'])"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self):
        assert self.process.stdout.readline().strip().isdigit()
        return self

    def __exit__(self, *error):
        out, _ = self.process.communicate("", timeout=60)
        assert self.process.returncode == 0 and out.startswith("2.")  # it could still read what it had opened


def test_a_target_open_for_writing_elsewhere_is_not_pulled_away(recording, tmp_path):
    out = tmp_path / "out.nwb"
    annotate_nwb(recording, out, make_fit([0], status="old"))
    with Elsewhere(out, "r+"), pytest.raises(OSError, match="out.nwb: open for writing in another program; close it"):
        annotate_nwb(recording, out, make_fit([0], status="new"), overwrite=True)
    assert read_fit(out).status == "old"
    assert sorted(os.listdir(tmp_path)) == ["out.nwb", "rec.nwb"]


def test_a_target_open_for_reading_elsewhere_is_replaced_and_the_reader_keeps_the_old_one(recording, tmp_path):
    out = tmp_path / "out.nwb"
    annotate_nwb(recording, out, make_fit([0], status="old"))
    with Elsewhere(out, "r"):
        annotate_nwb(recording, out, make_fit([0], status="new"), overwrite=True)
    assert read_fit(out).status == "new"


def test_a_source_open_for_writing_elsewhere_is_not_copied(recording, tmp_path):
    with Elsewhere(recording, "r+"), pytest.raises(NWBReadError, match="rec.nwb: open for writing in another program"):
        annotate_nwb(recording, tmp_path / "out.nwb", make_fit([0]))
    assert os.listdir(tmp_path) == ["rec.nwb"]


def test_a_source_replaced_before_it_is_copied_is_noticed(recording, tmp_path, monkeypatch):
    def replaced_first(source, target, **options):
        other = make_nwb(tmp_path / "other.nwb", [[1.0]], [[[0.0, 10.0]]], ids=[77])
        os.replace(other, source)
        return copy_unchanged(source, target, **options)

    monkeypatch.setattr("neulvm_neo.io.nwb_annotation.copy_unchanged", replaced_first)
    with pytest.raises(RuntimeError, match="rec.nwb: changed while it was being read; run it again"):
        annotate_nwb(recording, tmp_path / "out.nwb", make_fit([0]))
    assert os.listdir(tmp_path) == ["rec.nwb"]


def test_a_source_that_grows_while_it_is_copied_is_noticed(recording, tmp_path, monkeypatch):
    monkeypatch.setattr(new_files, "_CHUNK", 1000)
    real = new_files.hashlib.sha256

    def grows():
        with open(recording, "ab") as file:
            file.write(b"more")
        return real()

    class Hash:
        def __init__(self):
            self.update = lambda chunk: grows()
            self.hexdigest = lambda: ""

    monkeypatch.setattr(new_files.hashlib, "sha256", Hash)
    with pytest.raises(OSError, match="rec.nwb: changed while it was being copied; nothing was written"):
        copy_unchanged(recording, tmp_path / "copy.nwb")


def test_a_file_replaced_while_it_is_annotated_in_place_is_the_one_that_stays(recording, tmp_path):
    fit = tmp_path / "fit.npz"
    save_fit(fit, make_fit([0]))
    newer = make_nwb(tmp_path / "newer.nwb", [[4.0], [5.0]], [[[0.0, 10.0]]] * 2)
    expected = sha256(newer)
    command = ["annotate", str(recording), str(fit), "--out", str(recording), "--overwrite"]
    known = set(os.listdir(tmp_path))
    process = subprocess.Popen([sys.executable, "-m", "neulvm_neo.cli", *command], stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not set(os.listdir(tmp_path)) - known:
        time.sleep(0.001)
    os.replace(newer, recording)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "meanwhile, so it was left as it is" in error or "changed while it was being read" in error
    assert error.count("\n") == 1
    assert sha256(recording) == expected
    assert sorted(os.listdir(tmp_path)) == ["fit.npz", "rec.nwb"]


def test_a_target_that_comes_into_being_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "a.npz"
    with pytest.raises(FileExistsError, match="somebody else wrote to it meanwhile"):
        with new_file(path, suffixes=(".npz",), overwrite=False) as temporary:
            Path(temporary).write_text("mine")
            path.write_text("theirs")
    assert path.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["a.npz"]


def test_a_target_that_changes_meanwhile_is_not_replaced(tmp_path):
    path = tmp_path / "a.npz"
    path.write_text("old")
    with pytest.raises(FileExistsError, match="somebody else wrote to it meanwhile"):
        with new_file(path, suffixes=(".npz",), overwrite=True) as temporary:
            Path(temporary).write_text("mine")
            path.write_text("theirs, longer")
    assert path.read_text() == "theirs, longer"


def test_file_systems_without_hard_links_or_locks_still_work(tmp_path, monkeypatch):
    def refused(*arguments):
        raise OSError("not supported")

    monkeypatch.setattr(new_files.os, "link", refused)
    monkeypatch.setattr(new_files.fcntl, "flock", refused)
    with new_file(tmp_path / "a.npz", suffixes=(".npz",), overwrite=False) as temporary:
        Path(temporary).write_text("mine")
    assert (tmp_path / "a.npz").read_text() == "mine"
    assert os.listdir(tmp_path) == ["a.npz"]


def test_what_another_process_is_writing_is_not_taken_for_abandoned(tmp_path):
    with new_file(tmp_path / "a.npz", suffixes=(".npz",), overwrite=True) as first:
        Path(first).write_text("first")
        with new_file(tmp_path / "a.npz", suffixes=(".npz",), overwrite=True) as second:
            assert Path(first).exists() and first != second
            Path(second).write_text("second")
        (tmp_path / "a.npz").unlink()
    assert (tmp_path / "a.npz").read_text() == "first"
    assert os.listdir(tmp_path) == ["a.npz"]


def test_names_that_only_look_like_ours_are_left_alone(tmp_path):
    others = [".a.npz.lock", ".a.npz.1234.lock", ".b.npz." + "0" * 32 + ".lock", "a.npz." + "0" * 32 + ".lock"]
    for name in others:
        (tmp_path / name).write_text("x")
    (tmp_path / (".a.npz." + "0" * 32 + ".lock")).write_text("")
    (tmp_path / (".a.npz." + "0" * 32 + ".npz")).write_text("half")
    with new_file(tmp_path / "a.npz", suffixes=(".npz",), overwrite=False) as temporary:
        Path(temporary).write_text("mine")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "a.npz"])


def test_a_long_name_and_a_folder_as_target(tmp_path):
    with new_file(tmp_path / ("ü" * 120 + ".npz"), suffixes=(".npz",), overwrite=False) as temporary:
        Path(temporary).write_text("mine")
    assert len(os.listdir(tmp_path)) == 1
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(OSError, match="a folder or a device, not a file; choose another name"):
        with new_file(tmp_path / "folder.npz", suffixes=(".npz",), overwrite=True):
            raise AssertionError("never reached")
