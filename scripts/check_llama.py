#!/usr/bin/env python3
"""The capacity axis on llama.cpp's server: three models, a process each, asked through their OpenAI-compatible endpoints.

Runs `bmem eval` on a few validation questions with a run and a reply cache of its own, prints its table, and fails if a model was
asked nothing, if a call failed, or if the dollars are not tokens times prices. Needs bin/bmem, the models of ROLES in the cache,
and llama_cpp with what its server needs.
"""
import argparse, contextlib, json, math, pathlib, subprocess, sys, tempfile

from serving import BMEM, llama, model_file, server

ROLES = {"small": "smollm2-135m-instruct", "medium": "qwen2.5-coder-0.5b-instruct", "large": "qwen2.5-coder-1.5b-instruct"}
PRICES = {"small": (0.01, 0.02), "medium": (0.05, 0.1), "large": (0.2, 0.4)}  # dollars per million tokens, in and out

p = argparse.ArgumentParser()
p.add_argument("--questions", type=int, default=2)
p.add_argument("--dataset", default="locomo")
a = p.parse_args()


def serve(stack, name):
    # Without its cache of states, of which each takes gigabytes for a large vocabulary: it was killed for want of memory.
    command, url = llama(model_file(name), 8192, "--model_alias", name)
    stack.enter_context(server(command, url))
    return url


with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
    urls = {role: serve(stack, name) for role, name in ROLES.items()}
    prices = [{"model": ROLES[role], "in": i, "out": o} for role, (i, o) in PRICES.items()]
    (folder / "prices.yaml").write_text(json.dumps({"prices": prices}))  # JSON is YAML
    command = [BMEM, "eval", "--dataset", a.dataset, "--split", "validation", "--axis", "capacity", "--questions", str(a.questions),
               "--policy", "low,mid,high", "--model", ROLES["medium"], "--endpoint", urls["medium"], "--prices", folder / "prices.yaml",
               "--in-flight", "2", "--timeout", "10m", "--runs", folder, "--name", "llama", "--cache", folder / "cache"]
    for role, name in ROLES.items():
        command += ["--role", f"{role}={name}@{urls[role]}"]
    subprocess.run(command, check=True)
    summary = json.loads((folder / "llama" / "summary.json").read_text())
    errors = [e for line in (folder / "llama" / "predictions.jsonl").read_text().splitlines() if (e := json.loads(line).get("error"))]

wrong = []
if summary["failed"] or summary["done"] != summary["total"]:
    wrong.append(f"{summary['failed']} questions failed, {summary['done']} of {summary['total']} done: {errors}")
models = {m["name"]: m for m in summary["calls"]["models"]}
for role, name in ROLES.items():
    m = models.get(name)
    if m is None:
        wrong.append(f"{name} was not asked")
        continue
    print(f"{role:7} {name:28} {m['calls']:4} calls {m['tokens_in']:7} + {m['tokens_out']:5} tokens  ${m['dollars']:.6f}  {m['ms_p50']:.0f} ms p50")
    dollars = (m["tokens_in"] * PRICES[role][0] + m["tokens_out"] * PRICES[role][1]) / 1e6
    if not math.isclose(m["dollars"], dollars, rel_tol=1e-9):
        wrong.append(f"{name}: ${m['dollars']}, but its tokens cost ${dollars}")
sys.exit("\n".join(wrong) or 0)
