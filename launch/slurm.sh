#!/usr/bin/env bash
#SBATCH --job-name=mgm_jax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm-%x-%j.out
# Trains on the nodes of a SLURM job, one process per node. Submit it in the repository's folder, on
# a file system that all nodes share:
#
#   sbatch [options of sbatch] launch/slurm.sh [options] [--] --config=FILE --workdir=DIR [...]
#
#   --jax=EXTRA       extra of jax to install: cuda13 (default), or cpu for none
#   --max_crashes=N   resume at most N times in this allocation after a death by a signal (3)
#   --dry_run         print the commands instead of running them; needs no SLURM
#
# Other arguments go to mgm_jax.main. Options of sbatch override the #SBATCH lines above:
# sbatch --nodes=4 --time=2-0 launch/slurm.sh ...
#
# 180 s before the time limit SLURM sends SIGUSR1: the processes save a checkpoint and end with exit
# code 75, and this script requeues the job. If SLURM preempts the job or loses a node, SLURM
# requeues it itself. docs/launching.md explains the exit codes.
set -euo pipefail

jax=cuda13 max_crashes=3 dry_run=''
while [ $# -gt 0 ]; do
  case $1 in
    --jax=*) jax=${1#*=} ;;
    --max_crashes=*) max_crashes=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    --help | -h) exec sed -n '/^#!/d; /^#SBATCH/d; /^#/!q; s/^# \{0,1\}//p' "$0" ;;
    --) shift && break ;;
    *) break ;;
  esac
  shift
done

fail() { echo "error: $*" >&2 && exit 1; }

run() {
  if [ "$dry_run" ]; then
    printf '%q ' "$@" && echo
  else
    "$@"
  fi
}

[ $# -gt 0 ] || fail "no --config and --workdir for mgm_jax.main; see $0 --help"
[[ $max_crashes =~ ^[0-9]+$ ]] || fail "--max_crashes=$max_crashes is not a number"

# SLURM runs a copy of this script, in another folder.
launch=${SLURM_SUBMIT_DIR:-$(dirname "$0")/..}/launch
[ -f "$launch/environment.sh" ] ||
  fail "no launch/environment.sh in $PWD; submit the job from the repository's folder"
[ "$dry_run" ] || [ "${SLURM_JOB_ID:-}" ] || fail "not in a SLURM job; start it with sbatch $0"

if [ "$dry_run" ]; then
  run source "$launch/environment.sh"
else
  # shellcheck source=environment.sh
  source "$launch/environment.sh"
fi
# -c keeps the version of requirements.txt.
[ "$jax" = cpu ] ||
  run python -m pip install --quiet --disable-pip-version-check -c requirements.txt "jax[$jax]"

# Without a GPU or a driver for CUDA 13, JAX would train on the CPU.
case $jax in cuda*) export JAX_PLATFORMS=cuda ;; esac
# All cores of the node, for the data workers; by default srun gives a process one.
cpus=$((${SLURM_CPUS_ON_NODE:-1} / ${SLURM_NTASKS_PER_NODE:-1}))
crashes=0
while :; do
  code=0
  run srun --kill-on-bad-exit=1 --cpus-per-task="$cpus" --cpu-bind=none \
    python -m mgm_jax.main "$@" || code=$?
  # 138: by SIGUSR1 itself, before or after the steps, when there is nothing to save.
  if [ "$code" = 75 ] || [ "$code" = 138 ]; then
    echo "preempted; requeueing the job"
    run scontrol requeue "$SLURM_JOB_ID"
    exit 0
  elif [ "$code" -gt 128 ] && [ "$crashes" -lt "$max_crashes" ]; then
    crashes=$((crashes + 1))
    echo "ended with exit code $code; resuming from the checkpoint ($crashes of $max_crashes)"
  else
    exit "$code"
  fi
done
