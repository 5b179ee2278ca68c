"""Laws of paired samples whose mutual information is known: what estimators are judged by. All draw (N, C)."""

import numpy as np

NORMAL_CORRELATION = 0.75
NORMAL_INFORMATION = 0.4133928854  # -log(1 - 0.75^2) / 2


def normal_pair(rng, shape, correlation=NORMAL_CORRELATION):
    """Draw standard normal samples of one correlation."""
    a = rng.standard_normal(shape)
    return a, correlation * a + np.sqrt(1 - correlation**2) * rng.standard_normal(shape)


def parabola(rng, shape):
    """Draw y = x^2 + 0.5 z, which is uncorrelated with x."""
    x = rng.standard_normal(shape)
    return x, x**2 + 0.5 * rng.standard_normal(shape)


def ring(rng, shape):
    """Draw points around the unit circle, with noise of 0.1 in both coordinates."""
    angle = rng.uniform(0, 2 * np.pi, shape)
    return tuple(f(angle) + 0.1 * rng.standard_normal(shape) for f in (np.cos, np.sin))


def student(rng, shape):
    """Draw an uncorrelated pair of Student's law with one degree of freedom, taken through asinh."""
    scale = np.sqrt(rng.chisquare(1, shape))
    return tuple(np.arcsinh(rng.standard_normal(shape) / scale) for _ in range(2))


def uniform_with_noise(rng, shape):
    """Draw x uniform in [0, 1] and y = x + u with u uniform in [-0.1, 0.1]."""
    x = rng.uniform(0, 1, shape)
    return x, x + rng.uniform(-0.1, 0.1, shape)


def relu_pair(rng, shape):
    """Draw ReLU features of a normal pair with correlation 0.7."""
    return tuple(np.maximum(z, 0) for z in normal_pair(rng, shape, 0.7))


def sparse_pair(rng, shape):
    """Draw independent ReLU features that fire 5 times in a hundred."""
    return tuple(np.maximum(rng.standard_normal(shape) - 1.645, 0) for _ in range(2))
