"""Charts of fractions between 0 and 1, drawn with Pillow.

They are drawn during training, and importing and using matplotlib would take most of the mirror's time.
"""

from typing import Any, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

SIZE = 480
LEFT, TOP, RIGHT, BOTTOM = 56, 36, 464, 424
"""The corners of the axes, in pixels."""
BLUE, DARK, GRAY, LIGHT = "#0072B2", "#222222", "#999999", "#d9d9d9"


def chart(
    title: str,
    x_label: str,
    y_label: str,
    bars: Array,
    color: str,
    ticks: tuple[str, ...] = (),
    line: Array | None = None,
) -> Image.Image:
    """Draw a bar chart; with `line`, also a polyline over the bars, and the diagonal to compare it with.

    bars: (n,), in [0, 1]. ticks: texts, evenly spaced along the x axis. line: (points, 2), the (x, y) in [0, 1].
    """
    picture = Image.new("RGB", (SIZE, SIZE), "white")
    draw = ImageDraw.Draw(picture)
    small, large = ImageFont.load_default(13), ImageFont.load_default(15)
    width = (RIGHT - LEFT) / len(bars)
    for number, height in enumerate(bars):
        left, right = LEFT + (number + 0.08) * width, LEFT + (number + 0.92) * width
        draw.rectangle((left, _y(height), max(left, right), BOTTOM), fill=color)
    if line is not None:
        draw.line((LEFT, BOTTOM, RIGHT, TOP), fill=GRAY)
        points = [(LEFT + float(x) * (RIGHT - LEFT), _y(y)) for x, y in line]
        draw.line(points, fill=BLUE, width=2)
        for x, y in points:
            draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=BLUE)
    draw.rectangle((LEFT, TOP, RIGHT, BOTTOM), outline=DARK)
    for share in np.linspace(0, 1, 6):
        draw.line((LEFT - 4, _y(share), LEFT, _y(share)), fill=DARK)
        draw.text((LEFT - 7, _y(share)), f"{share:.1f}", fill=DARK, font=small, anchor="rm")
    for number, text in enumerate(ticks):
        x = LEFT + (RIGHT - LEFT) * number / (len(ticks) - 1)
        draw.text((x, BOTTOM + 6), text, fill=DARK, font=small, anchor="ma")
    draw.text((SIZE / 2, 10), title, fill=DARK, font=large, anchor="ma")
    draw.text(((LEFT + RIGHT) / 2, SIZE - 10), x_label, fill=DARK, font=large, anchor="md")
    _draw_upwards(picture, y_label, large)
    return picture


def _y(share: float) -> float:
    return BOTTOM - float(share) * (BOTTOM - TOP)


def _draw_upwards(picture: Image.Image, text: str, font: Any) -> None:
    strip = Image.new("RGB", (BOTTOM - TOP, 22), "white")
    ImageDraw.Draw(strip).text(((BOTTOM - TOP) / 2, 2), text, fill=DARK, font=font, anchor="ma")
    picture.paste(strip.rotate(90, expand=True), (2, TOP))
