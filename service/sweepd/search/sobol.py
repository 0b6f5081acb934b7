"""Scrambled Sobol sequences, to the bit as SciPy's, without the second that SciPy takes to import.

Direction numbers: S. Joe and F. Y. Kuo, "Constructing Sobol sequences with better two-dimensional
projections", SIAM J. Sci. Comput. 30 (2008), their table `new-joe-kuo-6`. Scrambling: a random
lower triangular matrix and a digital shift, J. Matousek, "On the L2-discrepancy for anchored
boxes", J. Complexity 14 (1998).

d   dimensions
b   binary digits of a coordinate
"""

from functools import cache

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_D", "scrambled"]

_BITS = 30

#: A dimension each, from the second on: its primitive polynomial, the coefficients as a number,
#: and the direction numbers that the others follow from.
_TABLE = """
    3:1 7:1,3 11:1,3,1 13:1,1,1 19:1,1,3,3 25:1,3,5,13 37:1,1,5,5,17 41:1,1,5,5,5
    47:1,1,7,11,19 55:1,1,5,1,1 59:1,1,1,3,11 61:1,3,5,5,31 67:1,3,3,9,7,49
    91:1,1,1,15,21,21 97:1,3,1,13,27,49 103:1,1,1,15,7,5 109:1,3,1,15,13,25
    115:1,1,5,5,19,61 131:1,3,7,11,23,15,103 137:1,3,7,13,13,15,69 143:1,1,3,13,7,35,63
    145:1,3,5,9,1,25,53 157:1,3,1,13,9,35,107 167:1,3,1,5,27,61,31 171:1,1,5,11,19,41,61
    185:1,3,5,3,3,13,69 191:1,1,7,13,1,19,1 193:1,3,7,5,13,19,59 203:1,1,3,9,25,29,41
    211:1,3,5,13,23,1,55 213:1,3,7,3,13,59,17 229:1,3,1,3,5,53,69 239:1,1,5,5,23,33,13
    241:1,1,7,7,1,61,123 247:1,1,7,9,13,61,49 253:1,3,3,5,3,55,33 285:1,3,1,15,31,13,49,245
    299:1,3,5,15,31,59,63,97 301:1,3,1,11,11,11,77,249 333:1,3,1,11,27,43,71,9
    351:1,1,7,15,21,11,81,45 355:1,3,7,3,25,31,65,79 357:1,3,1,1,19,11,3,205
    361:1,1,5,9,19,21,29,157 369:1,3,7,11,1,33,89,185 391:1,3,3,3,15,9,79,71
    397:1,3,7,11,15,39,119,27 425:1,1,3,1,11,31,97,225 451:1,1,1,3,23,43,57,177
    463:1,3,7,7,17,17,37,71 487:1,3,1,5,27,63,123,213 501:1,1,3,5,11,43,53,133
    529:1,3,5,5,29,17,47,173,479 539:1,3,3,11,3,1,109,9,69 545:1,1,1,5,17,39,23,5,343
    557:1,3,1,5,25,15,31,103,499 563:1,1,1,11,11,17,63,105,183 601:1,1,5,11,9,29,97,231,363
    607:1,1,5,15,19,45,41,7,383 617:1,3,7,7,31,19,83,137,221 623:1,1,1,3,23,15,111,223,83
    631:1,1,5,13,31,15,55,25,161 637:1,1,3,13,25,47,39,87,257
"""

#: Dimensions that the table is enough for.
MOST_D = 1 + len(_TABLE.split())


def scrambled(d: int, *, start: int, n: int, seed: int) -> npt.NDArray[np.float64]:
    """Return n points of a scrambled sequence in the unit cube: (n, d).

    Args:
        d: dimensions, 1 to MOST_D.
        start: number of the first point.
        n: how many; start + n is at most 2**30.
        seed: of the scrambling.
    """
    rng = np.random.default_rng(seed).spawn(1)[0]
    weights = 1 << np.arange(_BITS, dtype=np.uint32)
    shift = rng.integers(2, size=(d, _BITS), dtype=np.uint32) @ weights
    mixers = np.tril(rng.integers(2, size=(d, _BITS, _BITS), dtype=np.uint32))
    mixers[:, np.arange(_BITS), np.arange(_BITS)] = 1
    digits = _directions()[:d, :, None] >> np.arange(_BITS, dtype=np.uint32)[::-1] & 1  # (d, b, b)
    mixed = np.einsum("dpk,dbk->dbp", mixers, digits) & 1
    directions = mixed.astype(np.uint32) @ weights[::-1]  # (d, b)
    numbers = np.arange(start, start + n, dtype=np.uint32)
    gray = numbers ^ (numbers >> 1)
    points = np.tile(shift, (n, 1))
    for bit in range(_BITS):
        points ^= np.where((gray >> bit & 1)[:, None] == 1, directions[:, bit], np.uint32(0))
    return points * 2.0**-_BITS


@cache
def _directions() -> npt.NDArray[np.uint32]:
    """Return the direction numbers of every dimension, as binary fractions: (MOST_D, b)."""
    found = [[1] * _BITS]
    for row in _TABLE.split():
        polynomial, _, first = row.partition(":")
        numbers = [int(number) for number in first.split(",")]
        m = len(numbers)
        taps = [k for k in range(1, m + 1) if int(polynomial) >> (m - k) & 1]
        while len(numbers) < _BITS:
            number = numbers[-m]
            for k in taps:
                number ^= numbers[-k] << k
            numbers.append(number)
        found.append(numbers)
    return np.array(found, dtype=np.uint32) << np.arange(_BITS, dtype=np.uint32)[::-1]
