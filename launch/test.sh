#!/usr/bin/env bash
# Runs the whole test suite in the project's environment. Arguments go to pytest.
set -euo pipefail
EXTRA_REQUIREMENTS="requirements-test.txt requirements-gcs.txt"
# Compiling, most of what tests do, is slower with the one heap that training has.
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}
source "$(dirname "$0")/environment.sh"
exec python -m pytest -n "${MGM_TEST_PROCESSES:-2}" "$@"
