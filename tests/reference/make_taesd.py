"""Makes tests/data/models/tiny-taesd/vae and tests/data/expected/tiny-taesd.safetensors: a tiny autoencoder (TAESD's form) with
random weights and what diffusers' AutoencoderTiny computes with it, in f32 on one thread."""

import torch

import common
from common import EXPECTED, MODELS, write_json, write_tensors


def main():
    from diffusers import AutoencoderTiny
    common.quiet()
    torch.manual_seed(31)
    vae = AutoencoderTiny(encoder_block_out_channels=(6,) * 4, decoder_block_out_channels=(6,) * 4,
                          num_encoder_blocks=(1, 2, 1, 1), num_decoder_blocks=(2, 1, 0, 1)).eval()
    with torch.no_grad():
        for p in vae.parameters():  # so that ReLUs neither die nor pass everything
            p.mul_(1.6).copy_(p.half().float())
    folder = MODELS / "tiny-taesd" / "vae"
    folder.mkdir(parents=True, exist_ok=True)
    keys = ("act_fn", "decoder_block_out_channels", "encoder_block_out_channels", "in_channels", "latent_channels", "num_decoder_blocks",
            "num_encoder_blocks", "out_channels", "scaling_factor", "shift_factor", "upsampling_scaling_factor", "upsample_fn")
    write_json(folder / "config.json", {"_class_name": "AutoencoderTiny", "_diffusers_version": "0.42.1",
                                        **{k: vae.config[k] for k in keys}})
    write_tensors(folder / "diffusion_pytorch_model.safetensors", vae.state_dict(), torch.float16)
    g = torch.Generator().manual_seed(32)
    picture = torch.rand(2, 3, 48, 40, generator=g) * 2 - 1
    latent = torch.randn(2, 4, 6, 5, generator=g) * 1.5
    with torch.no_grad():
        encoded, decoded = vae.encode(picture).latents, vae.decode(latent).sample
    print("encoded", encoded.std().item(), "decoded", decoded.std().item())
    write_tensors(EXPECTED / "tiny-taesd.safetensors", {"vae.picture": picture, "vae.latent": latent, "vae.decoded": decoded,
                                                        # limn gives a log variance with it, which is none
                                                        "vae.moments": torch.cat([encoded, torch.full_like(encoded, -30)], 1)})


if __name__ == "__main__":
    main()
