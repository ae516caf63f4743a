"""Makes a tiny Kolors and what diffusers computes with it:

  tests/data/models/tiny-kolors     a folder in the layout of Kolors-diffusers: ChatGLM3 in two shards, f16, with the weights
                                    that nobody uses (final norm, LM head, inv_freq); SentencePiece BPE with bytes; the
                                    UNet's text projection and size conditioning; Euler over 1100 steps
  tests/data/expected/tiny-kolors.{safetensors,json}
      text.ids, text.places [n, 256], text.pads [n] i64; text.states [n, 256, w] (hidden_states[-2]), text.pooled [n, w]
      unet.sample, unet.timesteps, unet.states, unet.pooled, unet.time_ids -> unet.out
      <case>.start, <case>.final, <case>.picture as in make_expected.py
      euler.<steps>.timesteps, euler.<steps>.sigmas: of the scheduler alone
  tests/fuzz/corpus/sentencepiece/   two small SentencePiece models
  tests/data/tokenizer/chatglm_cases.json   [{"text", "ids"}]: [gMASK], sop and all pieces of many texts

Every size differs from every other one, so that none can be taken for another. Weights are used as the files hold them,
computed in f32 on one thread."""

import argparse
import json
import random
import shutil

import common
from common import EXPECTED, MODELS, TESTS, captions, liven, picture, round_to, write_json, write_tensors
from make_models import plain_config

import torch

NAME = "tiny-kolors"
PIECES, WORDS = 420, 440
TOKENS = 256
TEXT = {"num_layers": 3, "padded_vocab_size": WORDS, "hidden_size": 40, "ffn_hidden_size": 68, "kv_channels": 12,
        "num_attention_heads": 4, "multi_query_attention": True, "multi_query_group_num": 2, "seq_length": 512,
        "add_bias_linear": False, "add_qkv_bias": True, "layernorm_epsilon": 1e-5, "rmsnorm": True,
        "post_layer_norm": True, "apply_residual_connection_post_layernorm": False, "fp32_residual_connection": False,
        "apply_query_key_layer_scaling": True, "attention_softmax_in_fp32": True, "bias_dropout_fusion": True,
        "attention_dropout": 0.0, "hidden_dropout": 0.0, "classifier_dropout": None, "original_rope": True,
        "quantization_bit": 0, "pre_seq_len": None, "prefix_projection": False, "use_cache": True}
UNET = {"sample_size": 8, "in_channels": 4, "out_channels": 4, "block_out_channels": [8, 12, 20],
        "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
        "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"], "layers_per_block": 1,
        "attention_head_dim": [2, 3, 5], "transformer_layers_per_block": [1, 1, 2], "cross_attention_dim": 36,
        "norm_num_groups": 4, "use_linear_projection": True, "encoder_hid_dim": 40, "encoder_hid_dim_type": "text_proj",
        "addition_embed_type": "text_time", "addition_time_embed_dim": 6, "projection_class_embeddings_input_dim": 76}
VAE = {"scaling_factor": 0.13025, "force_upcast": True}  # tiny-sd1's, which is trained, with SDXL's scale
SCHEDULER = {"_class_name": "EulerDiscreteScheduler", "_diffusers_version": "0.18.0.dev0", "beta_schedule": "scaled_linear",
             "beta_start": 0.00085, "beta_end": 0.014, "clip_sample": False, "interpolation_type": "linear",
             "num_train_timesteps": 1100, "prediction_type": "epsilon", "sample_max_value": 1.0, "set_alpha_to_one": False,
             "skip_prk_steps": True, "steps_offset": 1, "timestep_spacing": "leading", "trained_betas": None,
             "use_karras_sigmas": False}
PROMPTS = ["", "a red circle on a blue ground", "蓝色背景上的红苹果，and it's GREEN  ok 42 🙂",
           "a yellow cat on a white ground, 红色背景上的黑猫, " * 40]
NEGATIVE = "绿色条纹"


# What the normalizer does: a few of NFKC's rules, since the whole table has 240 KB.
RULES = {"\n": " ", "\t": " ", "\u3000": " ", "\u200b": "", "Ａ": "A", "ﬁ": "fi", "①": "1", "½": "1\u20442", "ｗ": "w",
         "e\u0301": "é", "，": ","}


def train_pieces(model, pieces=PIECES, rules=RULES, kind="bpe"):
    """A SentencePiece model with bytes (BPE, as ChatGLM3's), learnt from the captions."""
    import sentencepiece
    model.parent.mkdir(parents=True, exist_ok=True)
    words, table = model.with_name("captions.txt"), model.with_name("rules.tsv")
    words.write_text("\n".join(c[0] for c in captions()), encoding="utf-8")
    codes = lambda s: " ".join(f"{ord(c):X}" for c in s)
    table.write_text("".join(f"{codes(a)}\t{codes(b)}\n" for a, b in (rules or {}).items()))
    more = {"normalization_rule_tsv": str(table)} if rules else {"normalization_rule_name": "identity"}
    sentencepiece.SentencePieceTrainer.train(
        input=str(words), model_prefix=str(model.with_suffix("")), vocab_size=pieces, model_type=kind, byte_fallback=True,
        character_coverage=1.0, num_threads=1, minloglevel=2, **more)
    for left in (words, table, model.with_suffix(".vocab")):
        left.unlink()


def fuzz_seeds(folder):
    """A text, "====", a model: small ones, with and without a table, and one of another kind."""
    for name, text, rules, kind in (("bytes", "a red cat 🙂", None, "bpe"), ("table", "ｗ①\tﬁ 红", RULES, "bpe"),
                                    ("unigram", "a red cat 红色", RULES, "unigram")):
        train_pieces(folder / f"{name}.model", 310, rules, kind)
        model = (folder / f"{name}.model").read_bytes()
        (folder / f"{name}.model").unlink()
        (folder / name).write_bytes(text.encode() + b"====\n" + model)


def tokenize(tokenizer, texts):
    return tokenizer(texts, padding="max_length", max_length=TOKENS, truncation=True, return_tensors="pt")


def encode(text, tokenizer, texts):
    """What KolorsPipeline.encode_prompt takes from the text encoder: states [n, 256, w], pooled [n, w]."""
    t = tokenize(tokenizer, texts)
    got = text(input_ids=t.input_ids, attention_mask=t.attention_mask, position_ids=t.position_ids,
               output_hidden_states=True).hidden_states
    return got[-2].permute(1, 0, 2).clone(), got[-1][-1].clone()


def build():
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel, RMSNorm
    torch.manual_seed(31)
    g = torch.Generator().manual_seed(32)
    text = ChatGLMModel(ChatGLMConfig(**TEXT), empty_init=False)
    with torch.no_grad():
        for name, p in text.named_parameters():
            if p.dim() > 1:
                p.copy_(torch.randn(p.shape, generator=g) * (1.5 / p.shape[1]) ** 0.5)
            elif name.endswith("bias"):
                p.copy_(0.1 * torch.randn(p.shape, generator=g))
        text.embedding.word_embeddings.weight.copy_(torch.randn(WORDS, TEXT["hidden_size"], generator=g))
        for m in text.modules():
            if isinstance(m, RMSNorm):
                m.weight.copy_(0.6 + 0.8 * torch.rand(m.weight.shape, generator=g))
    unet = UNet2DConditionModel(**UNET)
    liven(unet, g, peak=2.5)
    vae = AutoencoderKL.from_pretrained(str(MODELS / "tiny-sd1" / "vae"), torch_dtype=torch.float32, **VAE)
    return text.eval(), unet.eval(), vae.eval()


def train_unet(text, tokenizer, unet, vae, steps):
    """A few hundred steps of epsilon prediction over the 1100 steps of the scheduler."""
    g = torch.Generator().manual_seed(6)
    words = captions()
    pick = torch.randperm(len(words), generator=g)[:48].tolist()
    with torch.no_grad():
        parts = [encode(text, tokenizer, [words[i][0] for i in pick[j:j + 16]] + [""]) for j in range(0, len(pick), 16)]
        states, pooled = (torch.cat([p[k][:-1] for p in parts]) for k in (0, 1))
        empty, empty_pooled = parts[0][0][-1], parts[0][1][-1]
        x0 = torch.cat([vae.encode(torch.stack([picture(*words[i][1:], 64, 64) for i in pick[j:j + 8]])).latent_dist.mean
                        for j in range(0, len(pick), 8)]) * vae.config.scaling_factor
    n = SCHEDULER["num_train_timesteps"]
    bar = torch.cumprod(1 - torch.linspace(SCHEDULER["beta_start"] ** 0.5, SCHEDULER["beta_end"] ** 0.5, n,
                                           dtype=torch.float64) ** 2, 0)
    opt = torch.optim.AdamW(unet.parameters(), lr=3e-3)
    ids = torch.tensor([[64.0, 64, 0, 0, 64, 64]]).repeat(4, 1)
    mean = 1.0
    for step in range(steps):
        i = torch.randint(len(pick), (4,), generator=g)
        t = torch.randint(n, (4,), generator=g)
        noise = torch.randn(x0[i].shape, generator=g)
        a, s = (v.float().view(-1, 1, 1, 1) for v in (bar[t].sqrt(), (1 - bar[t]).sqrt()))
        none = torch.rand(4, generator=g) < 0.1
        more = {"text_embeds": torch.where(none[:, None], empty_pooled, pooled[i]), "time_ids": ids}
        for group in opt.param_groups:
            group["lr"] = 3e-3 * (1 - step / steps) + 1e-4
        loss = ((unet(a * x0[i] + s * noise, t, torch.where(none[:, None, None], empty, states[i]),
                      added_cond_kwargs=more).sample - noise) ** 2).mean()
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
        opt.step()
        mean += 0.03 * (loss.item() - mean)
    print(f"unet: loss {mean:.3f}, latents std {x0.std():.2f}", flush=True)


def save(folder, text, unet, vae):
    write_json(folder / "model_index.json", {
        "_class_name": "KolorsPipeline", "_diffusers_version": "0.42.1", "force_zeros_for_empty_prompt": False,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["kolors", "ChatGLMModel"],
        "tokenizer": ["kolors", "ChatGLMTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]})
    for part in ("scheduler", "text_encoder", "unet", "vae"):
        (folder / part).mkdir()
    write_json(folder / "scheduler" / "scheduler_config.json", SCHEDULER)
    write_json(folder / "text_encoder" / "config.json", {"architectures": ["ChatGLMModel"], "model_type": "chatglm",
                                                         "torch_dtype": "float16", **TEXT, "vocab_size": WORDS})
    write_json(folder / "tokenizer" / "tokenizer_config.json", {
        "added_tokens_decoder": {}, "clean_up_tokenization_spaces": False, "do_lower_case": False,
        "model_max_length": 10 ** 30, "padding_side": "left", "remove_space": False, "tokenizer_class": "ChatGLMTokenizer"})
    weights = {k: v.half() for k, v in text.state_dict().items()}
    files = ["model-0000%d-of-00002.safetensors" % i for i in (1, 2)]
    where = {k: files[k.startswith(("encoder.layers.2", "encoder.final", "output"))] for k in sorted(weights)}
    for f in files:
        write_tensors(folder / "text_encoder" / f, {k: v for k, v in weights.items() if where[k] == f})
    write_json(folder / "text_encoder" / "model.safetensors.index.json", {
        "metadata": {"total_size": sum(v.numel() * 2 for v in weights.values())}, "weight_map": where})
    for part, module in (("unet", unet), ("vae", vae)):
        write_json(folder / part / "config.json", plain_config(module))
        file = folder / part / "diffusion_pytorch_model.safetensors"
        if module is unet:
            write_tensors(file, module.state_dict(), torch.float16)
        else:
            shutil.copyfile(MODELS / "tiny-sd1" / "vae" / file.name, file)


def draw(parts, case, out):
    from diffusers import EulerDiscreteScheduler, KolorsPipeline
    text, tokenizer, unet, vae = parts
    pipe = KolorsPipeline(vae, text, tokenizer, unet, EulerDiscreteScheduler.from_config(SCHEDULER))
    pipe.set_progress_bar_config(disable=True)
    shape = (case["count"], 4, case["height"] // 8, case["width"] // 8)

    def run(kind):
        return pipe(case["prompt"], negative_prompt=case["negative"], width=case["width"], height=case["height"],
                    num_inference_steps=case["steps"], guidance_scale=case["cfg"], num_images_per_prompt=case["count"],
                    generator=torch.Generator().manual_seed(case["seed"]), output_type=kind).images
    out[case["name"] + ".start"] = torch.randn(shape, generator=torch.Generator().manual_seed(case["seed"]))
    out[case["name"] + ".final"] = run("latent")
    out[case["name"] + ".picture"] = torch.tensor((run("np") * 255).round().astype("uint8"))
    print(f"{case['name']}: std {out[case['name'] + '.final'].std():.2f}", flush=True)


def texts():
    """Many texts: captions, random mixtures of scripts, spaces, signs, and the names of special tokens."""
    r = random.Random(3)
    signs = list("abcxyzABC019 ,.!?'\"-_()[]{}<>|/\\") + list("红蓝苹果猫的上　，。！") + list("éßΩЖабв ﬁ①Ａ½")
    signs += ["🙂", "👩‍🎨", "e\u0301", "\n", "\t", "\u200b", "\ufeff", "  ", "한", "ا", "\U00020000"]
    out = ["", " ", "hello", "I like walking my cute dog", "Using a Transformer network is simple", "[gMASK]", "sop",
           "<|user|> hello <|assistant|>", "<unk> <s> </s> <pad> <0x41>", "▁a▁red", "a\nb", "  a  b  ", "\u0001\u0002"]
    out += [c[0] for c in r.sample(captions(), 40)]
    return out + ["".join(r.choices(signs, k=r.randint(1, 24))) for _ in range(150)]


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--unet-steps", type=int, default=300)
    args = args.parse_args()
    common.quiet()
    from diffusers import EulerDiscreteScheduler
    from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
    folder = MODELS / NAME
    shutil.rmtree(folder, ignore_errors=True)
    train_pieces(folder / "tokenizer" / "tokenizer.model")
    fuzz_seeds(TESTS / "fuzz" / "corpus" / "sentencepiece")
    tokenizer = ChatGLMTokenizer(str(folder / "tokenizer" / "tokenizer.model"))
    assert tokenizer.vocab_size == PIECES + 9
    cases = [{"text": t, "ids": tokenizer(t)["input_ids"]} for t in texts()]
    lines = ",\n".join(json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in cases)
    (TESTS / "data" / "tokenizer" / "chatglm_cases.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")

    text, unet, vae = build()
    round_to(text, torch.float16)
    train_unet(text, tokenizer, unet, vae, args.unet_steps)
    round_to(unet, torch.float16)
    save(folder, text, unet, vae)

    plain = {"prompt": PROMPTS[1], "negative": "", "width": 64, "height": 64, "steps": 20, "cfg": 5.0, "seed": 1234, "count": 1}
    cases = [{"name": "square", **plain},
             {"name": "wide", **plain, "width": 80, "height": 48, "prompt": PROMPTS[2], "negative": NEGATIVE},
             {"name": "cut_cfg1", **plain, "prompt": PROMPTS[3], "cfg": 1.0, "steps": 6},
             {"name": "batch2", **plain, "count": 2, "steps": 7, "seed": 9}]
    out = {}
    with torch.no_grad():
        t = tokenize(tokenizer, PROMPTS)
        states, pooled = encode(text, tokenizer, PROMPTS)
        out |= {"text.ids": t.input_ids, "text.places": t.position_ids, "text.pads": (1 - t.attention_mask).sum(1),
                "text.states": states, "text.pooled": pooled}
        g = torch.Generator().manual_seed(11)
        sample, steps = torch.randn(2, 4, 8, 6, generator=g), torch.tensor([1057, 17])
        ids = torch.tensor([[64.0, 48, 0, 0, 64, 48], [100, 90, 7, 5, 64, 48]])
        more = {"text_embeds": pooled[1:3], "time_ids": ids}
        out |= {"unet.sample": sample, "unet.timesteps": steps, "unet.states": states[1:3], "unet.pooled": pooled[1:3],
                "unet.time_ids": ids, "unet.out": unet(sample, steps, states[1:3], added_cond_kwargs=more).sample}
        for case in cases:
            draw((text, tokenizer, unet, vae), case, out)
    for n in (20, 25, 50):
        s = EulerDiscreteScheduler.from_config(SCHEDULER)
        s.set_timesteps(n)
        out |= {f"euler.{n}.timesteps": s.timesteps.float(), f"euler.{n}.sigmas": s.sigmas}
    del out["unet.states"], out["unet.pooled"]  # rows 1 and 2 of text.*
    write_tensors(EXPECTED / f"{NAME}.safetensors", out)
    write_json(EXPECTED / f"{NAME}.json", {"model": NAME, "factor": 8, "prompts": PROMPTS, "cases": cases,
                                           "note": "unet.out is of text.states[1:3] and text.pooled[1:3]"})
    print(f"{NAME}: {common.size_of(folder)} bytes, expected {(EXPECTED / (NAME + '.safetensors')).stat().st_size}", flush=True)


if __name__ == "__main__":
    main()
