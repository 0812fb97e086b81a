"""Writes bmem/embed/testdata/minilm.json: real texts and the vectors that onnxruntime gives them, which our embedder must match.

Usage: embed_reference.py MODEL_FOLDER LOCOMO_JSON_GZ OUTPUT
The texts are chunks of LoCoMo training conversations (licence and source in NOTICE) and awkward inputs of our own.
Vectors are stored as base64 of little-endian int16, value * 32767.
"""

import base64
import gzip
import json
import pathlib
import sys

import minilm_onnx
import numpy as np
import onnxruntime
from tokenizers import Tokenizer

MAX_TOKENS = 256
CONVERSATIONS, CHUNKS_EACH = range(0, 6), 9
AWKWARD = [
    "",
    " \t\n",
    "ok",
    "When did Caroline go to the LGBTQ support group?",
    "Zürich, São Paulo, İstanbul, Ærøskøbing: naïve café, coöperate, Ångström, ﬁne",
    "\u4f60\u597d\u4e16\u754c, こんにちは, 안녕하세요, Привет, مرحبا, שלום",
    "Great job! 🎉👏 See you @ 5:30pm 👩‍💻 ❤️ 👍🏽 #winning :-)",
    "zero\u200bwidth soft\u00adhyphen no\u00a0break \ufeffbom \u202eright-to-left control\x07bell",
    "don't can't it's 3.14159 1,000,000 $9.99 C++ foo_bar/baz?x=1&y=2 a@b.example",
    "supercalifragilisticexpialidocious " + "x" * 120 + " end",
    "é" * 60 + " long word of two-byte letters",
    "literal [SEP] and [CLS] and [MASK] in a text",
    "“quotes” – dashes — ellipsis… ‘single’ «guillemets» ¿qué? ¡hola! № ™ ½ ² €",
]


def chunks(path, tokens):
    """Packs the turns of each session into chunks of at most MAX_TOKENS - 2 tokens."""
    for number in CONVERSATIONS:
        conversation = json.loads(gzip.open(path).read())[number]["conversation"]
        found, current = [], ""
        for key in sorted(conversation):
            if not isinstance(conversation[key], list):
                continue
            for turn in conversation[key]:
                text = f'{turn["speaker"]} said, "{turn["text"]}"'
                joined = f"{current}\n{text}" if current else text
                if current and len(tokens.encode(joined).ids) > MAX_TOKENS:
                    found.append(current)
                    joined = text
                current = joined
        step = max(1, len(found) // CHUNKS_EACH)
        yield from found[::step][:CHUNKS_EACH]


def main(model_folder, locomo, output):
    folder = pathlib.Path(model_folder)
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens.no_padding()
    tokens.no_truncation()
    session = onnxruntime.InferenceSession(minilm_onnx.build(folder).SerializeToString())

    real = list(chunks(locomo, tokens))
    cases = []
    for text in real + [" ".join(real[:3])] + AWKWARD:  # the joined one is cut at MAX_TOKENS
        ids = tokens.encode(text).ids
        cut = ids if len(ids) <= MAX_TOKENS else ids[: MAX_TOKENS - 1] + ids[-1:]
        batch = np.array([cut], np.int64)
        (vector,) = session.run(None, {"input_ids": batch, "attention_mask": np.ones_like(batch)})[0]
        case = {"text": text, "tokens": len(ids) - 2}
        if text in AWKWARD:
            case["ids"] = ids
        packed = np.round(vector * 32767).astype("<i2").tobytes()
        cases.append(case | {"vector": base64.b64encode(packed).decode()})
    document = {
        "made_by": f"scripts/embed_reference.py, onnxruntime {onnxruntime.__version__}",
        "source": "LoCoMo (CC BY-NC 4.0), conversations 0 to 5, and texts of our own",
        "cases": cases,
    }
    pathlib.Path(output).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main(*sys.argv[1:])
