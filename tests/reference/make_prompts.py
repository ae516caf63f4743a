"""Makes tests/data/prompts/: what prompts mean in ComfyUI and stable-diffusion-webui, and the text states that follow.

The rules are written down here a second time, from the behaviour of ComfyUI 0.3.64 (comfy/sd1_clip.py) and
stable-diffusion-webui 1.10 (prompt_parser.py, sd_hijack_clip.py, sd_emphasis.py); both this and limn's reader were also run
beside those programs on thousands of random prompts. One thing differs on purpose: where webui moves words behind a comma to
the next row, an embedding among them keeps its vectors.

cases.json: a list of {name, model, syntax, text, pieces, loras, rows, weights, vectors}
  pieces   [kind, text, rest, weight]; kind 0 words, 1 embedding, 2 break
  rows     ids up to the first end token; padding is not written. 0 stands for a vector.
  weights  of the same places; vectors: [row, place, first number of the vector]
<model>.safetensors: <name>.states, every STRIDEth number of [rows * 77, width], and <name>.skip1 the same with one layer
  skipped; final.<syntax>: latents [1, 4, 8, 8] of a few steps whose negative prompt has another number of rows.
sdxl.json, tiny-sdxl.safetensors: the same for two text encoders; <name>.states [rows * 77, both widths], <name>.pooled.
Needs tiny-sdxl of make_families.py."""

import json
import re

import common
from common import MODELS, TESTS, write_json, write_tensors

import torch

FOLDER = TESTS / "data" / "prompts"
STRIDE = 7
LENGTH = 77

# name, model, syntax, text. Long ones are more than 77 tokens of the tiny tokenizers.
LONG = "a yellow cat on a white ground, a purple dog on a black ground, " * 6
CASES = [
    ("empty", "tiny-sd1", "comfy", ""),
    ("plain_words", "tiny-sd1", "comfy", "a red circle on a blue ground"),
    ("brackets", "tiny-sd1", "comfy", "a (red) circle ((on)) a (blue:1.4) [ground]"),
    ("absolute", "tiny-sd1", "comfy", "((a:1.5) red circle:1.2) (x: 0.5 ) (y:1_0e-1) (z:0.9:) (:1.2)"),
    ("unclosed", "tiny-sd1", "comfy", "a) red (circle ((on) a"),
    ("closed_first", "tiny-sd1", "comfy", ") (a) b ((c:1.3)"),
    ("escaped", "tiny-sd1", "comfy", r"a \(red\) (circle \) on:1.3) \\(a\) \n \[b]"),
    ("lora", "tiny-sd1", "comfy", "a <lora:ink & paper:0.8> red <lora:x:0.5:0.25><lora:y>circle <hypernet:z:1> <lora:>"),
    ("embedding", "tiny-sd1", "comfy", "a embedding:waves circle, (embedding:sub/dots.safetensors:1.3) on embedding:nothing there"),
    ("embedding_comma", "tiny-sd1", "comfy", "embedding:waves, a\nembedding:dots  red   circle"),
    ("embedding_glued", "tiny-sd1", "comfy", "aembedding:waves (embedding:,waves,) embedding:"),
    ("long", "tiny-sd1", "comfy", LONG),
    ("long_weighted", "tiny-sd1", "comfy", f"({LONG}:1.2) (wave:0.7) " + "cat (dog) " * 14 + "(apple:-0.5)"),
    ("long_vectors", "tiny-sd1", "comfy", "a red circle on a blue ground, " * 9 + "embedding:waves " + "embedding:dots " * 2),
    ("marks", "tiny-sd2", "comfy", "a red circle! (on!!:1.3) a blue ground " + "ok " * 70),
    ("shapes", "tiny-emoji", "comfy", "(蓝色背景上的红苹果:1.3)，and it's (GREEN) ok 42"),
    ("a_empty", "tiny-sd1", "a1111", ""),
    ("a_brackets", "tiny-sd1", "a1111", "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky)))."),
    ("a_unclosed", "tiny-sd1", "a1111", "a [red (circle on: 1.5 ) a ) b ] (blue [ground"),
    ("a_escaped", "tiny-sd1", "a1111", r"\(a\) \[b\] c\\ d\e (f\):1.2) :1.3)"),
    ("a_break", "tiny-sd1", "a1111", "a red circle BREAK\n on a (blue BREAK ground) BREAKs BREAK"),
    ("a_lora", "tiny-sd1", "a1111", "<lora:x:0.5:0.25> a <lora:y:te=0.3:unet=0.7> <lora:z:1.5> <other:1> circle"),
    ("a_embedding", "tiny-sd1", "a1111", "a WAVES circle, (dots:1.3) waves"),
    ("a_long_comma", "tiny-sd1", "a1111", LONG),
    ("a_long_no_comma", "tiny-sd1", "a1111", "circle on " * 50),
    ("a_long_vectors", "tiny-sd1", "a1111", "a red circle on a blue ground, " * 9 + "(a [cat]:1.1) dots dots waves"),
    ("a_weighted", "tiny-sd1", "a1111", f"({LONG}:1.2) BREAK [wave] (apple:0.3)"),
    ("a_marks", "tiny-sd2", "a1111", "a red circle! (on!!:1.3) a blue ground " + "ok " * 70),
]

SDXL_CASES = [
    ("weighted", "comfy", "a (red circle:1.3)! on a blue ground"),
    ("long", "comfy", LONG + "(cat:0.6)"),
    ("vectors", "comfy", "a embedding:pair circle, (embedding:left:1.2) (cat!)"),
    ("a_weighted", "a1111", f"({LONG}:1.1), BREAK [cat]!"),
    ("a_vectors", "a1111", "a pair of (left:1.2) circles"),
]


# --- reading ---

def number(text):
    try:
        return float(text)
    except ValueError:
        return None


def take_loras(text, syntax):
    loras = []

    def found(match):
        kind, items = match.group(1), match.group(2).split(":")
        if kind != "lora":
            return "" if syntax == "a1111" else match.group(0)
        values = [float(x) for x in items[1:] if "=" not in x]
        named = dict(x.split("=") for x in items[1:] if "=" in x)
        first = values[0] if values else 1.0
        if syntax == "a1111":
            te = float(named.get("te", first))
            unet = float(named.get("unet", values[1] if len(values) > 1 else te))
        else:
            unet, te = first, values[1] if len(values) > 1 else first
        loras.append([items[0], unet, te])
        return ""
    return re.sub(r"<(\w+):([^>]+)>", found, text), loras


def comfy_segments(text):
    """[(words, weight)]. Escaped brackets are private characters until the end."""
    out = []

    def read(s, weight):
        start = level = 0
        items = []
        for i, c in enumerate(s):
            if c == "(" and level == 0:
                items.append(s[start:i])
                start = i
            level += (c == "(") - (c == ")")
            if c == ")" and level == 0:
                items.append(s[start:i + 1])
                start = i + 1
        for item in [*items, s[start:]]:
            if re.fullmatch(r"\(.*\)", item, re.S):
                body, colon, tail = item[1:-1].rpartition(":")
                if colon and body and number(tail) is not None:
                    read(body, number(tail))
                else:
                    read(item[1:-1], weight * 1.1)
            elif item:
                out.append((item, weight))
    read(text.replace(r"\)", "\ue001").replace(r"\(", "\ue000"), 1.0)
    return [(s.replace("\ue000", "(").replace("\ue001", ")"), w) for s, w in out]


def comfy_pieces(text):
    pieces = []
    for words, weight in comfy_segments(text):
        for i, part in enumerate(re.split("[ \n]embedding:", words)):
            part = ("embedding:" if i else "") + part
            tail = part[len("embedding:"):].split() if part.startswith("embedding:") else []
            if tail:
                pieces.append([1, tail[0], " ".join(tail[1:]), weight])
            elif part:
                pieces.append([0, part, "", weight])
    return pieces


def a1111_pieces(text):
    runs, rounds, squares = [], [], []

    def scale(begin, by):
        for run in runs[begin:]:
            run[1] *= by
    at = 0
    while at < len(text):
        rest = text[at:]
        escape = re.match(r"\\([()\[\]\\]?)", rest)
        closing = re.match(r":\s*([+-]?[.\d]+)\s*\)", rest)
        if escape:
            runs.append([escape.group(1), 1.0])
            at += escape.end()
        elif rest[0] in "([":
            (rounds if rest[0] == "(" else squares).append(len(runs))
            at += 1
        elif closing and rounds:
            scale(rounds.pop(), float(closing.group(1)))
            at += closing.end()
        elif rest[0] == ")" and rounds:
            scale(rounds.pop(), 1.1)
            at += 1
        elif rest[0] == "]" and squares:
            scale(squares.pop(), 1 / 1.1)
            at += 1
        else:
            words = closing or re.match(r"[^\\()\[\]:]+|.", rest, re.S)
            for i, part in enumerate(re.split(r"\s*\bBREAK\b\s*", words.group(0))):
                runs += [["BREAK", -1.0]] * (i > 0) + [[part, 1.0]]
                runs[-2:] = [list(r) for r in runs[-2:]]
            at += words.end()
    for begin in rounds:
        scale(begin, 1.1)
    for begin in squares:
        scale(begin, 1 / 1.1)
    merged = []
    for words, weight in runs or [["", 1.0]]:
        if merged and merged[-1][3] == weight:
            merged[-1][1] += words
        else:
            merged.append([0, words, "", weight])
    for piece in merged:
        if piece[1] == "BREAK" and piece[3] == -1:
            piece[0] = 2
    return merged


# --- rows ---

class Words:
    """A tokenizer without start, end and padding, and the embeddings."""

    def __init__(self, model, embeddings, part="tokenizer"):
        from transformers import CLIPTokenizer
        self.tokenizer = CLIPTokenizer.from_pretrained(str(MODELS / model / part), pad_token="<|endoftext|>")
        self.start, self.end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        self.pad = 0 if model == "tiny-sd2" or part == "tokenizer_2" else self.end
        self.comma = self.tokenizer.get_vocab().get(",</w>")
        self.embeddings = embeddings

    def ids(self, text):
        return self.tokenizer(text, add_special_tokens=False).input_ids

    def find(self, name):
        for end in ("", ".safetensors"):
            for path, vectors in self.embeddings.items():
                if f"/{path}".endswith(f"/{name}{end}"):
                    return vectors
        return None


def comfy_rows(words, pieces):
    groups = []
    for kind, text, rest, weight in pieces:
        if kind == 1:
            vectors = words.find(text)
            bare = text.strip(",")
            if vectors is None and bare != text:
                vectors, rest = words.find(bare), f"{text[len(bare):]} {rest}"
            if vectors is not None:
                groups.append([(v, weight) for v in vectors])
            text = rest
        if text:
            groups.append([(i, weight) for i in words.ids(text)])
    rows = [[]]
    for group in groups:
        whole = len(group) < 8
        while group:
            room = LENGTH - 2 - len(rows[-1])
            if len(group) <= room:
                rows[-1] += group
                break
            if not whole:
                rows[-1] += group[:room]
                group = group[room:]
            rows.append([])
    return rows


def a1111_rows(words, pieces):
    names = []
    for path, vectors in words.embeddings.items():
        ids = words.ids(path.rsplit("/", 1)[-1].rsplit(".", 1)[0])
        names.append((ids, vectors))
    names.sort(key=lambda n: -len(n[0]))
    rows, row, comma, room = [], [], None, LENGTH - 2

    def end():
        nonlocal row, comma
        rows.append(row)
        row, comma = [], None
    for kind, text, _, weight in pieces:
        if kind == 2:
            end()
            continue
        ids = words.ids(text)
        at = 0
        while at < len(ids):
            if ids[at] == words.comma:
                comma = len(row)
            elif len(row) == room and comma is not None and len(row) - comma <= 20:
                moved, row = row[comma + 1:], row[:comma + 1]
                end()
                row = moved
            if len(row) == room:
                end()
            name = next((n for n in names if ids[at:at + len(n[0])] == n[0]), None)
            if not name:
                row.append((ids[at], weight))
                at += 1
                continue
            if len(row) + len(name[1]) > room:
                end()
            row += [(v, weight) for v in name[1]]
            at += len(name[0])
    if row or not rows:
        end()
    return rows


# --- states ---

class Encoder:
    """Rows of ids and vectors -> states, as transformers' CLIPTextModel; the vectors stand where the ids' own would."""

    def __init__(self, model, part="text_encoder"):
        from transformers import CLIPTextModel, CLIPTextModelWithProjection
        kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
        self.model = kind.from_pretrained(str(MODELS / model / part), dtype=torch.float32).eval()
        self.penultimate = model == "tiny-sdxl"

    def __call__(self, words, row, skip):
        ids = [words.start, *[0 if torch.is_tensor(t) else t for t, _ in row], words.end]
        ids += [words.pad] * (LENGTH - len(ids))
        text, layers = getattr(self.model, "text_model", self.model), []

        def place(_module, _inputs, out):
            out = out.clone()
            for i, (t, _) in enumerate(row):
                if torch.is_tensor(t):
                    out[0, i + 1] = t
            return out
        hooks = [text.embeddings.token_embedding.register_forward_hook(place)]
        hooks += [m.register_forward_hook(lambda _m, _i, o: layers.append(o[0] if isinstance(o, tuple) else o))
                  for m in text.encoder.layers]
        out = self.model(torch.tensor([ids]))
        for h in hooks:
            h.remove()
        self.pooled = getattr(out, "text_embeds", None)
        if self.penultimate:
            return layers[-2 - skip][0]
        return text.final_layer_norm(layers[-1 - skip])[0]


def weighted_states(words, encoder, rows, syntax, skip):
    out = []
    empty = encoder(words, [], skip)
    weighted = any(w != 1 for row in rows for _, w in row)
    for row in rows:
        z = encoder(words, row, skip)
        w = torch.ones(LENGTH, 1)
        for i, (_, weight) in enumerate(row):
            w[i + 1] = weight
        if syntax == "comfy":
            z = (z - empty) * w + empty if weighted else z
        else:
            mean = z.mean()
            z = z * w
            z = z * (mean / z.mean())
        out.append(z)
    return torch.cat(out)


def final_latents(words, encoder, syntax, prompt, negative):
    """Four steps of tiny-sd1's own scheduler at guidance 4; prompt and negative prompt in calls of their own."""
    from diffusers import StableDiffusionPipeline
    pipe = StableDiffusionPipeline.from_pretrained(str(MODELS / "tiny-sd1"), torch_dtype=torch.float32, safety_checker=None)

    def states(text):
        pieces = (comfy_pieces if syntax == "comfy" else a1111_pieces)(text)
        rows = (comfy_rows if syntax == "comfy" else a1111_rows)(words, pieces)
        return weighted_states(words, encoder, rows, syntax, 0)[None]
    with_words, without = states(prompt), states(negative)
    assert with_words.shape != without.shape
    scheduler = pipe.scheduler
    scheduler.set_timesteps(4)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(21)) * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        seen = scheduler.scale_model_input(x, t)
        a, b = (pipe.unet(seen, t, s).sample for s in (without, with_words))
        x = scheduler.step(a + 4.0 * (b - a), t, x).prev_sample
    return x


def embeddings():
    """waves: 2 vectors; sub/dots: 9, for two encoders in one file; sparks: 3 as webui saves them, rings: 1 as diffusers does."""
    g = torch.Generator().manual_seed(5)
    waves, dots, other = torch.randn(2, 48, generator=g), torch.randn(9, 48, generator=g), torch.randn(9, 64, generator=g)
    write_tensors(FOLDER / "embeddings" / "waves.safetensors", {"emb_params": waves})
    write_tensors(FOLDER / "embeddings" / "sub" / "dots.safetensors", {"clip_g": other, "clip_l": dots})
    sparks, rings = torch.randn(3, 48, generator=g), torch.randn(48, generator=g)
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": sparks}, "name": "sparks", "step": 100,
                "sd_checkpoint": None, "sd_checkpoint_name": None}, FOLDER / "embeddings" / "sparks.pt")
    torch.save({"<rings>": rings}, FOLDER / "embeddings" / "rings.bin")
    write_tensors(FOLDER / "pickled.safetensors", {"sparks": sparks, "rings": rings})
    return {"waves.safetensors": waves, "sub/dots.safetensors": dots}


def sdxl():
    """Both encoders' states beside each other and the pooled vector of the second one's first row."""
    g = torch.Generator().manual_seed(6)
    pair, left = {"clip_l": torch.randn(2, 24, generator=g), "clip_g": torch.randn(2, 20, generator=g)}, torch.randn(3, 24, generator=g)
    write_tensors(FOLDER / "embeddings_xl" / "pair.safetensors", pair)
    write_tensors(FOLDER / "embeddings_xl" / "left.safetensors", {"emb_params": left})
    known = ({"pair.safetensors": pair["clip_l"], "left.safetensors": left}, {"pair.safetensors": pair["clip_g"]})
    words = [Words("tiny-sdxl", known[i], f"tokenizer{end}") for i, end in enumerate(("", "_2"))]
    encoders = [Encoder("tiny-sdxl", f"text_encoder{end}") for end in ("", "_2")]
    out = {}
    for name, syntax, text in SDXL_CASES:
        pieces = (comfy_pieces if syntax == "comfy" else a1111_pieces)(text)
        rows = [(comfy_rows if syntax == "comfy" else a1111_rows)(w, pieces) for w in words]
        states = [weighted_states(w, e, r, syntax, 0) for w, e, r in zip(words, encoders, rows)]
        length = min(len(s) for s in states)
        out[f"{name}.states"] = torch.cat([s[:length] for s in states], -1).flatten()[::STRIDE]
        encoders[1](words[1], rows[1][0], 0)
        out[f"{name}.pooled"] = encoders[1].pooled[0]
    write_tensors(FOLDER / "tiny-sdxl.safetensors", out)
    write_json(FOLDER / "sdxl.json", [{"name": n, "syntax": s, "text": t} for n, s, t in SDXL_CASES])


def main():
    common.quiet()
    (FOLDER / "embeddings" / "sub").mkdir(parents=True, exist_ok=True)
    vectors = embeddings()
    cases, out = [], {}
    with torch.no_grad():
        words = {m: Words(m, vectors if m == "tiny-sd1" else {}) for m in ("tiny-sd1", "tiny-sd2", "tiny-emoji")}
        encoders = {m: Encoder(m) for m in words}
        for name, model, syntax, text in CASES:
            bare, loras = take_loras(text, syntax)
            pieces = (comfy_pieces if syntax == "comfy" else a1111_pieces)(bare)
            rows = (comfy_rows if syntax == "comfy" else a1111_rows)(words[model], pieces)
            w = words[model]
            cases.append({
                "name": name, "model": model, "syntax": syntax, "text": text, "pieces": pieces, "loras": loras,
                "rows": [[w.start, *[0 if torch.is_tensor(t) else t for t, _ in row], w.end] for row in rows],
                "weights": [[1.0, *[x for _, x in row], 1.0] for row in rows],
                "vectors": [[r, i + 1, t[0].item()] for r, row in enumerate(rows) for i, (t, _) in enumerate(row)
                            if torch.is_tensor(t)]})
            for skip in (0, 1):
                states = weighted_states(w, encoders[model], rows, syntax, skip)
                out.setdefault(model, {})[f"{name}.{'skip1' if skip else 'states'}"] = states.flatten()[::STRIDE * (1 + 3 * skip)]
        for syntax, prompt, negative in (("comfy", LONG + "(cat:1.3)", "green (stripes)"),
                                         ("a1111", "a red circle", f"({LONG}:1.1) BREAK dog")):
            out["tiny-sd1"][f"final.{syntax}"] = final_latents(words["tiny-sd1"], encoders["tiny-sd1"], syntax, prompt, negative)
        sdxl()
    for model, tensors in out.items():
        write_tensors(FOLDER / f"{model}.safetensors", tensors)
    (FOLDER / "cases.json").write_text("[\n" + ",\n".join(json.dumps(c, ensure_ascii=False) for c in cases) + "\n]\n", encoding="utf-8")
    write_json(FOLDER / "final.json", {
        "steps": 4, "cfg": 4.0, "seed": 21,
        "comfy": {"prompt": LONG + "(cat:1.3)", "negative": "green (stripes)"},
        "a1111": {"prompt": "a red circle", "negative": f"({LONG}:1.1) BREAK dog"}})
    print(f"{len(cases)} cases, {common.size_of(FOLDER)} bytes")


if __name__ == "__main__":
    main()
