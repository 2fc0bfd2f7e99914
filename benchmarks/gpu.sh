#!/usr/bin/env bash
# Measures what only a GPU can show, on one NVIDIA GPU in 25 minutes; needs no network:
#
#   bash benchmarks/gpu.sh --out=DIR --videos=PREPARED [--stages=tests,steps_B,...] [--rehearse]
#
#   WHEELS=DIR   folder of the dependencies, made for the same Python where there is a network:
#                pip download -d DIR "jax[cuda13]" -r requirements.txt -r requirements-parity.txt \
#                  -r requirements-test.txt
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "${WHEELS:-}" ]; then
  export PIP_NO_INDEX=1 PIP_FIND_LINKS=$WHEELS
fi
export EXTRA_REQUIREMENTS="requirements-parity.txt requirements-test.txt"
source launch/environment.sh
if [[ " $* " != *" --rehearse "* ]]; then
  python -m pip install --quiet -c requirements.txt "jax[cuda13]"
fi
exec python -m benchmarks.gpu "$@"
