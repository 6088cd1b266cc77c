#!/bin/sh
# `make bench`: evolve mha_cpu for MINUTES, then measure the seed and the best version beside the baseline, interleaved;
# where an evaluation of the best version spends its time and how well its scores repeat; and the control room.
set -eu
runs=$(mktemp -d)
trap 'rm -rf "$runs"' EXIT
"$BIN/avo" run mha_cpu --operator playbook --headless --minutes "$MINUTES" --name bench --runs "$runs"
echo
echo "side by side, in the same rounds:"
"$BIN/avo" bench bench@v0 bench@best --problem mha_cpu --runs "$runs" --repeats "${REPEATS:-10}"
echo
echo "one evaluation of the best version:"
"$BIN/avo" export bench best -o "$runs/best" --runs "$runs" >/dev/null
"$BIN/python" tests/bench/evaluation.py "$runs/best"
if [ -f tests/bench/room.py ]; then
    echo
    echo "the control room:"
    "$BIN/python" -m tests.bench.room
fi
