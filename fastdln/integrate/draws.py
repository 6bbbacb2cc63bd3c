"""Random numbers that depend on a key and a place alone: scalar functions, called from Python and compiled code.

The generator is Philox4x32-10 of Salmon, Moraes, Dror and Shaw (Parallel random numbers: as easy as 1, 2, 3; 2011).
All is reckoned in integers from 0 to 2^63, which Python and compiled code have in common.
"""

from __future__ import annotations

WORD = (1 << 32) - 1
HALF = (1 << 16) - 1
FIRST_FACTOR, SECOND_FACTOR = 0xD2511F53, 0xCD9E8D57
FIRST_STEP, SECOND_STEP = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10


def philox(c0: int, c1: int, c2: int, c3: int, k0: int, k1: int) -> tuple[int, int, int, int]:
    """Four words for a counter of four words and a key of two."""
    for _ in range(ROUNDS):
        # both words of the products of two words, by half words
        low = FIRST_FACTOR * (c0 & HALF)
        high = FIRST_FACTOR * (c0 >> 16) + (low >> 16)
        first_high, first_low = high >> 16, ((high & HALF) << 16) | (low & HALF)
        low = SECOND_FACTOR * (c2 & HALF)
        high = SECOND_FACTOR * (c2 >> 16) + (low >> 16)
        second_high, second_low = high >> 16, ((high & HALF) << 16) | (low & HALF)
        c0, c1, c2, c3 = second_high ^ c1 ^ k0, second_low, first_high ^ c3 ^ k1, first_low
        k0, k1 = (k0 + FIRST_STEP) & WORD, (k1 + SECOND_STEP) & WORD
    return c0, c1, c2, c3


def below(word: int, n: int) -> int:
    """A number from 0 to n - 1 from a word, n < 2^31; or -1 where the word would favour some of them.

    Lemire, Fast random integer generation in an interval (2019).
    """
    product = word * n
    if (product & WORD) < n and (product & WORD) < (WORD + 1 - n) % n:
        return -1
    return product >> 32
