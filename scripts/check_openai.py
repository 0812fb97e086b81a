#!/usr/bin/env python3
"""The official openai client against a running server: chat, stream, JSON mode, embeddings, models, errors.

usage: check_openai.py BASE_URL CHAT_MODEL EMBEDDING_MODEL [KEY]

Ends with status 0 if all is as the client expects it. Needs the package openai.
"""
import json, math, sys

import openai

base, chat_model, embedding_model = sys.argv[1:4]
client = openai.OpenAI(base_url=base, api_key=sys.argv[4] if len(sys.argv) > 4 else "none", max_retries=0, timeout=300)
question = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is the capital of France?"}]


def check(what, ok, *seen):
    print("ok  " if ok else "FAIL", what, *([] if ok else seen))
    if not ok:
        sys.exit(1)


def refused(kind, what, **request):
    try:
        client.chat.completions.create(**{"model": chat_model, "messages": question, **request})
    except kind as e:
        check(what, isinstance(e.body, dict) and e.body["message"] and e.body["type"], e.body)
        return e
    check(what, False, "not refused")


names = [m.id for m in client.models.list()]
check("models", chat_model in names and embedding_model in names, names)
check("one model", client.models.retrieve(chat_model).object == "model")

r = client.chat.completions.create(model=chat_model, messages=question, max_tokens=24, temperature=0)
text, usage = r.choices[0].message.content, r.usage
check("chat", text and r.choices[0].message.role == "assistant" and r.choices[0].finish_reason in ("stop", "length"), r)
check("usage", usage.prompt_tokens > 0 and usage.total_tokens == usage.prompt_tokens + usage.completion_tokens and usage.prompt_tokens_details.cached_tokens >= 0, usage)

chunks = list(client.chat.completions.create(model=chat_model, messages=question, max_tokens=24, temperature=0, stream=True, stream_options={"include_usage": True}))
streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
check("stream says the same", streamed == text, streamed, text)
check("stream comes in pieces", len(chunks) > 4, chunks)
check("stream's end", [c.choices[0].finish_reason for c in chunks if c.choices][-1] == r.choices[0].finish_reason and chunks[-1].usage.completion_tokens == usage.completion_tokens, chunks[-1])

with client.chat.completions.stream(model=chat_model, messages=question, max_tokens=24) as stream:
    final = stream.get_final_completion()
check("stream helper", final.choices[0].message.content == text, final)

r = client.chat.completions.create(model=chat_model, max_completion_tokens=200, response_format={"type": "json_object"},
                                   messages=[{"role": "user", "content": [{"type": "text", "text": "Reply with a JSON object with the keys \"name\" and \"age\" for Ann, who is 31."}]}])
check("JSON mode", r.choices[0].finish_reason == "stop" and isinstance(json.loads(r.choices[0].message.content), dict), r)

r = client.chat.completions.create(model=chat_model, messages=question, max_tokens=4, n=2, temperature=1, seed=1, logprobs=True, top_logprobs=2)
rated = [c.logprobs.content for c in r.choices]
check("several replies", [c.index for c in r.choices] == [0, 1] and r.usage.completion_tokens <= 8, r)
check("log-probabilities", all(t.logprob <= 0 and len(t.top_logprobs) == 2 and t.top_logprobs[0].logprob >= t.logprob for content in rated for t in content), r)

texts = ["A cat sat on the mat.", "A dog lay on the rug.", "Interest rates rose."]
vectors = [d.embedding for d in client.embeddings.create(model=embedding_model, input=texts).data]  # the client asks for base64
plain = [d.embedding for d in client.embeddings.create(model=embedding_model, input=texts, encoding_format="float").data]
check("embeddings in both encodings", len(vectors) == 3 and all(abs(a - b) < 1e-6 for v, w in zip(vectors, plain) for a, b in zip(v, w)))
check("embeddings have unit length", all(abs(math.hypot(*v) - 1) < 1e-4 for v in vectors))
check("a single text", client.embeddings.create(model=embedding_model, input=texts[1]).data[0].index == 0)

refused(openai.NotFoundError, "error: unknown model", model="gpt-4o")
check("error: parameter", refused(openai.BadRequestError, "error: not supported", top_p=0.5).param == "top_p")
refused(openai.BadRequestError, "error: bad role", messages=[{"role": "tool", "tool_call_id": "1", "content": "x"}])
refused(openai.APIStatusError, "error: too large", messages=[{"role": "user", "content": "x " * (4 << 20)}])
check("after the errors", client.chat.completions.create(model=chat_model, messages=question, max_tokens=4).choices[0].message.content)
