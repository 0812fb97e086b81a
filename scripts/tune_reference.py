#!/usr/bin/env python3
"""Losses and LoRA gradients of a GGUF decoder in PyTorch, float64, written apart from the Go code.

Writes the fixture of tune/reference_test.go: ten examples in tokens, the loss of the ten together, each example's own, and
of the gradient of every LoRA matrix its norm and some of its elements.

    tune_reference.py MODEL.gguf EXAMPLES.json TOP_LAYERS OUT.json.gz

EXAMPLES.json is a list of {"tokens": [...], "prompt": number of tokens before the answer}: what `go test -tags fixture -run WriteReferenceTokens ./tune` writes when
BUDGETMEM_TUNE_TOKENS names a file. Needs torch, numpy and gguf.
"""
import gzip, json, math, sys

import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGUFReader
from gguf.quants import dequantize

RANK, ALPHA, SAMPLES = 4, 8.0, 12
TARGETS = {  # Hugging Face's names and GGUF's
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down",
}


class Decoder:
    """A GGUF decoder. Its tensors are read from the file when they are asked for."""

    def __init__(self, path, dtype):
        self.reader, self.dtype = GGUFReader(path), dtype
        self.arch = bytes(self.reader.fields["general.architecture"].parts[-1]).decode()
        field = lambda key: self.reader.fields[self.arch + "." + key].parts[-1][0]
        self.layers, self.heads, self.kv_heads = int(field("block_count")), int(field("attention.head_count")), int(field("attention.head_count_kv"))
        self.size = int(field("embedding_length")) // self.heads
        self.eps = float(field("attention.layer_norm_rms_epsilon"))
        base = float(field("rope.freq_base")) if self.arch + ".rope.freq_base" in self.reader.fields else 10000.0
        self.frequencies = base ** (-torch.arange(0, self.size, 2, dtype=dtype) / self.size)
        self.tensors = {t.name: t for t in self.reader.tensors}
        self.embedding = self.read("token_embd.weight")
        self.head = self.read("output.weight") if "output.weight" in self.tensors else self.embedding
        self.norm = self.read("output_norm.weight")

    def read(self, name):
        t = self.tensors[name]
        return torch.from_numpy(np.array(dequantize(t.data, t.tensor_type))).to(self.dtype)

    def unpermute(self, w, n):
        """Undoes the order that Llama's converter puts the rows of query and key heads into."""
        if self.arch != "llama":
            return w
        return w.reshape(n, self.size // 2, 2, -1).transpose(1, 2).reshape(w.shape)

    def weights(self, layer):
        prefix = "blk.%d." % layer
        w = {n: self.read(prefix + n + ".weight") for n in ("attn_norm", "ffn_norm")}
        for target, name in TARGETS.items():
            n = {"q_proj": self.heads, "k_proj": self.kv_heads}.get(target)
            w[target] = self.read(prefix + name + ".weight")
            if prefix + name + ".bias" in self.tensors:
                w[target + ".bias"] = self.read(prefix + name + ".bias")
            if n:
                w[target] = self.unpermute(w[target], n)
                if target + ".bias" in w:
                    w[target + ".bias"] = self.unpermute(w[target + ".bias"][:, None], n)[:, 0]
        return w

    def rms(self, x, w):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps) * w

    def rotate(self, x):  # [heads, T, size]
        angle = torch.arange(x.shape[1], dtype=self.dtype)[:, None] * self.frequencies
        a, b = x[..., : self.size // 2], x[..., self.size // 2 :]
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1)

    def block(self, x, w, lora, scale):
        """A layer over an example [T, dim]. lora has A and B of the maps that are adapted, scale is that of their product."""

        def linear(target, x):
            y = F.linear(x, w[target], w.get(target + ".bias"))
            if target in lora:
                a, b = lora[target]
                y = y + scale * F.linear(F.linear(x, a), b)
            return y

        T, heads, kv_heads, size = x.shape[0], self.heads, self.kv_heads, self.size
        h = self.rms(x, w["attn_norm"])
        q = self.rotate(linear("q_proj", h).view(T, heads, size).transpose(0, 1))
        k = self.rotate(linear("k_proj", h).view(T, kv_heads, size).transpose(0, 1)).repeat_interleave(heads // kv_heads, 0)
        v = linear("v_proj", h).view(T, kv_heads, size).transpose(0, 1).repeat_interleave(heads // kv_heads, 0)
        scores = q @ k.transpose(1, 2) / math.sqrt(size) + torch.full((T, T), -math.inf, dtype=self.dtype).triu(1)
        x = x + linear("o_proj", (scores.softmax(-1) @ v).transpose(0, 1).reshape(T, heads * size))
        h = self.rms(x, w["ffn_norm"])
        return x + linear("down_proj", F.silu(linear("gate_proj", h)) * linear("up_proj", h))

    def embed(self, example):
        return self.embedding[torch.tensor(example["tokens"])]

    def loss(self, x, example):
        """The mean over the answer's tokens, of an example's states after the last layer."""
        p = example["prompt"]
        logits = F.linear(self.rms(x, self.norm)[p - 1 : -1], self.head)
        return F.cross_entropy(logits, torch.tensor(example["tokens"][p:]))


def start(layer, target, matrix, shape):
    """Values for a LoRA matrix that the Go test makes too: nothing of them needs to be stored."""
    n = int(np.prod(shape))
    phase = layer + 10 * list(TARGETS).index(target) + (0.5 if matrix == "B" else 0.0)
    values = 0.02 * np.sin(0.37 * np.arange(n, dtype=np.float64) + phase)
    return torch.from_numpy(values.astype(np.float32).astype(np.float64)).reshape(shape).requires_grad_()


def main():
    path, examples, top, out = sys.argv[1], json.load(open(sys.argv[2])), int(sys.argv[3]), sys.argv[4]
    torch.set_num_threads(1)
    model = Decoder(path, torch.float64)
    states = [model.embed(e) for e in examples]
    lora = {}
    for layer in range(model.layers):
        w, mine = model.weights(layer), {}
        if layer >= model.layers - top:
            for target in TARGETS:
                rows, columns = w[target].shape
                mine[target] = (start(layer, target, "A", (RANK, columns)), start(layer, target, "B", (rows, RANK)))
            lora[layer] = mine
        states = [model.block(x, w, mine, ALPHA / RANK) for x in states]
    losses = [model.loss(x, e) for x, e in zip(states, examples)]
    loss = torch.stack(losses).mean()
    loss.backward()
    gradients = {}
    for layer, mine in lora.items():
        for target, pair in mine.items():
            for matrix, t in zip("AB", pair):
                flat = t.grad.flatten()
                at = [(i * flat.numel()) // SAMPLES for i in range(SAMPLES)]
                gradients["%d/%s/%s" % (layer, target, matrix)] = {"norm": float(flat.norm()), "values": [float(flat[i]) for i in at]}
    result = {"model": model.reader.fields.get("general.name") and bytes(model.reader.fields["general.name"].parts[-1]).decode(), "torch": torch.__version__,
              "rank": RANK, "alpha": ALPHA, "layers": top, "examples": examples, "loss": float(loss),
              "losses": [float(l) for l in losses], "gradients": gradients}
    with gzip.GzipFile(out, "wb", mtime=0) as f:
        f.write(json.dumps(result).encode())
    print("loss", float(loss), "matrices", len(gradients))


if __name__ == "__main__":
    main()
