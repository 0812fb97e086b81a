#!/usr/bin/env python3
"""Our router beside PyTorch on the same network (dim 384, hidden 256): five decisions, and one PPO update.

All run in turns on the same machine; printed are the best of the rounds and their ratios. Decisions use one thread each,
updates all cores. Usage: bench_router.py, from the repository's root, as `make bench-router` runs it. Needs PyTorch.
"""
import os, pathlib, re, subprocess, tempfile, time

import torch

import ppo_reference as ref

ROUNDS, DIM, HIDDEN, ACTOR, STATES, TIERS, BATCH, PASSES = 5, 384, 256, 128, [0, 1, 1, 1, 2], [3] * 5, 32, 4
GO = os.environ.get("GO", "go")


def build(folder, package, experiment):
    binary = pathlib.Path(folder) / f"{package.replace('/', '-')}-{experiment}.test"
    env = {**os.environ, "GOEXPERIMENT": experiment}
    subprocess.run([GO, "test", "-c", "-o", binary, f"./{package}"], env=env, check=True)
    return binary


def ours(binary, package, name, seconds=1):
    """Milliseconds of a benchmark, None if it was skipped."""
    out = subprocess.run(
        [binary, "-test.run=^$", f"-test.bench=^{name}$", f"-test.benchtime={seconds}s"], cwd=package, check=True, capture_output=True, text=True
    ).stdout
    found = re.search(r"\s([\d.]+) ns/op", out)
    return float(found.group(1)) / 1e6 if found else None


def theirs(run, seconds=1):
    """Milliseconds of a call, the mean over some time, as Go's benchmarks measure."""
    run()
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
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
    with torch.no_grad():
        net.evaluate(batch["query"], batch["memories"], batch["lambda"][:, None], STATES, batch["mask"])
    for _ in range(PASSES):
        ref.update(net, optimizer, batch, torch.randperm(BATCH), cfg)


cores = torch.get_num_threads()
best = {}


def note(name, ms):
    if ms is not None:
        best[name] = min(ms, best.get(name, ms))


with tempfile.TemporaryDirectory() as folder:
    plain, simd = (build(folder, "router/portable", e) for e in ("nosimd", "simd"))
    trainer = build(folder, "router", "simd")
    for _ in range(ROUNDS):
        torch.set_num_threads(1)
        note("decide torch", theirs(five_decisions))
        note("decide plain", ours(plain, "router/portable", "BenchmarkFiveDecisions"))
        note("decide simd", ours(simd, "router/portable", "BenchmarkFiveDecisions"))
        torch.set_num_threads(cores)
        note("update torch", theirs(one_update, 2))
        note("update xla", ours(trainer, "router", "BenchmarkUpdate/xla:cpu", 2))
        note("update go", ours(trainer, "router", "BenchmarkUpdate/go.*", 2))

print(f"PyTorch {torch.__version__.split('+')[0]}; best of {ROUNDS} rounds, in milliseconds")
for name, other, label in (
    ("decide plain", "decide torch", "five decisions, 1 thread, plain Go"),
    ("decide simd", "decide torch", "five decisions, 1 thread, GOEXPERIMENT=simd"),
    ("update xla", "update torch", f"PPO update, {cores} threads, XLA on the CPU"),
    ("update go", "update torch", f"PPO update, {cores} threads, pure Go with simd"),
):
    if name in best:
        print(f"{label:46} {best[name]:8.3f}   PyTorch {best[other]:8.3f}   ratio {best[name] / best[other]:.2f}")
