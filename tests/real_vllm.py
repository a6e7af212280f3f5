"""The real vLLM on the CPU, with a tiny model that a test may break."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from local_ports import free_port
from made_failures import Running, Told, running

MODEL = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

folder = Path(sys.argv[1])
hidden, heads, kv, head, inner, layers = 128, 4, 2, 32, 256, 2
words = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "<s>", "</s>"]
tokenizer = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens(words[-2:])
tokenizer.save(str(folder / "tokenizer.json"))
(folder / "tokenizer_config.json").write_text(json.dumps({
    "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
    "chat_template": "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}{% endfor %}",
}))
(folder / "config.json").write_text(json.dumps({
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "hidden_size": hidden, "intermediate_size": inner, "num_hidden_layers": layers,
    "num_attention_heads": heads, "num_key_value_heads": kv, "head_dim": head,
    "max_position_embeddings": 2048, "vocab_size": len(words), "rms_norm_eps": 1e-5,
    "bos_token_id": len(words) - 2, "eos_token_id": len(words) - 1,
    "tie_word_embeddings": False, "torch_dtype": "bfloat16",
}))
shapes = {"model.embed_tokens": (len(words), hidden), "model.norm": (hidden,),
          "lm_head": (len(words), hidden)}
for layer in range(layers):
    shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in {
        "input_layernorm": (hidden,), "post_attention_layernorm": (hidden,),
        "self_attn.q_proj": (heads * head, hidden), "self_attn.k_proj": (kv * head, hidden),
        "self_attn.v_proj": (kv * head, hidden), "self_attn.o_proj": (hidden, heads * head),
        "mlp.gate_proj": (inner, hidden), "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner)}.items()}
weights = {f"{name}.weight": (torch.randn(*shape) * 0.02).to(torch.bfloat16)
           for name, shape in shapes.items()}
half = len(weights) // 2
parts = [dict(list(weights.items())[:half]), dict(list(weights.items())[half:])]
names = [f"model-0000{at}-of-00002.safetensors" for at in (1, 2)]
for name, part in zip(names, parts):
    save_file(part, folder / name, metadata={"format": "pt"})
(folder / "model.safetensors.index.json").write_text(json.dumps({
    "metadata": {}, "weight_map": {k: n for n, part in zip(names, parts) for k in part}}))
"""
"""Makes a small Llama with random weights in two shards, in a folder; run by vLLM's Python."""
SHARD = "model-00002-of-00002.safetensors"
SERVES = "Application startup complete"


@dataclass(frozen=True)
class Vllm:
    """The real vLLM. folder: for the model of this test, its log and caches."""

    python: str
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def model(self) -> Path:
        return self.folder / "model"

    def environment(self, **more: str) -> dict[str, str]:
        """As on a machine that has everything already; names given as "" are left out."""
        usual = {
            **os.environ,
            "HOME": str(self.folder / "home"),
            "HF_HOME": str(self.folder / "hub"),
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_NO_USAGE_STATS": "1",
            "GDL_ARCHITECTURES": "",
        }
        return {name: value for name, value in {**usual, **more}.items() if value}

    def config(self, **changes: Any) -> None:
        """Change the model's config.json; None takes a key out."""
        path = self.model / "config.json"
        known = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in known.items() if v is not None}))

    def serving(
        self,
        *flags: str | Path,
        inside: Sequence[str | Path] = (),
        model: str | Path = "",
        **env: str,
    ) -> AbstractContextManager[Running]:
        """Started as the command of a deployment is, by its own script."""
        import gdl.engines.vllm.remote as scripts

        (launch,) = (Path(each) / "launch.py" for each in scripts.__path__)
        named = ["--model", model or self.model, "--served-model-name", "tiny"]
        place = ["--host", "127.0.0.1", "--port", str(self.port), "--enforce-eager"]
        command = [*inside, self.python, launch, *named, *place, *flags]
        return running(command, self.folder, self.environment(**env))

    def fails(
        self,
        *flags: str | Path,
        inside: Sequence[str | Path] = (),
        model: str | Path = "",
        **env: str,
    ) -> Told:
        """Start it, and ask why it has ended."""
        with self.serving(*flags, inside=inside, model=model, **env) as server:
            return server.ends()


@pytest.fixture(scope="session")
def whole_vllm_model(vllm_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small Llama of random weights."""
    folder = tmp_path_factory.mktemp("whole-model")
    subprocess.run([vllm_python, "-c", MODEL, folder], check=True, timeout=120)
    return folder


@pytest.fixture
def vllm(vllm_python: str, whole_vllm_model: Path, tmp_path: Path) -> Vllm:
    shutil.copytree(whole_vllm_model, tmp_path / "model")
    return Vllm(vllm_python, tmp_path)
