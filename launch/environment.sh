# Sourced by the other scripts: makes or reuses .venv and puts its python on the PATH.
# PYTHON names the interpreter (3.11 or newer); EXTRA_REQUIREMENTS further files, space separated;
# MGM_ENVIRONMENT another folder than .venv, and REQUIREMENTS other files than requirements.txt.

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$repository" || exit 1
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
    # Python compiles what is imported; compiling all that is installed takes longer (see below).
    "$environment/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
      -r "$file" || return 1
    cp "$file" "$stamp"
  done
}

if [ ! -x "$environment/bin/python" ]; then
  python=$(find_python) || exit 1
  # Debian's python has venv without ensurepip; its own pip can fill the environment in.
  "$python" -m venv "$environment" >/dev/null 2>&1 ||
    { "$python" -m venv --clear --without-pip "$environment" &&
      "$python" -m pip --python "$environment/bin/python" install --quiet pip; } || exit 1
fi
# shellcheck disable=SC2086  # a list on purpose
install_requirements ${REQUIREMENTS:-requirements.txt} ${EXTRA_REQUIREMENTS:-} || exit 1
export PATH="$environment/bin:$PATH"
# Told not to keep what it compiles, as in many containers, each process would compile it anew.
unset PYTHONDONTWRITEBYTECODE
# XLA on a CPU allocates the memory of every step anew, gigabytes that the system clears each time:
# take huge pages, and without an accelerator keep what is freed, in one heap (docs/train_step.md).
allocation=glibc.malloc.hugetlb=1
if ! { command -v nvidia-smi || compgen -G '/dev/accel*' || compgen -G '/dev/vfio/*'; } >/dev/null; then
  allocation=$allocation:glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1
  allocation=$allocation:glibc.malloc.trim_threshold=1099511627776
fi
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-$allocation}
