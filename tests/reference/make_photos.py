#!/usr/bin/env python3
"""tests/data/evaluate/photos: squares cut out of scikit-image's sample photographs (all free: see its data/README.txt), made small:
those that a model shall have been trained with, and others."""

import shutil

import skimage.data
from PIL import Image

from common import TESTS

OUT = TESTS / "data" / "evaluate" / "photos"
SIDE, QUALITY = 96, 80
# sample, squares: left, top, side
SQUARES = {
    "astronaut": [(150, 0, 250), (0, 300, 200), (320, 60, 190), (200, 260, 240)],
    "chelsea": [(100, 10, 250), (20, 100, 200), (250, 0, 200)],
    "coffee": [(150, 20, 330), (0, 200, 200), (380, 150, 220)],
    "rocket": [(200, 0, 260), (20, 150, 270), (350, 180, 240)],
    "retina": [(300, 300, 600), (600, 800, 500)],
    "hubble_deep_field": [(100, 100, 300), (500, 300, 320)],
    "immunohistochemistry": [(0, 0, 250), (250, 230, 250)],
    "stereo_motorcycle": [(100, 60, 380), (420, 10, 300)],
}
OTHER = ["astronaut-3", "chelsea-2", "coffee-2", "rocket-2", "retina-1", "stereo_motorcycle-1"]


def squares():
    for name, boxes in SQUARES.items():
        a = getattr(skimage.data, name)()
        image = Image.fromarray(a[0] if isinstance(a, tuple) else a).convert("RGB")
        for i, (x, y, side) in enumerate(boxes):
            yield f"{name}-{i}", image.crop((x, y, x + side, y + side)).resize((SIDE, SIDE), Image.BOX)


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    (OUT / "trained").mkdir(parents=True)
    (OUT / "other").mkdir()
    for name, image in squares():
        if name in OTHER:
            image.save(OUT / "other" / f"{name}.jpg", quality=QUALITY)
        else:
            image.save(OUT / "trained" / f"{name}.jpg", quality=QUALITY)


if __name__ == "__main__":
    main()
