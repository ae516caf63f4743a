"""Writes tests/data/tensor/quants.safetensors and tests/data/weights/*.gguf: what ggml and its Python package make of numbers.
Run from the repository's root: GGML_QUANTS=libggml_quants.so python tests/reference/make_quants.py (gguf 0.19, torch 2.13).
The library is src/ggml-quants.c of github.com/ggml-org/ggml (d99724f), for the types that the package cannot pack:
gcc -O2 -shared -fPIC -march=x86-64-v2 -Iinclude -Isrc src/ggml-quants.c -o libggml_quants.so -lm"""
import ctypes
import os

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as T
from safetensors.torch import save_file

TYPES = [T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K]
library = ctypes.CDLL(os.environ["GGML_QUANTS"], mode=os.RTLD_LAZY)


def pack(x, t):
    """By ggml itself; where the package can pack too, both must agree."""
    block, size = gguf.GGML_QUANT_SIZES[t]
    out = np.zeros(x.size // block * size, np.uint8)
    f = getattr(library, f"quantize_row_{t.name.replace('Q', 'q')}_ref")
    f(x.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(x.size))
    out = out.reshape(*x.shape[:-1], x.shape[-1] // block * size)
    try:
        assert np.array_equal(gguf.quantize(x, t), out), t
    except NotImplementedError:
        pass
    return out


rng = np.random.default_rng(7)
x = rng.standard_normal((3, 512)).astype(np.float32)
x[0, 100:140] = 0                                # zeros, also in a whole group
x[1, :256] = np.abs(x[1, :256]) + 1              # no negative number, a minimum above zero
x[1, 300] = 40                                   # one that is far from the others
x[2, 256:] = 0                                   # a whole block of zeros
x[2, :256] *= np.float32(1e-3)
tensors = {"x": torch.from_numpy(x)}
packed = {}
for t in TYPES:
    packed[t] = pack(x, t)
    name = t.name.lower()
    tensors[f"{name}.packed"] = torch.from_numpy(packed[t])
    tensors[f"{name}.unpacked"] = torch.from_numpy(gguf.dequantize(packed[t], t))
codes = torch.arange(256, dtype=torch.int16).to(torch.uint8)
tensors["e4m3"] = codes.view(torch.float8_e4m3fn).float()
tensors["e5m2"] = codes.view(torch.float8_e5m2).float()
os.makedirs("tests/data/tensor", exist_ok=True)
save_file(tensors, "tests/data/tensor/quants.safetensors")
os.chmod("tests/data/tensor/quants.safetensors", 0o644)

w = gguf.GGUFWriter("tests/data/weights/every_type.gguf", "sd1")
w.add_uint8("n.u8", 200)
w.add_int8("n.i8", -3)
w.add_uint16("n.u16", 60000)
w.add_int16("n.i16", -300)
w.add_uint32("n.u32", 4000000000)
w.add_int32("n.i32", -5)
w.add_float32("n.f32", 0.5)
w.add_uint64("n.u64", 2**63)
w.add_int64("n.i64", -(2**40))
w.add_float64("n.f64", 1e-4)
w.add_bool("n.bool", True)
w.add_string("n.text", "值 \"a\"")
w.add_array("n.list", [1, 2, 3])
w.add_array("n.texts", ["a", "b c"])
w.add_array("n.long", list(range(1000)))
small = np.arange(6, dtype=np.float32).reshape(2, 3) * 0.5 - 2
w.add_tensor("f32", small)
w.add_tensor("f16", small.astype(np.float16))
w.add_tensor("bf16", gguf.quantize(small, T.BF16), raw_dtype=T.BF16)
w.add_tensor("f64", small.astype(np.float64))
w.add_tensor("i32", np.array([7, -8], np.int32))
w.add_tensor("i8", np.array([-5, 5], np.int8))
for t in TYPES:
    w.add_tensor(t.name.lower(), packed[t], raw_dtype=t)
# as the converters for ComfyUI keep a kernel whose rows are no whole blocks
w.add_array("comfy.gguf.orig_shape.kernel", [2, 32, 3, 8])
w.add_tensor("kernel", packed[T.Q4_K][:, :], raw_dtype=T.Q4_K)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
