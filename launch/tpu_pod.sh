#!/usr/bin/env bash
# Trains on a Cloud TPU VM slice of any size with gcloud: one process per worker (host).
#
#   launch/tpu_pod.sh COMMAND --name=NAME --zone=ZONE [options] [-- arguments of mgm_jax.main]
#
#   run       create or reuse the slice, install, train on all workers and show worker 0's log;
#             after a preemption resume from the checkpoint, on a new slice if necessary
#   create    create the slice unless it exists
#   install   copy mgm_jax, configs and what they need to all workers, and make the environment
#   log       show worker 0's log until training ends
#   status    print the slice's state, and whether worker 0 is training
#   stop      make training save a checkpoint and end, and with it `run`
#   delete    delete the slice; `run` does not make a new one
#
#   --project=PROJECT     default: that of gcloud
#   --type=TYPE           accelerator type, such as v5litepod-256 or v4-64; needed to create
#   --version=VERSION     TPU software version, such as v2-alpha-tpuv5-lite; needed to create
#   --create_flag=FLAG    further flag of `gcloud compute tpus tpu-vm create`, such as --spot
#   --setup=COMMAND       run on every worker before training, for instance to copy the data there
#   --max_crashes=N       resume at most N times after a worker died of a signal (3)
#   --retry_seconds=N     seconds between attempts to create or reach the slice (60)
#   --dry_run             print the commands instead of running them
#
# Training continues if this script is interrupted (Ctrl-C); `run` connects to it again. The slice
# costs money until `delete`. docs/launching.md has an example, and explains the exit codes.
set -euo pipefail

fail() { echo "error: $*" >&2 && exit 1; }

run() {
  if [ "$dry_run" ]; then
    printf '%q ' "$@" && echo
  else
    "$@"
  fi
}

remote=mgm_jax_code # In the home folder of each worker.
here=$(cd "$(dirname "$0")/.." && pwd)
# The last line of the log. gcloud's exit code may be that of a broken connection instead.
ended='mgm_jax.main ended with exit code'

command=${1:---help}
name='' zone='' project='' type='' version='' setup='' max_crashes=3 retry_seconds=60 dry_run=''
create_flags=()
[ $# = 0 ] || shift
while [ $# -gt 0 ]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --type=*) type=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --create_flag=*) create_flags+=("${1#*=}") ;;
    --setup=*) setup=${1#*=} ;;
    --max_crashes=*) max_crashes=${1#*=} ;;
    --retry_seconds=*) retry_seconds=${1#*=} ;;
    --dry_run) dry_run=yes ;;
    --) shift && break ;;
    *) fail "unknown option $1; arguments of mgm_jax.main follow --; see $0 --help" ;;
  esac
  shift
done
shopt -s lastpipe # A loop at the end of a pipe sets variables of this shell.
errors=$(mktemp)
trap 'rm -f "$errors"' EXIT
place=(--zone="$zone" ${project:+--project="$project"})

tpu() { run gcloud compute tpus tpu-vm "$@"; }

on_workers() { # which workers, command
  tpu ssh "$name" "${place[@]}" --worker="$1" --command="$2"
}

on_worker_script() { # action and its arguments, quoted for the worker's shell
  printf '%q ' bash "$remote/launch/tpu_worker.sh" "$@"
}

# The slice's state, such as READY or PREEMPTED; ABSENT if there is none.
slice_state() {
  local answer
  if answer=$(gcloud compute tpus tpu-vm describe "$name" "${place[@]}" --format='value(state)' \
    2>"$errors"); then
    echo "$answer"
  elif grep -qi 'not.found' "$errors"; then
    echo ABSENT
  else
    cat "$errors" >&2
    echo UNKNOWN
  fi
}

create_slice() {
  [ "$type" ] && [ "$version" ] || fail "--type and --version are needed to create a slice; see $0 --help"
  tpu create "$name" "${place[@]}" --accelerator-type="$type" --version="$version" \
    "${create_flags[@]}"
}

# Waits until the slice is ready, and creates it if necessary.
ensure_slice() {
  if [ "$dry_run" ]; then
    tpu describe "$name" "${place[@]}" --format='value(state)'
    create_slice
    return
  fi
  while :; do
    case $(slice_state) in
      READY) return ;;
      ABSENT) create_slice || echo "the slice cannot be created now; trying again" >&2 ;;
      PREEMPTED | TERMINATED | STOPPED | FAILED)
        echo "the slice is lost; creating a new one" >&2
        tpu delete "$name" "${place[@]}" --quiet || true
        continue
        ;;
      *) ;; # CREATING, REPAIRING, DELETING: wait.
    esac
    [ "$(slice_state)" = READY ] || sleep "$retry_seconds"
  done
}

install_on_workers() {
  local archive=mgm_jax_code.tar.gz folder failed=''
  folder=$(mktemp -d)
  # The caller tests the result, which switches `set -e` off in here.
  run tar -czf "$folder/$archive" --exclude=__pycache__ -C "$here" mgm_jax configs data_prep \
    launch pyproject.toml requirements.txt requirements-gcs.txt &&
    tpu scp "$folder/$archive" "$name:$archive" "${place[@]}" --worker=all || failed=1
  rm -r "$folder"
  [ -z "$failed" ] && on_workers all "mkdir -p $remote && tar -xzf $archive -C $remote && $(on_worker_script install)"
}

is_training() {
  [ -z "$dry_run" ] && [ "$(slice_state)" = READY ] &&
    [ "$(on_workers 0 "$(on_worker_script status)" 2>/dev/null)" = training ]
}

start() {
  install_on_workers && { [ -z "$setup" ] || on_workers all "$setup"; } &&
    on_workers all "$(on_worker_script start "$@")"
}

# Sets code to the exit code of training, or to "stopped", "lost" or "deleted".
follow() {
  local line
  while :; do
    code=''
    on_workers 0 "if [ -e $remote ]; then $(on_worker_script follow); else echo $ended 137; fi" |
      while IFS= read -r line; do
        [[ $line =~ ^"$ended "([0-9]+|stopped)$ ]] && code=${BASH_REMATCH[1]}
        printf '%s\n' "$line"
      done || true
    [ -z "$code$dry_run" ] || return 0
    case $(slice_state) in
      READY | UNKNOWN) echo "the connection broke; reconnecting" >&2 ;;
      ABSENT | DELETING) code=deleted && return ;;
      *) code=lost && return ;;
    esac
    sleep "$retry_seconds"
  done
}

train() {
  local crashes=0 deleted="somebody deleted the slice; the same command makes a new one and resumes"
  local state=$remote/runs/pod running
  if is_training; then
    running=$(on_workers 0 "cat $state/arguments" 2>/dev/null) || true
    [ -z "$running" ] || [ "$running" = "$(printf '%q ' "$@")" ] ||
      fail "another training runs: $running; $0 stop ends it"
  elif [ -z "$dry_run" ] && [ "$(slice_state)" = READY ]; then
    on_workers all "rm -f $state/stopped" || true # Of an earlier run.
  fi
  while :; do
    if ! is_training; then
      ensure_slice
      if ! start "$@"; then
        case $(slice_state) in
          READY) fail "the workers could not be prepared; see above" ;;
          ABSENT | DELETING) fail "$deleted" ;;
        esac
        continue
      fi
    fi
    follow
    if [ "$dry_run" ] || [ "$code" = 0 ]; then
      exit 0
    elif [ "$code" = stopped ]; then
      echo "stopped; the same command resumes from the checkpoint"
      exit 75
    elif [ "$code" = deleted ]; then
      fail "$deleted"
    elif [ "$code" = 75 ]; then
      echo "preempted; resuming from the checkpoint"
    elif [ "$code" = lost ]; then
      echo "the slice is lost; resuming from the checkpoint on a new one"
      continue
    elif [ "$code" -gt 128 ] && [ "$crashes" -lt "$max_crashes" ]; then
      crashes=$((crashes + 1))
      echo "crashed; resuming from the checkpoint ($crashes of $max_crashes)"
    else
      exit "$code"
    fi
    # Some workers may still be running.
    [ "$(slice_state)" != READY ] || on_workers all "$(on_worker_script end)" || true
  done
}

case $command in
  --help | -h | help) exec sed -n '/^#!/d; /^#/!q; s/^# \{0,1\}//p' "$0" ;;
  run | create | install | log | status | stop | delete) ;; # Run below.
  *) fail "unknown command $command; see $0 --help" ;;
esac
[ "$name" ] && [ "$zone" ] || fail "--name and --zone of the slice are needed; see $0 --help"
[ "$dry_run" ] || command -v gcloud >/dev/null ||
  fail "gcloud is not installed; install the Google Cloud CLI"

case $command in
  run)
    [ $# -gt 0 ] || fail "no --config and --workdir for mgm_jax.main after --; see $0 --help"
    train "$@"
    ;;
  create) ensure_slice ;;
  install) install_on_workers ;;
  log) follow ;;
  status)
    state=READY
    if [ "$dry_run" ]; then
      tpu describe "$name" "${place[@]}" --format='value(state)'
    else
      state=$(slice_state) && echo "$state"
    fi
    [ "$state" != READY ] || on_workers 0 "$(on_worker_script status)"
    ;;
  stop) on_workers all "$(on_worker_script stop)" ;;
  delete) tpu delete "$name" "${place[@]}" --quiet ;;
esac
