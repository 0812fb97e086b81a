#!/usr/bin/env python3
"""Compares our training of LoRA adapters with PyTorch's: the same model, examples, layers and two cores, both in float32.

Timed is one pass over 16 shipped examples (adapters/locomo-0.5b), in two steps of 8: from stored states after the frozen layers,
forward and backward through the top 8 layers and the head at the answers' tokens, the gradient's norm cut to 1, and AdamW; on the
loss that is the mean over the examples of each one's mean over its answer. Tokens are those of prompts and answers. The settings
are the defaults of `bmem tune run`, but for a learning rate so low that all passes have the same loss, which is compared.

Ours is the training itself, run by internal/tools/benchtune: it reads the states from a file and puts several examples into one
pack of 512 tokens, whose padding is computed too. PyTorch has the states in memory and takes one example at a time, without padding,
by the code that made the fixture of tune/reference_test.go. The two take turns, and the first pass of each, in which ours compiles
its programs, is left out. Printed are medians in tokens per second, and the median and range of the ratios of each pair, which other
load on the machine disturbs least.

The second line is the 16 frozen layers over the same examples, once, ours without its first pack. Ours also writes the states to disk.
Usage: bench_tune.py [ROUNDS], from the root of the repository, as `make bench-tune` runs it. Needs Linux, torch, numpy and gguf.
"""
import contextlib, gzip, json, math, os, pathlib, statistics, subprocess, sys, tempfile, time

CORES = 2
os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])  # also of what is started here; before PyTorch counts them

import torch

import tune_reference as ref

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
EXAMPLES, EVERY, SOURCE = 16, 101, "adapters/locomo-0.5b/examples.jsonl.gz"  # spread over the 1,619


class Theirs:
    def __init__(self, job):
        self.job, self.examples = job, job["examples"]
        self.model = ref.Decoder(job["model"], torch.float32)
        self.scale = job["alpha"] / job["rank"]
        self.states, self.frozen = self.run_frozen()
        top = range(self.model.layers - job["layers"], self.model.layers)
        self.layers = [(w, self.lora(w)) for w in map(self.model.weights, top)]
        self.matrices = [m for _, lora in self.layers for pair in lora.values() for m in pair]
        self.optimizer = torch.optim.AdamW(self.matrices, lr=job["learning_rate"], weight_decay=0)

    @torch.no_grad()
    def run_frozen(self):
        """The states after the frozen layers, and the seconds that took without reading the weights."""
        start = time.perf_counter()
        states = [self.model.embed(e) for e in self.examples]
        seconds = time.perf_counter() - start
        for layer in range(self.model.layers - self.job["layers"]):
            w = self.model.weights(layer)
            start = time.perf_counter()
            states = [self.model.block(x, w, {}, 0) for x in states]
            seconds += time.perf_counter() - start
        return states, seconds

    def lora(self, w):
        rank, pairs = self.job["rank"], {}
        for target in ref.TARGETS:
            rows, columns = w[target].shape
            pairs[target] = ((torch.randn(rank, columns) / math.sqrt(columns)).requires_grad_(), torch.zeros(rows, rank, requires_grad=True))
        return pairs

    def step(self, members):
        total = 0.0
        for i in members:
            x = self.states[i]
            for w, lora in self.layers:
                x = self.model.block(x, w, lora, self.scale)
            loss = self.model.loss(x, self.examples[i]) / len(members)
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(self.matrices, self.job["max_grad_norm"])
        self.optimizer.step()
        self.optimizer.zero_grad()
        return total

    def one_pass(self):
        """Seconds and mean loss."""
        order, batch = torch.randperm(len(self.examples)).tolist(), self.job["batch"]
        start = time.perf_counter()
        losses = [self.step(order[at : at + batch]) for at in range(0, len(order), batch)]
        return time.perf_counter() - start, statistics.mean(losses)


class Ours:
    def __init__(self, folder):
        program, examples = pathlib.Path(folder) / "benchtune", pathlib.Path(folder) / "examples.jsonl"
        lines = gzip.open(SOURCE, "rt").readlines()[::EVERY][:EXAMPLES]
        examples.write_text("".join(lines))
        subprocess.run([os.environ.get("GO", "go"), "build", "-o", program, "./internal/tools/benchtune"], check=True)
        command = [program, "-examples", examples, "-dir", pathlib.Path(folder) / "run"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.job = self.read()
        self.packs = []  # through the frozen layers

    def read(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else sys.exit("benchtune ended")

    def one_pass(self):
        """Seconds and mean loss. The first one runs the frozen layers before."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        steps = []
        while len(steps) < EXAMPLES // self.job["batch"]:
            line = self.read()
            (self.packs if line["phase"] == "hidden" else steps).append(line)
        return sum(s["seconds"] for s in steps), statistics.mean(s["loss"] for s in steps)

    def close(self):
        self.process.stdin.close()
        self.process.wait()


torch.manual_seed(1)
torch.set_num_threads(len(os.sched_getaffinity(0)))
pairs = []
with tempfile.TemporaryDirectory() as folder, contextlib.closing(Ours(folder)) as ours:
    theirs = Theirs(ours.job)
    tokens = sum(len(e["tokens"]) for e in theirs.examples)
    for round in range(ROUNDS + 1):
        (a, loss), (b, their_loss) = ours.one_pass(), theirs.one_pass()
        if abs(loss - their_loss) > 1e-3 * their_loss:
            sys.exit(f"not the same work: the loss is {loss} here, {their_loss} in PyTorch")
        if round:
            pairs.append((tokens / a, tokens / b, b / a))

job = ours.job
print(f"{job['name']} on {job['backend']}, top {job['layers']} layers, rank {job['rank']}, {EXAMPLES} examples of {tokens} tokens; "
      f"PyTorch {torch.__version__.split('+')[0]}; {torch.get_num_threads()} cores; tokens per second, medians of {ROUNDS} pairs")
a, b, ratio = (statistics.median(column) for column in zip(*pairs))
ratios = [p[2] for p in pairs]
print(f"{'training steps':22} ours {a:7.0f}   PyTorch {b:7.0f}   ratio {ratio:.2f} ({min(ratios):.2f}–{max(ratios):.2f})")
packs = ours.packs[1:]
a, b = sum(p["tokens"] for p in packs) / sum(p["seconds"] for p in packs), tokens / theirs.frozen
print(f"{'frozen layers, once':22} ours {a:7.0f}   PyTorch {b:7.0f}   ratio {a / b:.2f}")
