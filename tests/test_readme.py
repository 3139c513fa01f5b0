"""What the README and the pages of docs/ show works."""

import re
import warnings
from pathlib import Path

import pytest
from sklearn.exceptions import ConvergenceWarning

from neulvm_neo import Circuit, cli

_ROOT = Path(__file__).resolve().parents[1]
_README = (_ROOT / "README.md").read_text(encoding="utf-8")
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").glob("*.md"))]


def _blocks(language, text=_README):
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)


def test_the_fit_in_ten_lines_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (code,) = _blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 12
    names = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        exec(compile(code, "README.md", "exec"), names)
    assert names["activity"].shape == (1000, 3)
    assert (tmp_path / "fit.npz").is_file()


def test_every_command_shown_exists():
    shown = [block for page in _PAGES for block in _blocks("sh", page.read_text(encoding="utf-8"))]
    commands = re.findall(r"^neulvm (.+?)(?:\s+#.*)?$", "\n".join(shown), re.M)
    assert {command.split()[0] for command in commands} >= {"cluster", "fit", "annotate", "simulate"}
    for command in commands:
        cli._parser().parse_args(command.split())


def test_the_circuit_file_shown_is_one():
    (toml,) = _blocks("toml")
    circuit = Circuit.from_toml(toml)
    assert circuit.names == ("E", "I")
    assert circuit.bounds["tau_m"][1].magnitude.tolist() == [50, 50]


def test_the_two_commands_are_there():
    assert "pip install -e . && neulvm demo\n" in _README
    assert "pip install -e '.[test]' && python -m pytest\n" in _README


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_files_it_points_to_exist(page):
    text = page.read_text(encoding="utf-8")
    paths = [page.parent / path for path in re.findall(r"\]\(([^)#:]+)\)", text)]
    paths += [_ROOT / path for path in re.findall(r"`((?:neulvm_neo|io|tests|tutorials)/[\w./]+)`", text)]
    for path in paths:
        assert path.exists(), path


def test_every_page_is_found_from_the_readme():
    for page in _PAGES[1:]:
        assert f"](docs/{page.name})" in _README, page.name


@pytest.mark.parametrize("picture", sorted((_ROOT / "docs").glob("*.png")), ids=lambda path: path.name)
def test_pictures_are_small_and_shown(picture):
    assert picture.stat().st_size < 300_000
    assert f"docs/{picture.name}" in _README
