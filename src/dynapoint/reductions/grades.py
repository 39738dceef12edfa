"""The scale of grades: what share of error, foretold without ground truth, a grade stands for."""

import math

_HALF_GRADE_ERROR = 0.2


def grade_of_error(error: float) -> float:
    """From 0 to 1: 2 to the power of -error / one fifth; NaN where the error is."""
    return 2.0 ** (-error / _HALF_GRADE_ERROR)


def error_of_grade(grade: float) -> float:
    """The error that a grade above 0 stands for."""
    return -_HALF_GRADE_ERROR * math.log2(grade)
