"""The first half of transfer learning: the net as a fixed feature extractor, and one linear layer fitted on it.

Multinomial logistic regression with an L2 penalty, by L-BFGS (Liu and Nocedal 1989; scipy's); the penalty is the one
with the lowest loss on calibrate at its best temperature, and the layer is scaled by that. The problem is convex, the
answer deterministic, and it takes a second where an epoch of back-propagation takes many.

A feature that hardly moves on the training pictures is not blown up to the size of the others: weights of 20 on such
features (magnetic-tile) made the first steps of fine-tuning undo what the net had learnt.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from lineside.evidence.calibration import calibrated_nll, lead, temperature
from lineside.learn.precision import one_thread

STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # of the pictures against the penalty, on standardised features
FLAT = 1e-5  # largest slope of the mean loss at which a fit has arrived
MOST_STEPS = 300
LEAST_SPREAD = 0.5  # of a feature, in medians of all features' standard deviations


@dataclass(frozen=True)
class Head:
    weight: np.ndarray  # (K, C) float32
    bias: np.ndarray  # (K,) float32
    c: float  # the strength that was chosen
    calibrate_loss: float  # nats a picture, each times its class's weight
    calibrate_lead: np.ndarray  # (n,): logit of the true class less the highest other

    @property
    def calibrate_correct(self) -> np.ndarray:
        """(n,) bool."""
        return self.calibrate_lead > 0


def fit_head(x: np.ndarray, y: np.ndarray, held_x: np.ndarray, held_y: np.ndarray, weights: np.ndarray) -> Head:
    """The linear layer for features x (N, C) and class indices y (N,) that does best on held_x, held_y.

    weights (K,) multiply each class's loss; K is the number of classes, every one of which y must hold.
    """
    mean, std = x.mean(0), x.std(0)
    std = np.maximum(std, LEAST_SPREAD * np.median(std) + 1e-6)
    z = torch.from_numpy(_float32((x - mean) / std))
    best, found = None, np.zeros((len(weights), x.shape[1] + 1))
    for c in STRENGTHS:  # the weakest first: its answer is near the next one's
        with one_thread():  # its products are too small to share: on a busy machine two threads took 14 times as long
            found = _fit(z, y, weights, c / len(x) ** 0.5, found)
        weight = found[:, :-1] / std
        bias = found[:, -1] - weight @ mean
        logits = held_x @ weight.T + bias
        loss = calibrated_nll(logits, held_y, weights)
        if best is None or loss < best.calibrate_loss:
            t = temperature(logits, held_y, weights)
            leads = lead(logits, np.arange(len(weights)) == held_y[:, None]) / t
            best = Head(_float32(weight / t), _float32(bias / t), c, loss, leads)
    assert best is not None
    return best


def _fit(z: torch.Tensor, y: np.ndarray, weights: np.ndarray, strength: float, start: np.ndarray) -> np.ndarray:
    """(K, C + 1) weights and, last, biases with the least strength · Σ loss + ½ Σ weights², from z (N, C) float32."""
    from scipy.optimize import minimize

    labels, factors = torch.from_numpy(y), torch.from_numpy(weights)
    share = (factors[labels] / factors[labels].sum())[:, None].float()  # (N, 1) of the mean loss
    penalty = 1 / (strength * float(factors[labels].sum()))
    wanted = F.one_hot(labels, len(weights)).float()

    def loss_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight = torch.from_numpy(flat).view(start.shape).float()
        scores = torch.addmm(weight[:, -1], z, weight[:, :-1].T).log_softmax(1)
        off = (scores.exp() - wanted) * share
        slope = torch.cat([off.T @ z + penalty * weight[:, :-1], off.sum(0)[:, None]], dim=1)
        loss = -(share * wanted * scores).sum() + penalty / 2 * weight[:, :-1].square().sum()
        return float(loss), slope.flatten().double().numpy()

    options = {"maxiter": MOST_STEPS, "gtol": FLAT, "ftol": 1e-9}
    return minimize(loss_and_slope, start.ravel(), jac=True, method="L-BFGS-B", options=options).x.reshape(start.shape)


def _float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)
