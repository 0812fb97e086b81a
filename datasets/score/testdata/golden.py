"""Writes golden.json.gz: what Python, NLTK and numpy say about awkward pairs of strings, for the tests of this package.

    pip install nltk==3.9.1 regex numpy
    python golden.py PUNKT.json

PUNKT.json is data/english.json of the Go module gopkg.in/neurosnap/sentences.v1, NLTK's English model as JSON. Words are
drawn from the predictions in locomo_predictions.json.gz. The formulas are those of the benchmarks' published scripts, written
anew here on Python's own string functions.
"""
import gzip, json, math, os, random, re, string, sys, unicodedata
from collections import Counter

import numpy
import regex
from nltk.stem import PorterStemmer
from nltk.tokenize.destructive import NLTKWordTokenizer
from nltk.tokenize.punkt import PunktParameters, PunktSentenceTokenizer
from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

stemmer, treebank = PorterStemmer(), NLTKWordTokenizer()


def punkt(path):
    raw, p = json.load(open(path)), PunktParameters()
    p.abbrev_types = set(raw["AbbrevTypes"])
    p.sent_starters = set(raw["SentStarters"])
    p.collocations = {tuple(k.split(",", 1)) for k in raw["Collocations"]}
    p.ortho_context.update(raw["OrthoContext"])
    return PunktSentenceTokenizer(p)


sentences = punkt(sys.argv[1])
no_punctuation = str.maketrans("", "", string.punctuation)


def locomo_tokens(s):
    s = s.replace(",", "").lower().translate(no_punctuation)
    return [stemmer.stem(w) for w in regex.sub(r"\b(a|an|the|and)\b", " ", s).split()]


def hotpot_normal(s):
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", s.lower().translate(no_punctuation)).split())


def prf(pred, gold):
    same = sum((Counter(pred) & Counter(gold)).values())
    if not same:
        return 0.0, 0.0, 0.0
    p, r = same / len(pred), same / len(gold)
    return 2 * p * r / (p + r), p, r


def locomo_f1(pred, gold):
    return prf(locomo_tokens(pred), locomo_tokens(gold))[0]


def locomo_f1_max(pred, gold):
    return float(numpy.mean([max(locomo_f1(p.strip(), g.strip()) for p in pred.split(",")) for g in gold.split(",")]))


def hotpot(pred, gold):
    p, g = hotpot_normal(pred), hotpot_normal(gold)
    if p != g and {p, g} & {"yes", "no", "noanswer"}:
        return 0.0, 0.0, 0.0
    return prf(p.split(), g.split())


def set_f1(pred, gold):
    words = lambda s: set(re.sub(r"[.,!?]", " ", s.strip().lower()).split())
    p, g = words(pred), words(gold)
    return prf(sorted(p), sorted(g))[0]


def words(s):
    return [w for sentence in sentences.tokenize(s.strip().lower()) for w in treebank.tokenize(sentence)]


def bleu1(pred, gold):
    p, g = words(pred), words(gold)
    if not p or not g:
        return 0.0
    return float(sentence_bleu([g], p, weights=(1, 0, 0, 0), smoothing_function=SmoothingFunction().method1))


def case(pred, gold):
    f1, precision, recall = hotpot(pred, gold)
    return {
        "pred": pred, "gold": gold,
        "locomo_f1": locomo_f1(pred, gold), "locomo_f1_max": locomo_f1_max(pred, gold), "set_f1": set_f1(pred, gold),
        "hotpot": [f1, precision, recall, float(hotpot_normal(pred) == hotpot_normal(gold))], "bleu1": bleu1(pred, gold),
        "locomo_tokens": locomo_tokens(pred), "hotpot_normal": hotpot_normal(pred), "words": words(pred),
    }


def draw(rng, vocabulary):
    """A string of real words with odd marks, cases and spaces between and inside them."""
    marks = [",", ", ", "; ", ".", ". ", "...", "'", "\u2019", "'s", "\u2019s", "n't", '"', "\u201c", "``", "''", "(", ")", "-", "--",
             "\u2014", "_", "/", "&", "$", "%", "#", "@", "*", "!", "?", ":", ":30", "1,000", "3.5", "\u00bd", "\u00b2", "\u0301", "\u00a0",
             "\u2003", "\x1c", "\t", "\n", "\u200b", "\u200d", "\u203f", "\U0001f600", "\u0130", "\u03a3", "\u1e9e", "\u4e2d", "<", "]"]
    fillers = ["a", "an", "the", "and", "The", "AND", "A", "yes", "No", "noanswer", "cannot", "gonna", "'tis", "D.C.", "U.S.",
               "Dr.", "p.m.", "Jan.", "i'm", "they'll", "o'clock", "'x'", "rock 'n roll"]
    out = ""
    for _ in range(rng.randint(0, 9)):
        roll = rng.random()
        w = rng.choice(fillers) if roll < 0.25 else rng.choice(vocabulary)
        if rng.random() < 0.1:
            w = w.upper()
        out += w
        out += rng.choice(marks) if rng.random() < 0.3 else ""
        out += " " if rng.random() < 0.85 else ""
    return out


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    with gzip.open(os.path.join(here, "locomo_predictions.json.gz")) as f:
        vocabulary = sorted({w for p in json.load(f) for w in (p["gold"] + " " + p["pred"]).split(" ") if w})
    rng = random.Random(42)
    cases = [case(p, g) for p in ["", " ", ",", ",,", "the", "a,b", "yes", "no", "Yes.", "0"] for g in ["", "the", "yes", "no", "b", "a, b", "0"]]
    for _ in range(900):
        pred, gold = draw(rng, vocabulary), draw(rng, vocabulary)
        if rng.random() < 0.7:  # let the sides share words, or scores are nearly all 0
            gold += " " + " ".join(rng.sample(pred.split(" "), min(3, len(pred.split(" ")))))
        cases.append(case(pred, gold))
    # One character of every kind next to the words that are removed. Only long-assigned ones: Python and Go need not
    # know the same version of Unicode.
    old = [c for c in map(chr, range(0x250)) if unicodedata.category(c) != "Cs"]
    kinds = {}
    for c in map(chr, range(0x250, 0x3000)):
        kinds.setdefault(unicodedata.category(c), []).append(c)
    for kind, chars in sorted(kinds.items()):
        if kind != "Cn":
            old += rng.sample(chars, min(12, len(chars)))
    for c in old:
        cases.append(case("the%sx a%s %sand A%sN" % (c, c, c, c), "%s the" % c))
    ranks = []
    for _ in range(80):
        ids = [str(i) for i in range(12)]
        rng.shuffle(ids)
        gold, k = rng.sample(ids, rng.randint(0, 5)), rng.choice([1, 2, 3, 5, 10, 20])
        gain = lambda rel: (rel[0] + sum(r / numpy.log2(i) for i, r in enumerate(rel[1:], 2))) if rel else 0.0
        relevance = [int(i in gold) for i in ids]
        ideal = gain(sorted(relevance, reverse=True)[:k])
        ranks.append({"ids": ids, "gold": gold, "k": k, "ndcg": float(gain(relevance[:k]) / ideal) if ideal else 0.0,
                      "recall_all": float(set(gold) <= set(ids[:k])),
                      "recall": len(set(gold) & set(ids[:k])) / len(gold) if gold else 1.0})
    numbers = [[t, str(json.loads(t))] for t in
               ["0", "-0", "7", "2022", "123456789012345678901234567890", "1.0", "2.50", "0.1", "1e5", "1E-5", "1e16", "1e15",
                "123456789.125", "-3.0", "0.0001", "1e400", "-1e400", "0.0", "-0.0", "1e22", "5e-324"]]
    with open(os.path.join(here, "golden.json.gz"), "wb") as f, gzip.GzipFile("", "wb", 9, f, 0) as z:
        z.write(json.dumps({"cases": cases, "ranks": ranks, "numbers": numbers}).encode())
    print(len(cases), len(ranks))


main()
