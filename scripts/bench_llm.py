#!/usr/bin/env python3
"""Our local language model beside llama.cpp: the same file, prompts, machine and threads, one after the other.

Runs internal/tools/benchllm (arguments are passed on, such as -model NAME), times llama.cpp on the prompts it reports,
and prints tokens per second of both and their ratios. Needs numpy and llama_cpp.
"""
import ctypes, json, os, subprocess, sys, time

import llama_cpp as lc
import numpy as np

job = json.loads(subprocess.check_output([os.environ.get("GO", "go"), "run", "./internal/tools/benchllm", *sys.argv[1:]]))
lc.llama_backend_init()
quiet = lc.llama_log_callback(lambda level, text, data: None)
lc.llama_log_set(quiet, ctypes.c_void_p(0))
model = lc.llama_model_load_from_file(job["model"].encode(), lc.llama_model_default_params())
vocab = lc.llama_n_vocab(lc.llama_model_get_vocab(model))


def context(n_ctx, sequences):
    p = lc.llama_context_default_params()
    p.n_ctx, p.n_batch, p.n_ubatch, p.n_seq_max = n_ctx, 512, 512, sequences
    p.n_threads = p.n_threads_batch = job["threads"]
    return lc.llama_init_from_model(model, p)


def run(ctx, rows):
    """rows: (token, position, sequence, whether its logits are wanted)"""
    batch = lc.llama_batch_init(len(rows), 0, 1)
    batch.n_tokens = len(rows)
    for i, (token, pos, seq, wanted) in enumerate(rows):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, pos, 1, seq, wanted
    if lc.llama_decode(ctx, batch) != 0:
        sys.exit("llama_decode failed")
    lc.llama_batch_free(batch)


def prefill(ctx, ids, seq):
    for at in range(0, len(ids), 512):
        part = ids[at : at + 512]
        run(ctx, [(t, at + i, seq, at + i == len(ids) - 1) for i, t in enumerate(part)])


def best(ctx, i):
    return int(np.ctypeslib.as_array(lc.llama_get_logits_ith(ctx, i), (vocab,)).argmax())


result = {"prefill": 0.0, "decode": 0.0}
ctx = context(max(map(len, job["prefill"])) + 8, 1)
for _ in range(job["rounds"]):
    for ids in job["prefill"]:
        lc.llama_memory_clear(lc.llama_get_memory(ctx), True)
        start = time.perf_counter()
        prefill(ctx, ids, 0)
        result["prefill"] = max(result["prefill"], len(ids) / (time.perf_counter() - start))
lc.llama_free(ctx)

prompts, steps = job["decode"], job["steps"]
ctx = context(sum(map(len, prompts)) + len(prompts) * (steps + 32), len(prompts))
for _ in range(job["rounds"]):
    lc.llama_memory_clear(lc.llama_get_memory(ctx), True)
    tokens = []
    for seq, ids in enumerate(prompts):
        prefill(ctx, ids, seq)
        tokens.append(best(ctx, -1))
    start = time.perf_counter()
    for step in range(steps):
        run(ctx, [(t, len(prompts[seq]) + step, seq, True) for seq, t in enumerate(tokens)])
        tokens = [best(ctx, i) for i in range(len(prompts))]
    result["decode"] = max(result["decode"], steps * len(prompts) / (time.perf_counter() - start))

print(f"{job['name']} on {job['backend']}, {job['threads']} threads; tokens per second")
for what, label in (("prefill", "prefill"), ("decode", f"decode of {len(prompts)}")):
    ours, theirs = job["ours"][what], result[what]
    print(f"{label:14} ours {ours:8.1f}   llama.cpp {theirs:8.1f}   ratio {ours / theirs:.2f}")
