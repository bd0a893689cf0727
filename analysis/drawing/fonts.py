"""The font of all figures: DejaVu Sans, reduced to the characters that figures use.

Every PDF embeds the glyphs it shows. matplotlib extracts them from the font for each file, which takes longer the more
glyphs the font has, and DejaVu Sans has 6,000.
"""

import functools
import io
import os
from pathlib import Path

import matplotlib as mpl
from fontTools import subset
from matplotlib import font_manager

FAMILY = "DejaVu Sans of figures"
CHARACTERS = (
    range(0x20, 0x250),  # Latin
    range(0x370, 0x400),  # Greek
    range(0x2010, 0x2070),  # punctuation
    range(0x2190, 0x2300),  # arrows, mathematics
    range(0x25A0, 0x2600),  # shapes
)
FAMILY_NAMES = (1, 16)
"""The ids of a font's family names in OpenType's table `name`."""


@functools.cache
def family() -> str:
    """Register the font with matplotlib and return its family; it is made once per matplotlib version and cached."""
    for weight in ("normal", "bold"):
        source = Path(font_manager.findfont(font_manager.FontProperties(family="DejaVu Sans", weight=weight)))
        path = Path(mpl.get_cachedir()) / f"repro-{mpl.__version__}-{source.name}"
        if not path.exists():
            partial = path.with_name(f"{path.name}.{os.getpid()}")
            partial.write_bytes(_reduced(source))
            partial.replace(path)
        font_manager.fontManager.addfont(path)
    return FAMILY


def _reduced(source: Path) -> bytes:
    options = subset.Options(glyph_names=True, layout_features=["*"], drop_tables=["FFTM"])
    font = subset.load_font(str(source), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=[character for characters in CHARACTERS for character in characters])
    subsetter.subset(font)
    for entry in font["name"].names:
        if entry.nameID in FAMILY_NAMES:
            entry.string = FAMILY
    content = io.BytesIO()
    font.save(content)
    return content.getvalue()
