#!/usr/bin/env python3
"""`bmem serve` beside llama.cpp's server: the same model file, requests, machine and threads, one after the other.

Prints the tokens of replies per second that each gives to clients which ask at the same time, and the ratio. Compiling and
loading are not timed. Needs bin/bmem, and llama_cpp with what its server needs.
"""
import argparse, os, sys, threading, time

from serving import BMEM, ask, conversation, llama, model_file, server

p = argparse.ArgumentParser()
p.add_argument("--model", default="smollm2-135m-instruct")
p.add_argument("--clients", type=int, default=16)
p.add_argument("--requests", type=int, default=64)
p.add_argument("--max-tokens", type=int, default=64)
a = p.parse_args()


def throughput(url, model, first, requests):
    """Tokens per second over requests, and their number; each prompt is new to the server."""
    todo, tokens, failed = list(range(first, first + requests)), [], []
    lock = threading.Lock()

    def client():
        while True:
            with lock:
                if not todo or failed:
                    return
                n = todo.pop()
            status, r = ask(url, "POST", "/chat/completions", {
                "model": model, "messages": [{"role": "user", "content": conversation(n)}], "max_tokens": a.max_tokens, "temperature": 0})
            with lock:
                if status == 200:
                    tokens.append(r["usage"]["completion_tokens"])
                else:
                    failed.append(r)

    threads = [threading.Thread(target=client) for _ in range(a.clients)]
    start = time.perf_counter()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seconds = time.perf_counter() - start
    if failed:
        sys.exit(f"{url}: {failed[0]}")
    return sum(tokens) / seconds, sum(tokens)


def measure(label, command, model, url=None, warm=0):
    with server(command, url) as (url, _):
        throughput(url, model, 1000, warm or a.clients)
        rate, tokens = throughput(url, model, 0, a.requests)
    print(f"{label:16} {rate:8.1f} tokens/s   ({tokens} tokens in {a.requests} replies)")
    return rate


path = model_file(a.model)
command, url = llama(path, 2048)
print(f"{a.model}, {a.clients} clients, {os.cpu_count()} threads")
ours = measure("bmem serve", [BMEM, "serve", "--model", a.model, "--addr", "127.0.0.1:0"], a.model, warm=2 * a.clients)
theirs = measure("llama_cpp.server", command, path, url, warm=2)
print(f"ratio            {ours / theirs:8.2f}")
