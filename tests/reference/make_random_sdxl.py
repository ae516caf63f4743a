"""Writes a whole SDXL in one file, f16, 6.9 GB of random weights, under the names that people's files have (tests/data/single/sdxl.json.gz):
to measure with. python make_random_sdxl.py FILE"""

import gzip
import json
import struct
import sys

import numpy as np

from common import TESTS


def main():
    tensors = json.loads(gzip.decompress((TESTS / "data" / "single" / "sdxl.json.gz").read_bytes()))["tensors"]
    header, at = {}, 0
    for name, shape in tensors:
        size = 2 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    block = (0.02 * np.random.default_rng(1).standard_normal(1 << 22)).astype(np.float16).tobytes()
    with open(sys.argv[1], "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        while at:
            n = min(at, len(block))
            f.write(block[:n])
            at -= n


if __name__ == "__main__":
    main()
