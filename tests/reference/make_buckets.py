#!/usr/bin/env python3
"""tests/data/dataset/buckets.json: what kohya's sd-scripts make of pictures' sizes. Wants the folder of a checkout of it; only the two
parts that are needed are taken out of library/model_util.py and library/train_util.py, so none of its requirements is."""

import ast
import json
import math
import random
import sys
from pathlib import Path

import numpy as np

OUT = Path(__file__).resolve().parent.parent / "data" / "dataset"


def part(path, name):
    tree = ast.parse(path.read_text())
    return ast.Module([n for n in tree.body if getattr(n, "name", None) == name], [])


def main():
    library = Path(sys.argv[1]) / "library"
    names = {"math": math, "np": np, "random": random}
    exec(compile(part(library / "model_util.py", "make_bucket_resolutions"), "model_util", "exec"), names)
    names["model_util"] = type("model_util", (), {"make_bucket_resolutions": staticmethod(names["make_bucket_resolutions"])})
    names["Tuple"] = tuple
    exec(compile(part(library / "train_util.py", "BucketManager"), "train_util", "exec"), names)
    draw = random.Random(1)
    out = []
    for resolution, least, most, step in [(512, 256, 1024, 64), (768, 320, 1536, 64), (1024, 256, 2048, 64), (1024, 512, 1536, 32),
                                          (640, 128, 640, 8)]:
        manager = names["BucketManager"](False, (resolution, resolution), least, most, step)
        manager.make_buckets()
        nearest = []
        for _ in range(40):
            w, h = draw.randint(64, 4000), draw.randint(64, 4000)
            size, scaled, _ = manager.select_bucket(w, h)
            nearest.append([w, h, *size, *scaled])
        for w, h in (manager.predefined_resos[3], (1000, 1000), (4000, 100), (100, 4000)):
            size, scaled, _ = manager.select_bucket(w, h)
            nearest.append([w, h, *size, *scaled])
        out.append({"of": [resolution, least, most, step], "sizes": manager.predefined_resos, "nearest": nearest})
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "buckets.json").write_text(json.dumps({"buckets": out}).replace("}, {", "},\n{") + "\n")


if __name__ == "__main__":
    main()
