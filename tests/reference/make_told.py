"""Makes tests/data/told: small pictures that tell how they were made, written as the programs write them whose files limn reads.

AUTOMATIC1111's web UI writes JPEG and WebP with piexif's UserComment; ComfyUI's WebP has "prompt:" and "workflow:" in tags of the first
directory, by Pillow. What others do (ImageDescription, XMP, a comment, EXIF in a PNG) is written by Pillow, too. It needs piexif 1.1.3."""

import json
import os

import piexif
import piexif.helper
from PIL import Image

PARAMETERS = ("红苹果 on a table, <lora:ink:0.8> & \"x\"\nNegative prompt: blurry 模糊\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 42, Size: 64x64, "
              "Model hash: 6ce0161689, Model: v1-5")
PROMPT = {"3": {"class_type": "KSampler", "inputs": {"seed": 7, "steps": 20, "cfg": 8, "sampler_name": "euler", "scheduler": "normal", "denoise": 1,
                                                    "model": ["4", 0], "positive": ["6", 0], "latent_image": ["5", 0]}},
          "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd.safetensors"}},
          "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}},
          "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
          "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
          "9": {"class_type": "SaveImage", "inputs": {"images": ["8", 0], "filename_prefix": "x"}}}
WORKFLOW = {"nodes": [], "links": [], "version": 0.4}

OUT = os.path.join(os.path.dirname(__file__), "..", "data", "told")


def xmp(field):
    escaped = PARAMETERS.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;").replace("模", "&#x6a21;")
    return ('<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
            'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" '
            f'xmlns:dc="http://purl.org/dc/elements/1.1/"><{field}><rdf:Alt><rdf:li xml:lang="x-default">{escaped}</rdf:li></rdf:Alt></{field}>'
            '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>').encode()


def comment(text, encoding):
    return piexif.dump({"Exif": {piexif.ExifIFD.UserComment: piexif.helper.UserComment.dump(text, encoding=encoding)}})


def main():
    os.makedirs(OUT, exist_ok=True)
    image = Image.new("RGB", (16, 16), "#c0ffee")
    image.putpixel((3, 4), (10, 20, 30))
    at = lambda name: os.path.join(OUT, name)
    image.save(at("a1111.jpg"), quality=80, exif=comment(PARAMETERS, "unicode"))
    image.save(at("a1111.webp"), quality=80, exif=comment(PARAMETERS, "unicode"))
    ascii_only = PARAMETERS.encode("ascii", "ignore").decode().strip()
    image.save(at("ascii.jpg"), quality=80, exif=comment(ascii_only, "ascii"))
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + json.dumps(PROMPT)
    exif[0x010F] = "workflow:" + json.dumps(WORKFLOW)
    image.save(at("comfy.webp"), quality=80, exif=exif)
    exif = Image.Exif()
    exif[0x010E] = ascii_only
    image.save(at("description.jpg"), quality=80, exif=exif)
    image.save(at("xmp.jpg"), quality=80, xmp=xmp("dc:description"))
    image.save(at("xmp.webp"), quality=80, xmp=xmp("exif:UserComment"))
    image.save(at("comment.jpg"), quality=80, comment=PARAMETERS.encode())
    image.save(at("exif.png"), exif=comment(PARAMETERS, "unicode"))
    exif = Image.Exif()
    exif[0x010E], exif[0x010F], exif[0x0110] = "OLYMPUS DIGITAL CAMERA", "OLYMPUS", "E-M5"
    image.save(at("camera.jpg"), quality=80, exif=exif)
    with open(at("told.json"), "w", encoding="utf-8") as f:
        json.dump({"parameters": PARAMETERS, "ascii": ascii_only, "prompt": json.dumps(PROMPT), "workflow": json.dumps(WORKFLOW)}, f, ensure_ascii=False)


main()
