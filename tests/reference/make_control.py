"""Makes tests/data/control/: ControlNets of tiny-sd1 and tiny-sdxl and what diffusers does with them.

sd1/  sdxl/   folders as diffusers' ControlNetModel.save_pretrained writes them, f16, random: copies of the denoiser's way down whose zero
              convolutions are not zero
sd1-b/        only a config, for the weights of sd1: it takes blue first (bgr) and gives means (global_pool_conditions)
<model>.safetensors  for each denoiser: sample, timesteps, states, picture (0..1) -> residual.<i> (the last is the middle's), unet.out with them;
              pooled, time_ids (sdxl). <case>.start, <case>.final (latents), <case>.picture u8 [1, h, w, 3]; hint u8 [h, w, 3]
<model>.json  the cases; calls of the denoiser count for start and end
../single/control-*.json.gz  the tensors of ControlNets of SD 1.5, SD 2.1 and XL in single files of their maker, diffusers' names for them in the same
              order, and the config; the first two are checked by diffusers' own converter (convert_controlnet_checkpoint)"""

import gzip
import json
import shutil

import numpy as np
import torch

import common
from common import MODELS, TESTS, liven, round_to, write_json, write_tensors

OUT = TESTS / "data" / "control"
HINTS = (4, 5, 6, 7)


def control_of(unet, seed, **config):
    from diffusers import ControlNetModel
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    net = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=HINTS, load_weights_from_unet=True)
    net.register_to_config(**config)
    with torch.no_grad():
        for p in net.parameters(): # not the denoiser's own, so that a mistake in which is read shows
            p.add_(0.1 * p.std().nan_to_num(0) * torch.randn(p.shape, generator=g))
        for conv in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
            conv.weight.copy_(0.5 * torch.randn(conv.weight.shape, generator=g) / conv.weight[0].numel() ** 0.5)
            conv.bias.copy_(0.1 * torch.randn(conv.bias.shape, generator=g))
    liven(net.controlnet_cond_embedding, g)
    round_to(net, torch.float16)
    return net.eval()


def hint(height, width, turned=False):
    """Smooth, with every channel its own."""
    y, x = np.meshgrid(np.linspace(0, 1, height), np.linspace(0, 1, width), indexing="ij")
    planes = [x, 0.5 + 0.5 * np.sin(9 * y + 4 * x), (np.hypot(x - 0.5, y - 0.4) < 0.3).astype(float)]
    return (np.stack(planes[::-1] if turned else planes, -1) * 255).round().astype(np.uint8)


def one_call(pipe, net, xl, out):
    g = torch.Generator().manual_seed(5)
    unet = pipe.unet
    sample, steps = torch.randn(2, 4, 8, 10, generator=g), torch.tensor([901, 33])
    states = torch.randn(2, 7, unet.config.cross_attention_dim, generator=g)
    picture = torch.tensor(hint(64, 80)).permute(2, 0, 1)[None].float().div(255).expand(2, -1, -1, -1)
    added = None
    if xl:
        added = {"text_embeds": torch.randn(2, 12, generator=g), "time_ids": torch.tensor([[64.0, 80, 0, 0, 64, 80], [32, 40, 2, 4, 64, 80]])}
        out |= {"pooled": added["text_embeds"], "time_ids": added["time_ids"]}
    down, mid = net(sample, steps, states, picture, added_cond_kwargs=added, return_dict=False)
    got = unet(sample, steps, states, added_cond_kwargs=added, down_block_additional_residuals=down, mid_block_additional_residual=mid).sample
    out |= {"sample": sample, "timesteps": steps, "states": states, "picture": picture[:1].contiguous(), "unet.out": got}
    out |= {f"residual.{i}": d for i, d in enumerate([*down, mid])}


def draw(pipe, nets, case, xl, out):
    from diffusers import StableDiffusionControlNetPipeline, StableDiffusionXLControlNetPipeline
    from diffusers.models import MultiControlNetModel
    from PIL import Image
    import diffusers
    parts = {k: v for k, v in pipe.components.items() if k not in ("image_encoder",)}
    parts["scheduler"] = diffusers.DDIMScheduler.from_config({**pipe.scheduler.config, "clip_sample": False, "steps_offset": 1})
    own = [nets[name] for name in case["nets"]]
    one = len(own) == 1
    control = own[0] if one else MultiControlNetModel(own)
    cls = StableDiffusionXLControlNetPipeline if xl else StableDiffusionControlNetPipeline
    p = cls(**parts, controlnet=control, **({"add_watermarker": False} if xl else {"requires_safety_checker": False}))
    p.set_progress_bar_config(disable=True)
    images = [Image.fromarray(hint(case["height"], case["width"], i > 0)) for i in range(len(own))]

    def each(key):
        return case[key][0] if one else case[key]

    def run(kind):
        return p(case["prompt"], negative_prompt=case["negative"], image=images[0] if one else images, height=case["height"], width=case["width"],
                 num_inference_steps=case["steps"], guidance_scale=case["cfg"], controlnet_conditioning_scale=each("strength"),
                 control_guidance_start=each("start"), control_guidance_end=each("end"), guess_mode=case["guess"], eta=0.0,
                 generator=torch.Generator().manual_seed(case["seed"]), output_type=kind).images
    out[case["name"] + ".final"] = run("latent")
    out[case["name"] + ".picture"] = torch.tensor((run("np") * 255).round().astype(np.uint8))


def case(name, nets, strength=1.0, start=0.0, end=1.0, guess=False, cfg=4.0, **more):
    def list_of(x):
        return x if isinstance(x, list) else [x] * len(nets)
    return {"name": name, "nets": nets, "strength": list_of(strength), "start": list_of(start), "end": list_of(end), "guess": guess, "cfg": cfg,
            "steps": 5, "seed": 9, "prompt": "a red circle on a blue ground", "negative": "green", "height": 64, "width": 72, **more}


def make(model, nets, cases, xl):
    from diffusers import DiffusionPipeline
    pipe = DiffusionPipeline.from_pretrained(MODELS / model, torch_dtype=torch.float32)
    made = {}
    for name, (seed, config) in nets.items():
        made[name] = control_of(pipe.unet, seed, **config)
        shutil.rmtree(OUT / name, ignore_errors=True)
        if config:
            made[name].save_config(OUT / name)
        else:
            made[name].half().save_pretrained(OUT / name)
            (OUT / name / "diffusion_pytorch_model.safetensors").chmod(0o644)
            made[name].float()
    out = {}
    with torch.no_grad():
        one_call(pipe, made[next(iter(made))], xl, out)
        for c in cases:
            draw(pipe, made, c, xl, out)
    write_tensors(OUT / f"{model}.safetensors", {k: v.contiguous() for k, v in out.items()})
    write_json(OUT / f"{model}.json", {"cases": cases})


def cldm_name(name, layers):
    """diffusers' name of a tensor of a ControlNet in a file of lllyasviel's."""
    resnet = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0", "conv2": "out_layers.3",
              "conv_shortcut": "skip_connection"}
    ends = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0",
            "add_embedding.linear_2": "label_emb.0.2", "conv_in": "input_blocks.0.0", "controlnet_cond_embedding.conv_in": "input_hint_block.0",
            "controlnet_cond_embedding.conv_out": "input_hint_block.14", "controlnet_mid_block": "middle_block_out.0"}
    for inner, outer in ends.items():
        if name.startswith(inner + "."):
            return "control_model." + outer + name[len(inner):]
    words = name.split(".")
    if words[0] == "controlnet_cond_embedding":
        return f"control_model.input_hint_block.{2 + 2 * int(words[2])}." + words[3]
    if words[0] == "controlnet_down_blocks":
        return f"control_model.zero_convs.{words[1]}.0." + words[2]
    if words[0] == "mid_block":
        block = "middle_block.1" if words[1] == "attentions" else f"middle_block.{2 * int(words[2])}"
        rest = words[3:]
        rest = [resnet[rest[0]], *rest[1:]] if words[1] == "resnets" else rest
        return ".".join(["control_model", block, *rest])
    level, kind, j, rest = int(words[1]), words[2], int(words[3]), words[4:]
    number = 1 + level * (layers + 1) + (layers if kind == "downsamplers" else j)
    if kind == "downsamplers":
        return f"control_model.input_blocks.{number}.0.op." + rest[1]
    if kind == "attentions":
        return ".".join([f"control_model.input_blocks.{number}.1", *rest])
    return ".".join([f"control_model.input_blocks.{number}.0", resnet[rest[0]], *rest[1:]])


def names():
    from diffusers import ControlNetModel
    from diffusers.loaders.single_file_utils import convert_controlnet_checkpoint
    four = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"]
    kinds = {
        "sd1": {"cross_attention_dim": 768},
        "sd2": {"cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
        "sdxl": {"cross_attention_dim": 2048, "attention_head_dim": [5, 10, 20], "use_linear_projection": True, "block_out_channels": [320, 640, 1280],
                 "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"], "transformer_layers_per_block": [1, 2, 10],
                 "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816},
        "tiny-sd1": {},
    }
    for kind, config in kinds.items():
        if kind == "tiny-sd1":
            net = ControlNetModel.from_pretrained(OUT / "sd1")
        else:
            with torch.device("meta"):
                net = ControlNetModel(**{"down_block_types": four, **config})
        state = net.state_dict()
        outer = {n: cldm_name(n, 2) for n in state}
        if kind in ("sd1", "sd2"): # diffusers' converter knows lllyasviel's layouts
            back = convert_controlnet_checkpoint({o: state[n] for n, o in outer.items()}, net.config)
            assert set(back) == set(state) and all(back[n].shape == state[n].shape for n in state), kind
        config = {k: v for k, v in net.config.items() if not k.startswith("_")}
        data = {"tensors": [[outer[n], list(t.shape)] for n, t in state.items()], "inner": list(state), "config": config}
        if kind == "tiny-sd1":
            del data["config"]
        with gzip.GzipFile(TESTS / "data" / "single" / f"control-{kind}.json.gz", "wb", mtime=0) as f:
            f.write(json.dumps(data, separators=(",", ":")).encode())


def main():
    common.quiet()
    OUT.mkdir(parents=True, exist_ok=True)
    make("tiny-sd1", {"sd1": (21, {}), "sd1-b": (21, {"controlnet_conditioning_channel_order": "bgr", "global_pool_conditions": True})},
         [case("plain", ["sd1"]), case("part", ["sd1"], strength=0.7, start=0.2, end=0.7), case("guess", ["sd1"], guess=True),
          case("unguided", ["sd1"], cfg=1.0), case("mean", ["sd1-b"], strength=1.5),
          case("two", ["sd1", "sd1-b"], strength=[0.6, 1.2], start=[0.0, 0.4], end=[0.8, 1.0])], False)
    make("tiny-sdxl", {"sdxl": (23, {})}, [case("plain", ["sdxl"], strength=0.8)], True)
    names()


if __name__ == "__main__":
    main()
