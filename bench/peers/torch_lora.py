"""A PyTorch + PEFT step of fine-tuning at SD 1.5's shapes, batch 1, latents and text states given: limn's lora_step (LoRA of rank 16
on attention beside frozen weights of the precision's type), lora_recompute (with gradient checkpointing) and full_step (all
weights in f32, AdamW; bf16 by autocast). peak_rss is the process's: run one subject and precision at a time for its memory."""

import resource

import peer


def main():
    args = peer.arguments(__doc__, ["lora_step", "lora_recompute", "full_step"]).parse_args()
    import torch
    import torch.nn.functional as F
    torch.set_num_threads(args.threads)
    program = "torch " + torch.__version__
    for precision in peer.precisions(args):
        kind = torch.bfloat16 if precision == "bf16" else torch.float32
        for subject in args.subject or ["lora_step", "lora_recompute", "full_step"]:
            unet, (latent, time, text) = peer.sd15("unet_step", args.tiny)
            latent, text = latent[:1], text[:1]
            unet = unet.train().to(memory_format=torch.channels_last)
            full = subject == "full_step"
            if not full:
                from peft import LoraConfig
                unet.requires_grad_(False)
                unet.to(kind)
                unet.add_adapter(LoraConfig(r=16, lora_alpha=16, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
                for p in unet.parameters():
                    if p.requires_grad:
                        p.data = p.data.float()
                latent, text = latent.to(kind), text.to(kind)
            if subject == "lora_recompute":
                unet.enable_gradient_checkpointing()
            learnt = [p for p in unet.parameters() if p.requires_grad]
            adam = torch.optim.AdamW(learnt, lr=1e-4)
            noise = torch.randn_like(latent)

            def step():
                adam.zero_grad(set_to_none=True)
                with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16" and full):
                    said = unet(latent, time, text).sample
                F.mse_loss(said.float(), noise.float()).backward()
                adam.step()

            seconds = peer.timed(step, args.runs)
            peer.say(program, subject, precision, 1, seconds, args, pictures_per_second=round(1 / seconds, 3),
                     peak_rss=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
