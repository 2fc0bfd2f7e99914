import os
import signal

import fake_programs
import pytest

SCRIPT = "tpu_pod.sh"
SLICE = ("--name=pod", "--zone=us-west4-a", "--retry_seconds=0")
KIND = ("--type=v5litepod-16", "--version=v2-alpha-tpuv5-lite")
TRAINING = ("--", "--config=configs/demo_pretrain.py", "--workdir=gs://bucket/a run")
MAIN = "python -m mgm_jax.main"

# One worker stands for all: its home folder is the machine's. A lost slice ends connections.
GCLOUD = """
action=$4 source=$5
case $action in
  describe) cat "$SLICE" 2>/dev/null && exit
            echo 'ERROR: NOT_FOUND: no pod was found' >&2; exit 1 ;;
  create) rm -rf "$HOME"; mkdir "$HOME"
          [ -e "$STOCKOUT" ] && rm "$STOCKOUT" && exit 1
          echo READY > "$SLICE" ;;
  delete) rm "$SLICE"; kill -KILL "$(cat "$HOME/mgm_jax_code/runs/pod/pid")" 2>/dev/null; true ;;
  scp) [ ! -e "$NO_COPY" ] && cp "$source" "$HOME" ;;
  ssh) for argument; do [[ $argument == --command=* ]] && command=${argument#--command=}; done
       cd "$HOME" && said=$(bash -c "$command") || code=$?
       [ -e "$BROKEN" ] && [[ $command == *follow* ]] && rm "$BROKEN" && exit 1
       [ "$(cat "$SLICE")" = READY ] || exit 1
       echo "$said"; exit "${code:-0}" ;;
esac
"""


@pytest.fixture
def machine(tmp_path):
    machine = fake_programs.Machine(tmp_path)
    machine.add("gcloud", GCLOUD)
    machine.environment |= {
        "BROKEN": str(tmp_path / "broken"),
        "STOCKOUT": str(tmp_path / "stockout"),
        "NO_COPY": str(tmp_path / "no_copy"),
        "MGM_STOP_SECONDS": "20",
    }
    return machine


def tpu_calls(machine):
    return [call.removeprefix("gcloud compute tpus tpu-vm ") for call in machine.calls("gcloud")]


def actions(machine):
    """What was done to the slice, without the questions about its state."""
    made = []
    for call in tpu_calls(machine):
        action = call.split()[0]
        if action == "ssh":
            action = call.split("tpu_worker.sh ")[1].split()[0] if "worker.sh" in call else "setup"
        if action not in ("describe", "status"):
            made.append(action)
    return made


def test_run_creates_installs_trains_on_all_workers_and_shows_the_log(machine):
    machine.training_ends(0)
    setup = ("--setup=echo mounted >> $CALLS", "--create_flag=--spot", "--project=mine")
    code, said = machine.launch(SCRIPT, "run", *SLICE, *KIND, *setup, *TRAINING)
    assert code == 0, said
    assert "training" in said
    assert actions(machine) == ["create", "scp", "install", "setup", "start", "follow"]
    create = next(call for call in tpu_calls(machine) if call.startswith("create"))
    assert create == (
        "create pod --zone=us-west4-a --project=mine --accelerator-type=v5litepod-16 "
        "--version=v2-alpha-tpuv5-lite --spot"
    )
    assert machine.calls("mounted")
    installed = machine.calls("python -m pip")
    assert installed[0].endswith("-r requirements-gcs.txt")
    assert installed[1].endswith("-c requirements.txt jax[tpu]")
    assert machine.calls(MAIN) == [f"{MAIN} {' '.join(TRAINING[1:])}"]
    copied = {path.name for path in (machine.folder / "home" / "mgm_jax_code").iterdir()}
    assert copied == {
        *("mgm_jax", "configs", "data_prep", "launch", "runs"),
        *("pyproject.toml", "requirements.txt", "requirements-gcs.txt"),
    }
    everywhere = [call for call in tpu_calls(machine) if "--worker=all" in call]
    assert len(everywhere) == 4  # scp, install, setup, start


@pytest.mark.slow
def test_goes_on_after_preemption_on_the_same_slice_or_another(machine):
    (machine.folder / "stockout").touch()
    machine.training_ends(75, "lost", 137, 0)
    code, said = machine.launch(SCRIPT, "run", *SLICE, *KIND, *TRAINING)
    assert code == 0, said
    start = ["scp", "install", "start", "follow"]
    assert actions(machine) == [
        *("create", "create", *start, "end"),  # The first finds no capacity.
        *(*start, "delete", "create"),
        *(*start, "end", *start),
    ]
    assert len(machine.calls(MAIN)) == 4


@pytest.mark.slow
def test_ends_with_the_exit_code_of_an_error_or_after_too_many_crashes(machine):
    machine.training_ends(1)
    assert machine.launch(SCRIPT, "run", *SLICE, *KIND, *TRAINING)[0] == 1
    machine.training_ends(134, 134)
    assert machine.launch(SCRIPT, "run", *SLICE, "--max_crashes=1", *TRAINING)[0] == 134
    assert len(machine.calls(MAIN)) == 3
    assert actions(machine).count("create") == 1  # The slice is reused.


@pytest.mark.slow
def test_a_broken_connection_comes_back_to_the_running_training(machine):
    (machine.folder / "broken").touch()
    machine.training_ends(0)
    code, said = machine.launch(SCRIPT, "run", *SLICE, *KIND, *TRAINING)
    assert (code, "the connection broke" in said) == (0, True)
    assert actions(machine).count("follow") == 2
    assert len(machine.calls(MAIN)) == 1


@pytest.mark.slow
def test_stop_saves_and_a_second_run_joins_what_trains(machine):
    machine.training_ends("wait", 0)
    first = machine.start(SCRIPT, "run", *SLICE, *KIND, *TRAINING)
    machine.wait_for("waiting")
    os.killpg(first.pid, signal.SIGKILL)  # With what follows the log, if it has begun already.
    first.communicate()
    assert machine.launch(SCRIPT, "status", *SLICE)[1] == "READY\ntraining\n"
    code, said = machine.launch(SCRIPT, "run", *SLICE, *TRAINING, "--config.seed=1")
    assert (code, "another training runs: " in said) == (1, True), said
    second = machine.start(SCRIPT, "log", *SLICE)
    assert machine.launch(SCRIPT, "stop", *SLICE)[0] == 0
    assert "saved" in second.communicate(timeout=30)[0]
    assert machine.launch(SCRIPT, "status", *SLICE)[1] == "READY\nidle\n"
    assert len(machine.calls(MAIN)) == 1
    assert machine.launch(SCRIPT, "delete", *SLICE)[0] == 0
    assert machine.launch(SCRIPT, "status", *SLICE)[1] == "ABSENT\n"


@pytest.mark.slow
@pytest.mark.parametrize("command", ["stop", "delete"])
def test_run_neither_resumes_what_was_stopped_nor_makes_a_deleted_slice_anew(command, machine):
    machine.training_ends("wait", 0)
    follows = machine.start(SCRIPT, "run", *SLICE, *KIND, *TRAINING)
    machine.wait_for("waiting")
    assert machine.launch(SCRIPT, command, *SLICE)[0] == 0
    said = follows.communicate(timeout=60)[0]
    assert (follows.returncode, "the same command" in said) == (
        75 if command == "stop" else 1,
        True,
    )
    assert actions(machine).count("create") == 1
    assert len(machine.calls(MAIN)) == 1


def test_stop_while_the_workers_are_prepared_keeps_training_from_starting(machine):
    machine.training_ends(0)
    assert machine.launch(SCRIPT, "create", *SLICE, *KIND)[0] == 0
    stop = "bash mgm_jax_code/launch/tpu_worker.sh stop"  # As `tpu_pod.sh stop` runs meanwhile.
    code, said = machine.launch(SCRIPT, "run", *SLICE, f"--setup={stop}", *TRAINING)
    assert (code, "the same command resumes" in said) == (75, True), said
    assert not machine.calls(MAIN)
    assert machine.launch(SCRIPT, "run", *SLICE, *TRAINING)[0] == 0
    assert len(machine.calls(MAIN)) == 1


def test_code_that_could_not_be_copied_does_not_train(machine):
    machine.training_ends(0)
    assert machine.launch(SCRIPT, "run", *SLICE, *KIND, *TRAINING)[0] == 0
    (machine.folder / "no_copy").touch()
    code, said = machine.launch(SCRIPT, "run", *SLICE, *KIND, *TRAINING)
    assert (code, "the workers could not be prepared" in said) == (1, True), said
    assert actions(machine)[-1] == "scp"
    assert len(machine.calls(MAIN)) == 1


def test_says_what_is_missing(machine):
    for arguments, missing in (
        (("run",), "--zone"),
        (("start", *SLICE), "start"),
        (("run", *SLICE), "--config"),
        (("run", *SLICE, "--workdir=x"), "--workdir=x"),
        (("create", *SLICE), "--type"),
    ):
        code, said = machine.launch(SCRIPT, *arguments)
        assert (code, missing in said) == (1, True), said


def test_a_dry_run_calls_nothing(machine):
    code, said = machine.launch(SCRIPT, "run", *SLICE, *KIND, "--dry_run", *TRAINING)
    assert code == 0
    for expected in ("tpu-vm create pod", "scp", "install", "tpu_worker.sh\\ start", "a\\\\\\ run"):
        assert expected in said
    for command in ("create", "install", "log", "status", "stop", "delete"):
        code, said = machine.launch(SCRIPT, command, *SLICE, *KIND, "--dry_run")
        assert (code, "gcloud compute tpus tpu-vm" in said) == (0, True)
    assert machine.calls() == []
