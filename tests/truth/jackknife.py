"""What leaving out one group at a time says, value by value."""

import numpy as np
import scipy.stats


def jackknife(without):
    """Return the standard error and the degrees of freedom of estimates (K, ...), each without one of K groups.

    The degrees are those of Satterthwaite for a variance of K values of their kurtosis, rounded down, 2 to K - 1.
    """
    without = np.asarray(without, dtype=np.float64)
    error, freedom = np.empty((2, *without.shape[1:]))
    for index in np.ndindex(error.shape):
        values = without[(slice(None), *index)]
        k, deviations = len(values), values - values.mean()
        variance = np.mean(deviations**2)
        error[index] = np.sqrt((k - 1) * variance)
        kurtosis = (k + 1) / (k - 1) * np.mean(deviations**4) / variance**2 if variance else 1
        freedom[index] = min(k - 1, max(2, np.floor(2 * k / (kurtosis - 1)))) if kurtosis > 1 else k - 1
    return error, freedom


def ends(value, without, level=0.95, pearson=None):
    """Return the interval (2, ...) around an estimate (...).

    Given Pearson's z without each group, the variance of intraclass ones is the mean of both, if that is larger.
    """
    error, freedom = jackknife(without)
    if pearson is not None:
        error = np.sqrt(np.maximum(error**2, (error**2 + jackknife(pearson)[0] ** 2) / 2))
    reach = scipy.stats.t.ppf((1 + level) / 2, freedom) * error
    return np.array([value - reach, value + reach])
