"""Figures and images to files, and to elements of a page whose ink follows its light or dark theme."""

import base64
import html
import io
import re

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from pipeline.comparison import plots
from pipeline.evaluation import figures

# What the figures draw in, and the variable of the page's style that takes its place.
THEMED = {figures.INK: "--ink", figures.FAINT: "--faint", figures.GRID: "--grid", plots.SURFACE: "--card"}


def png(figure: Figure) -> bytes:
    """Return a figure as a PNG file."""
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def svg(figure: Figure, *, name: str) -> bytes:
    """Return a figure as an SVG file that looks the same everywhere: letters are drawn; ``name`` settles its ids."""
    written = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    return written.getvalue()


def svg_element(figure: Figure, *, name: str, description: str) -> str:
    """Return a figure as an SVG element that scales to its column and takes the page's colours and font.

    Args:
        figure: to draw.
        name: made part of each id in it, so that several of them stand in one page.
        description: what a screen reader says.
    """
    written = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", transparent=True)
    text = written.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    viewbox = re.search(r'viewBox="[^"]*"', text)
    label = html.escape(description)
    text = re.sub(
        r"<svg[^>]*>", lambda _: f'<svg {viewbox and viewbox[0]} role="img" aria-label="{label}">', text, count=1
    )
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{name}-", text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", "system-ui, sans-serif", text)
    for colour, variable in THEMED.items():
        text = re.sub(colour, f"var({variable})", text, flags=re.IGNORECASE)
    return text


def picture(image: NDArray[np.uint8]) -> str:
    """Return an image (H, W), dark ink on white, as the address of a PNG that holds itself."""
    written = io.BytesIO()
    imsave(written, image, cmap="gray_r", vmin=0, vmax=255, format="png", metadata={"Software": ""})
    return "data:image/png;base64," + base64.b64encode(written.getvalue()).decode()
