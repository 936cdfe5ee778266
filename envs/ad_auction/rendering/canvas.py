"""A picture that is drawn with numpy alone: lines, dots and small capitals.

- `Canvas`: an RGB image and what can be put on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Color = tuple[int, int, int]

# Five rows of three pixels each, as octal digits from top to bottom.
_GLYPHS = {
    **{"A": 0o25755, "B": 0o65656, "C": 0o34443, "D": 0o65556, "E": 0o74647, "F": 0o74644},
    **{"G": 0o34553, "H": 0o55755, "I": 0o72227, "J": 0o11152, "K": 0o55655, "L": 0o44447},
    **{"M": 0o57755, "N": 0o65555, "O": 0o25552, "P": 0o65644, "Q": 0o25573, "R": 0o65655},
    **{"S": 0o34216, "T": 0o72222, "U": 0o55557, "V": 0o55552, "W": 0o55775, "X": 0o55255},
    **{"Y": 0o55222, "Z": 0o71247, "0": 0o75557, "1": 0o26227, "2": 0o61247, "3": 0o61216},
    **{"4": 0o55711, "5": 0o74616, "6": 0o34752, "7": 0o71122, "8": 0o25252, "9": 0o25716},
    **{".": 0o00002, ",": 0o00024, "-": 0o00700, "%": 0o51245, "/": 0o11244, ":": 0o02020},
}


class Canvas:
    """An RGB image, uint8 `[height, width, 3]`, origin at the top left.

    >>> canvas = Canvas(40, 20)
    >>> canvas.text(2, 2, "OK", (0, 0, 0))
    >>> canvas.pixels.shape
    (20, 40, 3)
    """

    def __init__(self, width: int, height: int, background: Color = (255, 255, 255)) -> None:
        self.pixels: NDArray[np.uint8] = np.full((height, width, 3), background, np.uint8)

    def box(self, left: int, top: int, right: int, bottom: int, color: Color) -> None:
        """Fills a rectangle."""
        self.pixels[max(top, 0) : bottom, max(left, 0) : right] = color

    def dots(self, x: ArrayLike, y: ArrayLike, color: Color, size: int = 2) -> None:
        """Puts squares around points, `[n]` each."""
        columns, rows = (
            np.rint(np.atleast_1d(np.asarray(values, np.float64))).astype(np.int64)
            for values in (x, y)
        )
        height, width, _ = self.pixels.shape
        for dx in range(size):
            for dy in range(size):
                column, row = columns + dx - size // 2, rows + dy - size // 2
                inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
                self.pixels[row[inside], column[inside]] = color

    def line(self, x: ArrayLike, y: ArrayLike, color: Color, dash: int = 0) -> None:
        """Joins points, `[n]` each; `dash` pixels on and as many off, 0 for a full line."""
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        if len(x) < 2:
            return
        length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
        along = np.arange(0.0, length[-1] + 0.5, 0.5)
        if dash:
            along = along[(along // dash) % 2 == 0]
        self.dots(np.interp(along, length, x), np.interp(along, length, y), color)

    def text(self, left: int, top: int, text: str, color: Color, size: int = 2) -> None:
        """Writes capitals, digits and some signs, `4 * size` pixels each; others are left blank."""
        for i, sign in enumerate(text.upper()):
            glyph = _GLYPHS.get(sign, 0)
            for row in range(5):
                for column in range(3):
                    if glyph >> (3 * (4 - row) + 2 - column) & 1:
                        x, y = left + (4 * i + column) * size, top + row * size
                        self.box(x, y, x + size, y + size, color)
