"""Makes the fixtures of the tokenizer tests from the real GGUF files and independent programs.

Needs Python 3.10+, llama-cpp-python (0.3.36 was used) for the token ids and jinja2 (3.1.6) for the chats:

    python make_fixtures.py --smollm2 SMOLLM2.gguf --qwen2 QWEN2.5-CODER.gguf --data DIR --out testdata

DIR holds locomo10.json.gz, longmemeval_oracle.json.gz and hotpot_dev_distractor_first500_paragraphs.json.gz.
Writes, beside this file: NAME.gguf.xz (the tokenizer's metadata, no weights), lines.jsonl.gz (texts and their ids),
codepoints.json.gz (a hash of ids for every block of 4096 code points), chats.jsonl (rendered prompts).

No text holds "</s>": llama.cpp takes it for a control token by its name, also where the vocabulary says it is a normal one
(Qwen2.5); we go by the vocabulary, as the Hugging Face tokenizer of that model does.
"""
import argparse
import gzip
import hashlib
import io
import json
import lzma
import pathlib
import random
import struct

import jinja2.ext
import jinja2.sandbox
from llama_cpp import Llama

BLOCK = 4096
PLANES = (0, 1, 2, 3, 14)

ODD = r"""
😀 😃👍🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇫🇷🇩🇪 ❤️‍🔥 ☕️ 5️⃣ #️⃣ 🫠🫶🏿
so happy for you!!! 🎉🎉🎉 can't wait 😂😂 see u @ 8 💃
0 00 007 1234567890 3.14159 -2,718.28 1e-10 0xDEADBEEF 50% $1,299.99 £20 €5 ½ ¾ x² H₂O Ⅷ ④ ٣٤٥ १२३ 七百
2023-05-08T13:56:00Z 1:56 pm on 8 May, 2023 v1.2.3-rc4 192.168.0.1 +49 (0)30 123456
I'm you're he's she'd we'll they've it'S DON'T I'LL WE'VE 'tis 'twas rock'n'roll O'Neill's ''s 's' 'sſ 'K
你好，世界！这是一个测试。2023年5月8日下午1点56分 日本語のテキスト、カタカナ 한국어 문장입니다 ไทยไม่มีช่องว่าง
Привет, мир! Ελληνικά άλφα עִבְרִית العربية مَرْحَبًا हिन्दी தமிழ் ქართული Հայերեն Tiếng Việt é é ñ ñ
   leading and trailing   	tabs		between	 mixed 　　 ideographic  nbsp   thin​zero‍width﻿bom
func main() { fmt.Println("a\tb\n", 0x1F, x<<=2, y != z && !w) } // TODO: ünïcode
<|im_start|>user quoted control tokens <|im_end|> and <|endoftext|> <tool_call>{"a": 1}</tool_call> <|im_start| >
<repo_name><file_sep><|fim_prefix|><|fim_suffix|><|fim_middle|><issue_start><jupyter_code><empty_output>
a'b"c`d´e‘f’g“h”i«j»k…l—m–n-o_p|q\r/s*t+u=v~w^x%y&z @#$%^&*()_+-=[]{}|;':",./<>?
supercalifragilisticexpialidocious Donaudampfschifffahrtsgesellschaftskapitän antidisestablishmentarianism
aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
==================================================== ----------------------------------------------------
U29tZSBiYXNlNjQgd2l0aG91dCBhbnkgYmxhbmtzIGluIGl0LCBsb25nIGVub3VnaCB0byBtZXJnZSBtYW55IHRpbWVz
https://example.org/path/to/page?query=1&other=%20%2F#frag user.name+tag@example.co.uk C:\Program Files\x
𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟘𝟙𝟚 𐍈 𓀀 🜁 ﷽ ﬁ ﬀ ㍿ ㎏ ꧁꧂ ̷̸͟͞z͑ͫ̓ͪ
""".strip("\n").split("\n")
ODD += [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\r", "\t", "\t\t\n", " \n", "\n ", "\n  x", "x  \n", "a\r\nb\r\n  c",
    "a \r\n \r\n b", "1 \n 2\n\n 3", "  1  22   333", "!\n!\r\n!!\n\n!", " !\n", "x\n\n\ny", "\u2028\u2029x\u0085y", "\xa0\xa0x \xa0y",
    "\x00", "a\x00b", "\x01\x02\x03\x04\x05\x06\x07\x08\x0b\x0c\x0e\x0f", "\x10\x13\x14\x16\x1b[31m\x1c\x1d\x1e\x1f\x7f", "\x80\x9f\xad",
    "\ufeffbom", "\ufffd\uffff\ue000", "\U000e0001\U000e0061\U000f0000\U0010ffff", "\u202eright-to-left\u202c", "tab\tthen space \t x",
    "'", "''", "'s", "'S", "'ll", "'lL", "'Re", "'r", "it's", "it'", " 's", "5's", "'\n's", "\u2019s", "'\u017f", " '\u212a",
]


def odd_random(n: int, seed: int) -> list[str]:
    """n strings of characters that meet each other badly: blanks, line ends, digits, quotes, letters, marks, emoji."""
    rng = random.Random(seed)
    pool = list(" \t\r\n\u00a0\u3000") * 3 + list("09¼Ⅷ٣") * 2 + list("aZéЖ你'") * 3 + list("sStTlLdDmMrReEvV") + list("!.,-_<|>\u0301\u200d😀👍🏽\x01\x7f")
    return ["".join(rng.choice(pool) for _ in range(rng.randint(1, 40))) for _ in range(n)]


def real(data: pathlib.Path, seed: int) -> list[tuple[str, str]]:
    """1,050 real texts, 350 of each data set, as (source, text)."""
    rng = random.Random(seed)

    def load(name):
        with gzip.open(data / name) as f:
            return json.load(f)

    locomo = [t["text"] for c in load("locomo10.json.gz") for k, s in c["conversation"].items() if isinstance(s, list) for t in s]
    memeval = [t["content"][:600] for q in load("longmemeval_oracle.json.gz") for s in q["haystack_sessions"] for t in s]
    hotpot = [p[1] for q in load("hotpot_dev_distractor_first500_paragraphs.json.gz") for p in q["context"]]
    hotpot = ["".join(p)[:600] for p in hotpot]
    return [(name, text) for name, texts in (("locomo", locomo), ("longmemeval", memeval), ("hotpotqa", hotpot)) for text in rng.sample(sorted(set(texts)), 350)]


def strip_gguf(src: str) -> bytes:
    """The header of a GGUF file with the tokenizer's metadata and no tensors."""
    f = open(src, "rb")
    magic, version, _, count = struct.unpack("<4sIQQ", f.read(24))
    assert magic == b"GGUF" and version in (2, 3)
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}

    def skip(kind):
        if kind == 8:
            f.seek(struct.unpack("<Q", f.read(8))[0], 1)
        elif kind == 9:
            item, n = struct.unpack("<IQ", f.read(12))
            if item in sizes:
                f.seek(n * sizes[item], 1)
            else:
                for _ in range(n):
                    skip(item)
        else:
            f.seek(sizes[kind], 1)

    kept = []
    for _ in range(count):
        start = f.tell()
        key = f.read(struct.unpack("<Q", f.read(8))[0]).decode()
        skip(struct.unpack("<I", f.read(4))[0])
        end = f.tell()
        if key.startswith("tokenizer.") or key in ("general.architecture", "general.name", "general.license"):
            f.seek(start)
            kept.append(f.read(end - start))
    return struct.pack("<4sIQQ", magic, version, 0, len(kept)) + b"".join(kept)


def write_gz(path: pathlib.Path, text: str) -> None:
    buf = io.BytesIO()
    with gzip.GzipFile(fileobj=buf, mode="wb", mtime=0) as f:
        f.write(text.encode())
    path.write_bytes(buf.getvalue())


def ids(model: Llama, text: str, special: bool) -> list[int]:
    return model.tokenize(text.encode(), add_bos=False, special=special)


def probe(c: int) -> str:
    """A text whose ids show how the pre-tokenizer classes the code point c."""
    ch = chr(c)
    return f"a{ch}1 {ch} b {ch}{ch}"


def block_hashes(model: Llama) -> dict[str, str]:
    hashes = {}
    for plane in PLANES:
        for start in range(plane << 16, (plane + 1) << 16, BLOCK):
            h = hashlib.sha256()
            for c in range(start, start + BLOCK):
                if not 0xD800 <= c < 0xE000:
                    got = ids(model, probe(c), False)
                    h.update(struct.pack(f"<{len(got)}i", *got))
            hashes[f"{start:X}"] = h.hexdigest()
    return hashes


def chat_environment() -> jinja2.Environment:
    """The settings under which the Hugging Face libraries render chat templates."""
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[jinja2.ext.loopcontrols])
    env.filters["tojson"] = lambda x, indent=None: json.dumps(x, ensure_ascii=False, indent=indent)

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    env.globals["raise_exception"] = raise_exception
    return env


CHATS = [
    [("user", "Who is Caroline?")],
    [("system", "Answer in few words."), ("user", "When did Mel run?"), ("assistant", "8 May 2023"), ("user", "Are you sure?")],
    [("user", "first"), ("system", "a late rule"), ("user", "second")],
    [("user", "<b>\"quoted\"</b> & 'single' {{ not a template }} {% raw %} \\n\n\n  spaced  "), ("assistant", "")],
    [("system", ""), ("user", "  \n")],
    [("user", "你好 😀\r\n<|im_end|>")],
    [("assistant", "I speak first."), ("user", "Go on."), ("assistant", "Right."), ("assistant", "Twice.")],
]

# Beside the templates of the models: what others do.
EXTRA = {
    "namespace": "{% set ns = namespace(system='none', n=0) %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.system = m.content %}{% else %}{% set ns.n = ns.n + 1 %}{% endif %}{% endfor %}[{{ ns.system }}|{{ ns.n }}]",
    "loop": "{% for m in messages %}\n    {%- if loop.first %}<{% endif %}{{ loop.index0 }}/{{ loop.length }} {{ m['role'] | upper }}{% if not loop.last %}, {% else %}>{% endif %}\n{% endfor %}\n",
    "alternate": "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% else %}{% set loop_messages = messages %}{% endif %}{% for m in loop_messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}{{ m['role'] + ': ' + m['content'] | trim + eos_token }}{% endfor %}",
    "tojson": "{% for m in messages %}{{ m.content | tojson }};{% endfor %}{{ [1, 'é', {'k': none}] | tojson }}",
    "blocks": "  {% if add_generation_prompt %}\n  yes\n  {% endif %}\n{# comment #}\nend {{- '!' -}}   \n",
}


def render(env: jinja2.Environment, source: str, chat, add: bool, bos: str, eos: str) -> dict:
    messages = [{"role": r, "content": c} for r, c in chat]
    try:
        return {"text": env.from_string(source).render(messages=messages, add_generation_prompt=add, bos_token=bos, eos_token=eos)}
    except jinja2.exceptions.TemplateError as e:
        return {"error": str(e)}


def main() -> None:
    p = argparse.ArgumentParser()
    for name in ("--smollm2", "--qwen2", "--data", "--out"):
        p.add_argument(name, required=True)
    a = p.parse_args()
    out = pathlib.Path(a.out)
    paths = {"smollm2": a.smollm2, "qwen2": a.qwen2}
    models = {name: Llama(path, vocab_only=True, verbose=False) for name, path in paths.items()}
    for name, path in paths.items():
        (out / f"{name}.gguf.xz").write_bytes(lzma.compress(strip_gguf(path), preset=9 | lzma.PRESET_EXTREME))

    lines = [{"source": s, "text": t} for s, t in real(pathlib.Path(a.data), 3)]
    lines += [{"source": "odd", "text": t} for t in ODD] + [{"source": "random", "text": t} for t in odd_random(400, 4)]
    for line in lines:
        for name, model in models.items():
            line[name] = ids(model, line["text"], False)
            special = ids(model, line["text"], True)
            if special != line[name]:
                line[name + "_special"] = special
    write_gz(out / "lines.jsonl.gz", "".join(json.dumps(x, ensure_ascii=False) + "\n" for x in lines))
    write_gz(out / "codepoints.json.gz", json.dumps({"block": BLOCK, **{n: block_hashes(m) for n, m in models.items()}}))

    env, chats = chat_environment(), []
    templates = {n: (m.metadata["tokenizer.chat_template"], m) for n, m in models.items()}
    sources = {n: (s, "", "") for n, (s, _) in templates.items()} | {n: (s, "<s>", "</s>") for n, s in EXTRA.items()}
    for name, (source, bos, eos) in sources.items():
        for chat in CHATS:
            for add in (True, False):
                case = {"template": name, **({"source": EXTRA[name]} if name in EXTRA else {}), "messages": [{"role": r, "content": c} for r, c in chat], "add": add, **render(env, source, chat, add, bos, eos)}
                if name in templates and "text" in case:
                    case["ids"] = ids(models[name], case["text"], True)
                chats.append(case)
    (out / "chats.jsonl").write_text("".join(json.dumps(x, ensure_ascii=False) + "\n" for x in chats))


main()
