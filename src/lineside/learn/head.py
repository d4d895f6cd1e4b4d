"""The first half of transfer learning: the net as a fixed feature extractor, and one linear layer fitted on it.

Multinomial logistic regression with an L2 penalty (scikit-learn's L-BFGS); the penalty is the one with the lowest
loss on calibrate at its best temperature, and the layer is scaled by that. Exact and deterministic, and takes seconds
where an epoch of back-propagation takes minutes.

A feature that hardly moves on the training pictures is not blown up to the size of the others: weights of 20 on such
features (magnetic-tile) made the first steps of fine-tuning undo what the net had learnt.
"""

from dataclasses import dataclass

import numpy as np

from lineside.evidence.calibration import calibrated_nll, temperature

PENALTIES = (0.01, 0.1, 1.0, 10.0)  # inverse: scikit-learn's C, on standardised features
LEAST_SPREAD = 0.5  # of a feature, in medians of all features' standard deviations


@dataclass(frozen=True)
class Head:
    weight: np.ndarray  # (K, C) float32
    bias: np.ndarray  # (K,) float32
    c: float  # the penalty that was chosen
    calibrate_loss: float  # nats a picture, each times its class's weight
    calibrate_correct: np.ndarray  # (n,) bool


def fit_head(x: np.ndarray, y: np.ndarray, held_x: np.ndarray, held_y: np.ndarray, weights: np.ndarray) -> Head:
    """The linear layer for features x (N, C) and class indices y (N,) that does best on held_x, held_y.

    weights (K,) multiply each class's loss; K is the number of classes, every one of which y must hold.
    """
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    classes, class_weight = len(weights), dict(enumerate(weights.tolist()))
    mean, std = x.mean(0), x.std(0)
    std = np.maximum(std, LEAST_SPREAD * np.median(std) + 1e-6)
    z = ((x - mean) / std).astype(np.float64)
    best: Head | None = None
    for c in PENALTIES:
        model = LogisticRegression(C=c / len(x) ** 0.5, max_iter=300, tol=1e-4, class_weight=class_weight)
        with threadpool_limits(1):  # its products are too small to share: two threads took 2 to 16 times as long
            model.fit(z, y)
        weight, bias = _all_classes(model.coef_, np.asarray(model.intercept_), classes)
        weight = weight / std
        bias = bias - weight @ mean
        logits = held_x @ weight.T + bias
        loss = calibrated_nll(logits, held_y, weights)
        if best is None or loss < best.calibrate_loss:
            t = temperature(logits, held_y)
            best = Head(_float32(weight / t), _float32(bias / t), c, loss, logits.argmax(1) == held_y)
    assert best is not None
    return best


def _all_classes(coef: np.ndarray, intercept: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn keeps one row for two classes: the second's; make it two of opposite sign."""
    if classes == 2:
        return np.concatenate([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
    return coef, intercept


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
