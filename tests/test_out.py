"""cli/out.py: what is refused before any work, files that appear together, and results that can be read."""

import json
import os

import pytest

from neulvm_neo.cli import out


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="a file, not a folder"):
        out.check(str(tmp_path / "file"), [], overwrite=True)
    with pytest.raises(NotADirectoryError, match="file is a file"):
        out.check(str(tmp_path / "file" / "below"), [], overwrite=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="choose another place"):
        out.check(str(tmp_path / "new"), [], overwrite=True)


def test_files_that_exist_are_refused_unless_they_may_be_replaced(tmp_path):
    there = tmp_path / "result.json"
    there.write_text("")
    with pytest.raises(FileExistsError, match="--overwrite"):
        out.check(str(tmp_path), [str(there)], overwrite=False)
    out.check(str(tmp_path), [str(there)], overwrite=True)
    out.check(str(tmp_path / "new"), [str(tmp_path / "new" / "result.json")], overwrite=False)
    assert not (tmp_path / "new").exists()


def test_files_appear_together_or_not_at_all(tmp_path):
    paths = [str(tmp_path / "new" / name) for name in ("a.json", "b.json")]
    with pytest.raises(RuntimeError, match="between"), out.new_files(paths, overwrite=False) as (first, _):
        out.write_json({}, first)
        raise RuntimeError("between")
    assert os.listdir(tmp_path / "new") == []
    with out.new_files(paths, overwrite=False) as temporary:
        for path in temporary:
            out.write_json({}, path)
    assert sorted(os.listdir(tmp_path / "new")) == ["a.json", "b.json"]


def test_results_read_back_the_same_with_the_numbers_of_a_list_on_one_line(tmp_path):
    result = {
        "numbers": [1, 2.5, -1e-300, 0.1 + 0.2, None, True],
        "table": [[1, 2], [3.5, 4]],
        "words": ["[\n 1,\n 2\n]", "a, b", "[ 1,  2 ]"],
        "empty": [],
        "deep": {"runs": [{"n": [1, 2], "of": "x"}]},
    }
    path = tmp_path / "result.json"
    out.write_json(result, str(path))
    text = path.read_text()
    assert json.loads(text) == result
    assert ' "numbers": [1, 2.5, -1e-300, 0.30000000000000004, null, true],\n' in text
    assert '   "n": [1, 2],\n' in text and text.count("\n") < 30


def test_what_is_no_number_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        out.write_json({"x": float("nan")}, str(tmp_path / "result.json"))
