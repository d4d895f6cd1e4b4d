"""The linear layer on fixed features: the right one, in the net's own terms."""

import numpy as np
import pytest
import torch

from lineside.learn.head import _fit, fit_head


def blobs(classes: int, n: int, seed: int):
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(classes, 6)) * 3 + 5
    labels = rng.integers(classes, size=n)
    return (centres[labels] + rng.normal(size=(n, 6))).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 4])
def test_it_separates_what_is_separable(classes):
    (x, y), (held_x, held_y), (test_x, test_y) = (blobs(classes, n, s) for n, s in ((300, 0), (100, 1), (400, 2)))
    head = fit_head(x, y, held_x, held_y, np.ones(classes))
    assert head.weight.shape == (classes, 6)
    assert ((test_x @ head.weight.T + head.bias).argmax(1) == test_y).mean() > 0.95
    assert head.calibrate_correct.mean() == ((held_x @ head.weight.T + head.bias).argmax(1) == held_y).mean()


def test_weights_of_classes_move_the_border():
    (x, y), (held_x, held_y) = blobs(2, 300, 0), blobs(2, 100, 1)
    counts = [
        (x @ head.weight.T + head.bias).argmax(1).sum()
        for w in ([1.0, 1.0], [1.0, 50.0])
        for head in [fit_head(x + np.random.default_rng(3).normal(size=x.shape) * 4, y, held_x, held_y, np.array(w))]
    ]
    assert counts[1] > counts[0]


def test_it_is_the_fit_that_scikit_learn_makes():
    """An implementation of others, of the same penalised loss."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is part of lineside[dev]")
    (x, y), weights = blobs(4, 200, 0), np.array([1.0, 2.0, 0.5, 1.0])
    z = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    for strength in (0.001, 0.1):
        found = _fit(torch.from_numpy(z), y, weights, strength, np.zeros((4, 7)))
        model = linear_model.LogisticRegression(C=strength, class_weight=dict(enumerate(weights)), tol=1e-8)
        model.fit(z.astype(np.float64), y)
        np.testing.assert_allclose(found[:, :-1], model.coef_, atol=2e-3)
        np.testing.assert_allclose(found[:, -1] - found[:, -1].mean(), model.intercept_, atol=2e-3)
