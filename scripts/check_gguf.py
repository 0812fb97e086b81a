#!/usr/bin/env python3
"""Exported models in llama.cpp: the log-probabilities of its replies beside those of `bmem serve`, which reads the adapter.

Exports MODEL+ADAPTER with `bmem tune export`, asks both servers the same prompts at temperature 0, and prints how far the
log-probabilities of the tokens lie apart, up to the first token in which the replies differ. The base model alone is measured the
same way, since llama.cpp computes with quantised activations and so has no two results quite alike. Fails if the exported model
lies further from ours than LIMIT times what the base model does. Needs bin/bmem, the model, and xllamacpp.
"""
import argparse, contextlib, json, pathlib, subprocess, sys, tempfile

from serving import BMEM, ask, model_file, server

p = argparse.ArgumentParser()
p.add_argument("model", help="MODEL+ADAPTER")
p.add_argument("--prompts", type=int, default=8)
p.add_argument("--limit", type=float, default=2)
p.add_argument("--llama", metavar="FILE", help=argparse.SUPPRESS)  # be llama.cpp's server of this file
a = p.parse_args()

if a.llama:
    import signal
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx, params.n_parallel, params.verbosity = a.llama, 2048, 1, -1
    llama = xllamacpp.Server(params)
    print(llama.listening_address + "/v1", flush=True)
    signal.sigwait([signal.SIGTERM])
    sys.exit()

talk = [json.loads(line) for line in (pathlib.Path(__file__).parent.parent / "examples" / "conversation.jsonl").read_text().splitlines()]
turns = [t for t in talk if t.get("text")]
lines = [f'{t["speaker"]} said, "{t["text"]}"' for t in turns]
# Some lines and a question about one of them, in the form of the prompt for tuned models.
prompts = ["\n".join(lines[max(0, i - 2) : i + 2]) + f"\n\nQuestion: What did {t['speaker']} say?\nShort answer:" for i, t in enumerate(turns)][: a.prompts]


def replies(url, name):
    out = []
    for prompt in prompts:
        body = {"model": name, "messages": [{"role": "user", "content": prompt}], "temperature": 0, "max_tokens": 24, "logprobs": True, "top_logprobs": 1}
        status, reply = ask(url, "POST", "/chat/completions", body)
        if status != 200:
            sys.exit(f"{url}: {reply}")
        out.append([(t["token"], t["logprob"]) for t in reply["choices"][0]["logprobs"]["content"]])
    return out


def distance(ours, theirs):
    apart, same = [], 0
    for x, y in zip(ours, theirs):
        common = 0
        while common < min(len(x), len(y)) and x[common][0] == y[common][0]:
            common += 1
        same += common >= min(len(x), len(y))
        apart += [abs(x[i][1] - y[i][1]) for i in range(common)]
    return sum(apart) / len(apart), len(apart), same


def measure(name, file):
    with server([BMEM, "serve", "--model", name, "--addr", "127.0.0.1:0"]) as (url, _):
        ours = replies(url, name if "/" not in name else name.split("+")[0] + "+" + pathlib.Path(name.split("+")[1]).name)
    with server([sys.executable, __file__, name, "--llama", file]) as (url, _):
        theirs = replies(url, "exported")
    apart, n, same = distance(ours, theirs)
    print(f"{name:60} {n:4} tokens, mean distance of log-probabilities {apart:.4f}, {same} of {len(prompts)} replies the same")
    return apart


with contextlib.ExitStack() as stack:
    merged = str(pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())) / "merged.gguf")
    subprocess.run([BMEM, "tune", "export", a.model, "--out", merged], check=True)
    base = a.model.split("+")[0]
    plain, tuned = measure(base, model_file(base)), measure(a.model, merged)
    sys.exit(None if tuned <= a.limit * plain else f"the exported model lies {tuned / plain:.1f} times as far from ours as the base model")
