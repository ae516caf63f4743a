"""Makes tests/data/train/lora*: three AdamW steps of LoRA as diffusers and PEFT
take them, for `limn train lora --replay FILE --init-lora FILE`.

lora-<case>.safetensors       the batches, as src/train/replay.h names them
lora-<case>.init.safetensors  the pairs before the first step, PEFT's names
lora-<case>.after.safetensors "after" [tensors, 8]: of each tensor after the third, in the order of their names, 6 values at
                              i * floor(n / 6), then the L2 norm, then the sum
                              (full: of every weight of the UNet, some of which learn)
lora.json                     per case: model, rank, alpha, what else the command is told, the three losses

Everything in f32 on one thread; the models' weights are what their files hold."""

import json

import common
from common import MODELS, TESTS, write_json, write_tensors

import torch

OUT = TESTS / "data" / "train"
ADAM = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01}
ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CASES = {
    "sd1": {"model": "tiny-sd1", "rank": 2, "alpha": 1, "words": True},
    "sd2": {"model": "tiny-sd2", "rank": 1, "alpha": 1},
    "sdxl": {"model": "tiny-sdxl", "rank": 2, "alpha": 4},
    "kolors": {"model": "tiny-kolors", "rank": 2, "alpha": 2},
    "dora": {"model": "tiny-sd1", "rank": 1, "alpha": 0.5, "targets": "all", "dora": True},
    "full": {"model": "tiny-sd2", "blocks": ["attn2", "mid_block"]},
    "text": {"model": "tiny-sd1", "rank": 2, "alpha": 2, "words": True, "text": True},
}


def load(folder):
    from diffusers import DDPMScheduler, UNet2DConditionModel
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()
    return unet, DDPMScheduler.from_pretrained(folder / "scheduler")


def text_of(folder):
    from transformers import CLIPTextModel, CLIPTokenizer
    return (CLIPTextModel.from_pretrained(folder / "text_encoder", torch_dtype=torch.float32).eval(),
            CLIPTokenizer.from_pretrained(folder / "tokenizer"))


def pairs(module, case, targets, seed):
    from peft import LoraConfig, get_peft_model
    config = LoraConfig(r=case["rank"], lora_alpha=case["alpha"], target_modules=targets, use_dora=case.get("dora", False),
                        lora_dropout=0.0, bias="none")
    torch.manual_seed(seed)
    wrapped = get_peft_model(module, config)
    g = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():  # B of zeros would leave A without a gradient in the first step
        for name, p in wrapped.named_parameters():
            if "lora_B" in name:
                p.copy_(0.02 * torch.randn(p.shape, generator=g))
    return wrapped


def batch(case, unet, step, tokenizer):
    g = torch.Generator().manual_seed(100 * step + 7)
    n, c = 2, unet.config.in_channels
    b = {"latents": torch.randn(n, c, 8, 8, generator=g), "noise": torch.randn(n, c, 8, 8, generator=g),
         "timesteps": torch.randint(0, case["timesteps"], (n,), generator=g)}
    if case.get("words"):
        words = ["a red circle on a blue ground", "a yellow cat"][step % 2:] + ["a dog"]
        b["input_ids"] = tokenizer(words[:n] if len(words) >= n else words + ["an apple"], padding="max_length", max_length=77,
                                   truncation=True, return_tensors="pt").input_ids
    else:
        width = unet.config.encoder_hid_dim or unet.config.cross_attention_dim
        b["encoder_hidden_states"] = torch.randn(n, 13, width, generator=g)
    if unet.config.addition_embed_type:
        pooled = unet.config.projection_class_embeddings_input_dim - 6 * unet.config.addition_time_embed_dim
        b["text_embeds"] = torch.randn(n, pooled, generator=g)
        b["time_ids"] = torch.tensor([[64, 72, 0, 4, 64, 64], [80, 64, 8, 0, 64, 64]], dtype=torch.float32)
    return b


def few(t):
    flat = t.double().flatten()
    return torch.cat([flat[torch.arange(6) * (flat.numel() // 6)], flat.norm()[None], flat.sum()[None]]).float()


def run(name, case):
    from peft import get_peft_model_state_dict
    folder = MODELS / case["model"]
    unet, scheduler = load(folder)
    case["timesteps"] = scheduler.config.num_train_timesteps
    text, tokenizer = text_of(folder) if case.get("words") else (None, None)
    everything = [k for k, m in unet.named_modules() if isinstance(m, (torch.nn.Linear, torch.nn.Conv2d))]
    if case.get("blocks"):
        for k, p in unet.named_parameters():
            p.requires_grad_(any(b in k for b in case["blocks"]))
    else:
        unet = pairs(unet, case, everything if case.get("targets") == "all" else ATTENTION, 11)
    if case.get("text"):
        text = pairs(text, case, ["q_proj", "k_proj", "v_proj", "out_proj"], 21)
    elif text:
        text.requires_grad_(False)

    def state():
        if case.get("blocks"):
            return {k: v.detach().clone() for k, v in unet.named_parameters()}
        out = {"unet." + k.removeprefix("base_model.model."): v for k, v in get_peft_model_state_dict(unet).items()}
        if case.get("text"):
            out |= {"text_encoder.text_model." + k.removeprefix("base_model.model.").removeprefix("text_model."): v
                    for k, v in get_peft_model_state_dict(text).items()}
        return {k: v.detach().clone() for k, v in out.items()}

    learnt = [p for m in (unet, text) if m is not None for p in m.parameters() if p.requires_grad]
    adam = torch.optim.AdamW(learnt, **ADAM)
    before, file, losses = state(), {}, []
    for step in range(3):
        b = batch(case, unet if case.get("blocks") else unet.base_model.model, step, tokenizer)
        file |= {f"step{step}.{k}": v for k, v in b.items()}
        noisy = scheduler.add_noise(b["latents"], b["noise"], b["timesteps"])
        target = b["noise"]
        if scheduler.config.prediction_type == "v_prediction":
            target = scheduler.get_velocity(b["latents"], b["noise"], b["timesteps"])
        states = text(b["input_ids"]).last_hidden_state if text is not None else b["encoder_hidden_states"]
        extra = {k: b[k] for k in ("text_embeds", "time_ids") if k in b}
        said = unet(noisy, b["timesteps"], states, added_cond_kwargs=extra or None).sample
        loss = torch.nn.functional.mse_loss(said, target)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    metadata = {"format": "pt"}
    write_tensors(OUT / f"lora-{name}.safetensors", file, metadata=metadata)
    if not case.get("blocks"):
        write_tensors(OUT / f"lora-{name}.init.safetensors", before, metadata=metadata)
    write_tensors(OUT / f"lora-{name}.after.safetensors", {"after": torch.stack([few(v) for _, v in sorted(state().items())])}, metadata=metadata)
    return {**case, "losses": losses}


def main():
    common.quiet()
    torch.use_deterministic_algorithms(False)
    OUT.mkdir(parents=True, exist_ok=True)
    report = {name: run(name, dict(case)) for name, case in CASES.items()}
    write_json(OUT / "lora.json", report)
    print(json.dumps({k: v["losses"] for k, v in report.items()}, indent=1))


if __name__ == "__main__":
    main()
