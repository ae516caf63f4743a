"""Writes a model folder of Kolors' size with random weights, to measure memory and time with:

    python make_random_kolors.py FOLDER [--dtype f16|bf16] [--tiny] [--hollow] [--part text_encoder|unet|vae]

17 GB at 16 bit, streamed to the disk a piece at a time: it takes some hundred MB of memory. Weights are one random block, again
and again, scaled like PyTorch's initial ones, so that nothing overflows; pictures are noise. The tokenizer is tiny-kolors'.
--tiny writes the same files of tiny-kolors' sizes, to try the script with. --hollow leaves the numbers out: zeros that take no
room on the disk, which is enough for `limn generate --plan`. --part writes one part only (with its config)."""

import argparse
import json
import shutil
import struct
from pathlib import Path

import common
from common import MODELS, write_json
from make_kolors import NAME, SCHEDULER, TEXT, UNET

import torch

DTYPES = {"bf16": (torch.bfloat16, "BF16"), "f16": (torch.float16, "F16")}
BLOCK = 1 << 22
SHARD_BYTES = 2 << 30
FULL_TEXT = {**TEXT, "num_layers": 28, "padded_vocab_size": 65024, "hidden_size": 4096, "ffn_hidden_size": 13696,
             "kv_channels": 128, "num_attention_heads": 32, "multi_query_group_num": 2, "seq_length": 32768}
FULL_UNET = {**UNET, "sample_size": 128, "block_out_channels": [320, 640, 1280], "layers_per_block": 2,
             "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10], "cross_attention_dim": 2048,
             "norm_num_groups": 32, "encoder_hid_dim": 4096, "addition_time_embed_dim": 256,
             "projection_class_embeddings_input_dim": 5632}
VAE = {"block_out_channels": [128, 256, 512, 512], "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32,
       "sample_size": 1024, "scaling_factor": 0.13025, "force_upcast": True}
TINY_VAE = {**VAE, "block_out_channels": [8, 8, 12, 16], "layers_per_block": 1, "norm_num_groups": 4, "sample_size": 64}


def modules(tiny):
    """Parts without memory behind them: names and shapes."""
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
    with torch.device("meta"):
        return {"text_encoder": ChatGLMModel(ChatGLMConfig(**(TEXT if tiny else FULL_TEXT)), empty_init=False),
                "unet": UNet2DConditionModel(**(UNET if tiny else FULL_UNET)),
                "vae": AutoencoderKL(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4,
                                     **(TINY_VAE if tiny else VAE))}


class Numbers:
    """Bytes of so many numbers: the block, scaled, from a place that moves on."""

    def __init__(self, dtype, hollow):
        self.dtype, self.hollow = dtype, hollow
        self.block = torch.empty(BLOCK).uniform_(-1, 1, generator=torch.Generator().manual_seed(5))
        self.at = 0

    def write(self, file, shape, name):
        count = torch.Size(shape).numel()
        if self.hollow:
            file.truncate(file.seek(2 * count, 1))
            return
        if len(shape) == 1:
            value = 1.0 if name.endswith("weight") else 0.0
            file.write(bytes(torch.full(shape, value, dtype=self.dtype).view(torch.uint8).numpy()))
            return
        fan_in = count // shape[0]
        scale = 1.0 if "word_embeddings" in name else fan_in ** -0.5
        scaled = (self.block * scale).to(self.dtype)
        while count:
            n = min(count, BLOCK - self.at)
            file.write(memoryview(scaled[self.at:self.at + n].view(torch.uint8).numpy()))
            self.at = (self.at + n) % BLOCK
            count -= n


def stream(path, shapes, dtype, numbers):
    """A safetensors file of {name: shape}, in this order."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        end = at + 2 * torch.Size(shape).numel()
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    part = path.with_suffix(".part")
    with open(part, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name, shape in shapes.items():
            numbers.write(f, shape, name)
    part.rename(path)
    return at


def shards(shapes):
    out, size = [{}], 0
    for name, shape in shapes.items():
        bytes_ = 2 * torch.Size(shape).numel()
        if size + bytes_ > SHARD_BYTES and out[-1]:
            out.append({})
            size = 0
        out[-1][name] = shape
        size += bytes_
    return out


def write_part(folder, part, module, text, dtype, numbers):
    (folder / part).mkdir(parents=True, exist_ok=True)
    shapes = {k: tuple(v.shape) for k, v in module.named_parameters()}
    if part != "text_encoder":
        config = {"_class_name": type(module).__name__, **{k: v for k, v in module.config.items() if not k.startswith("_")}}
        write_json(folder / part / "config.json", config)
        return stream(folder / part / "diffusion_pytorch_model.safetensors", shapes, dtype, numbers)
    write_json(folder / part / "config.json", {"architectures": ["ChatGLMModel"], "model_type": "chatglm", **text})
    pieces, total = shards(shapes), 0
    names = [f"model-{i + 1:05}-of-{len(pieces):05}.safetensors" for i in range(len(pieces))]
    for name, piece in zip(names, pieces):
        total += stream(folder / part / name, piece, dtype, numbers)
    write_json(folder / part / "model.safetensors.index.json", {
        "metadata": {"total_size": total}, "weight_map": {k: n for n, p in zip(names, pieces) for k in p}})
    return total


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder", type=Path)
    p.add_argument("--dtype", choices=DTYPES, default="f16")
    p.add_argument("--tiny", action="store_true")
    p.add_argument("--hollow", action="store_true")
    p.add_argument("--part", choices=["text_encoder", "unet", "vae"])
    args = p.parse_args()
    common.quiet()
    dtype, name = DTYPES[args.dtype]
    args.folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(MODELS / NAME / "tokenizer", args.folder / "tokenizer", dirs_exist_ok=True)
    shutil.copy(MODELS / NAME / "model_index.json", args.folder)
    (args.folder / "scheduler").mkdir(exist_ok=True)
    write_json(args.folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    numbers, text = Numbers(dtype, args.hollow), TEXT if args.tiny else FULL_TEXT
    for part, module in modules(args.tiny).items():
        if args.part in (None, part):
            print(part, write_part(args.folder, part, module, text, name, numbers), "bytes", flush=True)


if __name__ == "__main__":
    main()
