"""Reads tests/data/weights/written.gguf, which limn wrote, with the gguf package: metadata, shapes, and every number.
Run from the repository's root: python tests/reference/check_gguf.py (gguf 0.19, safetensors 0.8)."""
import gguf
import numpy as np
from safetensors.numpy import load_file

reference = load_file("tests/data/tensor/quants.safetensors")
x = reference["x"]
reader = gguf.GGUFReader("tests/data/weights/written.gguf")
fields = {name: f.contents() for name, f in reader.fields.items() if not name.startswith("GGUF.")}
print(fields)
assert fields["general.architecture"] == "sd1" and fields["made by"] == "limn, 值"
assert fields["general.quantization_version"] == gguf.GGML_QUANT_VERSION
assert list(fields["comfy.gguf.orig_shape.kernel.q4_k"]) == [16, 32, 1, 3]
for t in reader.tensors:
    numbers = gguf.dequantize(t.data, t.tensor_type).astype(np.float32)
    stem, _, kind = t.name.partition(".")
    if kind in ("q8_0", "q4_0", "q4_k"):
        wanted = reference[f"{kind}.unpacked"]
    elif kind == "f16":
        wanted = x.astype(np.float16).astype(np.float32)
    elif kind == "bf16":
        wanted = gguf.dequantize(gguf.quantize(x, gguf.GGMLQuantizationType.BF16), gguf.GGMLQuantizationType.BF16)
    else:
        wanted = x
    wanted = wanted.reshape(-1)[:numbers.size]
    assert np.array_equal(numbers.reshape(-1), wanted), t.name
    print(t.name, t.tensor_type.name, t.shape.tolist(), "the same numbers")
assert len(reader.tensors) == 9
