"""A PyTorch training step (bf16 autocast, channels last, AdamW) of the models that diffusers configs describe.

FOLDER holds unet/config.json, vae/config.json and text_encoder/config.json, as any diffusers folder does; weights are
random. train_vae: encode, sample, decode, L1 + KL. train_unet: text encoder and UNet together, MSE against noise."""

import json
from pathlib import Path

import peer


def config(folder, part):
    values = json.loads((Path(folder) / part / "config.json").read_text())
    return {k: v for k, v in values.items() if not k.startswith("_")}


def main():
    p = peer.arguments(__doc__, ["train_vae", "train_unet"])
    p.add_argument("folder")
    p.add_argument("--batch-vae", type=int, default=16)
    p.add_argument("--batch-unet", type=int, default=64)
    p.add_argument("--pixels", type=int, help="side of the pictures; the VAE's sample_size if absent")
    args = p.parse_args()
    import torch
    import torch.nn.functional as F
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel
    torch.set_num_threads(args.threads)
    program = "torch " + torch.__version__

    def trainer(modules, loss_of, precision):
        params = [q for m in modules for q in m.train().parameters()]
        opt = torch.optim.AdamW(params, lr=1e-4)

        def step():
            opt.zero_grad(set_to_none=True)
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = loss_of()
            loss.backward()
            opt.step()
        return step

    def report(subject, precision, batch, step):
        seconds = peer.timed(step, args.runs)
        peer.say(program, subject, precision, batch, seconds, args, pictures_per_second=round(batch / seconds, 3))
    vae_config = config(args.folder, "vae")
    pixels = 64 if args.tiny else args.pixels or vae_config["sample_size"]
    latent = pixels // 2 ** (len(vae_config["block_out_channels"]) - 1)
    for precision in peer.precisions(args):
        torch.manual_seed(0)
        if not args.subject or "train_vae" in args.subject:
            batch = 2 if args.tiny else args.batch_vae
            vae = AutoencoderKL.from_config(vae_config).to(memory_format=torch.channels_last)
            x = torch.rand(batch, 3, pixels, pixels).contiguous(memory_format=torch.channels_last) * 2 - 1

            def vae_loss():
                d = vae.encode(x).latent_dist
                out = vae.decode(d.sample()).sample
                return (out.float() - x).abs().mean() + 1e-6 * d.kl().mean()
            report("train_vae", precision, batch, trainer([vae], vae_loss, precision))
        if not args.subject or "train_unet" in args.subject:
            batch = 2 if args.tiny else args.batch_unet
            unet = UNet2DConditionModel.from_config(config(args.folder, "unet")).to(memory_format=torch.channels_last)
            text = CLIPTextModel(CLIPTextConfig(**config(args.folder, "text_encoder")))
            n = unet.config.in_channels
            z = torch.randn(batch, n, latent, latent).contiguous(memory_format=torch.channels_last)
            noise = torch.randn_like(z)
            t = torch.randint(1000, (batch,))
            ids = torch.randint(text.config.vocab_size - 2, (batch, text.config.max_position_embeddings))

            def unet_loss():
                return F.mse_loss(unet(z, t, text(ids).last_hidden_state).sample.float(), noise)
            report("train_unet", precision, batch, trainer([unet, text], unet_loss, precision))


if __name__ == "__main__":
    main()
