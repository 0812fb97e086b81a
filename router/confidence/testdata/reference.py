"""Writes reference.json: what scikit-learn computes of random answers, for confidence_test.go.

    python3 -m venv /tmp/reference && /tmp/reference/bin/pip install scikit-learn==1.7.2
    /tmp/reference/bin/python reference.py > reference.json
"""

import json
import sys

import numpy as np
import sklearn
from sklearn.calibration import calibration_curve
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

rng = np.random.default_rng(7)
out = {"sklearn": sklearn.__version__, "numpy": np.__version__, "isotonic": [], "auroc": [], "calibration": [], "risk": [], "logistic": [], "ridge": []}

for n, ties, weighted in [(1, False, False), (2, False, False), (30, False, False), (60, True, False), (60, True, True), (200, False, True)]:
    x = rng.normal(size=n)
    if ties:
        x = np.round(x, 1)
    y = np.clip(0.5 + 0.2 * x + 0.3 * rng.normal(size=n), 0, 1)
    w = rng.uniform(0.1, 3, size=n) if weighted else np.ones(n)
    at = np.concatenate([[-5.0, 5.0], rng.normal(size=20), x[:5]])
    fit = IsotonicRegression(out_of_bounds="clip").fit(x, y, sample_weight=w)
    out["isotonic"].append({"x": x.tolist(), "y": y.tolist(), "w": w.tolist() if weighted else None, "at": at.tolist(), "want": fit.predict(at).tolist()})

for n, digits in [(20, 9), (100, 1), (300, 2)]:
    c = np.round(rng.uniform(size=n), digits)
    right = rng.uniform(size=n) < c
    out["auroc"].append({"confidence": c.tolist(), "right": right.tolist(), "want": roc_auc_score(right, c)})

for n, bins in [(40, 10), (400, 15)]:
    c = rng.uniform(size=n)
    right = (rng.uniform(size=n) < c**2).astype(float)
    accuracy, confidence = calibration_curve(right, c, n_bins=bins, strategy="uniform")
    counts = np.histogram(c, bins=np.linspace(0, 1, bins + 1))[0]
    out["calibration"].append({"confidence": c.tolist(), "score": right.tolist(), "bins": bins, "want": float(np.sum(counts[counts > 0] * np.abs(accuracy - confidence)) / n)})

for n, digits in [(25, 9), (150, 1)]:
    c = np.round(rng.uniform(size=n), digits)
    score = np.round(rng.uniform(size=n), 3)
    # By the definition: of each answer, the risk of those that are at least as certain.
    risk = [float(np.mean(1 - score[c >= t])) for t in c]
    out["risk"].append({"confidence": c.tolist(), "score": score.tolist(), "want": float(np.mean(risk)), "risks": risk, "shares": [float(np.mean(c >= t)) for t in c]})

for n, d in [(50, 2), (200, 5)]:
    x = rng.normal(size=(n, d))
    p = 1 / (1 + np.exp(-(x @ rng.normal(size=d) + 0.3)))
    y = np.clip(p + 0.1 * rng.normal(size=n), 0, 1)
    # A fractional target is a row of each class, weighted by the target and by the rest.
    fit = LogisticRegression(C=1.0, tol=1e-12, max_iter=10000).fit(np.vstack([x, x]), np.r_[np.ones(n), np.zeros(n)], sample_weight=np.r_[y, 1 - y])
    out["logistic"].append({"rows": x.tolist(), "y": y.tolist(), "want": [float(fit.intercept_[0]), *fit.coef_[0].tolist()]})
    ridge = Ridge(alpha=1.0, solver="cholesky").fit(x, y)
    out["ridge"].append({"rows": x.tolist(), "y": y.tolist(), "want": [float(ridge.intercept_), *ridge.coef_.tolist()]})

json.dump(out, sys.stdout)
sys.stdout.write("\n")
