# Sourced by the other scripts, and in bash by you: creates or reuses .venv, puts it on the PATH, and
# goes to the folder of the repository, from which relative paths count. Variables:
#   PYTHON              interpreter, 3.11 or newer
#   MGM_ENVIRONMENT     folder of the environment (.venv)
#   REQUIREMENTS        files to install (requirements.txt)
#   EXTRA_REQUIREMENTS  further files, separated by spaces

[ -n "${BASH_VERSION:-}" ] || {
  echo "error: source environment.sh in bash" >&2
  return 1
}
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository" || return 1
environment=${MGM_ENVIRONMENT:-$repository/.venv}

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11 or newer among: ${PYTHON:-python3.11 python3.12 python3.13 python3};" \
    "install one, or name it with PYTHON=/path/to/python" >&2
  return 1
}

install_requirements() {
  local file stamp
  for file in "$@"; do
    stamp=$environment/.installed-$(basename "$file")
    cmp -s "$file" "$stamp" && continue
    echo "installing $file into $environment"
    # Compiling all installed files takes longer than compiling those that are imported.
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
      -r "$file" || return 1
    cp "$file" "$stamp"
  done
}

# One that was interrupted while it was made, or whose interpreter is gone, is made anew.
if [ ! -x "$environment/bin/python" ] || [ -e "$environment.incomplete" ]; then
  python=$(find_python) || return 1
  mkdir -p "$environment" && touch "$environment.incomplete" || return 1
  # Debian's python may have venv without ensurepip; then use the system's pip.
  "$python" -m venv --clear "$environment" >/dev/null 2>&1 ||
    { "$python" -m venv --clear --without-pip "$environment" &&
      "$python" -m pip --python "$environment/bin/python" install --quiet pip; } || return 1
  rm "$environment.incomplete"
fi
if [ -n "${PYTHON:-}" ] && version='import sys; print(*sys.version_info[:2])' &&
  [ "$("$PYTHON" -c "$version")" != "$("$environment/bin/python" -c "$version")" ]; then
  echo "error: $environment is of another Python than PYTHON=$PYTHON; remove it, or set" \
    "MGM_ENVIRONMENT to another folder" >&2
  return 1
fi
# shellcheck disable=SC2086  # lists of files
install_requirements ${REQUIREMENTS:-requirements.txt} ${EXTRA_REQUIREMENTS:-} || return 1
export PATH="$environment/bin:$PATH"
# Containers often set this, and every process would compile all imported files again.
unset PYTHONDONTWRITEBYTECODE
# On a CPU, XLA allocates gigabytes anew in every step, which the kernel clears each time: use huge
# pages and, without an accelerator, keep freed memory in one heap (docs/performance.md).
allocation=glibc.malloc.hugetlb=1
if ! { command -v nvidia-smi || compgen -G '/dev/accel*' || compgen -G '/dev/vfio/*'; } >/dev/null; then
  allocation=$allocation:glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1
  allocation=$allocation:glibc.malloc.trim_threshold=1099511627776
  # By default XLA computes early what it can, which needs a quarter more memory and saves no time.
  export XLA_FLAGS="--xla_cpu_enable_concurrency_optimized_scheduler=false ${XLA_FLAGS:-}"
fi
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-$allocation}
