"""`neulvm experiment`: what it leaves behind, also where it is refused, interrupted, or breaks."""

import json
import os
import signal
import subprocess
import sys
import time

import joblib
import numpy as np
import pytest

from neulvm_neo import cli
from neulvm_neo.experiments import figures, registry


def made_up(**changes):
    """An experiment that takes no time: numbers that are none, numpy types, keys that are no text."""

    def run(*, seed, quick, n_jobs=1, say=None, checkpoint=None):
        checkpoint({"r": [0.5]})
        say("half of it")
        return {
            "r": np.array([0.5, np.nan]), "seed_times_two": 2 * seed, "published": {"r": 0.4},
            "protocol": {59.0: n_jobs}, "failures": [],
        }  # fmt: skip

    def figure(result):
        sheet = figures.sheet(2.0, 2.0)
        sheet.subplots().plot([0.0 if x is None else x for x in result["r"]])
        return sheet

    settings = {"run": run, "figure": figure, "summary": lambda result: [f"ours {result['r'][0]}, paper 0.4"]}
    return registry.Experiment(name="made-up", title="A title", keys=("r",), **settings | changes)


@pytest.fixture
def use(monkeypatch):
    """Puts an experiment where the command looks for it."""

    def put(experiment):
        monkeypatch.setattr(registry, "experiment", lambda name: experiment)

    return put


def refused(capsys, *arguments, code=2):
    assert cli.main(["experiment", *map(str, arguments)]) == code
    error = capsys.readouterr().err
    assert error.startswith("neulvm: ") and error.count("\n") == 1 and "unexpected" not in error
    return error


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_only_the_models_that_are_asked_for_are_compared(use, tmp_path, capsys):
    asked = []

    def run(*, models, **settings):
        asked.append(models)
        return made_up().run(**settings)

    compared = made_up(run=run, models=("ours", "theirs", "nobody's"))
    use(compared)
    for words in ([], ["--models", "ours", "theirs"]):
        assert cli.main(["experiment", "made-up", *words, "--out", str(tmp_path / str(len(words)))]) == 0
    assert asked == [None, ["ours", "theirs"]]
    assert json.loads((tmp_path / "3" / "result.json").read_text())["command"].endswith("--models ours theirs")
    error = refused(capsys, "made-up", "--models", "ours", "yours", "--out", tmp_path / "no")
    assert "--models yours: made-up has no such model; it compares ours, theirs, nobody's" in error
    use(made_up())
    assert "compares nothing by name" in refused(capsys, "made-up", "--models", "ours", "--out", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_run_leaves_a_result_and_a_figure_in_two_formats(use, tmp_path, capsys):
    use(made_up())
    out = tmp_path / "new" / "folder"
    assert cli.main(["experiment", "made-up", "--quick", "--seed", "3", "--n-jobs", "2", "--out", str(out)]) == 0
    assert files(out) == ["made-up.png", "made-up.svg", "result.json"]
    result = json.loads((out / "result.json").read_text())
    assert result["r"] == [0.5, None] and result["protocol"] == {"59.0": 2} and result["seed_times_two"] == 6
    assert (result["name"], result["seed"], result["quick"], result["complete"]) == ("made-up", 3, True, True)
    assert result["command"] == "neulvm experiment made-up --quick --seed 3 --n-jobs 2"
    assert {"neulvm-neo", "numpy", "numba", "scipy"} <= result["versions"].keys() and result["machine"]["cores"] >= 1
    assert result["seconds"] >= 0 and result["date"].endswith("Z") and result["published"] == {"r": 0.4}
    said = capsys.readouterr().out
    assert "A title" in said and "ours 0.5, paper 0.4" in said and "quick look" in said and "half of it" in said


def test_results_that_are_there_are_not_touched_and_nothing_is_computed(use, tmp_path, capsys):
    use(made_up(run=lambda **_: pytest.fail("it ran")))
    for there in ("result.json", "made-up.svg", "partial.json"):
        folder = tmp_path / there.replace(".", "_")
        folder.mkdir()
        (folder / there).write_text("mine")
        assert "--overwrite" in refused(capsys, "made-up", "--out", folder)
        assert (folder / there).read_text() == "mine" and files(folder) == [there]


def test_overwrite_replaces_them(use, tmp_path):
    use(made_up())
    (tmp_path / "result.json").write_text("old")
    (tmp_path / "partial.json").write_text("old")
    assert cli.main(["experiment", "made-up", "--out", str(tmp_path), "--overwrite"]) == 0
    assert json.loads((tmp_path / "result.json").read_text())["r"] == [0.5, None]
    assert "partial.json" not in files(tmp_path)


def interrupted_after_a_checkpoint(*, checkpoint, **_):
    checkpoint({"r": [0.25], "protocol": {}, "published": {}, "failures": []})
    raise KeyboardInterrupt


def test_ctrl_c_keeps_what_was_done_and_says_where(use, tmp_path, capsys):
    use(made_up(run=interrupted_after_a_checkpoint))
    error = refused(capsys, "made-up", "--out", tmp_path, code=130)
    assert "partial.json" in error
    assert files(tmp_path) == ["partial.json"]
    partial = json.loads((tmp_path / "partial.json").read_text())
    assert partial["r"] == [0.25] and partial["complete"] is False
    use(made_up())  # what was done can be drawn, and is not taken for a whole run
    assert cli.main(["experiment", "made-up", "--from", str(tmp_path), "--out", str(tmp_path / "drawn")]) == 0
    assert "interrupted" in capsys.readouterr().out
    assert "interrupted" in refused(capsys, "made-up", "--beside", tmp_path, "--out", tmp_path / "other")


def test_a_fit_that_survives_ctrl_c_does_not_get_into_what_is_kept(use, tmp_path, capsys):
    def run(*, checkpoint, **_):
        checkpoint({"r": [0.25]})
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            pass  # as `NeuLVM.fit`, which returns the best so far
        checkpoint({"r": [0.25, -1.0]})
        pytest.fail("the run went on")

    use(made_up(run=run))
    before = signal.getsignal(signal.SIGINT)
    assert "partial.json" in refused(capsys, "made-up", "--out", tmp_path, code=130)
    assert json.loads((tmp_path / "partial.json").read_text())["r"] == [0.25]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_anything_was_done_leaves_no_file(use, tmp_path, capsys):
    def run(**_):
        raise KeyboardInterrupt

    use(made_up(run=run))
    assert "nothing was written" in refused(capsys, "made-up", "--out", tmp_path, code=130)
    assert files(tmp_path) == []


def _square(x, log):
    """A task that leaves a trace of having been run."""
    with open(log, "a") as file:
        file.write(f"{x} ")
    return np.full(3, float(x**2))


def squares(log, stop_at=None):
    """A resumable experiment of five tasks; Ctrl-C comes while one of them is at work, which survives it."""

    def run(*, seed, quick, n_jobs=1, say=None, checkpoint=None, run_tasks=None):
        found = []
        for x, result in enumerate(run_tasks((joblib.delayed(_square)(x, log) for x in range(5)), n_jobs)):
            found.append(float(result.sum()) + seed)
            checkpoint({"r": found})
            if x + 1 == stop_at:
                try:
                    signal.raise_signal(signal.SIGINT)
                except KeyboardInterrupt:
                    pass
        return {"r": found, "published": {}, "protocol": {}, "failures": []}

    return made_up(run=run, resumable=True)


def test_an_interrupted_run_is_gone_on_with(use, tmp_path, capsys):
    whole, log = tmp_path / "whole", tmp_path / "log"
    use(squares(log))
    assert cli.main(["experiment", "made-up", "--out", str(whole)]) == 0
    assert "tasks" not in files(whole)
    log.unlink()
    parts = tmp_path / "parts"
    use(squares(log, stop_at=2))
    assert "--resume" in refused(capsys, "made-up", "--out", parts, code=130)
    assert log.read_text() == "0 1 2 ", "what was at work when Ctrl-C came has run, but is not kept"
    assert json.loads((parts / "partial.json").read_text())["r"] == [1.0, 4.0]
    assert "--overwrite" in refused(capsys, "made-up", "--out", parts)
    assert "seed 1" in refused(capsys, "made-up", "--seed", "2", "--resume", "--out", parts)
    use(squares(log))
    assert cli.main(["experiment", "made-up", "--resume", "--out", str(parts)]) == 0
    assert log.read_text() == "0 1 2 2 3 4 "
    assert files(parts) == files(whole)
    ours, theirs = (json.loads((folder / "result.json").read_text()) for folder in (parts, whole))
    assert ours["r"] == theirs["r"] and ours["complete"] and ours["command"] == theirs["command"]


def test_there_must_be_something_to_go_on_with(use, tmp_path, capsys):
    use(squares(tmp_path / "log"))
    assert "no finished tasks" in refused(capsys, "made-up", "--resume", "--out", tmp_path / "new")
    use(made_up())
    assert "leave it out" in refused(capsys, "made-up", "--resume", "--out", tmp_path / "new")


def test_starting_anew_forgets_the_tasks_of_another_run(use, tmp_path, capsys):
    log, folder = tmp_path / "log", tmp_path / "out"
    use(squares(log, stop_at=2))
    refused(capsys, "made-up", "--out", folder, code=130)
    use(squares(log))
    assert cli.main(["experiment", "made-up", "--seed", "2", "--overwrite", "--out", str(folder)]) == 0
    assert log.read_text() == "0 1 2 0 1 2 3 4 "


def test_the_same_run_gives_the_same_figures(use, tmp_path):
    use(made_up())
    for folder in ("a", "b"):
        assert cli.main(["experiment", "made-up", "--out", str(tmp_path / folder)]) == 0
    for name in ("made-up.png", "made-up.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_figure_that_fails_costs_nothing_but_the_figure(use, tmp_path, capsys):
    def figure(result):
        raise ValueError("no such colour")

    use(made_up(figure=figure))
    assert "no such colour" in refused(capsys, "made-up", "--out", tmp_path / "a")
    assert files(tmp_path / "a") == ["partial.json"]
    use(made_up(run=lambda **_: pytest.fail("it ran again")))
    assert cli.main(["experiment", "made-up", "--from", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    assert files(tmp_path / "b") == ["made-up.png", "made-up.svg", "result.json"]
    assert json.loads((tmp_path / "b" / "result.json").read_text())["complete"] is True


def test_runs_with_other_seeds_are_told_beside(use, tmp_path, capsys):
    use(made_up())
    for seed in ("2", "3"):
        assert cli.main(["experiment", "made-up", "--seed", seed, "--out", str(tmp_path / seed)]) == 0
    beside = ["--beside", str(tmp_path / "2"), str(tmp_path / "3")]
    assert cli.main(["experiment", "made-up", *beside, "--out", str(tmp_path / "1")]) == 0
    repeated = json.loads((tmp_path / "1" / "result.json").read_text())["repeated_runs"]
    assert [(run["seed"], run["r"]) for run in repeated] == [(2, [0.5, None]), (3, [0.5, None])]
    assert all("--seed" in run["command"] for run in repeated)
    capsys.readouterr()
    error = refused(capsys, "made-up", "--quick", "--beside", tmp_path / "2", "--out", tmp_path / "q")
    assert "a full run beside a quick one" in error
    use(made_up()._replace(name="another"))
    assert "not a result of another" in refused(capsys, "another", "--beside", tmp_path / "2", "--out", tmp_path / "o")


def test_a_result_without_its_keys_is_an_error(use, tmp_path, capsys):
    use(made_up()._replace(keys=("r", "switches")))
    assert "made-up gave no switches" in refused(capsys, "made-up", "--out", tmp_path)
    assert files(tmp_path) == ["partial.json"]


def test_rivals_get_their_interpreters(use, tmp_path, capsys):
    given = {}

    def run(*, peer_pythons, **_):
        given.update(peer_pythons)
        return {"r": 1.0}

    use(made_up(run=run, figure=lambda result: figures.sheet(1, 1), summary=lambda _: []))
    error = refused(capsys, "made-up", "--peer-python", "ssm=/x/python", "--out", tmp_path)
    assert "no use for it" in error
    use(made_up(run=run, figure=lambda result: figures.sheet(1, 1), summary=lambda _: [])._replace(peers=("ssm",)))
    assert "rivals are ssm" in refused(capsys, "made-up", "--peer-python", "jax=/x/python", "--out", tmp_path)
    assert cli.main(["experiment", "made-up", "--peer-python", "ssm=/x/python", "--out", str(tmp_path)]) == 0
    assert given == {"ssm": "/x/python"}
    assert "/x/python" not in (tmp_path / "result.json").read_text()  # the place says nothing to others


def test_what_is_missing_or_unknown_is_named(tmp_path, capsys):
    assert "choose from cluster-states, connectivity" in refused(capsys, "nope", "--out", tmp_path)
    assert "NAME is missing" in refused(capsys, "--out", tmp_path)
    assert "--out DIR is missing" in refused(capsys, "cluster-states")
    (tmp_path / "file").write_text("")
    assert "not a folder" in refused(capsys, "cluster-states", "--out", tmp_path / "file")
    assert "holds no result.json" in refused(
        capsys, "cluster-states", "--from", tmp_path, "--out", tmp_path / "new"
    )  # fmt: skip


def test_things_that_are_no_data_do_not_get_into_a_result():
    with pytest.raises(TypeError, match="set"):
        registry.plain({"a": {1, 2}})
    assert registry.plain({"a": (np.float32(0.5), np.inf, None, "x", False)}) == {"a": [0.5, None, None, "x", False]}


def test_the_list_names_every_experiment_and_what_it_is_of_the_paper(capsys):
    assert cli.main(["experiment", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(registry.EXPERIMENTS)
    assert all("(Fig" in line or "(Sec" in line for line in lines if not line.startswith("two-scales"))


@pytest.mark.parametrize("name", registry.EXPERIMENTS)
def test_every_experiment_has_what_the_command_needs(name):
    found = registry.experiment(name)
    assert found.name == name and found.keys
    assert all(map(callable, (found.run, found.figure, found.summary)))


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.EXPERIMENTS)
def test_a_quick_run_ends_within_a_minute_on_two_cores(name, tmp_path):
    from matplotlib.image import imread

    began = time.monotonic()
    command = [sys.executable, "-m", "neulvm_neo.cli", "experiment", name, "--quick", "--n-jobs", "2", "--out", "."]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=600,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    assert files(tmp_path) == sorted([f"{name}.png", f"{name}.svg", "result.json"])
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["quick"] and {"published", "protocol", "failures"} <= result.keys()
    picture = imread(tmp_path / f"{name}.png")
    assert picture.shape[1] > 600 and picture[..., :3].std() > 0.02
    assert took <= 60, f"{name} took {took:.0f} s"
