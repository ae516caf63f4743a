#!/usr/bin/env python3
"""tests/data/pictures: real pictures made small, all without copyright restrictions: scikit-image's samples astronaut (NASA,
public domain), chelsea, coffee and rocket (CC0). And a zip file as people make them, with what must not come out of it."""

import zipfile

import skimage.data
from PIL import Image

from common import TESTS

OUT = TESTS / "data" / "pictures"
MADE = (2026, 1, 1, 0, 0, 0)


def small(name, side):
    image = Image.fromarray(getattr(skimage.data, name)())
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return image


def put(z, name, data, how=zipfile.ZIP_DEFLATED):
    info = zipfile.ZipInfo(name, MADE)
    info.compress_type = how
    z.writestr(info, data)


OUT.mkdir(parents=True, exist_ok=True)
small("chelsea", 96).save(OUT / "cat.png")
small("coffee", 96).save(OUT / "coffee.jpg", quality=85)
small("astronaut", 64).save(OUT / "astronaut.webp", quality=80)
lying = small("rocket", 80).transpose(Image.Transpose.ROTATE_90)  # a camera's: EXIF says how to turn it
exif = Image.Exif()
exif[0x0112] = 6
lying.save(OUT / "rocket.jpg", quality=85, exif=exif)

with zipfile.ZipFile(OUT / "set.zip", "w") as z:
    put(z, "mine/train/metadata.csv", 'text,file_name\n"a cat, looking",cat.png\ncoffee,./sub/coffee.jpg\ngone,gone.png\nup,../../up.png\nwords,words.png\n')
    put(z, "mine/train/cat.png", (OUT / "cat.png").read_bytes(), zipfile.ZIP_STORED)
    put(z, "mine/train/sub/coffee.jpg", (OUT / "coffee.jpg").read_bytes())
    put(z, "mine/train/words.png", b"no picture at all " * 20)
with zipfile.ZipFile(OUT / "escape.zip", "w") as z:
    put(z, "cup.jpg", (OUT / "coffee.jpg").read_bytes())
    put(z, "cup.txt", "\n a cup from a zip \n")
    for name in ("../up.png", "/tmp/limn-up.png", "a/../../up.png", "a\\..\\up.png", "__MACOSX/._cup.jpg", ".hidden.png"):
        put(z, name, (OUT / "coffee.jpg").read_bytes())
for path in sorted(OUT.iterdir()):
    print(path.name, path.stat().st_size)
