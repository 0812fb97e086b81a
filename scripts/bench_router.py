#!/usr/bin/env python3
"""Compares our router with PyTorch on the same network (dim 384, hidden 256): five decisions, and one PPO update.

The two run alternately, each warm and for about a second. Printed are medians over the rounds, and the median and range of the
ratios of each pair, which other load on the machine disturbs least. Decisions use one thread, updates all cores. An update is
four passes over a batch that was played and valued.
Usage: bench_router.py [ROUNDS], from the root of the repository, as `make bench-router` runs it. Needs PyTorch.
"""
import os, pathlib, re, statistics, subprocess, sys, tempfile, time

import torch

import ppo_reference as ref

DIM, HIDDEN, ACTOR, STATES, TIERS, BATCH, PASSES = 384, 256, 128, [0, 1, 1, 1, 2], [3] * 5, 32, 4
ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 9
GO = os.environ.get("GO", "go")


def build(folder, package, experiment):
    binary = pathlib.Path(folder) / f"{package.replace('/', '-')}-{experiment}.test"
    env = {**os.environ, "GOEXPERIMENT": experiment}
    subprocess.run([GO, "test", "-c", "-o", binary, f"./{package}"], env=env, check=True)
    return binary


def ours(binary, package, name):
    """Milliseconds of a benchmark, None if it was skipped."""
    out = subprocess.run(
        [binary, "-test.run=^$", f"-test.bench=^{name}$", "-test.benchtime=1s"], cwd=package, check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"\s([\d.]+) ns/op", out)
    return float(found.group(1)) / 1e6 if found else None


def theirs(run):
    """Milliseconds of a call, the mean over a second, as Go's benchmarks measure."""
    for _ in range(3):
        run()
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < 1:
        run()
        n += 1
    return (time.perf_counter() - start) / n * 1e3


torch.manual_seed(1)
net = ref.Router(DIM, len(TIERS), max(TIERS), HIDDEN, ACTOR)
batch = ref.random_batch(BATCH, DIM, STATES, TIERS, net)
cfg = {"states": STATES, "clip": 0.2, "value_clip": 0.2, "value_coef": 0.5, "entropy_coef": 0.01, "mean_entropy": False, "max_grad_norm": 0.5}
optimizer = torch.optim.Adam(net.parameters(), lr=3e-4, eps=1e-5)
query, memories, lam = batch["query"][:1], batch["memories"][:, :1], batch["lambda"][:1, None]
modules = [torch.tensor([m]) for m in range(len(STATES))]


@torch.inference_mode()
def five_decisions():
    for module, state in zip(modules, STATES):
        net.actor(net.encode(query, memories[state], lam, module)).argmax().item()


def one_update():
    for _ in range(PASSES):
        ref.update(net, optimizer, batch, torch.randperm(BATCH), cfg)


cores = torch.get_num_threads()
pairs = {}
with tempfile.TemporaryDirectory() as folder:
    plain, simd = (build(folder, "router/portable", e) for e in ("nosimd", "simd"))
    trainer = build(folder, "router", "simd")
    benchmarks = (
        ("five decisions, 1 thread, plain Go", 1, five_decisions, (plain, "router/portable", "BenchmarkFiveDecisions")),
        ("five decisions, 1 thread, GOEXPERIMENT=simd", 1, five_decisions, (simd, "router/portable", "BenchmarkFiveDecisions")),
        (f"PPO update, {cores} threads, XLA on the CPU", cores, one_update, (trainer, "router", "BenchmarkUpdate/xla:cpu")),
        (f"PPO update, {cores} threads, pure Go with simd", cores, one_update, (trainer, "router", "BenchmarkUpdate/go")),
    )
    for _ in range(ROUNDS):
        for label, threads, run, benchmark in benchmarks:
            torch.set_num_threads(threads)
            reference, ms = theirs(run), ours(*benchmark)
            if ms is not None:
                pairs.setdefault(label, []).append((ms, reference, ms / reference))

print(f"PyTorch {torch.__version__.split('+')[0]}; medians of {ROUNDS} pairs, in milliseconds")
for label, rows in pairs.items():
    ms, reference, ratio = (statistics.median(column) for column in zip(*rows))
    ratios = [row[2] for row in rows]
    print(f"{label:46} {ms:8.3f}   PyTorch {reference:8.3f}   ratio {ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
