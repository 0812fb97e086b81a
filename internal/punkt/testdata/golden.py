"""Writes golden.json.gz: NLTK's sentences of paragraphs from HotpotQA (CC BY-SA 4.0) and of awkward strings.

    pip install nltk==3.9.1
    python golden.py PUNKT.json POOL.json.gz

PUNKT.json is data/english.json of the Go module gopkg.in/neurosnap/sentences.v1; POOL.json.gz is
datasets/files/hotpotqa/hotpot_dev_first500_pooled_corpus.json.gz.
"""
import gzip, json, os, random, sys

from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer

raw, p = json.load(open(sys.argv[1])), PunktParameters()
p.abbrev_types, p.sent_starters = set(raw["AbbrevTypes"]), set(raw["SentStarters"])
p.collocations = {tuple(k.split(",", 1)) for k in raw["Collocations"]}
p.ortho_context.update(raw["OrthoContext"])
punkt = PunktSentenceTokenizer(p)

rng = random.Random(42)
texts = [d["text"] for d in rng.sample(json.load(gzip.open(sys.argv[2])), 250)]
words = sorted({w for t in texts for w in t.split()})
starters = sorted(p.sent_starters) + sorted(p.abbrev_types)[:60] + [w for c in sorted(p.collocations) for w in c]
marks = [".", ".", ".", "?", "!", "...", "..", ". . .", ".)", '."', ".'", "?)", "--", ".--", ".;", ".,", ":", ".]", "!!", "?!", ".\n", "\n", "\n\n",
         "\t", "\x1c", "\u00a0", "\u2003", ".\u00a0", "(", '"', "'", "*", "{", "@", "-", ",", "\u2026", "1.", "A.", "_.", "\u00bd.", "-3.5.", "U.S."]
for _ in range(1500):
    out = ""
    for _ in range(rng.randint(1, 14)):
        w = rng.choice(starters if rng.random() < 0.35 else words)
        out += rng.choice([w, w, w.lower(), w.capitalize(), w.upper()])
        while rng.random() < 0.45:
            out += rng.choice(marks)
        out += " " if rng.random() < 0.8 else ""
    texts.append(out)
cases = [[t, [s.strip() for s in punkt.tokenize(t) if s.strip()]] for t in texts]
here = os.path.dirname(os.path.abspath(__file__))
with open(os.path.join(here, "golden.json.gz"), "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as z:
    z.write(json.dumps(cases).encode())
