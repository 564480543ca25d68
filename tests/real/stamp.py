"""A machine-readable stamp in a picture: the frame's number and the time it was made, as black and white blocks that any
video codec keeps. Made by the camera of these tests, read back from what a player decoded."""

import binascii
import collections
import time

COLUMNS, ROWS = 32, 2  # 64 blocks: 24 bits of number, 32 of time, 8 of check
BLOCK_HEIGHT = 16  # lines of picture; a macroblock of H.264
BLACK, WHITE = 16, 235
NUMBERS, TIMES = 1 << 24, 1 << 32

Stamp = collections.namedtuple("Stamp", "number milliseconds")


def now():
    """Milliseconds of the clock that all processes of a machine share, namespaces or not; wraps as the stamp does."""
    return time.monotonic_ns() // 1_000_000 % TIMES


def age(stamp, at):
    """Milliseconds from the making of a picture until `at`."""
    return (at - stamp.milliseconds) % TIMES


def check(payload):
    """Eight bits of a CRC that does not hold for a picture of one colour."""
    return binascii.crc_hqx(payload, 0x5A5A) & 0xFF


def lines(number, milliseconds, width):
    """The top lines of a luminance plane of that width (a multiple of COLUMNS): COLUMNS x ROWS blocks."""
    payload = (number % NUMBERS).to_bytes(3, "big") + milliseconds.to_bytes(4, "big")
    bits = int.from_bytes(payload + bytes([check(payload)]), "big")
    block = width // COLUMNS
    picture = bytearray()
    for row in range(ROWS):
        line = bytearray()
        for column in range(COLUMNS):
            bit = bits >> (COLUMNS * ROWS - 1 - row * COLUMNS - column) & 1
            line += bytes([WHITE if bit else BLACK]) * block
        picture += line * BLOCK_HEIGHT
    return bytes(picture)


def read(blocks):
    """The stamp of COLUMNS x ROWS luminances, one for each block; nothing if it is none or was damaged."""
    bits = 0
    for luminance in blocks:
        bits = bits << 1 | (luminance > (BLACK + WHITE) // 2)
    data = bits.to_bytes(COLUMNS * ROWS // 8, "big")
    if check(data[:-1]) != data[-1]:
        return None
    return Stamp(int.from_bytes(data[:3], "big"), int.from_bytes(data[3:7], "big"))


def crop(width):
    """The filter of ffmpeg that leaves one luminance for each block."""
    height = ROWS * BLOCK_HEIGHT
    return f"crop={width}:{height}:0:0,scale={COLUMNS}:{ROWS}:flags=area,format=gray"
