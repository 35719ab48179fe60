"""Scores of predictions, next to those of simple models on the same features.

The scores are scikit-learn's. Intervals come from the moving-block bootstrap (Kuensch 1989),
because neighbouring ticks are correlated. Samples n, choices 3: buy, hold, sell.
"""

from typing import Any

import numpy as np

from cerebellum import parts
from cerebellum.learn.tasks.ticks import Data, Split, Stream, raw

BLOCK = 50
"""Samples to a block of the bootstrap."""
DRAWS = 1_000
"""Resamples of the bootstrap."""
LEVEL = 0.95
"""Confidence level of intervals."""
BINS = 10
"""Bins of confidence in a calibration."""
MOST = 100_000
"""Most samples on which the logistic regression is fitted."""


def _sklearn():
    parts.need("evaluate", "eval")
    import sklearn.metrics

    return sklearn.metrics


def scores(chances: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Accuracy and similar scores of probabilities [n, 3] for labels [n].

    Choices that do not occur as labels are left out, and the probabilities are normalised without
    them.
    """
    metrics = _sklearn()
    choices = np.unique(labels)
    normalised = chances[:, choices]
    normalised = normalised / np.maximum(normalised.sum(axis=1, keepdims=True), 1e-12)
    predicted = choices[np.argmax(normalised, axis=1)]
    auc = None
    if len(choices) == 2:
        auc = metrics.roc_auc_score(labels == choices[0], normalised[:, 0])
    elif len(choices) > 2:
        auc = metrics.roc_auc_score(labels, normalised, multi_class="ovr", average="macro")
    return {
        "accuracy": float(metrics.accuracy_score(labels, predicted)),
        "balanced_accuracy": float(metrics.balanced_accuracy_score(labels, predicted)),
        "mcc": float(metrics.matthews_corrcoef(labels, predicted)),
        "auc": None if auc is None else float(auc),
        "log_loss": float(metrics.log_loss(labels, np.clip(normalised, 1e-7, 1), labels=choices)),
    }


def guesses(chances: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The most likely choice of each sample among those that occur as labels, [n]."""
    choices = np.unique(labels)
    return choices[np.argmax(chances[:, choices], axis=1)]


def details(chances: np.ndarray, labels: np.ndarray, day: np.ndarray) -> dict[str, Any]:
    """Confusion (rows are labels), calibration by confidence, accuracy and MCC by day.

    Args:
      day: days since 1970, [n].
    """
    metrics = _sklearn()
    predicted = guesses(chances, labels)
    confidence = chances[np.arange(len(predicted)), predicted]
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    calibration = [
        {
            "confidence": float(confidence[bins == k].mean()),
            "accuracy": float((predicted == labels)[bins == k].mean()),
            "samples": int((bins == k).sum()),
        }
        for k in range(BINS)
        if (bins == k).any()
    ]
    days = {
        str(np.datetime64(int(d), "D")): {
            "samples": int((day == d).sum()),
            "accuracy": float((predicted == labels)[day == d].mean()),
            "mcc": float(metrics.matthews_corrcoef(labels[day == d], predicted[day == d])),
        }
        for d in np.unique(day)
    }
    confusion = metrics.confusion_matrix(labels, predicted, labels=[0, 1, 2]).tolist()
    return {"confusion": confusion, "calibration": calibration, "per_day": days}


def mcc_of(confusion: np.ndarray) -> np.ndarray:
    """Matthews correlations [...] of confusion matrices [..., C, C] (Gorodkin 2004)."""
    total = confusion.sum(axis=(-1, -2))
    right = np.trace(confusion, axis1=-2, axis2=-1)
    actual, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    numerator = right * total - (actual * predicted).sum(axis=-1)
    product = (total**2 - (predicted**2).sum(axis=-1)) * (total**2 - (actual**2).sum(axis=-1))
    return np.where(product > 0, numerator / np.sqrt(np.maximum(product, 1e-12)), 0.0)


def bootstrap(
    labels: np.ndarray, guessed: np.ndarray, other: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float]:
    """Confidence interval of the MCC of guesses, or of its difference from that of `other`.

    Args:
      guessed: [n], or [k, n] of several seeds, whose MCCs are averaged.
      other: as `guessed`. Both are resampled with the same blocks.
    """
    count = len(labels)
    starts, size = _blocks(count, seed)

    def resampled(predicted: np.ndarray) -> np.ndarray:
        """MCC of each resample, averaged over seeds, [DRAWS]."""
        seeds = np.atleast_2d(predicted)
        one_hot = np.eye(3)
        cells = np.stack(
            [(one_hot[labels][:, :, None] * one_hot[row][:, None, :]) for row in seeds]
        )
        sums = np.cumsum(cells.reshape(len(seeds), count, 9), axis=1)
        sums = np.concatenate([np.zeros((len(seeds), 1, 9)), sums], axis=1)
        blocks = sums[:, starts + size] - sums[:, starts]
        return mcc_of(blocks.sum(axis=2).reshape(len(seeds), DRAWS, 3, 3)).mean(axis=0)

    return _interval(resampled(guessed) - (0 if other is None else resampled(other)))


def bootstrap_mean(values: np.ndarray, seed: int = 0) -> tuple[float, float]:
    """Confidence interval of the mean of values that follow each other, [n]."""
    starts, size = _blocks(len(values), seed)
    sums = np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
    return _interval((sums[starts + size] - sums[starts]).mean(axis=1) / size)


def _blocks(count: int, seed: int) -> tuple[np.ndarray, int]:
    """The starts [DRAWS, blocks] of the blocks of each resample of `count` values, and their
    size."""
    size = min(BLOCK, max(1, count // 10))
    rng = np.random.default_rng(seed)
    return rng.integers(0, count - size + 1, (DRAWS, -(-count // size))), size


def _interval(values: np.ndarray) -> tuple[float, float]:
    """The interval in which the share LEVEL of resampled values lies."""
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def baselines(stream: Stream, data: Data, split: Split) -> dict[str, np.ndarray]:
    """Probabilities [n, 3] of simple models on the samples of a split, by model.

    "majority" gives the shares of choices in the training split. "last_sign" repeats or reverses
    the direction of the last change, whichever was right more often in the training split.
    "logistic" is a logistic regression on the same features, standardised.
    """
    _sklearn()
    train, at = data.asked(data.train), data.asked(split)
    labels = data.labels[train]
    shares = np.bincount(labels, minlength=3) / len(labels)
    return {
        "majority": np.tile(shares, (len(at), 1)),
        "last_sign": _last_sign(data, train, at),
        "logistic": _logistic(stream, data, train, at, split.stop),
    }


def _last_sign(data: Data, train: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Probabilities [n, 3] at ticks `at` from the direction of the last change."""
    labels = data.labels[train]
    repeats = float((data.last[train] == labels).mean())
    reverses = float((2 * (1 - data.last[train] // 2) == labels).mean())
    predicted = data.last[at] if repeats >= reverses else 2 * (1 - data.last[at] // 2)
    hit_rate = max(repeats, reverses)
    chances = np.full((len(at), 3), (1 - hit_rate) / 2)
    if data.task == "event":
        chances = np.full((len(at), 3), 1 - hit_rate)
        chances[:, 1] = 0
    chances[np.arange(len(at)), predicted] = hit_rate
    return chances


def _logistic(
    stream: Stream, data: Data, train: np.ndarray, at: np.ndarray, stop: int
) -> np.ndarray:
    """Probabilities [n, 3] at ticks `at`, which end before `stop`, by logistic regression.

    It is fitted on at most `MOST` samples. The features are computed in one pass over the ticks.
    """
    parts.need("evaluate", "eval")
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    fitted = train[:: -(-len(train) // MOST)]
    needed = np.union1d(fitted, at)
    chunks, start = [], 0
    for chunk in raw(stream, 0, stop):
        inside = needed[(needed >= start) & (needed < start + len(chunk))]
        chunks.append(chunk[inside - start])
        start += len(chunk)
    features = np.concatenate(chunks)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model.fit(features[np.searchsorted(needed, fitted)], data.labels[fitted])
    chances = np.zeros((len(at), 3))
    chances[:, model.classes_] = model.predict_proba(features[np.searchsorted(needed, at)])
    return chances
