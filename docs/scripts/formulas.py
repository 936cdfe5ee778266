"""A hook of mkdocs: formulas become MathML when the site is built; pages need no script."""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

# What pymdownx.arithmatex makes of $...$ and $$...$$.
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """Convert the formulas of a page; see mkdocs."""
    return _FORMULA.sub(_math, content)


def _math(found: re.Match[str]) -> str:
    block = found[1] == "div"
    math = convert(html.unescape(found[2]), display="block" if block else "inline")
    # A long formula scrolls on a phone, and the page does not.
    style = "" if block else "display: inline-block; max-width: 100%; vertical-align: bottom; "
    return f'<{found[1]} style="{style}overflow: auto hidden">{math}</{found[1]}>'
