"""How good predictions are, beside what simple models make of the same features.

Scores are scikit-learn's. Intervals are by the moving-block bootstrap (Kuensch 1989), for what
ticks say hangs together. Samples n, choices 3: buy, hold, sell.
"""

from typing import Any

import numpy as np

from cerebellum.errors import UsageError
from cerebellum.learn.tasks.ticks import Data, Part, Stream, raw

BLOCK = 50
"""samples to a block"""
DRAWS = 1_000
LEVEL = 0.95
BINS = 10
MOST = 100_000
"""samples that logistic regression is fitted on"""


def _sklearn():
    try:
        import sklearn.metrics
    except ImportError:
        raise UsageError(
            "evaluate: needs scikit-learn; pip install 'cerebellar-norse[eval]'"
        ) from None
    return sklearn.metrics


def scores(chances: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracy and its kin of probabilities [n, 3] and labels [n], over choices that occur."""
    metrics = _sklearn()
    there = np.unique(labels)
    own = chances[:, there] / np.maximum(chances[:, there].sum(axis=1, keepdims=True), 1e-12)
    said = there[np.argmax(own, axis=1)]
    auc = None
    if len(there) == 2:
        auc = metrics.roc_auc_score(labels == there[0], own[:, 0])
    elif len(there) > 2:
        auc = metrics.roc_auc_score(labels, own, multi_class="ovr", average="macro")
    return {
        "accuracy": float(metrics.accuracy_score(labels, said)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(labels, said)),
        "mcc": float(metrics.matthews_corrcoef(labels, said)),
        "auc": None if auc is None else float(auc),
        "log_loss": float(metrics.log_loss(labels, np.clip(own, 1e-7, 1), labels=there)),
    }


def guesses(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The likeliest of the choices that are asked at all, [n]."""
    there = np.unique(labels)
    return there[np.argmax(chances[:, there], axis=1)]


def details(chances: np.ndarray, labels: np.ndarray, day: np.ndarray) -> dict[str, Any]:
    """Confusion (rows are what was), calibration by confidence, accuracy and MCC by day."""
    metrics = _sklearn()
    said = guesses(chances, labels)
    confidence = chances[np.arange(len(said)), said]
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    calibration = [
        {
            "confidence": float(confidence[place == k].mean()),
            "accuracy": float((said == labels)[place == k].mean()),
            "samples": int((place == k).sum()),
        }
        for k in range(BINS)
        if (place == k).any()
    ]
    days = {
        str(np.datetime64(int(d), "D")): {
            "samples": int((day == d).sum()),
            "accuracy": float((said == labels)[day == d].mean()),
            "mcc": float(metrics.matthews_corrcoef(labels[day == d], said[day == d])),
        }
        for d in np.unique(day)
    }
    confusion = metrics.confusion_matrix(labels, said, labels=[0, 1, 2]).tolist()
    return {"confusion": confusion, "calibration": calibration, "per_day": days}


def mcc_of(confusion: np.ndarray) -> np.ndarray:
    """Matthews correlation of confusion matrices [..., C, C] (Gorodkin 2004): [...]."""
    total = confusion.sum(axis=(-1, -2))
    right = np.trace(confusion, axis1=-2, axis2=-1)
    was, said = confusion.sum(axis=-1), confusion.sum(axis=-2)
    top = right * total - (was * said).sum(axis=-1)
    below = (total**2 - (said**2).sum(axis=-1)) * (total**2 - (was**2).sum(axis=-1))
    return np.where(below > 0, top / np.sqrt(np.maximum(below, 1e-12)), 0.0)


def bootstrap(
    labels: np.ndarray, guessed: np.ndarray, other: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float]:
    """Interval of the MCC of guesses [n], or of how much it is above that of `other`.

    Args:
      guessed: [n], or [k, n] of several seeds, whose MCCs are averaged.
      other: as `guessed`; both are drawn together.
    """
    count = len(labels)
    size = min(BLOCK, max(1, count // 10))
    rng = np.random.default_rng(seed)
    starts = rng.integers(0, count - size + 1, (DRAWS, -(-count // size)))

    def drawn(predicted: np.ndarray) -> np.ndarray:
        many = np.atleast_2d(predicted)
        one = np.eye(3)
        cells = np.stack([(one[labels][:, :, None] * one[each][:, None, :]) for each in many])
        sums = np.cumsum(cells.reshape(len(many), count, 9), axis=1)
        sums = np.concatenate([np.zeros((len(many), 1, 9)), sums], axis=1)
        blocks = sums[:, starts + size] - sums[:, starts]
        return mcc_of(blocks.sum(axis=2).reshape(len(many), DRAWS, 3, 3)).mean(axis=0)

    values = drawn(guessed) - (0 if other is None else drawn(other))
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def baselines(stream: Stream, data: Data, part: Part) -> dict[str, np.ndarray]:
    """Probabilities [n, 3] of simple models on the samples of a part.

    The majority of the first part; the last change's direction again, or against it, as was right
    more often there; logistic regression on the same features, standardised.
    """
    _sklearn()
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    train, asked = data.asked(data.train), data.asked(part)
    labels = data.labels[train]
    shares = np.bincount(labels, minlength=3) / len(labels)
    majority = np.tile(shares, (len(asked), 1))
    again = float((data.last[train] == labels).mean())
    against = float((2 * (1 - data.last[train] // 2) == labels).mean())
    last = data.last[asked] if again >= against else 2 * (1 - data.last[asked] // 2)
    hit = max(again, against)
    sign = np.full((len(asked), 3), (1 - hit) / 2)
    if data.task == "event":
        sign = np.full((len(asked), 3), 1 - hit)
        sign[:, 1] = 0
    sign[np.arange(len(asked)), last] = hit
    # One pass over the ticks; of those to fit, at most MOST.
    some = train[:: -(-len(train) // MOST)]
    wanted = np.union1d(some, asked)
    rows, begin = [], 0
    for chunk in raw(stream, 0, part.stop):
        inside = wanted[(wanted >= begin) & (wanted < begin + len(chunk))]
        rows.append(chunk[inside - begin])
        begin += len(chunk)
    found = np.concatenate(rows)
    place = {name: np.searchsorted(wanted, at) for name, at in (("fit", some), ("say", asked))}
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model.fit(found[place["fit"]], data.labels[some])
    logistic = np.zeros((len(asked), 3))
    logistic[:, model.classes_] = model.predict_proba(found[place["say"]])
    return {"majority": majority, "last_sign": sign, "logistic": logistic}
