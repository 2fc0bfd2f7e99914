import signal

import fake_programs
import pytest

SCRIPT = "gpu_single_host.sh"
TRAINING = ("--config=configs/demo_pretrain.py", "--workdir=a folder")
MAIN = "python -m mgm_jax.main"


@pytest.fixture
def machine(tmp_path):
    machine = fake_programs.Machine(tmp_path)
    machine.add("nvidia-smi", "printf 'NVIDIA H100\\nNVIDIA H100\\n'")
    return machine


def test_installs_checks_and_trains(machine):
    machine.training_ends(0)
    assert machine.launch(SCRIPT, *TRAINING)[0] == 0
    calls = machine.calls("python")
    assert calls[0].startswith("python -m pip install")
    assert calls[0].endswith("-c requirements.txt jax[cuda13]")
    assert "jax.local_device_count() != 2" in calls[1]
    assert calls[2:] == [f"{MAIN} {' '.join(TRAINING)}"]


@pytest.mark.parametrize(("endings", "runs"), [((75, 137, 75, 134, 137), 5), ((75, 1, 0), 2)])
def test_goes_on_after_preemptions_and_a_few_crashes_but_not_after_errors(endings, runs, machine):
    machine.training_ends(*endings)
    code, said = machine.launch(SCRIPT, "--max_crashes=2", "--", *TRAINING)
    assert code == endings[runs - 1]
    assert len(machine.calls(MAIN)) == runs
    assert said.count("preempted") == endings.count(75)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_passes_a_signal_on_and_does_not_start_again(number, machine):
    machine.training_ends("wait", 0)
    process = machine.start(SCRIPT, *TRAINING)
    machine.wait_for("waiting")
    process.send_signal(number)
    assert "saved" in process.communicate(timeout=180)[0]
    assert process.returncode == 75
    assert len(machine.calls(MAIN)) == 1


def test_fewer_gpus_than_there_are(machine):
    machine.training_ends(0)
    assert machine.launch(SCRIPT, "--gpus=1", *TRAINING)[0] == 0
    assert "jax.local_device_count() != 1" in machine.calls("python -c")[0]
    code, said = machine.launch(SCRIPT, "--gpus=3", *TRAINING)
    assert (code, "--gpus=3, but only 2 can be seen" in said) == (1, True)


def test_all_gpus_that_a_scheduler_leaves(machine):
    machine.training_ends(0)
    machine.environment["CUDA_VISIBLE_DEVICES"] = "1"
    assert machine.launch(SCRIPT, *TRAINING)[0] == 0
    assert "jax.local_device_count() != 1" in machine.calls("python -c")[0]


def test_says_what_is_missing(machine):
    for arguments, missing in (((), "--config"), (("--gpus=two", *TRAINING), "--gpus=two")):
        code, said = machine.launch(SCRIPT, *arguments)
        assert (code, missing in said) == (1, True), said
    machine.environment["JAX_FAILS"] = "1"
    assert "JAX does not see 2 GPUs" in machine.launch(SCRIPT, *TRAINING)[1]
    machine.add("nvidia-smi", "echo 'no devices were found'; exit 6")
    assert "nvidia-smi failed: no devices were found" in machine.launch(SCRIPT, *TRAINING)[1]
    assert not machine.calls(MAIN)


def test_a_dry_run_calls_nothing(machine):
    code, said = machine.launch(SCRIPT, "--dry_run", "--gpus=2", *TRAINING)
    assert code == 0
    assert "-c requirements.txt jax\\[cuda13\\]" in said
    assert "CUDA_VISIBLE_DEVICES=0,1" in said
    assert f"{MAIN} {TRAINING[0]} --workdir=a\\ folder" in said
    assert machine.calls() == []
