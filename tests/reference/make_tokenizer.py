"""Writes tests/data/tokenizer: a small CLIP vocabulary and what transformers' CLIPTokenizer makes of many texts.
Run from the repository's root: python tests/reference/make_tokenizer.py (transformers 5.23, tokenizers 0.23).

  vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json   as the files of SD 1.x have them
  variants/<name>/...   the same vocabulary with other settings: what the files say decides about special tokens
  cases.json            [{"folder", "text", "ids", "pad"}]: all ids, and the padding token's
"""
import json
import os
import random
import shutil

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

OUT = "tests/data/tokenizer"
START, END = "<|startoftext|>", "<|endoftext|>"
random.seed(1)

words = ("a an the of on with and in red green blue apple pear cat dog house tree sun moon star man woman child hat ball car train "
         "flower style painting photo drawing background left right small large two three's don't it's we'll they've I'm you'd "
         "beautiful detailed portrait landscape mountain river night day light dark café naïve über straße Ελλάδα Москва").split()
chinese = ["红苹果", "绿苹果", "一只猫", "一只狗", "戴帽子的猫", "蓝色背景", "风格", "水彩画", "星星和月亮", "太阳", "房子", "左边", "右边"]
captions = [" ".join(random.choices(words, k=random.randint(2, 9))) for _ in range(600)]
captions += ["".join(random.choices(chinese, k=random.randint(1, 3))) + random.choice(["", ",3D风格", ",扁平风格", " 2024"])
             for _ in range(400)]

backend = CLIPTokenizer().backend_tokenizer
learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
learner.normalizer, learner.pre_tokenizer = backend.normalizer, backend.pre_tokenizer
learner.train_from_iterator(captions, trainers.BpeTrainer(vocab_size=1100, show_progress=False, end_of_word_suffix="</w>"))
merges = [tuple(m) for m in json.loads(learner.to_str())["model"]["merges"]]


def byte_symbols():
    own = list(range(0x21, 0x7F)) + list(range(0xA1, 0xAD)) + list(range(0xAE, 0x100))
    return [chr(b) for b in own] + [chr(0x100 + i) for i in range(256 - len(own))]


vocab = {}
for s in [c + tail for tail in ("", "</w>") for c in byte_symbols()] + ["".join(m) for m in merges] + [START, END]:
    vocab.setdefault(s, len(vocab))


def flags(content, **more):
    return {"__type": "AddedToken", "content": content, "lstrip": False, "normalized": True, "rstrip": False,
            "single_word": False, **more}


def plain(d):
    return {k: v for k, v in d.items() if k != "__type"}


def write(folder, config, special=None, added=None, merge_list=merges, vocabulary=vocab):
    os.makedirs(folder, exist_ok=True)

    def dump(name, value):
        with open(f"{folder}/{name}", "w") as f:
            json.dump(value, f, ensure_ascii=False)
            f.write("\n")
    dump("vocab.json", vocabulary)
    with open(f"{folder}/merges.txt", "w") as f:
        f.write("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in merge_list))
    if config is not None:
        dump("tokenizer_config.json", config)
    if special is not None:
        dump("special_tokens_map.json", special)
    if added is not None:
        dump("added_tokens.json", added)


shutil.rmtree(OUT, ignore_errors=True)
base = {"add_prefix_space": False, "bos_token": flags(START), "do_lower_case": True, "eos_token": flags(END),
        "errors": "replace", "model_max_length": 77, "pad_token": END, "tokenizer_class": "CLIPTokenizer",
        "unk_token": flags(END)}
maps = {"bos_token": plain(flags(START)), "eos_token": plain(flags(END)), "pad_token": END, "unk_token": plain(flags(END))}
write(OUT, base, maps)

# The variants have fewer merges, to be small; "few" lacks symbols, so that the unknown token appears.
some = merges[:60]
short = {}
for s in [c + tail for tail in ("", "</w>") for c in byte_symbols()] + ["".join(m) for m in some] + [START, END]:
    short.setdefault(s, len(short))
few = {}
for s in [c + t for t in ("", "</w>") for c in "abcdelpr!"] + ["ap", "app", "le</w>", START, END]:
    few.setdefault(s, len(few))
V = f"{OUT}/variants"
write(f"{V}/bare", None, merge_list=some, vocabulary=short)
write(f"{V}/pad_is_a_sign", {**base, "pad_token": "!"}, {**maps, "pad_token": "!"}, merge_list=some, vocabulary=short)
write(f"{V}/new_tokens", {"pad_token": "<pad>", "bos_token": flags(START, normalized=False), "eos_token": END,
                          "unk_token": flags("Red Cat"), "model_max_length": 1000000000000000019884624838656},
      None, {"<my-cat>": len(short), "Two Words": len(short) + 1}, merge_list=some, vocabulary=short)
write(f"{V}/decoder", {**base, "pad_token": "!", "added_tokens_decoder": {
    "0": plain(flags("!", normalized=False, special=True)), str(short[START]): plain(flags(START, special=True)),
    str(short[END]): plain(flags(END, normalized=False, special=True)), str(len(short)): plain(flags("Sun Flower"))}},
      {"pad_token": "ignored"}, merge_list=some, vocabulary=short)
write(f"{V}/few", {"model_max_length": 16}, merge_list=[("a", "p"), ("ap", "p"), ("l", "e</w>")], vocabulary=few)
CLIPTokenizer.from_pretrained(f"{V}/pad_is_a_sign").save_pretrained(f"{V}/saved")  # tokenizer.json alone
os.remove(f"{V}/saved/tokenizer_config.json")
with open(f"{V}/saved/tokenizer_config.json", "w") as f:
    json.dump({"pad_token": "!", "bos_token": START, "eos_token": END, "unk_token": END, "model_max_length": 77,
               "tokenizer_class": "CLIPTokenizer", "backend": "tokenizers"}, f)
    f.write("\n")
with open(f"{V}/saved/tokenizer.json") as f:
    saved = json.load(f)
with open(f"{V}/saved/tokenizer.json", "w") as f:
    json.dump(saved, f, ensure_ascii=False)
    f.write("\n")

texts = [
    "", " ", "a", "A", "a red apple", "A  Red\tAPPLE\n", "red apple, 3d style", "红苹果,3D风格", "一只戴帽子的猫",
    "一只猫在左边,一只狗在右边", "红苹果 red apple 绿苹果", "a cat on the left, a dog on the right", "don't it's we'll they've I'm you'd",
    "DON'T IT'S WE'LL THEY'VE I'M YOU'D", "three's 's 't 're 've 'm 'll 'd", "''s 'S ''re 'x x'y'z", "l'été qu'il", "rock'n'roll",
    "’s don’t", "!", "!!", "a!", "! a", "a!b!c", "?!?!", "wow!!! so good!", "hello, world.", "e-mail: someone@example.com",
    "https://example.com/a?b=c&d=%20", "(((masterpiece))), [best:1.2]", "a_b-c+d=e", "...", "…", "—–-", "\"quoted\" 'single'", "`code`",
    "2024", "1 2 3", "3.14159", "1000000", "a1b2c3", "v1.5", "512x512", "½ ¼ ²³", "Ⅷ ⅷ Ⅻ", "①②③ ⒶⓐⓏ", "٣٤٥", "१२३", "一二三 〇", "𝟘𝟙𝟚",
    "café", "cafe\u0301", "Caf\u00c9", "CAFE\u0301", "naïve naı\u0308ve", "über U\u0308BER", "Å \u212b A\u030a", "ǖ u\u0308\u0304", "e\u0301\u0323 ẹ\u0301",
    "\u0301a", "a\u0301\u0302\u0303", "ñ n\u0303", "한국어 \u1112\u1161\u11ab", "\u1100\u1161\u11a8", "が か\u3099", "क़ \u0958", "ﬁ ﬂ", "Ω Ω",
    "ÀÉÎÕÜ", "ЁЖИК Москва", "ΟΔΟΣ Σ ΑΣ ας", "Straße STRASSE ẞ", "İstanbul ıI", "ǅ ǈ Ǳ", "ŁÓDŹ", "ՀԱՅԵՐԵՆ", "ᲐᲑ აბ", "Ꭰ ꭰ", "Ａｂｃ１２３", "𝐀𝐁 𝒜",
    "Ĳ ĳ", "ΐ ΰ", "Ǆ", "ᾈ ᾳ", "Ⴀ", "𐐀𐐨", "Ɥ ꞍꞪ", "Ᏸ", "\ua7cb \ua7da\ua7dc", "\U00016ea0",
    "😀", "😀😀", "😀 😀", "a😀b", "👩‍👩‍👧", "👍🏽", "🇨🇳", "❤️", "☃ snow", "★☆", "🍎apple🍏", "1️⃣", "🏴\U000e0067\U000e0062\U000e007f",
    "a\u00a0b", "a\u3000b", "a\u2003b\u2028c\u2029d", "a\u200bb", "a\u200db", "a\u180eb", "a\u0085b", "a\x0b\x0c\r\nb", "\ufeffbom", "a\x01b\x1fc\x7f",
    "a\x1c\x1d\x1eb", "\x80\x9f", "\u00adsoft\u00adhyphen", "\u202eright to left\u202c", "\ufffd", "\uffff", "\ue000", "\U0010ffff", "\u0378", "\U0002ebf0\U00030000",
    "Ελλάδα", "Здравствуй мир", "שלום עולם", "مرحبا بالعالم", "สวัสดีชาวโลก", "नमस्ते दुनिया", "こんにちは世界", "カタカナ ｶﾀｶﾅ", "안녕하세요 세계",
    "中文English混合123测试", "，。！？；：「」", "《红楼梦》", "龘𠮷", "Tiếng Việt", "Türkçe İĞÜŞÖÇ", "ქართული", "አማርኛ", "தமிழ்", "ខ្មែរ",
    START, END, "<|ENDOFTEXT|>", "<|StartOfText|>", f"a {END} b", f"a{END}b", f"{START}{START}!!", f"!!{END}!!", "!!<|ENDOFTEXT|>!!", "a <|ENDOFTEXT|>!! b", "<|EndOfText|>?", "<|endoftext|", "<|endoftext|>>",
    "<|start oftext|>", f"<{END}>", f"'s{END}'s", f"x {START}  {END} y", "<|END\u0130|>", "<|endoftex\u0074\u0301|>", "<|PAD|>",
    "<pad> <PAD> a<pad>b", "<my-cat> <MY-CAT> my <my-cat>s", "Two Words two words TWO  WORDS TwoWords", "Red Cat red cat RED\tCAT redcat",
    "a Sun Flower sun flower", "apple applea appear pale", "a" * 300, "苹果" * 100, "a " * 200, "!" * 100, "red apple " * 30, "x\u0301" * 80, "apple'll'll'll",
    "\U0001f300" * 40, " ".join(str(i) for i in range(60)), "a\n\n\n\nb", "\t\n a \r", "　全角　空格　",
]
for _ in range(40):  # mixtures of everything
    pool = "aAbB éÉ e\u0301 \u0307İıſK 红苹果 12½Ⅳ '’!?<|>\t\u00a0😀👍🏽\u200d\u0323\u0301Σσς\u1100\u1161\u11a8 's 'LL don"
    texts.append("".join(random.choices(pool, k=random.randint(3, 40))))

folders = ["", "variants/bare", "variants/pad_is_a_sign", "variants/new_tokens", "variants/decoder", "variants/few", "variants/saved"]
mixed = [t for t in texts if any(s in t for s in "!<>") or "Red" in t or "Two" in t or "Sun" in t or "apple" in t or t in ("", "a", "é")]
cases = []
for folder in folders:
    t = CLIPTokenizer.from_pretrained(os.path.join(OUT, folder))
    for text in texts if folder == "" else mixed:
        ids = t(text).input_ids
        cut = t(text, truncation=True, padding="max_length", max_length=12).input_ids
        case = {"folder": folder, "text": text, "ids": ids}
        # what follows from the ids is not stored twice
        case["pad"] = t.pad_token_id
        want = ids[:11] + [ids[-1]] if len(ids) > 12 else ids + [t.pad_token_id] * (12 - len(ids))
        assert cut == want, (text, cut, want)
        assert t.convert_ids_to_tokens(ids[0]) == t.bos_token
        cases.append(case)
with open(f"{OUT}/cases.json", "w") as f:
    f.write("[\n" + ",\n".join(json.dumps(c, ensure_ascii=True) for c in cases) + "\n]\n")
print(len(cases), "cases")
