#!/usr/bin/env python3
"""Makes the fixtures that the decoder is tested against: reference.py MODEL.gguf locomo10.json.gz OUT.json.gz

Two witnesses that share no code with this package, on chats over excerpts of LoCoMo conversations:
  exact   a float64 decoder in numpy, on the weights as the gguf package dequantises them: logits after some tokens
  greedy  llama.cpp: its greedy reply to every chat, and by how much each token beat the second best
Needs numpy, gguf and llama_cpp. LoCoMo (https://github.com/snap-research/locomo) is CC BY-NC 4.0.
"""
import base64, gzip, hashlib, json, sys

import llama_cpp
import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

CHATS, STEPS, EXACT, STRIDE, TOP = 20, 24, 3, 48, 50


def chats(path):
    """One chat for each of CHATS questions: eight turns of a conversation, then the question."""
    conversations = json.load(gzip.open(path))
    for i in range(CHATS):
        c = conversations[i % len(conversations)]
        talk = c["conversation"]
        session = talk["session_%d" % (1 + i // len(conversations))]
        turns = "\n".join(f'{t["speaker"]} said, "{t["text"]}"' for t in session[: 4 + i % 3])
        question = c["qa"][3 * i % len(c["qa"])]["question"]
        yield (
            "<|im_start|>system\nYou answer questions about a conversation.<|im_end|>\n"
            f"<|im_start|>user\n{turns}\n\n{question}<|im_end|>\n<|im_start|>assistant\n"
        )


def exact_logits(path, ids):
    """Logits [len(ids), vocab] in float64."""
    r = GGUFReader(path)
    arch = r.fields["general.architecture"].contents()
    meta = lambda k: r.fields[f"{arch}.{k}"].contents()
    tensors = {t.name: t for t in r.tensors}
    load = lambda n: dequantize(tensors[n].data, tensors[n].tensor_type).astype(np.float64)
    heads, kv_heads, dim = meta("attention.head_count"), meta("attention.head_count_kv"), meta("embedding_length")
    hd, eps, base = dim // heads, meta("attention.layer_norm_rms_epsilon"), meta("rope.freq_base")
    n = len(ids)
    angle = np.arange(n)[:, None] * base ** (-2 * np.arange(hd // 2) / hd)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]

    def rope(v):
        # Llama files pair neighbouring dimensions, Qwen2 files the two halves.
        a, b = (v[..., 0::2], v[..., 1::2]) if arch == "llama" else (v[..., : hd // 2], v[..., hd // 2 :])
        out = np.empty_like(v)
        p, q = a * cos - b * sin, b * cos + a * sin
        if arch == "llama":
            out[..., 0::2], out[..., 1::2] = p, q
        else:
            out[..., : hd // 2], out[..., hd // 2 :] = p, q
        return out

    norm = lambda x, w: x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w
    embed = load("token_embd.weight")
    x = embed[ids]
    mask = np.triu(np.full((n, n), -np.inf), 1)
    for l in range(meta("block_count")):
        w = lambda k: load(f"blk.{l}.{k}.weight")
        bias = lambda k: load(f"blk.{l}.{k}.bias") if f"blk.{l}.{k}.bias" in tensors else 0.0
        h = norm(x, w("attn_norm"))
        q, k, v = ((h @ w(s).T + bias(s)).reshape(n, -1, hd) for s in ("attn_q", "attn_k", "attn_v"))
        q, k = rope(q), rope(k)
        k, v = (np.repeat(t, heads // kv_heads, 1) for t in (k, v))
        s = np.einsum("qhd,khd->hqk", q, k) / np.sqrt(hd) + mask
        s = np.exp(s - s.max(-1, keepdims=True))
        s /= s.sum(-1, keepdims=True)
        x = x + np.einsum("hqk,khd->qhd", s, v).reshape(n, -1) @ w("attn_output").T
        h = norm(x, w("ffn_norm"))
        g = h @ w("ffn_gate").T
        x = x + (g / (1 + np.exp(-g)) * (h @ w("ffn_up").T)) @ w("ffn_down").T
    head = load("output.weight") if "output.weight" in tensors else embed
    return norm(x, load("output_norm.weight")) @ head.T


def greedy(llm, ids):
    """llama.cpp's greedy continuation of ids and the gap between its two best logits at each step."""
    llm.reset()
    llm.eval(ids)
    tokens, gaps = [], []
    for _ in range(STEPS):
        logits = np.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(llm.ctx, -1), (llm.n_vocab(),))
        best = int(logits.argmax())
        gap = logits[best] - np.delete(logits, best).max()
        tokens.append(best)
        gaps.append(round(float(gap), 4))
        if best == llm.token_eos():
            break
        llm.eval([best])
    return tokens, gaps


def pack(a):
    return base64.b64encode(np.ascontiguousarray(a, "<f4").tobytes()).decode()


def main(model, locomo, out):
    llm = llama_cpp.Llama(model, n_ctx=1024, n_threads=1, n_threads_batch=1, verbose=False)
    prompts = [llm.tokenize(c.encode(), add_bos=False, special=True) for c in chats(locomo)]
    cases = []
    for i, ids in enumerate(prompts):
        tokens, gaps = greedy(llm, ids)
        cases.append({"ids": ids, "tokens": tokens, "gaps": gaps})
        print(i, len(ids), llm.detokenize(tokens), flush=True)
    exact = []
    for i in range(EXACT):
        ids = prompts[i] + cases[i]["tokens"][:-1]
        logits = exact_logits(model, ids)
        rows = []
        for pos in sorted({0, len(ids) // 3, 2 * len(ids) // 3, len(prompts[i]) - 1, len(ids) - 1}):
            top = np.argsort(-logits[pos])[:TOP]
            rows.append({"pos": pos, "strided": pack(logits[pos, ::STRIDE]), "top": top.tolist(), "top_logits": pack(logits[pos, top])})
        exact.append({"ids": ids, "stride": STRIDE, "rows": rows})
        print("exact", i, len(ids), flush=True)
    fixture = {"sha256": hashlib.sha256(open(model, "rb").read()).hexdigest(), "greedy": cases, "exact": exact}
    with open(out, "wb") as f, gzip.GzipFile("", "wb", 9, f, mtime=0) as z:
        z.write(json.dumps(fixture, separators=(",", ":")).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
