#!/bin/sh
# Builds the Worker once for a run of tests; under nextest, where this is a setup script, every test then finds it.
#
# Where NIGHTLATCH_WORKER_BUILD already names a built Worker, that one is used.
set -eu
if [ -n "${NIGHTLATCH_WORKER_BUILD:-}" ]; then exit; fi
cd "$(dirname "$0")/.."
cargo xtask build-worker
if [ -n "${NEXTEST_ENV:-}" ]; then
    echo "NIGHTLATCH_WORKER_BUILD=$PWD/edge/cloudflare/build" >>"$NEXTEST_ENV"
fi
