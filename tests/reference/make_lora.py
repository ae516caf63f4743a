"""Makes tests/data/lora: small LoRA files of every layout for tests/data/models/tiny-sd1, and what diffusers draws with them.

Files by PEFT and diffusers are written by their own functions; those of kohya, LyCORIS and DiffSynth have the keys that these
programs write. Expected values: diffusers loads the file itself where it can (files 1 to 8); the LyCORIS kinds are merged into
the UNet by the formulas of the package lycoris-lora. expected.safetensors holds for each case of expected.json
  <case>.unet   the UNet's output for unet.sample, unet.timesteps, unet.states of tests/data/expected/tiny-sd1.safetensors
  <case>.text   the text encoder's last state for text.ids[1] (where the case touches it)
  <case>.final  latents after 8 steps at cfg 5 with the words and the seed of expected.json"""

import json
import shutil

import common
from common import EXPECTED, MODELS, TESTS, write_json, write_tensors

import torch
from safetensors import safe_open
from safetensors.torch import load_file

OUT = TESTS / "data" / "lora"
PROMPT, NEGATIVE, SEED, STEPS, CFG = "a red circle on a blue ground", "green stripes", 77, 8, 5.0


def open_pipe():
    from diffusers import StableDiffusionPipeline
    pipe = StableDiffusionPipeline.from_pretrained(str(MODELS / "tiny-sd1"), torch_dtype=torch.float32, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


class Judge:
    def __init__(self):
        known = load_file(EXPECTED / "tiny-sd1.safetensors")
        self.unet = [known["unet." + k] for k in ("sample", "timesteps", "states")]
        self.ids = known["text.ids"][1:2]
        self.tensors, self.cases = {}, []
        self.base = self.values(open_pipe(), True)

    @torch.no_grad()
    def values(self, pipe, text):
        out = {"unet": pipe.unet(*self.unet).sample}
        if text:
            out["text"] = pipe.text_encoder(self.ids).last_hidden_state
        out["final"] = pipe(prompt=PROMPT, negative_prompt=NEGATIVE, width=64, height=64, num_inference_steps=STEPS,
                            guidance_scale=CFG, generator=torch.Generator().manual_seed(SEED), output_type="latent").images
        return out

    def case(self, name, pipe, loras, text=False, **more):
        """loras: [(file, unet scale, text scale)]. The values must be away from the base's, or nothing is judged."""
        got = self.values(pipe, text)
        far = {k: ((got[k] - self.base[k]).norm() / self.base[k].norm()).item() for k in got}
        print(f"  {name}: away from the base by", {k: round(v, 3) for k, v in far.items()},
              f"std {got['final'].std():.2f}", flush=True)
        assert far["final"] > 0.02 and got["final"].std() < 6
        self.tensors |= {f"{name}.{k}": v for k, v in got.items()}
        self.cases.append({"name": name, "loras": [dict(zip(("file", "unet", "text"), l)) for l in loras], **more})


def fill(module, generator, size):
    """Random numbers for every LoRA matrix of a module that PEFT has prepared."""
    with torch.no_grad():
        for name, p in sorted(module.named_parameters()):
            if "lora_A" in name or "lora_B" in name:
                p.copy_(size * torch.randn(p.shape, generator=generator))
            if "lora_magnitude" in name:
                p.mul_(0.7 + 0.6 * torch.rand(p.shape, generator=generator))


def adapted(seed, unet=None, text=None, size=0.25):
    from peft import LoraConfig
    pipe, g = open_pipe(), torch.Generator().manual_seed(seed)
    for module, config in ((pipe.unet, unet), (pipe.text_encoder, text)):
        if config:
            module.add_adapter(LoraConfig(**config))
            fill(module, g, size)
    return pipe


def save_diffusers(pipe, name, metadata):
    """As diffusers' training scripts do."""
    from diffusers import StableDiffusionPipeline
    from diffusers.training_utils import _collate_lora_metadata
    from peft.utils import get_peft_model_state_dict
    layers, told = {}, {}
    parts = {k: getattr(pipe, k) for k in ("unet", "text_encoder") if hasattr(getattr(pipe, k), "peft_config")}
    for k, module in parts.items():
        layers[k + "_lora_layers"] = get_peft_model_state_dict(module)
    if metadata:
        told = _collate_lora_metadata(parts)
    folder = OUT / "made"
    StableDiffusionPipeline.save_lora_weights(str(folder), **layers, **told, weight_name=name)
    (folder / name).rename(OUT / name)
    folder.rmdir()
    (OUT / name).chmod(0o644)


def load(*files_and_scales):
    """A pipeline with files loaded by diffusers: (name, unet scale, text scale)."""
    pipe = open_pipe()
    names, scales = [], []
    for i, (file, unet, text) in enumerate(files_and_scales):
        before = {n for n, _ in pipe.unet.named_parameters()} | {n for n, _ in pipe.text_encoder.named_parameters()}
        pipe.load_lora_weights(str(OUT), weight_name=file, adapter_name=f"a{i}")
        after = {n for n, _ in pipe.unet.named_parameters()} | {n for n, _ in pipe.text_encoder.named_parameters()}
        assert after - before, file
        names.append(f"a{i}")
        scales.append(unet if unet == text else {"unet": unet, "text_encoder": text})
    pipe.set_adapters(names, scales)
    return pipe


def judge_files(judge, name, *files_and_scales, text=False):
    judge.case(name, load(*files_and_scales), list(files_and_scales), text)


# --- names ---

def ldm_names(pipe):
    """diffusers module -> LDM module, checked by diffusers' own converter of LDM checkpoints."""
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint
    config, layers = pipe.unet.config, pipe.unet.config.layers_per_block
    res = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
           "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
    names = {}
    for key in pipe.unet.state_dict():
        m = key.rsplit(".", 1)[0]
        p = m.split(".")
        if p[0] == "mid_block":
            at = {"resnets": f"middle_block.{2 * int(p[2])}", "attentions": "middle_block.1"}[p[1]]
            names[m] = at + "." + ".".join([res.get(p[3], p[3]), *p[4:]])
        elif p[0] == "down_blocks":
            if p[2] == "downsamplers":
                names[m] = f"input_blocks.{(int(p[1]) + 1) * (layers + 1)}.0.op"
            else:
                names[m] = (f"input_blocks.{1 + int(p[1]) * (layers + 1) + int(p[3])}.{int(p[2] == 'attentions')}."
                            + ".".join([res.get(p[4], p[4]), *p[5:]]))
        elif p[0] == "up_blocks":
            if p[2] == "upsamplers":
                names[m] = (f"output_blocks.{int(p[1]) * (layers + 1) + layers}."
                            f"{1 + ('CrossAttn' in config.up_block_types[int(p[1])])}.conv")
            else:
                names[m] = (f"output_blocks.{int(p[1]) * (layers + 1) + int(p[3])}.{int(p[2] == 'attentions')}."
                            + ".".join([res.get(p[4], p[4]), *p[5:]]))
        else:
            names[m] = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
                        "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}[m]
    theirs = {}
    for key, v in pipe.unet.state_dict().items():
        m, tail = key.rsplit(".", 1)
        theirs["model.diffusion_model." + names[m] + "." + tail] = v
    back = convert_ldm_unet_checkpoint(theirs, dict(config))
    for key, v in pipe.unet.state_dict().items():
        assert back[key].data_ptr() == v.data_ptr(), key
    return names


def diffsynth_names(pipe):
    """Attention module -> its number in DiffSynth's list of blocks, by going through the UNet as its constructor does."""
    names, n = {}, 0
    for i, block in enumerate(pipe.unet.down_blocks):
        for j in range(len(block.resnets)):
            n += 1
            if hasattr(block, "attentions"):
                names[f"down_blocks.{i}.attentions.{j}"] = n
                n += 1
            n += 1  # push
        if block.downsamplers:
            n += 2  # downsampler, push
    names["mid_block.attentions.0"] = n + 1
    n += 3
    for i, block in enumerate(pipe.unet.up_blocks):
        for j in range(len(block.resnets)):
            n += 2  # pop, resnet
            if hasattr(block, "attentions"):
                names[f"up_blocks.{i}.attentions.{j}"] = n
                n += 1
        if block.upsamplers:
            n += 1
    return names


def check_diffsynth_table():
    """The numbers that Kolors' files have (SDXL's UNet), from the rule above."""
    from types import SimpleNamespace as S
    def block(layers, attention, down=False, up=False):
        b = S(resnets=[0] * layers, downsamplers=[0] if down else None, upsamplers=[0] if up else None)
        if attention:
            b.attentions = [0] * layers
        return b
    sdxl = S(unet=S(down_blocks=[block(2, False, down=True), block(2, True, down=True), block(2, True)],
                    up_blocks=[block(3, True, up=True), block(3, True, up=True), block(3, False)]))
    assert list(diffsynth_names(sdxl).values()) == [7, 10, 15, 18, 21, 25, 28, 31, 35, 38, 41]


# --- files by hand ---

def few(pipe, *ends):
    """Modules of the UNet in a few blocks."""
    return [m for m, _ in pipe.unet.named_modules() if m.endswith(ends) and m.startswith(("down_blocks.1", "mid_block", "up_blocks.1.attentions.2", "up_blocks.1.resnets.2"))]


def pair(shape, rank, g, size=0.3):
    down = size * torch.randn((rank, *shape[1:]), generator=g)
    up = size * torch.randn((shape[0], rank, *([1] * (len(shape) - 2))), generator=g)
    return down, up


def weight(pipe, module):
    return dict(pipe.unet.named_parameters())[module + ".weight"]


def kohya(pipe, g):
    out = {}
    for m in few(pipe, "attn1.to_q", "attn2.to_v", "attn2.to_out.0", "ff.net.0.proj", "proj_in"):
        down, up = pair(weight(pipe, m).shape, 2, g)
        k = "lora_unet_" + m.replace(".", "_")
        out |= {k + ".lora_down.weight": down, k + ".lora_up.weight": up, k + ".alpha": torch.tensor(1.5)}
    text = dict(pipe.text_encoder.named_parameters())
    for m, _ in pipe.text_encoder.named_modules():
        if m.endswith(("q_proj", "v_proj", "fc1")) and ".1." in m:
            down, up = pair(next(v for n, v in text.items() if n.endswith(m + ".weight")).shape, 2, g, 0.4)
            k = "lora_te_" + ("" if m.startswith("text_model") else "text_model_") + m.replace(".", "_")
            out |= {k + ".lora_down.weight": down, k + ".lora_up.weight": up, k + ".alpha": torch.tensor(1.0)}
    return {k: v.half() if v.dim() else v for k, v in out.items()}


def merge_kohya_text(pipe, tensors, scale):
    """W + scale alpha / rank up down, kohya's formula."""
    used = 0
    with torch.no_grad():
        for n, p in pipe.text_encoder.named_parameters():
            m = n.removesuffix(".weight")
            k = "lora_te_" + ("" if m.startswith("text_model") else "text_model_") + m.replace(".", "_")
            if k + ".alpha" in tensors:
                down, up = tensors[k + ".lora_down.weight"].float(), tensors[k + ".lora_up.weight"].float()
                p.add_(scale * tensors[k + ".alpha"] / down.shape[0] * up @ down)
                used += 3
    assert used == sum(k.startswith("lora_te_") for k in tensors)


def renamed(tensors, new_name):
    """UNet keys of a kohya file with other module names; the text encoder's are left out."""
    out = {}
    for k, v in tensors.items():
        m, tail = k.split(".", 1)
        if m.startswith("lora_unet_"):
            out["lora_unet_" + new_name[m[10:]].replace(".", "_") + "." + tail] = v
    return out


def old_diffusers(pipe, g):
    """What diffusers 0.14 to 0.20 wrote: attention processors, no alpha."""
    out = {}
    for m in few(pipe, "attn1", "attn2"):
        for p, part in (("to_q", "to_q"), ("to_out", "to_out.0")):
            down, up = pair(weight(pipe, f"{m}.{part}").shape, 2, g)
            out |= {f"unet.{m}.processor.{p}_lora.down.weight": down, f"unet.{m}.processor.{p}_lora.up.weight": up}
    return out


def diffsynth(pipe, g):
    out, numbers = {}, diffsynth_names(pipe)
    for a, n in numbers.items():
        for p, part in (("attn1.to_k", "attn1.to_k"), ("attn2.to_out", "attn2.to_out.0")):
            down, up = pair(weight(pipe, f"{a}.transformer_blocks.0.{part}").shape, 3, g)
            k = f"blocks.{n}.transformer_blocks.0.{p}"
            out |= {k + ".lora_A.default.weight": down, k + ".lora_B.default.weight": up}
    return out


def diffsynth_in_diffusers(pipe, tensors, alpha):
    back = {n: a for a, n in diffsynth_names(pipe).items()}
    for k in [k for k in tensors if "lora_A" in k]:
        n, rest = k.split(".", 2)[1:]
        m = back[int(n)] + "." + rest.removesuffix(".lora_A.default.weight").replace("to_out", "to_out.0")
        down, up = tensors[k], tensors[k.replace("lora_A", "lora_B")]
        with torch.no_grad():
            weight(pipe, m).add_(alpha / down.shape[0] * up @ down)


# --- LyCORIS ---

def lycoris(pipe, g):
    """One module of each kind and form; returns the tensors and, per module, its change at scale 1."""
    from lycoris.functional import locon, loha, lokr
    out, change, bias = {}, {}, {}

    def r(*shape, size=0.3):
        return size * torch.randn(shape, generator=g)

    def put(m, tensors, delta, dora=None):
        k = "lora_unet_" + m.replace(".", "_")
        out.update({f"{k}.{n}": v for n, v in tensors.items()})
        change[m] = (delta, dora)
        if dora is not None:
            out[k + ".dora_scale"] = dora

    def dims(m):
        s = weight(pipe, m).shape
        return s, s[0], s[1], s[2:]

    # LoCon: a plain kernel, and one with a middle
    m = "down_blocks.1.resnets.0.conv1"
    s, o, i, k = dims(m)
    down, up = pair(s, 2, g)
    put(m, {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(1.0)}, locon._diff_weight(down, up, None, 0.5))
    m = "down_blocks.1.downsamplers.0.conv"
    s, o, i, k = dims(m)
    down, up, mid = r(3, i, 1, 1), r(o, 3, 1, 1), r(3, 3, *k)
    put(m, {"lora_down.weight": down, "lora_up.weight": up, "lora_mid.weight": mid, "alpha": torch.tensor(6.0)},
        locon._diff_weight(down, up, mid, 2.0))
    # LoHa: linear, a kernel flat, a kernel by Tucker
    for m, form in (("mid_block.attentions.0.transformer_blocks.0.attn1.to_q", "linear"),
                    ("mid_block.resnets.0.conv1", "flat"), ("mid_block.resnets.1.conv2", "tucker")):
        s, o, i, k = dims(m)
        t1 = t2 = None
        if form == "tucker":
            a1, b1, a2, b2, t1, t2 = r(2, o, size=.6), r(2, i), r(2, o, size=.6), r(2, i), r(2, 2, *k, size=.6), r(2, 2, *k, size=.6)
        else:
            a1, b1, a2, b2 = (r(o, 2, size=.6), r(2, *s[1:], size=.6), r(o, 2, size=.6), r(2, *s[1:], size=.6))
            b1, b2 = b1.reshape(2, -1), b2.reshape(2, -1)
        x = {"hada_w1_a": a1, "hada_w1_b": b1, "hada_w2_a": a2, "hada_w2_b": b2, "alpha": torch.tensor(1.0)}
        delta = loha._diff_weight(b1, a1, b2, a2, t1, t2, torch.tensor(0.5))
        put(m, x | ({"hada_t1": t1, "hada_t2": t2} if t1 is not None else {}), delta.reshape(s))
    # LoKr: both factors whole, the second of low rank, both of low rank, a kernel by Tucker
    m = "up_blocks.1.attentions.2.transformer_blocks.0.attn1.to_v"
    s, o, i, k = dims(m)
    w1, w2 = r(4, 5, size=.5), r(o // 4, i // 5)
    put(m, {"lokr_w1": w1, "lokr_w2": w2, "alpha": torch.tensor(7.0)}, lokr._kron_weight(w1, None, None, w2, None, None, None, 1.0))
    m = "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_k"
    s, o, i, k = dims(m)
    w1, a, b = r(2, 4, size=.5), r(o // 2, 2, size=.5), r(2, i // 4, size=.5)
    put(m, {"lokr_w1": w1, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(3.0)},
        lokr._kron_weight(w1, None, None, None, a, b, None, 1.5))
    m = "up_blocks.1.attentions.2.transformer_blocks.0.ff.net.2"
    s, o, i, k = dims(m)
    a1, b1, a2, b2 = r(5, 2, size=.4), r(2, 8, size=.4), r(o // 5, 2, size=.4), r(2, i // 8, size=.4)
    put(m, {"lokr_w1_a": a1, "lokr_w1_b": b1, "lokr_w2_a": a2, "lokr_w2_b": b2, "alpha": torch.tensor(2.0)},
        lokr._kron_weight(None, a1, b1, None, a2, b2, None, 1.0))
    m = "up_blocks.1.resnets.2.conv2"
    s, o, i, k = dims(m)
    w1, t, a, b = r(2, 2, size=.4), r(2, 2, *k, size=.4), r(2, o // 2, size=.5), r(2, i // 2, size=.5)
    put(m, {"lokr_w1": w1, "lokr_t2": t, "lokr_w2_a": a, "lokr_w2_b": b, "alpha": torch.tensor(2.0)},
        lokr._kron_weight(w1, None, None, None, a, b, t, 1.0))
    # whole differences, also of a bias and of a norm
    m = "up_blocks.2.resnets.0.time_emb_proj"
    s, o, i, k = dims(m)
    diff, bias[m] = r(*s, size=.1), r(o, size=.2)
    put(m, {"diff": diff, "diff_b": bias[m]}, diff)
    m = "up_blocks.2.resnets.1.norm1"
    diff, bias[m] = r(*weight(pipe, m).shape, size=.2), r(*weight(pipe, m).shape, size=.2)
    put(m, {"w_norm": diff, "b_norm": bias[m]}, diff)
    # DoRA by output and (old LyCORIS) by input channel
    for m, by_input in (("down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_q", False),
                        ("down_blocks.1.attentions.1.transformer_blocks.0.attn2.to_q", True)):
        s, o, i, k = dims(m)
        down, up = pair(s, 2, g)
        norm = weight(pipe, m).detach().norm(dim=0 if by_input else 1, keepdim=True)
        put(m, {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(2.0)}, up @ down,
            norm * (0.7 + 0.6 * torch.rand(norm.shape, generator=g)))
    return out, change, bias


def merge(pipe, change, bias, scale):
    """PEFT's meaning of a scale in DoRA: magnitude times the direction of W + scale * change."""
    with torch.no_grad():
        for m, (delta, dora) in change.items():
            w = weight(pipe, m)
            new = w + scale * delta
            if dora is not None:
                new = new * dora / new.norm(dim=0 if dora.shape[0] == 1 else 1, keepdim=True)
            w.copy_(new)
        for m, delta in bias.items():
            dict(pipe.unet.named_parameters())[m + ".bias"].add_(scale * delta)


def main():
    common.quiet()
    check_diffsynth_table()
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    judge, base = Judge(), open_pipe()
    g = torch.Generator().manual_seed(5)

    attention = ["to_q", "to_k", "to_v", "to_out.0"]
    pipe = adapted(1, {"r": 3, "lora_alpha": 5, "target_modules": attention})
    save_diffusers(pipe, "attention.safetensors", True)
    with safe_open(OUT / "attention.safetensors", "pt") as f:
        told = f.metadata()
    write_tensors(OUT / "attention.safetensors", load_file(OUT / "attention.safetensors"), torch.float16, told)
    judge_files(judge, "attention", ("attention.safetensors", 1.0, 1.0))
    judge_files(judge, "attention_weak", ("attention.safetensors", 0.4, 0.4))

    # convolutions, feed-forward, a rank and an alpha of their own, rsLoRA
    some = r"(down_blocks\.1|mid_block)\..*(conv1|conv2|proj_in|ff\.net\.2|to_k|time_emb_proj|downsamplers\.0\.conv|conv_shortcut)"
    pipe = adapted(2, {"r": 2, "lora_alpha": 3, "target_modules": some, "rank_pattern": {"ff.net.2": 3},
                       "alpha_pattern": {"ff.net.2": 1}, "use_rslora": True},
                   {"r": 2, "lora_alpha": 2, "target_modules": ["q_proj", "out_proj", "fc2"]}, 0.3)
    save_diffusers(pipe, "layers.safetensors", True)
    judge_files(judge, "layers", ("layers.safetensors", 1.0, 1.0), text=True)
    judge_files(judge, "layers_parts", ("layers.safetensors", 0.5, -1.0))
    judge_files(judge, "two", ("attention.safetensors", 0.7, 0.7), ("layers.safetensors", -0.4, 1.5))

    pipe = adapted(3, {"r": 2, "lora_alpha": 2, "use_dora": True,
                       "target_modules": r"(down_blocks\.1|up_blocks\.2)\..*(to_q|to_out\.0|ff\.net\.0\.proj|conv2)"})
    save_diffusers(pipe, "dora.safetensors", True)
    judge_files(judge, "dora", ("dora.safetensors", 1.0, 1.0))
    judge_files(judge, "dora_and", ("dora.safetensors", 0.6, 0.6), ("attention.safetensors", 0.5, 0.5))

    tensors = kohya(base, g)
    write_tensors(OUT / "kohya.safetensors", tensors, metadata={"ss_network_dim": "2", "ss_network_alpha": "1.5"})
    unet_only = {k: v for k, v in tensors.items() if k.startswith("lora_unet_")}
    # With transformers 5 diffusers 0.42.1 drops the text encoder's attention from such a file, so that part is merged here.
    pipe = open_pipe()
    pipe.load_lora_weights(unet_only, adapter_name="a")
    pipe.set_adapters(["a"], [0.8])
    merge_kohya_text(pipe, tensors, 0.8)
    judge.case("kohya", pipe, [("kohya.safetensors", 0.8, 0.8)], True)
    new = {m.replace(".", "_"): n for m, n in ldm_names(base).items()}
    write_tensors(OUT / "kohya_ldm.safetensors", renamed(tensors, new))
    pipe = open_pipe()
    pipe.load_lora_weights(unet_only)
    judge.case("kohya_ldm", pipe, [("kohya_ldm.safetensors", 1.0, 1.0)])

    write_tensors(OUT / "old.safetensors", old_diffusers(base, g))
    judge_files(judge, "old", ("old.safetensors", 1.0, 1.0))

    tensors = diffsynth(base, g)
    write_tensors(OUT / "diffsynth.safetensors", tensors)
    pipe = open_pipe()
    diffsynth_in_diffusers(pipe, tensors, 4)
    judge.case("diffsynth", pipe, [("diffsynth.safetensors", 1.0, 1.0)])
    pipe = open_pipe()
    diffsynth_in_diffusers(pipe, tensors, 9)
    judge.case("diffsynth_alpha9", pipe, [("diffsynth.safetensors", 1.0, 1.0)], alpha=9)

    # PEFT's own folder, of a bare UNet
    from peft import LoraConfig, get_peft_model
    pipe = open_pipe()
    model = get_peft_model(pipe.unet, LoraConfig(r=2, lora_alpha=6, target_modules=["to_v"]))
    fill(model, torch.Generator().manual_seed(4), 0.3)
    model.save_pretrained(str(OUT / "peft"))
    (OUT / "peft" / "README.md").unlink()
    (OUT / "peft" / "adapter_model.safetensors").chmod(0o644)
    judge.case("peft", pipe, [("peft", 1.0, 1.0)])

    tensors, change, bias = lycoris(base, g)
    write_tensors(OUT / "lycoris.safetensors", tensors)
    for name, scale in (("lycoris", 1.0), ("lycoris_weak", 0.6)):
        pipe = open_pipe()
        merge(pipe, change, bias, scale)
        judge.case(name, pipe, [("lycoris.safetensors", scale, scale)])

    write_tensors(OUT / "expected.safetensors", judge.tensors)
    write_json(OUT / "expected.json", {"model": "tiny-sd1", "prompt": PROMPT, "negative": NEGATIVE, "seed": SEED, "steps": STEPS,
                                       "cfg": CFG, "width": 64, "height": 64, "cases": judge.cases})
    print(f"{common.size_of(OUT)} bytes")


if __name__ == "__main__":
    main()
