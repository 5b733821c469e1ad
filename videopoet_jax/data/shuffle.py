"""A shuffled order of any length without a table: place → number, one to one, different for every key.

shuffled(0, 5, key=9), …, shuffled(4, 5, key=9)  →  3 4 0 1 2
"""

ROUNDS = 8
MASK = (1 << 64) - 1


def mix(x: int) -> int:
    """64 bits well stirred (the finalizer of SplitMix64)."""
    x = (x + 0x9E3779B97F4A7C15) & MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def shuffled(place: int, count: int, key: int) -> int:
    """The number at `place` in a permutation of 0 … count-1 chosen by `key`.

    A Feistel network permutes the next power of four; numbers past `count` are sent round again until they fall below
    it, which keeps the map one to one. Constant memory, and the same on every version of every library.
    """
    half = ((count - 1).bit_length() + 1) // 2
    low = (1 << half) - 1
    number, stirred = place, mix(key)
    while True:
        left, right = number >> half, number & low
        for turn in range(ROUNDS):
            left, right = right, left ^ (mix(stirred + (turn << 32) + right) & low)
        number = left << half | right
        if number < count:
            return number
