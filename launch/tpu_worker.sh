#!/usr/bin/env bash
# One worker's part of launch/tpu_pod.sh, which calls it on the TPU VMs.
#
#   launch/tpu_worker.sh ACTION [arguments of mgm_jax.main]
#
#   install   create or update the environment
#   start     start training in the background, unless it runs or `stop` came first
#   follow    show the log until training ends, then print its exit code
#   status    print "training" or "idle"
#   end       make training save a checkpoint and end
#   stop      the same, and have `tpu_pod.sh run` not start it again
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
state_folder=$here/runs/pod

training() {
  [ -e "$state_folder/pid" ] &&
    grep -qs mgm_jax.main "/proc/$(cat "$state_folder/pid")/cmdline" # The process id may be reused.
}

install() {
  [ -x "${MGM_ENVIRONMENT:-$here/.venv}/bin/python" ] ||
    command -v python3.11 python3.12 python3.13 >/dev/null ||
    { sudo apt-get update -qq && sudo apt-get install -y -qq python3.11 python3.11-venv; }
  # shellcheck disable=SC2034  # for environment.sh
  EXTRA_REQUIREMENTS=requirements-gcs.txt
  # shellcheck source=environment.sh
  source "$here/launch/environment.sh"
  # -c keeps the version of requirements.txt.
  python -m pip install --quiet --disable-pip-version-check -c requirements.txt "jax[tpu]"
}

start() {
  ! training || return 0
  mkdir -p "$state_folder"
  rm -f "$state_folder"/{exit_code,pid}
  if [ -e "$state_folder/stopped" ]; then # While the workers were prepared.
    echo 75 >"$state_folder/exit_code"
    return 0
  fi
  printf '%q ' "$@" >"$state_folder/arguments"
  setsid bash "$here/launch/tpu_worker.sh" supervise "$@" \
    </dev/null >>"$state_folder/log" 2>&1 &
  until training || [ -e "$state_folder/exit_code" ]; do sleep 0.1; done
}

supervise() {
  code=1
  trap 'echo "$code" >"$state_folder/part" && mv "$state_folder/part" "$state_folder/exit_code"' EXIT
  # shellcheck source=environment.sh
  source "$here/launch/environment.sh"
  export JAX_PLATFORMS=tpu,cpu # Without this, JAX falls back to the CPU if there is no TPU.
  python -m mgm_jax.main "$@" &
  echo $! >"$state_folder/pid"
  code=0
  wait $! || code=$?
}

# Shows the log until training ends, then prints its exit code.
follow() {
  local code=137 tries # If the worker was switched off.
  if training; then
    tail -n 20 --pid="$(cat "$state_folder/pid")" -f "$state_folder/log"
  else
    tail -n 20 "$state_folder/log" || true
  fi
  for tries in 5 4 3 2 1; do
    [ ! -e "$state_folder/exit_code" ] || break
    sleep "$tries"
  done
  [ ! -e "$state_folder/exit_code" ] || code=$(cat "$state_folder/exit_code")
  [ "$code" = 0 ] || [ ! -e "$state_folder/stopped" ] || code=stopped
  echo "mgm_jax.main ended with exit code $code"
}

end_training() {
  local waited=0
  training || return 0
  kill -TERM "$(cat "$state_folder/pid")"
  while training && [ "$waited" -lt "${MGM_STOP_SECONDS:-300}" ]; do
    sleep 1
    waited=$((waited + 1))
  done
  ! training || kill -KILL "$(cat "$state_folder/pid")"
}

action=$1
shift
case $action in
  install) install ;;
  start) start "$@" ;;
  supervise) supervise "$@" ;; # Called by start.
  follow) follow ;;
  status) if training; then echo training; else echo idle; fi ;;
  end) end_training ;;
  stop) mkdir -p "$state_folder" && touch "$state_folder/stopped" && end_training ;;
  *) echo "error: unknown action $action" >&2 && exit 1 ;;
esac
