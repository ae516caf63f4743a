"""What the peers share: arguments, SD 1.5's shapes as diffusers configs, a timed loop, a JSON line per subject."""

import argparse
import json
import os
import statistics
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

SUBJECTS = ["unet_step", "vae_decode", "text_encoder"]


def arguments(doc, subjects=SUBJECTS):
    p = argparse.ArgumentParser(description=doc)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--runs", type=int, default=5, help="timed runs a subject; the median counts")
    p.add_argument("--precision", choices=["f32", "bf16", "both"], default="both")
    p.add_argument("--subject", action="append", choices=subjects, help="may be given again; all if absent")
    p.add_argument("--tiny", action="store_true", help="tiny shapes: only to see that it runs")
    return p


def precisions(args):
    return ["bf16", "f32"] if args.precision == "both" else [args.precision]


def sd15(subject, tiny):
    """(module in f32, example inputs) of a subject at SD 1.5's shapes."""
    import torch
    torch.manual_seed(0)
    if subject == "unet_step":
        from diffusers import UNet2DConditionModel
        widths, size, cross = ([32, 64], 8, 32) if tiny else ([320, 640, 1280, 1280], 64, 768)
        n = len(widths)
        module = UNet2DConditionModel(
            sample_size=size, block_out_channels=widths, cross_attention_dim=cross, attention_head_dim=8,
            down_block_types=["CrossAttnDownBlock2D"] * (n - 1) + ["DownBlock2D"],
            up_block_types=["UpBlock2D"] + ["CrossAttnUpBlock2D"] * (n - 1))
        inputs = (torch.randn(2, 4, size, size), torch.tensor(500), torch.randn(2, 77, cross))
    elif subject == "vae_decode":
        from diffusers import AutoencoderKL
        widths, size = ([32, 32, 32, 32], 8) if tiny else ([128, 256, 512, 512], 64)
        vae = AutoencoderKL(block_out_channels=widths, down_block_types=["DownEncoderBlock2D"] * 4,
                            up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=2, latent_channels=4)

        class Decoder(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.post_quant_conv, self.decoder = vae.post_quant_conv, vae.decoder

            def forward(self, z):
                return self.decoder(self.post_quant_conv(z))
        module, inputs = Decoder(), (torch.randn(1, 4, size, size),)
    else:
        from transformers import CLIPTextConfig, CLIPTextModel
        kind = dict(hidden_size=32, intermediate_size=64, num_attention_heads=4, num_hidden_layers=2) if tiny else dict(
            hidden_size=768, intermediate_size=3072, num_attention_heads=12, num_hidden_layers=12)
        module = CLIPTextModel(CLIPTextConfig(vocab_size=49408, max_position_embeddings=77, hidden_act="quick_gelu", **kind))
        inputs = (torch.randint(49408, (2, 77)),)
    return module.eval(), inputs


def sdxl(subject, tiny, dtype):
    """(module of the type, positional inputs, named inputs) of a subject at SDXL's shapes. Made in its type at once: in f32 the UNet
    alone takes 10 GB."""
    import torch
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    named = {}
    try:
        if subject == "unet_step":
            from diffusers import UNet2DConditionModel
            widths, heads, size, cross, pooled = ([32, 64, 64], [2, 4, 4], 16, 48, 20) if tiny else (
                [320, 640, 1280], [5, 10, 20], 128, 2048, 1280)
            ids = 8 if tiny else 256
            module = UNet2DConditionModel(
                sample_size=size, block_out_channels=widths, cross_attention_dim=cross, attention_head_dim=heads,
                transformer_layers_per_block=[1, 2, 2 if tiny else 10], use_linear_projection=True,
                addition_embed_type="text_time", addition_time_embed_dim=ids,
                projection_class_embeddings_input_dim=pooled + 6 * ids,
                down_block_types=["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
                up_block_types=["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"])
            inputs = (torch.randn(2, 4, size, size), torch.tensor(500), torch.randn(2, 77, cross))
            named = {"added_cond_kwargs": {"text_embeds": torch.randn(2, pooled), "time_ids": torch.full((2, 6), 1024.0)}}
        elif subject == "vae_decode":
            module, inputs = sd15(subject, tiny)
            inputs = (torch.randn(1, 4, 16, 16) if tiny else torch.randn(1, 4, 128, 128),)
        else:
            from transformers import CLIPTextConfig, CLIPTextModelWithProjection
            kind = dict(hidden_size=32, intermediate_size=64, num_attention_heads=4, num_hidden_layers=2) if tiny else dict(
                hidden_size=1280, intermediate_size=5120, num_attention_heads=20, num_hidden_layers=32, projection_dim=1280)
            module = CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=49408, max_position_embeddings=77, hidden_act="gelu",
                                                                **kind))
            inputs = (torch.randint(49408, (2, 77)),)
    finally:
        torch.set_default_dtype(before)
    return module.to(dtype).eval(), inputs, named


def timed(run, runs):
    """Median seconds of `runs` calls after two that warm up."""
    for _ in range(2):
        run()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def say(program, subject, precision, batch, seconds, args, **more):
    print(json.dumps({"program": program, "subject": subject, "precision": precision, "batch": batch,
                      "seconds": round(seconds, 6), "runs": args.runs, "threads": args.threads, **more}), flush=True)
