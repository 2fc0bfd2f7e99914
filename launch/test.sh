#!/usr/bin/env bash
# Runs the test suite in the project's environment; other arguments go to pytest.
#
#   launch/test.sh [--quick] [arguments of pytest]
#
#   --quick   leave out the tests marked slow
set -euo pipefail
EXTRA_REQUIREMENTS="requirements-test.txt requirements-gcs.txt"
# The single heap that speeds up training on a CPU (environment.sh) slows down compiling.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
source "$(dirname "$0")/environment.sh"
unset XLA_FLAGS # Those of training; the tests have their own, equal in all their processes.
[ "${1:-}" != --quick ] || set -- -m "not slow" "${@:2}"
# Many tests wait, so three processes keep two cores busy.
exec python -m pytest -n 3 --dist=worksteal "$@"
