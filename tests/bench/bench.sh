#!/bin/sh
# `make bench`: evolve mha_cpu for MINUTES, then measure the seed and the best version beside the baseline, interleaved.
set -eu
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
"$BIN/avo" run mha_cpu --operator playbook --headless --minutes "$MINUTES" --name bench --runs "$runs"
echo
echo "side by side, in the same rounds:"
"$BIN/avo" bench bench@v0 bench@best --problem mha_cpu --runs "$runs" --repeats "${REPEATS:-10}"
