"""Measures our embedder against onnxruntime: texts a second, chunks of 256 tokens, 2 threads each.

Both embed the same number of chunks, in turns, so that both meet the same machine; printed are the best of the rounds and
their ratio. Usage: bench_embed.py, from the repository's root, as `make bench-embed` runs it.
"""

import json
import os
import pathlib
import re
import subprocess
import time

import minilm_onnx
import numpy as np
import onnxruntime

ROUNDS, TEXTS, TOKENS, THREADS = 4, 32, 256, 2
BATCHES = (1, 4, 8, 16, 32)  # onnxruntime may choose the size that suits it best


def ours(env):
    """Texts a second of BenchmarkChunks."""
    out = subprocess.run(
        ["./embed.test", "-test.run=^$", "-test.bench=Chunks", "-test.benchtime=3s"],
        cwd="bmem/embed", env=env, check=True, capture_output=True, text=True,
    ).stdout
    return float(re.search(r"([\d.]+) texts/s", out).group(1))


def theirs(session, size):
    """Texts a second of onnxruntime in batches of the given size."""
    ids = np.random.default_rng(1).integers(1000, 30000, (size, TOKENS))
    batch = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    session.run(None, batch)
    start, done = time.perf_counter(), 0
    while done < TEXTS or time.perf_counter() - start < 1:
        session.run(None, batch)
        done += size
    return done / (time.perf_counter() - start)


def main():
    if hasattr(os, "sched_setaffinity"):  # XLA takes a thread for every CPU that it may use
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:THREADS])
    env = dict(os.environ, GOMAXPROCS=str(THREADS))
    subprocess.run(["go", "test", "-c", "-o", "bmem/embed/embed.test", "./bmem/embed"], check=True)
    try:
        listed = subprocess.run(["bin/bmem", "models", "list", "--json"], check=True, capture_output=True, text=True).stdout
        folder = next(m["path"] for m in json.loads(listed) if m["name"] == "all-minilm-l6-v2")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        session = onnxruntime.InferenceSession(minilm_onnx.build(pathlib.Path(folder)).SerializeToString(), options)
        ours_best, theirs_best = 0.0, (0.0, 0)
        for _ in range(ROUNDS):
            ours_best = max(ours_best, ours(env))
            theirs_best = max(theirs_best, max((theirs(session, size), size) for size in BATCHES))
    finally:
        pathlib.Path("bmem/embed/embed.test").unlink(missing_ok=True)
    print(f"texts of {TOKENS} tokens a second, {THREADS} threads, best of {ROUNDS} rounds")
    print(f"ours         {ours_best:6.1f}")
    print(f"onnxruntime  {theirs_best[0]:6.1f}  (batches of {theirs_best[1]}, version {onnxruntime.__version__})")
    print(f"ratio        {ours_best / theirs_best[0]:6.2f}")


if __name__ == "__main__":
    main()
