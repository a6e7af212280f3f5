#!/usr/bin/env bash
# Version: gguf==0.19.0 numpy==2.4.6
# Behaviour: gguf 0.19.0 (llama.cpp's own Python package): a tensor's `shape` and its `data.shape` disagree.
#
# GGUFWriter takes numpy's order (rows first). Read back with GGUFReader, `tensor.shape` is in GGML's
# order (fastest dimension first), while `tensor.data.shape` is in numpy's; for a quantized tensor the
# latter counts bytes. Vocabulary and hidden size read from `shape` the way they were written come out
# exchanged: a KV cache or an embedding sized by them is wrong by a factor of some tens.
#
# Seen for a (5, 64) float32 tensor and the same as Q8_0:
#   F32: shape [64, 5], data (5, 64)
#   Q8_0: shape [64, 5], data (5, 68)
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q gguf==0.19.0 numpy==2.4.6
cat > "$folder/read.py" <<'P'
import sys

import numpy
from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter
from gguf.quants import quantize

path = sys.argv[1]
values = numpy.arange(5 * 64, dtype=numpy.float32).reshape(5, 64)
writer = GGUFWriter(path, "llama")
writer.add_tensor("plain", values)
kind = GGMLQuantizationType.Q8_0
writer.add_tensor("packed", quantize(values, kind), raw_dtype=kind)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
for tensor in GGUFReader(path).tensors:
    print(f"{tensor.tensor_type.name}: shape {tensor.shape.tolist()}, data {tensor.data.shape}")
P
said=$("$folder/env/bin/python" "$folder/read.py" "$folder/tensors.gguf")
echo "$said"
diff <(echo "$said") - <<'E'
F32: shape [64, 5], data (5, 64)
Q8_0: shape [64, 5], data (5, 68)
E
echo "as described"
