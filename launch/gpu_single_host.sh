#!/usr/bin/env bash
# Trains on the NVIDIA GPUs of this machine: installs JAX for CUDA 13 beside the requirements, checks
# that JAX sees the GPUs, runs mgm_jax.main, and runs it again after a preemption (exit code 75) or
# a crash.
#
#   launch/gpu_single_host.sh [options] [--] --config=FILE --workdir=DIR [--config.NAME=VALUE ...]
#
#   --gpus=N          use the first N GPUs; all of them by default
#   --max_crashes=N   deaths by a signal, such as out of memory, to go on from (3)
#   --dry_run         print every command instead of running it
#
# What follows the options goes to mgm_jax.main. SIGTERM, SIGINT and SIGUSR1 to this script are
# passed on as SIGTERM: training saves, and the script ends with its exit code. docs/launching.md
# explains the exit codes.
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
    fail "nvidia-smi is not there, so there is no NVIDIA driver; install one for CUDA 13, or train" \
      "on the CPU with python -m mgm_jax.main"
  names=$(nvidia-smi --query-gpu=name --format=csv,noheader) || fail "nvidia-smi failed: $names"
  grep -c . <<<"$names" || fail "nvidia-smi sees no GPU"
}

# Runs a command as a child and sets code to its exit status; a signal to stop goes to the child.
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
  # A signal just before the child began has not reached it.
  [ -z "$stopping" ] || kill -TERM "$child" 2>/dev/null || true
  signalled='' code=0
  wait "$child" || code=$?
  while [ "$signalled" ]; do # The trap ended the wait, not the child.
    signalled='' again=0
    wait "$child" || again=$?
    [ "$again" = 127 ] || code=$again
  done
  child=''
}

[ $# -gt 0 ] || fail "no --config and --workdir for mgm_jax.main; see $0 --help"
[[ $max_crashes =~ ^[0-9]+$ ]] || fail "--max_crashes=$max_crashes is no number"
[[ $gpus =~ ^([1-9][0-9]*)?$ ]] || fail "--gpus=$gpus is no positive number"

if [ "$dry_run" ]; then
  gpus=${gpus:-8}
  echo "nvidia-smi --query-gpu=name --format=csv,noheader  # for the number of GPUs, here $gpus"
  run source "$(dirname "$0")/environment.sh"
else
  present=$(count_gpus)
  gpus=${gpus:-$present}
  [ "$gpus" -le "$present" ] || fail "--gpus=$gpus, but nvidia-smi sees $present"
  # shellcheck source=environment.sh
  source "$(dirname "$0")/environment.sh"
fi
# The constraints keep the version of requirements.txt.
run python -m pip install --quiet --disable-pip-version-check -c requirements.txt "jax[cuda13]"

# Whoever gave this machine's job some of its GPUs has said so already.
CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-$(seq -s, 0 $((gpus - 1)))}
CUDA_VISIBLE_DEVICES=$(cut -d, -f"1-$gpus" <<<"$CUDA_VISIBLE_DEVICES")
export CUDA_VISIBLE_DEVICES
export JAX_PLATFORMS=cuda
[ -z "$dry_run" ] ||
  echo "export CUDA_VISIBLE_DEVICES=$CUDA_VISIBLE_DEVICES JAX_PLATFORMS=$JAX_PLATFORMS"
run python -c "import jax, sys; sys.exit(jax.local_device_count() != $gpus)" ||
  fail "JAX does not see $gpus GPUs; what it says is above. It needs a driver for CUDA 13" \
    "(nvidia-smi, top right), and no other CUDA libraries on LD_LIBRARY_PATH"

trap on_signal TERM INT USR1
crashes=0
while :; do
  supervise python -m mgm_jax.main "$@"
  if [ "$stopping" ] || [ "$code" = 0 ]; then
    exit "$code"
  elif [ "$code" = 75 ]; then
    echo "preempted; going on from the checkpoint"
  elif [ "$code" -gt 128 ] && [ "$crashes" -lt "$max_crashes" ]; then
    crashes=$((crashes + 1))
    echo "ended with exit code $code; going on from the checkpoint ($crashes of $max_crashes)"
  else
    exit "$code"
  fi
done
