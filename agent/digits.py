"""Numbers in, the same as people and JSON write them out."""

import math
from ctypes import c_float
from typing import Any

from agent.model import ValueType

SAFE_DIGITS = 15  # a double keeps so many decimal digits; the 16th and 17th are where 28840 * 0.01 shows its rounding


def shortest(value: float, kind: ValueType) -> float:
    """For people: no more digits than tell it from its neighbours. 0.1 as f32 is not 0.10000000149."""
    if kind is ValueType.F64 or not math.isfinite(value):
        return value
    if kind is ValueType.F32 and c_float(value).value == value:
        candidates = (float(f"{value:.{digits}g}") for digits in range(1, 10))
        return next(short for short in candidates if c_float(short).value == value)
    return float(f"{value:.{SAFE_DIGITS}g}")


def finite(value: Any) -> Any:
    """JSON knows no NaN and no infinity, which a device's float may well hold: these as text, all else as it is."""
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)
