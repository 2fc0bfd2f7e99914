import fake_programs
import pytest

SCRIPT = "slurm.sh"
TRAINING = ("--config=configs/demo_pretrain.py", "--workdir=a folder")


@pytest.fixture
def machine(tmp_path):
    """The first node of a job: srun runs one of its processes."""
    machine = fake_programs.Machine(tmp_path)
    machine.add("srun", 'while [[ $1 == --* ]]; do shift; done; "$@"')
    machine.add("scontrol")
    machine.environment |= {
        "SLURM_JOB_ID": "17",
        "SLURM_SUBMIT_DIR": str(fake_programs.LAUNCH.parent),
        "SLURM_CPUS_ON_NODE": "96",
        "SLURM_NTASKS_PER_NODE": "1",
    }
    return machine


def test_installs_and_trains_with_all_processors_of_a_node(machine):
    machine.training_ends(0)
    assert machine.launch(SCRIPT, *TRAINING)[0] == 0
    assert machine.calls("python -m pip")[0].endswith("jax[cuda13]")
    (call,) = machine.calls("srun")
    assert "--kill-on-bad-exit=1 --cpus-per-task=96" in call
    assert call.endswith(f"python -m mgm_jax.main {' '.join(TRAINING)}")
    assert not machine.calls("scontrol")


@pytest.mark.parametrize("ending", [75, 138])  # 138: SIGUSR1 outside of training steps.
def test_a_preempted_job_goes_back_into_the_queue(ending, machine):
    machine.training_ends(ending)
    assert machine.launch(SCRIPT, *TRAINING)[0] == 0
    assert machine.calls("scontrol") == ["scontrol requeue 17"]
    assert len(machine.calls("srun")) == 1


@pytest.mark.parametrize(("endings", "runs"), [((134, 137, 134), 3), ((134, 1, 0), 2)])
def test_goes_on_after_a_few_crashes_but_not_after_errors(endings, runs, machine):
    machine.training_ends(*endings)
    assert machine.launch(SCRIPT, "--max_crashes=2", "--jax=cpu", *TRAINING)[0] == endings[runs - 1]
    assert len(machine.calls("srun")) == runs
    assert not machine.calls("scontrol")
    assert not machine.calls("python -m pip")


def test_says_what_is_missing(machine):
    assert "--config" in machine.launch(SCRIPT)[1]
    machine.environment["SLURM_SUBMIT_DIR"] = "/nowhere"
    assert "submit the job from the repository's folder" in machine.launch(SCRIPT, *TRAINING)[1]
    del machine.environment["SLURM_JOB_ID"], machine.environment["SLURM_SUBMIT_DIR"]
    code, said = machine.launch(SCRIPT, *TRAINING)
    assert (code, "not in a SLURM job" in said) == (1, True)
    assert machine.calls() == []


def test_a_dry_run_calls_nothing(machine):
    del machine.environment["SLURM_JOB_ID"], machine.environment["SLURM_SUBMIT_DIR"]
    code, said = machine.launch(SCRIPT, "--dry_run", *TRAINING)
    assert code == 0
    assert "python -m mgm_jax.main --config=configs/demo_pretrain.py --workdir=a\\ folder" in said
    assert machine.calls() == []
