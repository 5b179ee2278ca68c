"""The factors that a pair of clips may share."""

DYNAMIC, STATIC = 0, 1  # labels of pairs
FACTORS = ("dynamic", "static")  # their names, by label
