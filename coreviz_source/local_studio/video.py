"""Small playable videos of what the captions describe: MP4 with H.264, without a codec's library.

Each frame of a media item is shown from its timestamp to the next one's. Pictures of flat colours need little of
H.264: a block of 16 x 16 pixels is either the continuation of the one at its left or above, or stands there pixel by
pixel (`I_PCM`). Everything else of the codec is left out. See ITU-T H.264, 7.3, and ISO/IEC 14496-12 for the boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import sqrt
from struct import pack
from typing import Any

from coreviz_source.local_studio.form import DRAWN
from coreviz_source.local_studio.pictures import ROUND, backdrop
from coreviz_source.local_studio.vocabulary import COLOURS

WIDTH, HEIGHT = 320, 200
_BLOCK = 16
_COLUMNS, _ROWS = WIDTH // _BLOCK, -(-HEIGHT // _BLOCK)
#: Units of time per second.
_SCALE = 1000


def video(frames: Sequence[dict[str, Any]], duration: float | None) -> bytes:
    """A video that shows these frames one after the other.

    Args:
        frames: With `timestamp`, in seconds, and `objects` that have a `label` ("red shoe") and a `_box` in shares of
            the picture.
        duration: Seconds.
    """
    shown = sorted(frames, key=_second) or [{"id": "", "objects": []}]
    # the first one is shown from the beginning
    begins = [0, *(round(_second(frame) * _SCALE) for frame in shown[1:])]
    ends = [*begins[1:], max(round((duration or 1) * _SCALE), begins[-1] + 1)]
    samples = [_sample(_painted(frame), number) for number, frame in enumerate(shown)]
    return _mp4(samples, [end - begin for begin, end in zip(begins, ends, strict=True)])


def _second(frame: dict[str, Any]) -> float:
    return float(frame.get("timestamp") or 0)


# -- painting ----------------------------------------------------------------------------------------------------


class _Canvas:
    """A picture of at most 256 colours: a byte per pixel."""

    def __init__(self) -> None:
        self.rows = [bytearray(WIDTH) for _ in range(_ROWS * _BLOCK)]
        self.colours: list[tuple[int, int, int]] = []

    def fill(self, top: float, bottom: float, colour: str, span: Callable[[float], tuple[float, float] | None]) -> None:
        """Paints from `top` to `bottom`, in each row what `span` gives for it; all in pixels."""
        ink = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
        self.colours.append((ink[0], ink[1], ink[2]))
        for y in range(max(round(top), 0), min(round(bottom), len(self.rows))):
            ends = span(y + 0.5)
            if ends is not None:
                left, right = max(round(ends[0]), 0), min(round(ends[1]), WIDTH)
                if right > left:
                    self.rows[y][left:right] = bytes([len(self.colours) - 1]) * (right - left)

    def planes(self) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Brightness, and both colour differences in half the size (BT.601)."""
        tables = [bytearray(256) for _ in range(3)]
        for index, (red, green, blue) in enumerate(self.colours):
            tables[0][index] = round(16 + 0.257 * red + 0.504 * green + 0.098 * blue)
            tables[1][index] = round(128 - 0.148 * red - 0.291 * green + 0.439 * blue)
            tables[2][index] = round(128 + 0.439 * red - 0.368 * green - 0.071 * blue)
        halves = [row[::2] for row in self.rows[::2]]
        return (
            [bytes(row.translate(tables[0])) for row in self.rows],
            [bytes(row.translate(tables[1])) for row in halves],
            [bytes(row.translate(tables[2])) for row in halves],
        )


def _painted(frame: dict[str, Any]) -> _Canvas:
    canvas = _Canvas()
    sky, ground, horizon = backdrop(frame["id"])
    canvas.fill(0, len(canvas.rows), sky, lambda y: (0, WIDTH))
    canvas.fill(horizon * HEIGHT, len(canvas.rows), ground, lambda y: (0, WIDTH))
    for thing in frame.get("objects") or []:
        box = thing.get(DRAWN)
        if box:
            place = (box["x"] * WIDTH, box["y"] * HEIGHT, box["width"] * WIDTH, box["height"] * HEIGHT)
            _paint(canvas, str(thing.get("label", "")), *place)
    return canvas


def _paint(canvas: _Canvas, label: str, x: float, y: float, width: float, height: float) -> None:
    """A thing as `pictures` draws it."""
    colour, _, noun = label.rpartition(" ")
    ink = COLOURS.get(colour, "#777777")
    middle = x + width / 2
    if noun in ROUND:

        def head(at: float) -> tuple[float, float]:
            half = width * 0.3 * sqrt(max(0, 1 - ((at - y) / (height * 0.28) - 1) ** 2))
            return middle - half, middle + half

        def body(at: float) -> tuple[float, float] | None:
            reach = 1 - (y + height - at) / (height * 0.4)
            return None if reach < 0 else (middle - width * sqrt(reach) / 2, middle + width * sqrt(reach) / 2)

        canvas.fill(y, y + height * 0.56, ink, head)
        canvas.fill(y + height * 0.2, y + height, ink, body)
    else:
        canvas.fill(y + height * 0.25, y + height, ink, lambda at: (x, x + width))
        canvas.fill(y, y + height * 0.5, ink, lambda at: (x + width * 0.15, x + width * 0.65))


# -- H.264 -------------------------------------------------------------------------------------------------------


class _Bits:
    """Bits of a syntax structure."""

    def __init__(self) -> None:
        self._done = bytearray()
        self._open = ""

    def bits(self, value: int, length: int) -> None:
        self._open += f"{value:0{length}b}"
        if len(self._open) > 4096:
            self._flush()

    def golomb(self, *values: int) -> None:
        """Unsigned numbers of Exp-Golomb code."""
        for value in values:
            self.bits(value + 1, 2 * (value + 1).bit_length() - 1)

    def aligned(self, content: bytes) -> None:
        """Whole bytes, after zeros up to the next one."""
        self._open += "0" * (-len(self._open) % 8)
        self._flush()
        self._done += content

    def unit(self, kind: int) -> bytes:
        """The whole as a NAL unit, in which no start code can occur."""
        self._open += "1"
        self.aligned(b"")
        found, zeros = bytearray([kind]), 0
        for byte in self._done:
            if zeros >= 2 and byte <= 3:
                found.append(3)
                zeros = 0
            found.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(found)

    def _flush(self) -> None:
        whole = len(self._open) // 8 * 8
        if whole:
            self._done += int(self._open[:whole], 2).to_bytes(whole // 8, "big")
            self._open = self._open[whole:]


def _parameters() -> tuple[bytes, bytes]:
    """The sequence's and the picture's parameters: baseline profile, level 3, no deblocking."""
    sequence = _Bits()
    sequence.bits(66 << 16 | 0xC0 << 8 | 30, 24)
    # id, length of frame numbers, order as decoded, reference frames
    sequence.golomb(0, 4, 2, 1)
    sequence.bits(0, 1)
    sequence.golomb(_COLUMNS - 1, _ROWS - 1)
    # whole frames, direct inference, cropped at the bottom
    sequence.bits(0b111, 3)
    sequence.golomb(0, 0, 0, (_ROWS * _BLOCK - HEIGHT) // 2)
    sequence.bits(0, 1)
    picture = _Bits()
    picture.golomb(0, 0)
    picture.bits(0, 2)
    picture.golomb(0, 0, 0)
    picture.bits(0, 3)
    picture.golomb(0, 0, 0)
    picture.bits(0b100, 3)
    return sequence.unit(0x67), picture.unit(0x68)


def _sample(canvas: _Canvas, number: int) -> bytes:
    """A picture that needs no other one."""
    planes = canvas.planes()
    slice_ = _Bits()
    # first block, I slice, parameters
    slice_.golomb(0, 7, 0)
    slice_.bits(0, 8)
    # pictures that follow each other differ in this
    slice_.golomb(number % 2)
    slice_.bits(0, 2)
    # quality as in the parameters, no deblocking
    slice_.golomb(0, 1)
    # for each block in the row above and the one at the left: whether it stands there pixel by pixel
    raw_above, raw_left = [False] * _COLUMNS, False
    for row in range(_ROWS):
        for column in range(_COLUMNS):
            luma = _continued(planes[:1], column, row, _BLOCK)
            chroma = _continued(planes[1:], column, row, _BLOCK // 2)
            raw = luma is None or chroma is None
            if luma is None or chroma is None:
                slice_.golomb(25)
                slice_.aligned(b"".join(_pixels(planes, column, row)))
            else:
                # Intra_16x16 without coefficients: vertical is 0 and horizontal 1, for colours 2 and 1
                slice_.golomb(1 + luma, 2 - chroma, 0)
                # "no coefficients" is longer beside blocks that count as full of them
                full = (raw_left if column else False) or (raw_above[column] if row else False)
                slice_.bits(0b000011, 6) if full else slice_.bits(1, 1)
            raw_above[column] = raw_left = raw
    unit = slice_.unit(0x65)
    return pack(">I", len(unit)) + unit


def _continued(planes: Sequence[list[bytes]], column: int, row: int, size: int) -> int | None:
    """1 if a block repeats the pixels at its left, 0 if those above it, None if neither."""
    left, top = column * size, row * size
    blocks = [[line[left : left + size] for line in plane[top : top + size]] for plane in planes]
    if column and all(
        line == plane[top + y][left - 1 : left] * size
        for plane, block in zip(planes, blocks, strict=True)
        for y, line in enumerate(block)
    ):
        return 1
    if row and all(
        line == plane[top - 1][left : left + size]
        for plane, block in zip(planes, blocks, strict=True)
        for line in block
    ):
        return 0
    return None


def _pixels(planes: Sequence[list[bytes]], column: int, row: int) -> Iterator[bytes]:
    for plane, size in zip(planes, (_BLOCK, _BLOCK // 2, _BLOCK // 2), strict=True):
        for line in plane[row * size : (row + 1) * size]:
            yield line[column * size : (column + 1) * size]


# -- MP4 ---------------------------------------------------------------------------------------------------------


def _box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return pack(">I4s", 8 + len(body), kind) + body


def _full(kind: bytes, *content: bytes, flags: int = 0) -> bytes:
    return _box(kind, pack(">I", flags), *content)


def _mp4(samples: Sequence[bytes], durations: Sequence[int]) -> bytes:
    sequence, picture = _parameters()
    total = sum(durations)
    matrix = pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    header = _box(b"ftyp", b"isom", pack(">I", 512), b"isomiso2avc1mp41")
    decoder = _box(
        b"avcC",
        bytes([1]) + sequence[1:4] + bytes([0xFF, 0xE1]),
        pack(">H", len(sequence)) + sequence,
        bytes([1]) + pack(">H", len(picture)) + picture,
    )
    entry = _box(
        b"avc1",
        pack(">6xH16xHHIIIH32xHh", 1, WIDTH, HEIGHT, 0x480000, 0x480000, 0, 1, 24, -1),
        decoder,
    )

    def head(offset: int) -> bytes:
        table = _box(
            b"stbl",
            _full(b"stsd", pack(">I", 1), entry),
            _full(b"stts", pack(">I", len(durations)), *(pack(">II", 1, duration) for duration in durations)),
            _full(b"stsc", pack(">IIII", 1, 1, len(samples), 1)),
            _full(b"stsz", pack(">II", 0, len(samples)), *(pack(">I", len(sample)) for sample in samples)),
            _full(b"stco", pack(">II", 1, offset)),
        )
        information = _box(
            b"minf",
            _full(b"vmhd", bytes(8), flags=1),
            _box(b"dinf", _full(b"dref", pack(">I", 1), _full(b"url ", flags=1))),
            table,
        )
        media = _box(
            b"mdia",
            _full(b"mdhd", pack(">IIIIHH", 0, 0, _SCALE, total, 0x55C4, 0)),
            _full(b"hdlr", pack(">I4s12x", 0, b"vide"), b"video\0"),
            information,
        )
        track = _full(
            b"tkhd",
            pack(">IIIII8xHHHH", 0, 0, 1, 0, total, 0, 0, 0, 0) + matrix + pack(">II", WIDTH << 16, HEIGHT << 16),
            flags=3,
        )
        movie = _full(b"mvhd", pack(">IIIIIH10x", 0, 0, _SCALE, total, 0x10000, 0x100) + matrix + pack(">24xI", 2))
        return header + _box(b"moov", movie, _box(b"trak", track, media))

    content = b"".join(samples)
    return head(len(head(0)) + 8) + _box(b"mdat", content)
