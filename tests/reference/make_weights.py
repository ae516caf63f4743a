"""Writes tests/data/weights: small files made by the upstream safetensors package, to be read by tests/weights.
Run from the repository's root: python tests/reference/make_weights.py (safetensors 0.8, torch 2.13)."""
import json
import os
import struct

import torch
from safetensors.torch import save_file

OUT = "tests/data/weights"
os.makedirs(OUT, exist_ok=True)


def ramp(*shape, dtype=torch.float32):
    n = 1
    for d in shape:
        n *= d
    return (torch.arange(n, dtype=torch.float64) * 0.5 - 2).reshape(shape).to(dtype)


every = {
    "z.f32": ramp(2, 3),
    "a.f32": ramp(1, 2, 1, 2),
    "bf16": ramp(5, dtype=torch.bfloat16),
    "f16": ramp(3, 2, dtype=torch.float16),
    "f64": ramp(2, dtype=torch.float64),
    "i64": torch.tensor([-1, 2**40]),
    "i32": torch.tensor([7, -8, 9], dtype=torch.int32),
    "i16": torch.tensor([-300], dtype=torch.int16),
    "i8": torch.tensor([-5, 5, 6], dtype=torch.int8),
    "u8": torch.tensor([250, 3, 4], dtype=torch.uint8),
    "bool": torch.tensor([True, False, True]),
    "e4m3": ramp(4, dtype=torch.float8_e4m3fn),
    "e5m2": ramp(4, dtype=torch.float8_e5m2),
    "scalar": torch.tensor(2.5),
    "empty": torch.zeros(0, 4),
    "名": ramp(2),
}
save_file(every, f"{OUT}/every_type.safetensors", metadata={"format": "pt", "quote \"\\\n": "值"})

# As old writers did: the header is not padded, and nothing is sorted, so that f32 values lie at odd addresses.
entries, data = {}, b""
for name, dtype, raw in [("byte", "U8", b"\x07"), ("number", "F32", struct.pack("<2f", 1.5, -2.0)),
                         ("half", "F16", struct.pack("<e", 0.25))]:
    shape = [2] if name == "number" else [1]
    entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
    data += raw
header = json.dumps(entries, separators=(",", ":")).encode()
header += b" " * ((1 - (8 + len(header))) % 4)
with open(f"{OUT}/odd_places.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(header)) + header + data)

for i, part in enumerate([{"one": ramp(2), "two": ramp(3)}, {"three": ramp(4)}], 1):
    save_file(part, f"{OUT}/model-0000{i}-of-00002.safetensors")
with open(f"{OUT}/model.safetensors.index.json", "w") as f:
    json.dump({"metadata": {"total_size": 36}, "weight_map": {
        "one": "model-00001-of-00002.safetensors", "three": "model-00002-of-00002.safetensors",
        "two": "model-00001-of-00002.safetensors"}}, f, indent=2)
    f.write("\n")
