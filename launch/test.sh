#!/usr/bin/env bash
# Runs the whole test suite in the project's environment. Arguments go to pytest.
set -euo pipefail
EXTRA_REQUIREMENTS="requirements-test.txt requirements-gcs.txt"
source "$(dirname "$0")/environment.sh"
exec python -m pytest -n "${MGM_TEST_PROCESSES:-2}" "$@"
