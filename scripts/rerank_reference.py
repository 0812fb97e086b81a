#!/usr/bin/env python3
"""Scores, loss and gradient norm of a BERT cross-encoder by Hugging Face's transformers, written apart from the Go code.

Writes the fixture of internal/bert and tune/reranker: pairs with their tokens and scores, and the listwise loss of their groups
with the norm of its gradient. The classifier is made up of cosines, which the Go tests make too.

    rerank_reference.py MODEL_DIR OUT.json

Needs torch and transformers.
"""
import json, math, sys

import torch
from transformers import AutoTokenizer, BertForSequenceClassification

PAIRS = [
    ("When did Rita sign up for the pottery class?", [
        '[2 July 2023] Rita said, "Guess what, I signed up for a pottery class yesterday (1 July 2023)!"',
        '[2 July 2023] Omar said, "That sounds fun. I am still looking for a new flat."',
        '[25 August 2023] Rita said, "The class ended last week, I kept two bowls."']),
    ("What did Omar adopt?", [
        '[25 August 2023] Omar said, "We got a dog from the shelter: a greyhound called Smoke."',
        '[25 August 2023] Rita said, "Aww, he must be lovely!"',
        '[2 July 2023] Omar said, "Zürich – naïve café, 東京 😀"']),
]
OFFSETS = [[0.5, -1.0, -2.0], [-0.25, 0.75, -3.0]]  # log-odds by retrieval; the first of each group is the evidence


def main():
    folder, out = sys.argv[1:]
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=1, attn_implementation="eager").eval().double()
    hidden = model.config.hidden_size
    with torch.no_grad():
        model.classifier.weight.copy_(torch.tensor([[0.1 * math.cos(0.37 * i) for i in range(hidden)]], dtype=torch.float64))
        model.classifier.bias.fill_(0.2)
    pairs, groups = [], []
    for question, turns in PAIRS:
        scores = []
        for turn in turns:
            x = tokenizer(question, turn, return_tensors="pt")
            score = model(**x).logits[0, 0]
            scores.append(score)
            ids = x["input_ids"][0].tolist()
            pairs.append({"question": question, "turn": turn, "ids": ids, "first": x["token_type_ids"][0].tolist().index(1), "score": score.item()})
        groups.append(torch.stack(scores))
    logits = torch.stack(groups) + torch.tensor(OFFSETS, dtype=torch.float64)
    loss = -torch.log_softmax(logits, -1)[:, 0].mean()
    loss.backward()
    # The Go code folds 1/sqrt(head size) into the queries and trains the difference of the token types; embeddings are frozen.
    scale = 1 / math.sqrt(hidden / model.config.num_attention_heads)
    square = (model.bert.embeddings.token_type_embeddings.weight.grad[1] ** 2).sum()
    for name, p in model.named_parameters():
        if ".embeddings." in name:
            continue
        g = p.grad / scale if ".self.query." in name else p.grad
        if name == "classifier.weight":
            g = g * 10  # the Go code trains a tenth of it
        square = square + (g ** 2).sum()
    result = {"pairs": pairs, "offsets": OFFSETS, "loss": loss.item(), "grad_norm": math.sqrt(square.item())}
    with open(out, "w") as f:
        json.dump(result, f, indent=1, ensure_ascii=False)
        f.write("\n")


main()
