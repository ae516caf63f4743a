"""What the reference scripts share: where data lies, determinism, a tiny tokenizer, pictures with captions, digests."""

import json
import os
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import torch
from safetensors.torch import save_file

TESTS = Path(__file__).resolve().parent.parent
MODELS = TESTS / "data" / "models"
EXPECTED = TESTS / "data" / "expected"

COLOURS = {
    "red": ("红", (0.9, 0.1, 0.1)), "green": ("绿", (0.1, 0.7, 0.2)), "blue": ("蓝", (0.1, 0.2, 0.9)),
    "yellow": ("黄", (0.95, 0.85, 0.1)), "white": ("白", (1.0, 1.0, 1.0)), "black": ("黑", (0.05, 0.05, 0.05)),
    "purple": ("紫", (0.5, 0.1, 0.6)), "orange": ("橙", (1.0, 0.55, 0.1)),
}
SHAPES = {"circle": "圆", "stripes": "条纹", "wave": "波浪", "cat": "猫", "dog": "狗", "apple": "苹果"}


def quiet():
    """One thread, deterministic kernels, no chatter: the same bits on every run of one machine kind."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.backends.mkldnn.deterministic = True
    import diffusers
    import transformers
    diffusers.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    diffusers.utils.logging.disable_progress_bar()


def captions():
    """Every (caption, colour, shape, ground) in English and Chinese, always in the same order."""
    out = []
    for c, (c_zh, _) in COLOURS.items():
        for s, s_zh in SHAPES.items():
            for g, (g_zh, _) in COLOURS.items():
                if g != c:
                    out.append((f"a {c} {s} on a {g} ground", c, s, g))
                    out.append((f"{g_zh}色背景上的{c_zh}{s_zh}", c, s, g))
    return out


def picture(colour, shape, ground, height, width, dx=0.0, dy=0.0):
    """A smooth picture [3, height, width] in -1..1 for the words."""
    y, x = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    x, y = x - dx, y - dy
    r = np.hypot(x, y)
    field = {
        "circle": 0.6 - r,
        "stripes": np.sin(7 * x),
        "wave": np.sin(5 * y + 2 * np.sin(3 * x)),
        "cat": 0.5 - np.hypot(x * 0.8, y) + 0.3 * np.cos(6 * x),
        "dog": 0.5 - np.maximum(abs(x), abs(y) * 0.7),
        "apple": 0.6 - r + 0.2 * np.sin(3 * np.arctan2(y, x)),
    }[shape]
    mask = 1 / (1 + np.exp(-8 * field))[None]
    fore = np.array(COLOURS[colour][1])[:, None, None]
    back = np.array(COLOURS[ground][1])[:, None, None] * (1 - 0.15 * (y + 1))
    return torch.tensor((mask * fore + (1 - mask) * back) * 2 - 1, dtype=torch.float32)


def train_tokenizer(folder, vocab_size, pad, end="<|endoftext|>"):
    """A CLIP-style byte BPE (256 bytes, 256 bytes with </w>, merges, start, end) written the way the hub has it."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
    start = "<|startoftext|>"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet(), key=ord)
    # CLIP's order: printable ASCII first, so that "!" has id 0.
    alphabet = [chr(c) for c in range(ord("!"), ord("~") + 1)] + [a for a in alphabet if not "!" <= a <= "~"]
    tok = Tokenizer(models.BPE(end_of_word_suffix="</w>", unk_token=end))
    tok.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    tok.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"), "removed", invert=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False)])
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, end_of_word_suffix="</w>",
                                  special_tokens=[], show_progress=False)
    tok.train_from_iterator([c[0] for c in captions()], trainer)
    merges = [tuple(m) for m in json.loads(tok.to_str())["model"]["merges"]]
    vocab = {}
    for token in alphabet + [a + "</w>" for a in alphabet] + [a + b for a, b in merges]:
        vocab.setdefault(token, len(vocab))
    merges = merges[: vocab_size - 514]
    vocab = {t: i for t, i in vocab.items() if i < vocab_size - 2}
    vocab[start] = len(vocab)
    vocab[end] = len(vocab)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "vocab.json", vocab, indent=None)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merges), encoding="utf-8")
    added = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    write_json(folder / "tokenizer_config.json", {
        "add_prefix_space": False, "bos_token": {**added, "content": start}, "do_lower_case": True,
        "eos_token": {**added, "content": end}, "errors": "replace", "model_max_length": 77, "pad_token": pad,
        "tokenizer_class": "CLIPTokenizer", "unk_token": {**added, "content": end}})
    plain = {k: v for k, v in added.items() if k != "__type"}
    write_json(folder / "special_tokens_map.json", {
        "bos_token": {**plain, "content": start}, "eos_token": {**plain, "content": end}, "pad_token": pad,
        "unk_token": {**plain, "content": end}})
    return vocab


def liven(module, generator, peak=1.0):
    """Random weights hide mistakes: norms scale by 1 and biases are 0. Moves both, and sharpens attention by `peak`."""
    with torch.no_grad():
        for name, m in module.named_modules():
            if isinstance(m, (torch.nn.GroupNorm, torch.nn.LayerNorm)):
                m.weight.copy_(0.6 + 0.8 * torch.rand(m.weight.shape, generator=generator))
                m.bias.copy_(0.2 * torch.randn(m.bias.shape, generator=generator))
            elif getattr(m, "bias", None) is not None and isinstance(m.bias, torch.nn.Parameter):
                m.bias.add_(0.05 * torch.randn(m.bias.shape, generator=generator))
            if name.endswith(("to_q", "to_k", "q_proj", "k_proj")):
                m.weight.mul_(peak)


def round_to(module, dtype):
    """Rounds the weights to the stored type and leaves them in f32: references are computed from what the file holds."""
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(p.to(dtype).to(torch.float32))


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def write_tensors(path, tensors, dtype=None, metadata=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: (v.to(dtype) if dtype and v.is_floating_point() else v).detach().contiguous().clone()
               for k, v in tensors.items()}, path, metadata=metadata or {"format": "pt"})
    path.chmod(0o644)


def digest(t):
    """Below 512 values all of them; else 64 values at i * floor(n / 64), then the L2 norm, then the sum. 1-D."""
    flat = t.detach().double().flatten()
    if flat.numel() >= 512:
        flat = torch.cat([flat[torch.arange(64) * (flat.numel() // 64)], flat.norm()[None], flat.sum()[None]])
    return flat.float()


def zero_snr_alphas(betas):
    """alphas_cumprod of betas rescaled to zero terminal SNR (Lin et al. 2023, algorithm 1), in the type of `betas`."""
    root = torch.cumprod(1 - betas, 0).sqrt()
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    return root ** 2


def size_of(folder):
    return sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
