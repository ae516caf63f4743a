#!/usr/bin/env python3
"""Many pictures to measure `limn dataset` with: make_pictures.py EMOJI_DATA_SET FOLDER [COUNT]

COUNT (10,000) JPEG files of 1024x1024: windows of sheets of emoji (recipes/emoji) on coloured grounds, so that all of them differ and
none is flat; every hundredth file is cut off in its middle. Wants Pillow and NumPy. Some 2.5 GB: delete the folder afterwards."""

import io
import json
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SHEET, WINDOW, EACH = 1600, 1024, 60


def sheet(draw, pictures):
    ground = np.linspace(draw.randint(0, 255), draw.randint(0, 255), SHEET)[:, None, None]
    tint = np.array([draw.uniform(0.3, 1) for _ in range(3)])
    grain = np.random.default_rng(draw.randint(0, 1 << 30)).normal(0, 4, (SHEET, SHEET, 1))
    image = Image.fromarray(np.clip(ground * tint + grain, 0, 255).astype(np.uint8))
    for _ in range(40):
        emoji = Image.open(draw.choice(pictures)).convert("RGBA")
        side = draw.randint(160, 480)
        emoji = emoji.resize((side, side), Image.Resampling.BILINEAR)
        image.paste(emoji, (draw.randint(-80, SHEET - 80), draw.randint(-80, SHEET - 80)), emoji)
    return image


def main():
    source, out, count = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 10000
    pictures = sorted(source.glob("*/*.png"))
    out.mkdir(parents=True)
    draw = random.Random(1)
    with open(out / "metadata.jsonl", "w") as names:
        for i in range(count):
            if i % EACH == 0:
                whole = sheet(draw, pictures)
            x, y = draw.randint(0, SHEET - WINDOW), draw.randint(0, SHEET - WINDOW)
            data = io.BytesIO()
            whole.crop((x, y, x + WINDOW, y + WINDOW)).save(data, "JPEG", quality=90)
            (out / f"{i:05}.jpg").write_bytes(data.getvalue()[:len(data.getvalue()) // (2 if i % 100 == 99 else 1)])
            names.write(json.dumps({"file_name": f"{i:05}.jpg", "text": f"picture {i}"}) + "\n")


if __name__ == "__main__":
    main()
