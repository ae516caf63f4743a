"""Writes tests/data/weights: small files made by the upstream packages, to be read by tests/weights.
Run from the repository's root: python tests/reference/make_weights.py (safetensors 0.8, torch 2.13)."""
import json
import os
import struct
import sys
import types
from collections import OrderedDict

import numpy as np
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


# ---- files of torch.save, and the same tensors as safetensors ----
def plain(tensors):
    return {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}


def make_torch():
    base = ramp(4, 6)
    tied = ramp(3, 2, dtype=torch.float16)
    tensors = {k: v for k, v in every.items() if k not in ("z.f32",)}
    tensors |= {
        "parameter": torch.nn.Parameter(ramp(2, 2)),
        "transposed": base.t(),
        "slice": base[1:3],
        "columns": base[:, 1:5:2],
        "channels_last": ramp(2, 3, 2, 2).to(memory_format=torch.channels_last),
        "tied.a": tied,
        "tied.b": tied,
        "once": ramp(3)[None].expand(1, 3),
    }
    save_file(plain(tensors), f"{OUT}/torch_expected.safetensors")
    torch.save(tensors, f"{OUT}/every_type.pt")
    torch.save(tensors, f"{OUT}/protocol4.pt", pickle_protocol=4)
    torch.save(OrderedDict(tensors), f"{OUT}/before_1_6.bin", _use_new_zipfile_serialization=False)

    # a whole training, as pytorch_lightning keeps it
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    for i in range(1, 4):
        sys.modules[".".join(name.split(".")[:i])] = module
    layer = torch.nn.Sequential(OrderedDict(conv=torch.nn.Conv2d(2, 3, 1), norm=torch.nn.LayerNorm(2)))
    with torch.no_grad():
        for p in layer.parameters():
            p.copy_(ramp(*p.shape))
    optimizer = torch.optim.AdamW(layer.parameters())
    torch.save({
        "epoch": 3, "global_step": 470000, "pytorch-lightning_version": "1.4.2", "lr": 1e-4, "ema": True,
        "state_dict": layer.state_dict(), "optimizer_states": [optimizer.state_dict()], "nothing": None,
        "callbacks": {module.ModelCheckpoint: {"best_model_score": np.float64(0.5), "best_model_path": "x"}},
        "big": 2**100, "set": {1}, "size": torch.Size([1, 2]),
    }, f"{OUT}/lightning.ckpt")

    # an embedding of textual inversion, as A1111 keeps it
    torch.save({"string_to_token": {"*": 265}, "string_to_param": torch.nn.ParameterDict({"*": torch.nn.Parameter(ramp(2, 4))}),
                "name": "cat", "step": 500, "sd_checkpoint": None}, f"{OUT}/embedding.pt")
    torch.save({"params_ema": {"body": [ramp(2), ramp(3)]}}, f"{OUT}/wrapped.pth")

    # a folder of shards before safetensors
    shards = f"{OUT}/bin"
    os.makedirs(shards, exist_ok=True)
    for i, part in enumerate([{"one": ramp(2), "two": ramp(3)}, {"three": ramp(4)}], 1):
        torch.save(part, f"{shards}/pytorch_model-0000{i}-of-00002.bin")
    with open(f"{shards}/pytorch_model.bin.index.json", "w") as f:
        json.dump({"metadata": {"total_size": 36}, "weight_map": {
            "one": "pytorch_model-00001-of-00002.bin", "three": "pytorch_model-00002-of-00002.bin",
            "two": "pytorch_model-00001-of-00002.bin"}}, f, indent=2)
        f.write("\n")


def make_zip64():
    """As torch.save writes entries beyond 4 GiB: every size and place only in the 64-bit fields. torch itself must read it."""
    import io
    import zipfile
    import zlib
    saved = io.BytesIO()
    expected = {"a": ramp(4), "b": ramp(2, 3, dtype=torch.float16)}
    torch.save(expected, saved)
    body, directory, count = b"", b"", 0
    with zipfile.ZipFile(saved) as z:
        for name in z.namelist():
            data, raw = z.read(name), name.encode()
            fields = struct.pack("<HHHHHIII", 45, 0, 0, 0, 0, zlib.crc32(data), 0xFFFFFFFF, 0xFFFFFFFF)
            sizes = struct.pack("<QQ", len(data), len(data))
            place = len(body)
            gap = -(place + 30 + len(raw) + 20 + 4) % 64
            extra = struct.pack("<HH", 1, 16) + sizes + struct.pack("<HH", 0x4246, gap) + b"Z" * gap
            body += b"PK\3\4" + fields + struct.pack("<HH", len(raw), len(extra)) + raw + extra + data
            extra = struct.pack("<HH", 0x5555, 2) + b"??" + struct.pack("<HH", 1, 24) + sizes + struct.pack("<Q", place)
            directory += (b"PK\1\2" + struct.pack("<H", 45) + fields + struct.pack("<HHHHHII", len(raw), len(extra), 0, 0, 0, 0, 0xFFFFFFFF)
                          + raw + extra)
            count += 1
    end = struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, count, count, len(directory), len(body))
    end = b"PK\6\6" + end + b"PK\6\7" + struct.pack("<IQI", 0, len(body) + len(directory), 1)
    end += b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    with open(f"{OUT}/zip64.pt", "wb") as f:
        f.write(body + directory + end)
    for name, t in torch.load(f"{OUT}/zip64.pt", weights_only=True).items():
        assert torch.equal(t, expected[name])


make_torch()
make_zip64()
