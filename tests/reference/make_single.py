"""Makes tests/data/single/*.json.gz: what single files ("checkpoints") of Stable Diffusion hold, name by name.

For each model {"tensors": [[name in the file, shape], ...], "parts": {part: [[name in diffusers, name in the file, how], ...]}};
how: "" as it is, "0".."2" that third of the file's tensor, "t" turned. The models are those of tests/data/models (their own
sizes) and the families at full size, made without values from the published configs.

The way from diffusers' names to a file's is written down here once more, and judged: diffusers' own converters
(diffusers.loaders.single_file_utils) must bring every tensor back to where it came from."""

import gzip
import json
import re
from types import SimpleNamespace

import torch

import common
from common import MODELS, TESTS

OUT = TESTS / "data" / "single"
BASE = {"in_channels": 4, "out_channels": 4, "layers_per_block": 2, "norm_num_groups": 32}
CROSS, PLAIN = "CrossAttn%sBlock2D", "%sBlock2D"


def blocks(*attention):
    return {"down_block_types": [(CROSS if a else PLAIN) % "Down" for a in attention],
            "up_block_types": [(CROSS if a else PLAIN) % "Up" for a in reversed(attention)]}


VAE = {"block_out_channels": [128, 256, 512, 512], "latent_channels": 4, "layers_per_block": 2, "norm_num_groups": 32,
       "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}
CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12,
          "projection_dim": 768}
CLIP_H = {"hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 23,
          "projection_dim": 1024}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32,
          "projection_dim": 1280}
GLM = {"num_layers": 28, "padded_vocab_size": 65024, "hidden_size": 4096, "ffn_hidden_size": 13696, "kv_channels": 128,
       "num_attention_heads": 32, "multi_query_attention": True, "multi_query_group_num": 2, "add_qkv_bias": True,
       "add_bias_linear": False, "rmsnorm": True, "original_rope": True}
XL = {"addition_embed_type": "text_time", "addition_time_embed_dim": 256, "use_linear_projection": True}
FAMILIES = {
    "sd1": {"unet": {**BASE, **blocks(1, 1, 1, 0), "block_out_channels": [320, 640, 1280, 1280], "cross_attention_dim": 768,
                     "attention_head_dim": 8}, "vae": VAE, "text": ("clip", CLIP_L)},
    "sd1-inpaint": {"unet": {**BASE, **blocks(1, 1, 1, 0), "in_channels": 9, "block_out_channels": [320, 640, 1280, 1280],
                             "cross_attention_dim": 768, "attention_head_dim": 8}, "vae": VAE, "text": ("clip", CLIP_L)},
    "sd2": {"unet": {**BASE, **blocks(1, 1, 1, 0), "block_out_channels": [320, 640, 1280, 1280],
                     "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True},
            "vae": VAE, "text": ("open", CLIP_H)},
    "sdxl": {"unet": {**BASE, **XL, **blocks(0, 1, 1), "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
                      "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10],
                      "projection_class_embeddings_input_dim": 2816}, "vae": VAE, "text": ("clip", CLIP_L),
             "text_2": ("open", CLIP_G)},
    "sdxl-refiner": {"unet": {**BASE, **XL, **blocks(0, 1, 1, 0), "block_out_channels": [384, 768, 1536, 1536],
                              "cross_attention_dim": 1280, "attention_head_dim": [6, 12, 24, 24],
                              "transformer_layers_per_block": 4, "projection_class_embeddings_input_dim": 2560},
                     "vae": VAE, "text_2": ("open", CLIP_G)},
    "kolors": {"unet": {**BASE, **XL, **blocks(0, 1, 1), "block_out_channels": [320, 640, 1280], "cross_attention_dim": 2048,
                        "attention_head_dim": [5, 10, 20], "transformer_layers_per_block": [1, 2, 10], "encoder_hid_dim": 4096,
                        "encoder_hid_dim_type": "text_proj", "projection_class_embeddings_input_dim": 5632}, "vae": VAE,
               "text": ("glm", GLM)},
}
PREFIXES = {
    "sd": {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "clip": "cond_stage_model.transformer.",
           "open": "cond_stage_model.model."},
    "sdxl": {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "clip": "conditioner.embedders.0.transformer.",
             "open": "conditioner.embedders.1.model."},
    "kolors": {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "glm": "conditioner.embedders.0.transformer."},
    "refiner": {"unet": "model.diffusion_model.", "vae": "first_stage_model.", "open": "conditioner.embedders.0.model."},
}


def replace_all(name, pairs):
    for new, old in pairs:
        name = re.sub(new, old, name)
    return name


RESNET = [(r"\.norm1\.", ".in_layers.0."), (r"\.conv1\.", ".in_layers.2."), (r"\.time_emb_proj\.", ".emb_layers.1."),
          (r"\.norm2\.", ".out_layers.0."), (r"\.conv2\.", ".out_layers.3."), (r"\.conv_shortcut\.", ".skip_connection.")]


def unet_name(name, config):
    """diffusers' name of a UNet's tensor -> the file's, below its prefix."""
    ends = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
            "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
            "encoder_hid_proj": "encoder_hid_proj", "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}
    stem, last = name.rsplit(".", 1)
    if stem in ends:
        return f"{ends[stem]}.{last}"
    levels = len(config["block_out_channels"])
    layers = config["layers_per_block"]
    layers = layers if isinstance(layers, (list, tuple)) else [layers] * levels
    if m := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name):
        at = 2 * int(m[2]) if m[1] == "resnets" else 1
        rest = m[3]
        out = f"middle_block.{at}.{rest}"
        return replace_all(out, RESNET) if m[1] == "resnets" else out
    m = re.match(r"(down|up)_blocks\.(\d)\.(resnets|attentions|downsamplers|upsamplers)\.(\d)\.(.*)", name)
    way, i, kind, j, rest = m[1], int(m[2]), m[3], int(m[4]), m[5]
    if way == "down":
        first = 1 + sum(n + 1 for n in layers[:i])
        at, root = first + (layers[i] if kind == "downsamplers" else j), "input_blocks"
    else:
        back = layers[::-1]
        first = sum(n + 1 for n in back[:i])
        at, root = first + (back[i] if kind == "upsamplers" else j), "output_blocks"
    if kind == "resnets":
        return replace_all(f"{root}.{at}.0.{rest}", RESNET)
    if kind == "attentions":
        return f"{root}.{at}.1.{rest}"
    if kind == "downsamplers":
        return f"{root}.{at}.0.op.{rest.removeprefix('conv.')}"
    cross = config["up_block_types"][i].startswith("CrossAttn")
    return f"{root}.{at}.{2 if cross else 1}.{rest}"


def vae_name(name, config):
    levels = len(config["block_out_channels"])
    name = re.sub(r"up_blocks\.(\d)", lambda m: f"up.{levels - 1 - int(m[1])}", name)
    return replace_all(name, [
        (r"down_blocks\.(\d)", r"down.\1"), (r"mid_block\.resnets\.0", "mid.block_1"), (r"mid_block\.resnets\.1", "mid.block_2"),
        (r"mid_block\.attentions\.0", "mid.attn_1"), (r"\.resnets\.(\d)", r".block.\1"), (r"downsamplers\.0", "downsample"),
        (r"upsamplers\.0", "upsample"), (r"conv_norm_out", "norm_out"), (r"conv_shortcut", "nin_shortcut"),
        (r"group_norm", "norm"), (r"attn_1\.(to_q|query)", "attn_1.q"), (r"attn_1\.(to_k|key)", "attn_1.k"),
        (r"attn_1\.(to_v|value)", "attn_1.v"), (r"attn_1\.(to_out\.0|proj_attn)", "attn_1.proj_out")])


def open_name(name):
    """-> (name, how)"""
    if m := re.match(r"text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name):
        return f"transformer.resblocks.{m[1]}.attn.in_proj_{m[3]}", str("qkv".index(m[2]))
    if name == "text_projection.weight":
        return "text_projection", "t"
    name = replace_all(name, [
        (r"text_model\.embeddings\.token_embedding", "token_embedding"),
        (r"text_model\.embeddings\.position_embedding\.weight", "positional_embedding"),
        (r"text_model\.final_layer_norm", "ln_final"), (r"text_model\.encoder\.layers", "transformer.resblocks"),
        (r"layer_norm(\d)", r"ln_\1"), (r"self_attn\.out_proj", "attn.out_proj"), (r"mlp\.fc1", "mlp.c_fc"),
        (r"mlp\.fc2", "mlp.c_proj")])
    return name, ""


def rows_of(part, kind, names, config, prefix):
    rows = []
    for name in names:
        if kind == "unet":
            outer, how = unet_name(name, config), ""
        elif kind == "vae":
            outer, how = vae_name(name, config), ""
        elif kind in ("clip", "glm"):
            outer, how = name, ""
        else:
            outer, how = open_name(name)
        rows.append([name, prefix + outer, how])
    return rows


def file_of(parts):
    """The file's tensors {name: tensor} from {part: (rows, tensors)}."""
    out = {}
    for rows, tensors in parts.values():
        thirds = {}
        for inner, outer, how in rows:
            if how in ("", "t"):
                out[outer] = tensors[inner].T if how == "t" else tensors[inner]
            else:
                thirds.setdefault(outer, {})[int(how)] = tensors[inner]
        for outer, three in thirds.items():
            out[outer] = torch.cat([three[i] for i in range(3)])
    return out


def judge(name, file, parts, configs, modules, prefixes):
    """diffusers' converters bring the file back to the modules' names and shapes (and values, where there are any)."""
    from diffusers.loaders import single_file_utils as u
    for part, (rows, tensors) in parts.items():
        kind = configs[part][0]
        if kind == "unet" and isinstance(configs[part][1]["layers_per_block"], list):
            continue  # tiny-sd2 has blocks of different lengths, which diffusers' converter does not know
        if kind == "unet":
            back = u.convert_ldm_unet_checkpoint(dict(file), configs[part][1])
            hid = prefixes["unet"] + "encoder_hid_proj."  # a name that diffusers' converter does not bring over
            back |= {k.removeprefix(prefixes["unet"]): v for k, v in file.items() if k.startswith(hid)}
        elif kind == "vae":
            back = u.convert_ldm_vae_checkpoint(dict(file), configs[part][1])
        elif kind == "glm":
            continue  # diffusers reads no single file of it: its own names behind a prefix
        elif kind == "clip":
            prefix = prefixes["clip"]
            back = u.convert_ldm_clip_checkpoint(dict(file), remove_prefix=prefix)
        else:
            model = SimpleNamespace(config=modules[part].config, state_dict=modules[part].state_dict)
            back = u.convert_open_clip_checkpoint(model, dict(file), prefix=prefixes["open"])
        back = {k: v for k, v in back.items() if not k.endswith("position_ids")}
        plain = {k: v for k, v in tensors.items()}
        if "text_projection.weight" not in plain:
            back.pop("text_projection.weight", None)
        # transformers 5 has no text_model. in its own names; the hub's files do
        strip = {k.removeprefix("text_model."): v for k, v in plain.items()}
        got = {k.removeprefix("text_model."): v for k, v in back.items()}
        assert set(got) == set(strip), (name, part, sorted(set(got) ^ set(strip))[:6])
        for k, v in strip.items():
            w = got[k].reshape(v.shape)
            if v.is_meta:
                assert w.shape == v.shape, (name, part, k)
            else:
                assert torch.equal(w, v), (name, part, k)


def write(name, file, parts):
    OUT.mkdir(parents=True, exist_ok=True)
    data = {"tensors": [[k, list(v.shape)] for k, v in file.items()], "parts": {p: rows for p, (rows, _) in parts.items()}}
    text = json.dumps(data, separators=(",", ":")).encode()
    (OUT / f"{name}.json.gz").write_bytes(gzip.compress(text, 9, mtime=0))
    print(f"{name}: {len(file)} tensors, {len(gzip.compress(text, 9))} bytes")


def named(module):
    out = {k: v for k, v in module.state_dict().items() if not k.endswith(("position_ids", "inv_freq"))}
    if any("query_key_value" in k for k in out):
        return out
    if any(k.startswith("encoder.layers") for k in out):
        out = {k if k.startswith("text_projection") else "text_model." + k: v for k, v in out.items()}
    return out


def glm(config):
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel
    return ChatGLMModel(ChatGLMConfig(**config), empty_init=False)


def full(name, spec):
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
    prefixes = PREFIXES["refiner" if name.endswith("refiner") else "sdxl" if name.startswith("sdxl") else
                        "kolors" if name == "kolors" else "sd"]
    parts, configs, modules = {}, {}, {}
    with torch.device("meta"):
        modules["unet"] = UNet2DConditionModel(**spec["unet"])
        modules["vae"] = AutoencoderKL(**spec["vae"])
        configs["unet"], configs["vae"] = ("unet", spec["unet"]), ("vae", spec["vae"])
        for part, make in (("text", CLIPTextModel), ("text_2", CLIPTextModelWithProjection)):
            if part in spec:
                kind, config = spec[part]
                key = "text_encoder" + part.removeprefix("text")
                modules[key] = (glm(config) if kind == "glm" else
                                make(CLIPTextConfig(vocab_size=49408, max_position_embeddings=77, **config)))
                configs[key] = (kind, config)
    for part, module in modules.items():
        kind, config = configs[part]
        tensors = named(module)
        parts[part] = (rows_of(part, kind, tensors, config, prefixes[kind]), tensors)
    file = file_of(parts)
    # LDM keeps the attention of its VAE as 1x1 convolutions
    for k in list(file):
        if ".mid.attn_1." in k and file[k].ndim == 2:
            file[k] = file[k][:, :, None, None]
    judge(name, file, parts, configs, modules, prefixes)
    if name.startswith("sd1"):
        file["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.empty(1, 77, device="meta")
    if name.startswith("sd2"): # the layer that is left out, and the projection that nobody asks for
        layer = {k.replace("resblocks.22", "resblocks.23"): v for k, v in file.items() if ".resblocks.22." in k}
        file.update(layer)
        file["cond_stage_model.model.text_projection"] = torch.empty(1024, 1024, device="meta")
    for extra in ("alphas_cumprod", "betas", "sqrt_recipm1_alphas_cumprod"):
        file[extra] = torch.empty(1000, device="meta")
    file["model_ema.decay"] = torch.empty((), device="meta")
    write(name, file, parts)


def tiny(name, prefixes, *kinds):
    """A folder of tests/data/models as a file: its own tensors, judged by their values. kinds: of its text encoders."""
    from safetensors import safe_open
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection
    parts, configs, modules = {}, {}, {}
    prefixes = PREFIXES[prefixes]
    encoders = zip(("text_encoder", "text_encoder_2"), kinds)
    for part, what in (("unet", "unet"), ("vae", "vae"), *encoders):
        tensors = {}
        for path in sorted((MODELS / name / part).glob("*.safetensors")):
            with safe_open(path, "pt") as f:
                tensors.update({k: f.get_tensor(k) for k in f.keys() if not k.endswith(("position_ids", "inv_freq"))})
        config = json.loads((MODELS / name / part / "config.json").read_text())
        if part.startswith("text_encoder") and what != "glm":
            tensors = {k if k.startswith("text_projection") else "text_model." + k.removeprefix("text_model."): v
                       for k, v in tensors.items()}
            make = CLIPTextModelWithProjection if "text_projection.weight" in tensors else CLIPTextModel
            modules[part] = make(CLIPTextConfig(**{k: v for k, v in config.items() if k != "architectures"}))
        if part == "vae": # old names are brought to the new ones by both sides
            tensors = {k.replace("query", "to_q").replace("key", "to_k").replace("value", "to_v").replace("proj_attn", "to_out.0"): v
                       for k, v in tensors.items()}
        configs[part] = (what, config)
        parts[part] = (rows_of(part, what, tensors, config, prefixes[what]), tensors)
    file = file_of(parts)
    judge(name, file, parts, configs, modules, prefixes)
    write(name, file, parts)


def main():
    common.quiet()
    for name, spec in FAMILIES.items():
        full(name, spec)
    tiny("tiny-sd1", "sd", "clip")
    tiny("tiny-sd2", "sd", "open")
    tiny("tiny-sdxl", "sdxl", "clip", "open")
    tiny("tiny-kolors", "kolors", "glm")


if __name__ == "__main__":
    main()
