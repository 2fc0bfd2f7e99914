#!/usr/bin/env bash
# Trains on the NVIDIA GPUs of this machine: installs JAX for CUDA 13, checks that JAX sees the GPUs,
# runs mgm_jax.main, and runs it again after a preemption (exit code 75) or a crash.
#
#   launch/gpu_single_host.sh [options] [--] --config=FILE --workdir=DIR [--config.NAME=VALUE ...]
#
#   --gpus=N          use the first N GPUs (all)
#   --max_crashes=N   resume at most N times after a death by a signal, such as out of memory (3)
#   --dry_run         print the commands instead of running them
#
# Other arguments go to mgm_jax.main. On SIGTERM, SIGINT or SIGUSR1 to this script, training saves a
# checkpoint and the script ends with its exit code. docs/launching.md explains the exit codes.
set -euo pipefail

gpus='' max_crashes=3 dry_run=''
while [ $# -gt 0 ]; do
  case $1 in
    --gpus=*) gpus=${1#*=} ;;
    --max_crashes=*) max_crashes=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    --help | -h) exec sed -n '/^#!/d; /^#/!q; s/^# \{0,1\}//p' "$0" ;;
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

count_gpus() {
  local names
  command -v nvidia-smi >/dev/null ||
    fail "no nvidia-smi, so there is no NVIDIA driver; install one for CUDA 13, or train on the" \
      "CPU with python -m mgm_jax.main"
  names=$(nvidia-smi --query-gpu=name --format=csv,noheader) || fail "nvidia-smi failed: $names"
  grep -c . <<<"$names" || fail "nvidia-smi sees no GPU"
}

# Runs a command as a child, passes signals on to it, and sets code to its exit status.
child='' stopping='' signalled=''
on_signal() {
  stopping=yes signalled=yes
  [ -z "$child" ] || kill -TERM "$child" 2>/dev/null || true
}
supervise() {
  local again
  if [ "$dry_run" ]; then
    run "$@" && exit
  fi
  "$@" &
  child=$!
  # For a signal that came before the child started.
  [ -z "$stopping" ] || kill -TERM "$child" 2>/dev/null || true
  signalled='' code=0
  wait "$child" || code=$?
  while [ "$signalled" ]; do # A signal ended the wait; the child still runs.
    signalled='' again=0
    wait "$child" || again=$?
    [ "$again" = 127 ] || code=$again
  done
  child=''
}

[ $# -gt 0 ] || fail "no --config and --workdir for mgm_jax.main; see $0 --help"
[[ $max_crashes =~ ^[0-9]+$ ]] || fail "--max_crashes=$max_crashes is not a number"
[[ $gpus =~ ^([1-9][0-9]*)?$ ]] || fail "--gpus=$gpus is not a positive number"

if [ "$dry_run" ]; then
  gpus=${gpus:-8}
  echo "nvidia-smi --query-gpu=name --format=csv,noheader  # for the number of GPUs, here $gpus"
  run source "$(dirname "$0")/environment.sh"
else
  present=$(count_gpus)
  # A scheduler may have restricted them already.
  [ -z "${CUDA_VISIBLE_DEVICES:-}" ] || present=$(tr , '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -c .)
  gpus=${gpus:-$present}
  [ "$gpus" -le "$present" ] || fail "--gpus=$gpus, but only $present can be seen"
  # shellcheck source=environment.sh
  source "$(dirname "$0")/environment.sh"
fi
# -c keeps the version of requirements.txt.
run python -m pip install --quiet --disable-pip-version-check -c requirements.txt "jax[cuda13]"

CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((gpus - 1)))}
CUDA_VISIBLE_DEVICES=$(cut -d, -f"1-$gpus" <<<"$CUDA_VISIBLE_DEVICES")
export CUDA_VISIBLE_DEVICES
export JAX_PLATFORMS=cuda
[ -z "$dry_run" ] ||
  echo "export CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES JAX_PLATFORMS=$JAX_PLATFORMS"
run python -c "import jax, sys; sys.exit(jax.local_device_count() != $gpus)" ||
  fail "JAX does not see $gpus GPUs; its message is above. It needs a driver for CUDA 13" \
    "(nvidia-smi, top right), and no other CUDA libraries on LD_LIBRARY_PATH"

trap on_signal TERM INT USR1
crashes=0
while :; do
  supervise python -m mgm_jax.main "$@"
  if [ "$stopping" ] || [ "$code" = 0 ]; then
    exit "$code"
  elif [ "$code" = 75 ]; then
    echo "preempted; resuming from the checkpoint"
  elif [ "$code" -gt 128 ] && [ "$crashes" -lt "$max_crashes" ]; then
    crashes=$((crashes + 1))
    echo "ended with exit code $code; resuming from the checkpoint ($crashes of $max_crashes)"
  else
    exit "$code"
  fi
done
