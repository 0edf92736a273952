# SPDX-License-Identifier: Apache-2.0
"""The guest's content as guest/content.h describes it, written a second time so that the tests check the definition."""

import functools

PERIOD = 1000003
_MASK = 2**64 - 1


@functools.cache
def block():
    data = bytearray()
    state = 0x7477696E73746570
    while len(data) < PERIOD:
        state = (state + 0x9E3779B97F4A7C15) & _MASK
        word = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
        data += (word ^ (word >> 31)).to_bytes(8, "little")
    return bytes(data[:PERIOD])


def content(seed, count):
    """The first `count` bytes of the transfer with `seed`."""
    start = seed * 7919 % PERIOD
    repeated = block() * (2 + count // PERIOD)
    return repeated[start:start + count]


def fnv1a64(data):
    """The digest that the guest's /upload answers with."""
    value = 0xCBF29CE484222325
    for byte in data:
        value = ((value ^ byte) * 0x100000001B3) & _MASK
    return value
