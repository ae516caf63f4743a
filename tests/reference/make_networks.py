#!/usr/bin/env python3
"""tests/data/evaluate/networks.json and clip/: what pytorch-fid's Inception network (with made-up weights that a test can make, too) and a
tiny CLIPModel of transformers say of a picture and of words. Needs pytorch-fid and torchvision beside requirements.txt."""

import json
import shutil

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from pytorch_fid import inception as fid
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPTokenizer

from common import TESTS

OUT = TESTS / "data" / "evaluate"
PICTURE = OUT / "photos" / "trained" / "astronaut-0.jpg"
WIDE = OUT.parent / "similarity" / "cat.png"


def made_up(k, count):
    """Numbers in 0..1 of tensor k: a hash of the index."""
    v = (np.arange(count, dtype=np.uint64) * 2654435761 + np.uint64(k) * 40503) & 0xFFFFFFFF
    v ^= v >> np.uint64(15)
    v = (v * 2246822519) & 0xFFFFFFFF
    v ^= v >> np.uint64(13)
    return v.astype(np.float64) / 4294967296


def fill(net):
    """Weights by made_up, in the order of modules; the kernels' names and shapes."""
    kernels = []
    for name, module in net.named_modules():
        if not isinstance(module, torch.nn.Conv2d):
            continue
        at, k = name.removesuffix(".conv"), 5 * len(kernels)
        w, bn = module.weight, net.get_submodule(at + ".bn")
        kernels.append([at, *w.shape])
        fan = w[0].numel()

        def put(tensor, k, scale, shift):
            tensor.data.copy_(torch.from_numpy(made_up(k, tensor.numel()) * scale + shift).float().reshape(tensor.shape))
        put(w, k, 2 * (6 / fan) ** 0.5, -(6 / fan) ** 0.5)
        put(bn.weight, k + 1, 0.4, 0.8)
        put(bn.bias, k + 2, 0.2, -0.1)
        put(bn.running_mean, k + 3, 0.2, -0.1)
        put(bn.running_var, k + 4, 1, 0.5)
    return kernels


def inception():
    net = torchvision.models.inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    net.Mixed_5b, net.Mixed_5c, net.Mixed_5d = fid.FIDInceptionA(192, 32), fid.FIDInceptionA(256, 64), fid.FIDInceptionA(288, 64)
    net.Mixed_6b, net.Mixed_6c = fid.FIDInceptionC(768, 128), fid.FIDInceptionC(768, 160)
    net.Mixed_6d, net.Mixed_6e = fid.FIDInceptionC(768, 160), fid.FIDInceptionC(768, 192)
    net.Mixed_7b, net.Mixed_7c = fid.FIDInceptionE_1(1280), fid.FIDInceptionE_2(2048)
    kernels = fill(net.eval())
    x = torch.from_numpy(np.asarray(Image.open(PICTURE).convert("RGB")).astype(np.float32) / 255).permute(2, 0, 1)[None]
    x = 2 * F.interpolate(x, size=(299, 299), mode="bilinear", align_corners=False) - 1
    with torch.no_grad():
        for name, child in net.named_children():
            if name.startswith("Conv2d") or name.startswith("Mixed"):
                x = child(x)
            if name in ("Conv2d_2b_3x3", "Conv2d_4a_3x3"):
                x = F.max_pool2d(x, 3, 2)
    features = x.mean((2, 3))[0]
    return {"kernels": kernels, "width": len(features), "every_16th": [float(f"{v:.7g}") for v in features[::16].tolist()]}


def clip():
    folder = OUT / "clip"
    shutil.rmtree(folder, ignore_errors=True)
    tokenizer = CLIPTokenizer.from_pretrained(OUT.parent / "models" / "tiny-sd1" / "tokenizer")
    torch.manual_seed(7)
    small = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=small | {"vocab_size": len(tokenizer), "eos_token_id": tokenizer.eos_token_id, "max_position_embeddings": 77},
        vision_config=small | {"image_size": 32, "patch_size": 8}, projection_dim=16)
    model = CLIPModel(config).eval()
    for p in model.parameters():  # larger than at the beginning of a training, so that everything counts
        p.data += 0.08 * torch.randn(p.shape)
    model.save_pretrained(folder)
    pick = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    out = {}
    with torch.no_grad():
        for words in ("a red apple", "一只猫"):
            ids = tokenizer(words, return_tensors="pt", padding="max_length", max_length=77, truncation=True).input_ids
            said = model.text_projection(model.text_model(ids).pooler_output)
            out[words] = [round(v, 6) for v in F.normalize(said)[0].tolist()]
        for path in (PICTURE, WIDE):
            pixels = pick(Image.open(path).convert("RGB"), return_tensors="pt").pixel_values
            seen = model.visual_projection(model.vision_model(pixels).pooler_output)
            out[path.name] = [round(v, 6) for v in F.normalize(seen)[0].tolist()]
    return out


def main():
    (OUT / "networks.json").write_text(json.dumps({"inception": inception(), "clip": clip()}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
