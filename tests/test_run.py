"""A run in its folder: killed, stopped, spoiled and mistaken for another, it ends where it should, and says why."""

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ndiv_lib.training import (
    CheckpointError,
    Run,
    RunMismatch,
    Speed,
    TrainingDiverged,
    make_accelerator,
    read_checkpoint,
    read_identity,
)
from ndiv_lib.training.random_states import random_states, set_random_states
from tests.killed_runs import IDENTITY, end_of, in_numbers, log_of, train_little

KILLS = int(os.environ.get("NDIV_KILLS", "3"))
ROOT = Path(__file__).parents[1]


def saved_step(folder):
    return read_checkpoint(folder / "checkpoints")[0]


@pytest.fixture(scope="module")
def peaceful(tmp_path_factory):
    """What thirty steps come to that nothing disturbs."""
    folder = tmp_path_factory.mktemp("runs") / "peaceful"
    assert train_little(folder, 30).finished
    return folder


def test_killed_and_started_again_it_comes_to_the_same(tmp_path):
    """With kill -9, at random moments; NDIV_KILLS says how often."""
    command = [sys.executable, "-m", "tests.killed_runs", tmp_path, "--kills", str(KILLS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["equal"] and said["kills"] > 0 and not said["left_over"]
    assert said["checkpoints"] in (2, 3)  # a kill between the last one and its tidying leaves an older one


def ask_at(step, number):
    return lambda now, network, terms: os.kill(os.getpid(), number) if now == step else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_stops(tmp_path, peaceful, number):
    lines = []
    before = signal.getsignal(number)
    run = train_little(tmp_path / "run", 30, change=ask_at(7, number), checkpoint_minutes=10, lines=lines)
    assert not run.finished and run.step == run.saved_step == saved_step(tmp_path / "run") == 7
    assert lines[-1] == "stopped after step 7; start the same command again to go on."
    assert signal.getsignal(number) is before  # as it was before the run

    assert train_little(tmp_path / "run", 30, lines=lines).finished
    assert any(line.startswith("going on after step 7 in ") for line in lines)
    _, state = read_checkpoint(tmp_path / "run" / "checkpoints")
    _, expected = read_checkpoint(peaceful / "checkpoints")
    assert in_numbers(state["shared"]) == in_numbers(expected["shared"])  # the log has one look more


@pytest.fixture
def interruptible():
    """A process started in the background ignores interrupts, and then the second one would do nothing."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_interrupt_ends_at_once(tmp_path, interruptible):
    def twice(step, network, terms):
        if step == 7:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)  # two that arrive together are one
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.1)

    with pytest.raises(KeyboardInterrupt) as caught:
        train_little(tmp_path / "run", 30, change=twice)
    assert "was at step 7; its last checkpoint is of step 5" in caught.value.__notes__[0]
    assert train_little(tmp_path / "run", 30).finished


def test_out_of_time_it_stops_and_goes_on(tmp_path, peaceful):
    sittings = 0
    while not train_little(tmp_path / "run", 30, max_minutes=0.0).finished:
        sittings += 1
        assert saved_step(tmp_path / "run") == 5 * sittings  # a look is the place to stop
    assert sittings == 5
    assert end_of(tmp_path / "run") == end_of(peaceful)


def test_finished_it_does_nothing_more(tmp_path):
    folder = tmp_path / "run"
    assert train_little(folder, 10).finished
    before = {
        path.name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "events" not in path.parts
    }
    lines = []
    run = train_little(folder, 10, change=lambda *_: pytest.fail("a step was done"), lines=lines)
    assert run.finished and lines[-1].startswith("finished: 10 steps in ")
    assert before == {
        path.name: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "events" not in path.parts
    }


# --- terms and weights that are no numbers ------------------------------------------------------------------------------


def spoil_term(value):
    def change(step, network, terms):
        if step == 13:
            terms["labels"] = torch.tensor(value)

    return change


@pytest.mark.parametrize(
    ("value", "said"),
    [(float("nan"), "nan"), (float("inf"), "inf"), (float("-inf"), "inf"), (2e6, r"2e\+06")],
)
def test_a_diverging_term_is_named(tmp_path, value, said):
    message = (
        rf"the term 'labels' reached {said} between steps 11 and 15 \(largest allowed: 1e\+06\)\. "
        r"The last good checkpoint, of step 10, is kept"
    )
    with pytest.raises(TrainingDiverged, match=message):
        train_little(tmp_path / "run", 30, change=spoil_term(value))
    assert saved_step(tmp_path / "run") == 10
    assert [row["step"] for row in log_of(tmp_path / "run")] == [5, 10]


def test_weights_that_are_no_numbers_are_named(tmp_path):
    def spoil(step, network, terms):
        if step == 15:
            network[1].weight.data[0, 0] = torch.nan

    with pytest.raises(
        TrainingDiverged, match=r"network\.1\.weight holds NaN or infinity after step 15\. .* step 10,"
    ):
        train_little(tmp_path / "run", 30, change=spoil)
    assert saved_step(tmp_path / "run") == 10
    assert train_little(tmp_path / "run", 30).finished  # as if nothing had happened


def test_an_error_in_the_loop_says_where_the_run_was(tmp_path):
    def fail(step, network, terms):
        if step == 13:
            raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory") as caught:
        train_little(tmp_path / "run", 30, change=fail)
    assert (
        "was at step 13; its last checkpoint is of step 10. Start the same command"
        in caught.value.__notes__[0]
    )


# --- another run in the folder ------------------------------------------------------------------------------------------

OTHERS = [
    ({"recipe": "large"}, "holds a run of recipe 'little', and this one has 'large'; choose another folder"),
    ({"seed": 1}, "holds a run of seed 0, and this one has 1"),
    (
        {"config": {"width": 5, "nested": {"a": [1, 2]}}},
        r"holds a run with width 4 \(now 5\); choose another",
    ),
    ({"config": {"width": 4, "nested": {"a": [1]}}}, r"with nested \{'a': \[1, 2\]\} \(now \{'a': \[1\]\}\)"),
    ({"config": {"width": 4}}, r"with nested \{'a': \[1, 2\]\} \(now None\)"),
    ({"config": IDENTITY["config"] | {"new": 1}}, r"with new None \(now 1\)"),
]


@pytest.mark.parametrize(("change", "said"), OTHERS)
def test_another_run_is_refused(tmp_path, change, said):
    folder = tmp_path / "run"
    train_little(folder, 5)
    before = end_of(folder)
    with pytest.raises(RunMismatch, match=said):
        train_little(folder, 5, identity=IDENTITY | change)
    assert end_of(folder) == before


@pytest.mark.parametrize("field", ["version", "format", "num_processes"])
def test_a_run_of_another_kind_is_refused(tmp_path, field):
    folder = tmp_path / "run"
    train_little(folder, 5)
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: "another"}))
    with pytest.raises(RunMismatch, match=f"holds a run of {field} 'another', and this one has "):
        train_little(folder, 5)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"every": 0}, ValueError, "expected every >= 1, got 0"),
        ({"every": 2.5}, TypeError, "expected every to be an integer"),
        (
            {"parts": {"scale": 3}},
            TypeError,
            r"part 'scale' .* got int; put what does not change into the identity",
        ),
    ],
)
def test_what_cannot_run_is_refused_before_it_starts(tmp_path, options, error, said):
    accelerator = make_accelerator(Speed(cpu=True))
    with pytest.raises(error, match=said):
        Run(tmp_path / "run", IDENTITY, accelerator=accelerator, **({"parts": {}} | options))
    assert not (tmp_path / "run").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("three years of work")
    with pytest.raises(RunMismatch, match="is neither empty nor a run; choose another folder"):
        train_little(tmp_path, 5)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(FileNotFoundError, match=r"expected the folder of a run \(with run.json\), got none"):
        read_identity(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": 3}'])
def test_a_description_that_cannot_be_read_is_said(tmp_path, text):
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(RunMismatch, match=r"run\.json: cannot be read \(.*\); remove the folder"):
        train_little(tmp_path, 5)


def test_a_start_that_was_killed_leaves_no_trap(tmp_path):
    (tmp_path / "run.partial").write_text('{"rec')
    (tmp_path / "checkpoints" / ".writing-step-00000005").mkdir(parents=True)
    with pytest.raises(RunMismatch):  # checkpoints without a run are not ours
        train_little(tmp_path, 5)
    (tmp_path / "checkpoints" / ".writing-step-00000005").rmdir()
    (tmp_path / "checkpoints").rmdir()
    assert train_little(tmp_path, 5).finished
    (tmp_path / "checkpoints" / ".writing-step-00000010").mkdir()
    assert train_little(tmp_path, 5).finished
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000005"]


def test_unknown_parts_are_refused(tmp_path, monkeypatch):
    """As when a run in float16, which has a scaler, goes on in another precision."""
    folder = tmp_path / "run"
    train_little(folder, 5)

    from tests import killed_runs

    class RunWithScaler(killed_runs.Run):
        def __init__(self, folder, identity, parts, accelerator, **options):
            super().__init__(folder, identity, parts | {"scaler": torch.Generator()}, accelerator, **options)

    monkeypatch.setattr(killed_runs, "Run", RunWithScaler)
    with pytest.raises(
        RunMismatch,
        match=r"expected a checkpoint of \[.*'scaler'\], got one of \['average', .*made with other",
    ):
        train_little(folder, 5)


def test_a_torn_log_is_mended(tmp_path, peaceful):
    folder = tmp_path / "run"
    train_little(folder, 30, change=ask_at(20, signal.SIGTERM))
    with (folder / "log.jsonl").open(
        "a"
    ) as log:  # written after the checkpoint, by a run that was then killed
        log.write('{"step": 25, "seconds": 1.0, "squares": 0.1}\n{"step": 30, "sec')
    assert train_little(folder, 30).finished
    assert end_of(folder) == end_of(peaceful)


# --- what it shows ------------------------------------------------------------------------------------------------------


def test_one_line_for_each_look(tmp_path):
    lines = []
    train_little(tmp_path / "run", 12, lines=lines)
    number = r"-?[\d.e+-]+"
    form = (
        rf"step [\d,]+ / 12 \(\d+%\)  [\d,]+ images/s  \d+:\d\d:\d\d left  squares {number}  labels {number}"
    )
    assert len(lines) == 3 and all(re.fullmatch(form, line) for line in lines), lines
    assert lines[-1].startswith("step 12 / 12 (100%)") and "0:00:00 left" in lines[-1]
    rows = list(map(json.loads, (tmp_path / "run" / "log.jsonl").read_text().splitlines()))
    assert [row["step"] for row in rows] == [5, 10, 12]
    assert list(rows[0]) == ["step", "seconds", "images_per_second", "squares", "labels"]
    assert all(row["images_per_second"] > 0 for row in rows)


def test_terms_are_means_since_the_last_look(tmp_path):
    shown = []
    train_little(
        tmp_path / "run", 10, change=lambda step, network, terms: shown.append(terms["squares"].item())
    )
    found = [row["squares"] for row in log_of(tmp_path / "run")]
    assert found == pytest.approx([sum(shown[:5]) / 5, sum(shown[5:]) / 5])


def test_samples_are_kept_and_change_nothing(tmp_path, peaceful):
    def sample():
        return torch.rand(9, 3, 8, 8) * 2 - 1

    train_little(tmp_path / "run", 30, sample=sample, max_minutes=0.0)
    assert train_little(tmp_path / "run", 30, sample=sample).finished
    assert end_of(tmp_path / "run") == end_of(peaceful)
    names = sorted(path.name for path in (tmp_path / "run" / "samples").iterdir())
    assert names == [f"step-{step:08d}.png" for step in range(5, 31, 5)]
    assert not (peaceful / "samples").exists()


def test_tensorboard_reads_the_events(tmp_path):
    """Also of a run in two sittings, each step once."""
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train_little(tmp_path / "run", 30, change=ask_at(15, signal.SIGTERM))
    train_little(tmp_path / "run", 30, sample=lambda: torch.zeros(4, 3, 8, 8))
    events = reader.EventAccumulator(str(tmp_path / "run" / "events")).Reload()
    assert set(events.Tags()["scalars"]) == {"squares", "labels", "images_per_second"}
    assert [event.step for event in events.Scalars("squares")] == [5, 10, 15, 20, 25, 30]
    found = [event.value for event in events.Scalars("squares")]
    assert found == pytest.approx([row["squares"] for row in log_of(tmp_path / "run")], rel=1e-6)
    assert [event.step for event in events.Images("samples")] == [20, 25, 30]


def test_random_states_come_back(tmp_path):
    import random

    import numpy as np

    def draw():
        elsewhere = [np.random.rand(), np.random.randn()]  # noqa: NPY002
        return [*elsewhere, random.random(), random.gauss(0, 1), float(torch.rand(()))]

    draw()
    states = random_states()
    first = draw()
    draw()
    set_random_states(states)
    assert draw() == first


def test_a_second_start_beside_the_first_is_refused(tmp_path):
    folder = tmp_path / "run"

    def start_again(step, network, terms):
        if step == 8:
            with pytest.raises(RunMismatch, match="another process is at work on this run"):
                train_little(folder, 30)

    assert train_little(folder, 30, change=start_again).finished
    assert train_little(folder, 30).finished


def test_each_sitting_says_how_it_was_computed(tmp_path):
    train_little(tmp_path / "run", 30, change=ask_at(15, signal.SIGTERM))
    train_little(tmp_path / "run", 30)
    rows = [json.loads(line) for line in (tmp_path / "run" / "sittings.jsonl").read_text().splitlines()]
    assert [row["from_step"] for row in rows] == [0, 15]
    assert all(row["device"] == "cpu" and row["precision"] == "float32" for row in rows)


@pytest.mark.parametrize("where", ["checkpoint", "samples"])
def test_a_full_disk_ends_the_run_with_all_that_was_saved(tmp_path, peaceful, monkeypatch, where):
    folder = tmp_path / "run"

    def no_space(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill_up(step, network, terms):
        if step == 13:
            patched.setattr(os, "rename", no_space) if where == "checkpoint" else None

    def sample():
        return no_space() if where == "samples" and saved_step(folder) == 15 else torch.zeros(4, 3, 8, 8)

    with (
        monkeypatch.context() as patched,
        pytest.raises((CheckpointError, OSError), match="No space left") as caught,
    ):
        train_little(folder, 30, change=fill_up, sample=sample)
    kept = 10 if where == "checkpoint" else 15
    assert f"at step 15; its last checkpoint is of step {kept}. " in caught.value.__notes__[0]
    assert saved_step(folder) == kept
    assert train_little(folder, 30).finished
    assert end_of(folder) == end_of(peaceful)
