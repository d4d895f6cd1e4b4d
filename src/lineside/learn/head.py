"""The first half of transfer learning: the net as a fixed feature extractor, and one linear layer fitted on it.

Multinomial logistic regression with an L2 penalty (scikit-learn's L-BFGS); the penalty is the one with the lowest loss
on calibrate. Exact and deterministic, and takes seconds where an epoch of back-propagation takes minutes.
"""

from dataclasses import dataclass

import numpy as np

PENALTIES = (0.01, 0.1, 1.0, 10.0)  # inverse: scikit-learn's C, on standardised features


@dataclass(frozen=True)
class Head:
    weight: np.ndarray  # (K, C) float32
    bias: np.ndarray  # (K,) float32
    c: float  # the penalty that was chosen
    calibrate_loss: float  # nats a picture
    calibrate_correct: np.ndarray  # (n,) bool


def fit_head(x: np.ndarray, y: np.ndarray, held_x: np.ndarray, held_y: np.ndarray, weights: np.ndarray) -> Head:
    """The linear layer for features x (N, C) and class indices y (N,) that does best on held_x, held_y.

    weights (K,) multiply each class's loss; K is the number of classes, every one of which y must hold.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    classes, class_weight = len(weights), dict(enumerate(weights.tolist()))
    mean, std = x.mean(0), x.std(0) + 1e-6
    z = ((x - mean) / std).astype(np.float64)
    best: Head | None = None
    for c in PENALTIES:
        model = LogisticRegression(C=c / len(x) ** 0.5, max_iter=300, tol=1e-4, class_weight=class_weight)
        with threadpool_limits(1):  # its products are too small to share: two threads took 2 to 16 times as long
            model.fit(z, y)
        weight, bias = _all_classes(model.coef_, np.asarray(model.intercept_), classes)
        weight = weight / std
        bias = bias - weight @ mean
        loss, correct = _score(held_x @ weight.T + bias, held_y)
        if best is None or loss < best.calibrate_loss:
            best = Head(weight.astype(np.float32), bias.astype(np.float32), c, loss, correct)
    assert best is not None
    return best


def _all_classes(coef: np.ndarray, intercept: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn keeps one row for two classes: the second's; make it two of opposite sign."""
    if classes == 2:
        return np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
    return coef, intercept


def _score(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return float(-log_p[np.arange(len(labels)), labels].mean()), logits.argmax(1) == labels
