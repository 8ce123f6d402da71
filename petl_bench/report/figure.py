"""What all pictures share: size, type, colours, and files that are the same bytes for the same runs."""

from __future__ import annotations

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.layout_engine import PlaceHolderLayoutEngine
from matplotlib.textpath import TextPath

from petl_bench.report.collect import VARIANT
from petl_bench.results import write_atomic

WIDTH = 8.0  # inches; at DPI that is 1200 px, and text of 10 pt is 14 px high when shown 800 px wide
DPI = 150
FONT = 10.0
SMALL = 9.0
INK = "#222222"
PALE = "#6a6a6a"
RULE = "#8a8a8a"

# Okabe and Ito, "Color Universal Design" (2008); a grey for the yellow, which white paper swallows.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#7F7F7F")
DASHES: tuple[str, ...] = ("-", "--", "-.", ":")

# for letters that DejaVu Sans lacks, where they are installed: class names of own data
_FALLBACKS = (
    *(
        f"Noto Sans {what}"
        for what in ("CJK JP", "CJK SC", "CJK KR", "JP", "SC", "KR", "Arabic", "Devanagari", "Thai")
    ),
    "Source Han Sans",
    "WenQuanYi Zen Hei",
    "Microsoft YaHei",
    "Yu Gothic",
    "Malgun Gothic",
    "Hiragino Sans",
    "PingFang SC",
    "Arial Unicode MS",
)

Colors = Mapping[str, tuple[str, str]]  # label -> colour, dash

_STYLE: dict[Any, object] = {
    "font.size": FONT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": PALE,
    "ytick.color": PALE,
    "axes.grid": True,
    "grid.color": "#ececec",
    "axes.axisbelow": True,
    "text.parse_math": False,  # a label may hold a dollar
    "svg.hashsalt": "petl-bench",
}


@contextmanager
def drawing() -> Iterator[None]:
    """The style of this package on top of matplotlib's defaults, whatever the user's own settings are."""
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # see `not_drawable`
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({**_STYLE, "font.family": families()})
        yield


@lru_cache
def families() -> list[str]:
    """The font, which comes with matplotlib, so that letters are the same everywhere; then those for other letters."""
    installed = set(fontManager.get_font_names())
    return ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]


def not_drawable(text: str) -> str:
    """The letters for which there is no font; pictures have boxes in their place."""
    fonts = [get_font(findfont(FontProperties(family=name))) for name in families()]
    known = {code for font in fonts for code in font.get_charmap()}
    return "".join(sorted({letter for letter in text if not letter.isspace() and ord(letter) not in known}))


def new_figure(height: float) -> Figure:
    """An empty figure, `WIDTH` x `height` inches, without pyplot's global state."""
    figure = Figure(figsize=(WIDTH, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def title(figure: Figure, says: str, how: str) -> None:
    """What is seen, in bold, and below it how it was measured."""
    figure.set_label(says)  # `save` hands it on as the picture's description
    lines = textwrap.wrap(says.replace(" %", "\u00a0%"), 82)  # a number keeps its unit
    below = textwrap.wrap(how, 115)
    height = figure.get_size_inches()[1] * 72
    y = 1 - 8 / height
    for text, points, weight, color in (
        *((line, FONT + 1.5, "bold", INK) for line in lines),
        *((line, SMALL, "normal", PALE) for line in below),
    ):
        figure.text(
            0.012, y, text, fontsize=points, fontweight=weight, color=color, va="top", in_layout=False
        )
        y -= (points * 1.35) / height
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, 0, 0.985, y - 4 / height))  # type: ignore[call-arg]


def settle(figure: Figure) -> None:
    """Fix the layout, so that places measured from here on stay what they are."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


@lru_cache(4096)  # the pictures of all data sets have the same names
def text_size(text: str, points: float) -> tuple[float, float]:
    """Width and height of a line of text, in points. The height is the line's, not the letters'."""
    if not text:
        return 0.0, points
    extent = TextPath((0, 0), text, size=points, prop=FontProperties(family=families())).get_extents()
    return float(extent.x1), points * 1.15


def shorten(text: str, width: float, points: float) -> str:
    """The text, or its two ends around an ellipsis where it is wider than `width` points."""
    natural = text_size(text, points)[0]
    if natural <= width:
        return text
    end = max(1, int(len(text) * width / natural / 2) - 1)
    return f"{text[:end]}…{text[-end:]}"


def in_points(axes: Axes, x: float, y: float) -> tuple[float, float]:
    """A data position in points from the figure's lower left corner; the layout must be settled."""
    px, py = axes.transData.transform((x, y))
    scale = 72.0 / axes.figure.dpi  # type: ignore[union-attr]
    return float(px) * scale, float(py) * scale


def colors(labels: Sequence[str]) -> Colors:
    """A colour and a dash for each label, the same in every picture of a suite; variants have their base's."""
    n = len(PALETTE)
    stems = sorted({label.split(VARIANT)[0] for label in labels})
    style = {stem: (PALETTE[i % n], DASHES[i // n % len(DASHES)]) for i, stem in enumerate(stems)}
    return {label: style[label.split(VARIANT)[0]] for label in labels} | style


def readable(color: str) -> str:
    """The colour of a label for that of its mark: darker, since text is thinner."""
    return "#" + "".join(f"{int(int(color[i : i + 2], 16) * 0.72):02x}" for i in (1, 3, 5))


def file_name(text: str) -> str:
    """A name that is safe in a path and in a link."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `stem`.png and `stem`.svg, without dates.

    Not through `Figure.savefig`, which draws everything twice, once to no purpose but the layout.
    """
    files = []
    if not isinstance(figure.get_layout_engine(), PlaceHolderLayoutEngine):
        settle(figure)
    for kind in ("png", "svg"):
        buffer = io.BytesIO()
        if kind == "png":
            FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
        else:
            FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
        path = stem.with_name(f"{stem.name}.{kind}")
        write_atomic(path, buffer.getvalue())
        files.append(path)
    return files
