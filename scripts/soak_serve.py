#!/usr/bin/env python3
"""Many clients at once, for minutes: `bmem serve` must answer all of them and not grow.

Chats, streams (some left in the middle), JSON mode and embeddings. Prints requests, errors and resident memory as it goes,
and ends with status 1 after an error, or if memory still grew in the last 40 % of the time by more than --growth.
Needs bin/bmem.
"""
import argparse, collections, json, random, sys, threading, time

from serving import BMEM, ask, connect, conversation, server

p = argparse.ArgumentParser()
p.add_argument("--model", default="smollm2-135m-instruct")
p.add_argument("--clients", type=int, default=64)
p.add_argument("--minutes", type=float, default=5)
p.add_argument("--growth", type=float, default=0.03)
a = p.parse_args()

done, errors, lock = collections.Counter(), [], threading.Lock()


def chat(c, url, n, r):
    status, answer = ask(url, "POST", "/chat/completions", body(n, r), c)
    assert status == 200 and answer["choices"][0]["message"]["content"], (status, answer)


def json_mode(c, url, n, r):
    status, answer = ask(url, "POST", "/chat/completions", body(n, r, response_format={"type": "json_object"}), c)
    assert status == 200, (status, answer)
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "length" or isinstance(json.loads(choice["message"]["content"]), dict), answer


def stream(c, url, n, r, leave=False):
    c.request("POST", "/v1/chat/completions", json.dumps(body(n, r, stream=True)), {"Content-Type": "application/json"})
    reply, events = c.getresponse(), []
    while line := reply.readline():
        if line.startswith(b"data: "):
            events.append(line[6:].strip())
        if leave and len(events) == 4:
            c.close()
            return
    assert reply.status == 200 and events[-1] == b"[DONE]" and b'"finish_reason":"' in events[-2], (reply.status, events[-2:])


def gone(c, url, n, r):
    stream(c, url, n, r, leave=True)


def embeddings(c, url, n, r):
    texts = conversation(n).split("\n")[: r.randint(1, 8)]
    status, answer = ask(url, "POST", "/embeddings", {"model": "all-minilm-l6-v2", "input": texts, "encoding_format": "base64"}, c)
    assert status == 200 and len(answer["data"]) == len(texts), (status, answer)


def body(n, r, **more):
    return {"model": a.model, "messages": [{"role": "user", "content": conversation(n)}], "max_tokens": r.randint(4, 40), **more}


def client(url, i, until):
    r, n = random.Random(i), i * 100_000
    c = connect(url)
    while time.monotonic() < until and not errors:
        n += 1
        kind = r.choices([chat, stream, json_mode, embeddings, gone], [5, 3, 1, 3, 1])[0]
        try:
            kind(c, url, n, r)
        except Exception as e:  # whatever it is, it is what this looks for
            with lock:
                errors.append(f"{kind.__name__}: {type(e).__name__} {e}")
            return
        with lock:
            done[kind.__name__] += 1


def resident(process):
    with open(f"/proc/{process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:")) / 1024


with server([BMEM, "serve", "--model", a.model, "--addr", "127.0.0.1:0"]) as (url, process):
    start = time.monotonic()
    until = start + 60 * a.minutes
    threads = [threading.Thread(target=client, args=(url, i, until)) for i in range(a.clients)]
    for t in threads:
        t.start()
    seen = []  # (share of the time, MiB)
    while (now := time.monotonic()) < until and not errors:
        seen.append(((now - start) / (until - start), resident(process)))
        if len(seen) % 6 == 1:
            print(f"{(now - start) / 60:4.1f} min  {seen[-1][1]:6.0f} MiB  {sum(done.values())} requests", flush=True)
        time.sleep(min(5, max(0, until - now)))
    for t in threads:
        t.join()
    seen.append((1, resident(process)))
    print(f"{(time.monotonic() - start) / 60:4.1f} min  {seen[-1][1]:6.0f} MiB  {dict(done)}, {len(errors)} errors")

if errors:
    sys.exit(errors[0])
early, late = (max(m for share, m in seen if low <= share <= high) for low, high in ((0, 0.6), (0.6, 1)))
if late > early * (1 + a.growth):
    sys.exit(f"memory grew from {early:.0f} to {late:.0f} MiB in the last part")
