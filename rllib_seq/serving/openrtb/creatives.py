"""The catalogue: what can be shown, and what must be known of it.

- `Creative`: one ad, as the catalogue has it.
- `Catalogue`: all of them; `load_catalogue` reads a file.

A file is TOML or JSON with a list `creatives`. In markup, `{{click}}` stands for the address that
counts a click and leads to the landing page, `{{pixel}}` for that of the impression pixel, and
`{{width}}` and `{{height}}` for the size; macros of exchanges, `${AUCTION_PRICE}` say, stay.
"""

from __future__ import annotations

import re
import tomllib
from functools import cached_property
from importlib.resources import files
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit
from xml.etree import ElementTree

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from rllib_seq.errors import UserError
from rllib_seq.serving.openrtb.native import NativeAd
from rllib_seq.serving.openrtb.tables import read_table

__all__ = ["MEDIA", "Catalogue", "Creative", "load_catalogue"]

MEDIA = ("banner", "video", "audio", "native")
"""In the order of `mtype`, from 1."""
_LOADS_HTTP = re.compile(r"""(?:src\s*=\s*["']?|CDATA\[\s*|url\(\s*["']?)http://""", re.IGNORECASE)
_PIXEL = "<img src='{{pixel}}' width=1 height=1 style='position:absolute;left:-9999px' alt=''>"


def _web_address(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"[\s\\]", text):
        raise ValueError(f"is {text!r}; give an address that begins with https:// or http://")
    return text


def _domain(text: str) -> str:
    text = text.casefold().removeprefix("www.")
    if not re.fullmatch(r"[^\s/:@]+\.[^\s/:@.]+", text):
        raise ValueError(f"is {text!r}; give a domain such as example.com")
    return text


Positive = Annotated[int, Field(gt=0)]


class Creative(BaseModel):
    """One ad."""

    model_config = ConfigDict(extra="forbid", strict=False, frozen=True)

    crid: Annotated[str, Field(min_length=1)]
    """Its id, for exchanges that review ads."""
    type: Literal["banner", "video", "audio", "native"]
    adomain: Annotated[list[Annotated[str, AfterValidator(_domain)]], Field(min_length=1)]
    """Of the advertiser."""
    landing: Annotated[str, AfterValidator(_web_address)]
    """Where a click leads to."""
    cat: Annotated[list[str], Field(min_length=1)]
    """Categories, in the taxonomy `cattax`."""
    cattax: int = 1
    """1: IAB content categories 1.0, as in OpenRTB."""
    adm: str | None = None
    """Markup: HTML of a banner, VAST of a video or an audio spot."""
    native: NativeAd | None = None
    """What a native ad is made of."""
    creative: str | None = None
    """The policy's creative that it belongs to; none: whatever the policy chooses."""
    cid: str | None = None
    """Of the campaign."""
    seat: str | None = None
    """Of the buyer."""
    bundle: str | None = None
    """The app that is advertised, if it is one."""
    language: str | None = None
    """ISO 639-1."""
    attr: list[int] = []
    """Creative attributes (AdCOM)."""
    api: list[int] = []
    """Frameworks of which it needs one, MRAID say (AdCOM)."""
    btype: list[int] = [2]
    """Of a banner: 1 text, 2 HTML, 3 JavaScript, 4 frames."""
    sizes: list[tuple[Positive, Positive]] = []
    """Width and height, pixels; one of them is chosen."""
    duration: Positive | None = None
    """Seconds."""
    protocols: list[int] = []
    """Of VAST or DAAST (AdCOM); it answers to all of these."""
    mimes: list[str] = []
    """Of its media files; of a banner, text/html unless it says otherwise."""
    bitrate: Positive | None = None
    """Kilobits per second."""
    secure: bool = True
    """Whether all that it loads comes over https."""
    interstitial: bool = True
    """Whether it may cover the screen."""
    rewarded: bool = True
    """Whether it may be shown to people who get something for it."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {
            "banner": ("adm", "sizes"),
            "video": ("adm", "sizes", "duration", "protocols", "mimes"),
            "audio": ("adm", "duration", "protocols", "mimes"),
            "native": ("native",),
        }[self.type]
        for name in needed:
            if not getattr(self, name):
                raise ValueError(f"{self.type} needs {name}")
        if self.adm is not None and self.type != "native":
            self._check_markup(self.adm)
        return self

    def _check_markup(self, markup: str) -> None:
        if "{{click}}" not in markup:
            raise ValueError("adm has no {{click}}; put it where the landing page would be")
        if self.secure and _LOADS_HTTP.search(markup):
            raise ValueError("adm loads http://; use https://, or say secure = false")
        if self.type == "banner":
            return
        if "{{pixel}}" not in markup:
            raise ValueError("adm has no {{pixel}}; put it into <Impression>")
        try:
            root = ElementTree.fromstring(self.markup("https://a/?b&c", "https://a/?b&c", 1, 1))
        except ElementTree.ParseError as error:
            raise ValueError(
                f"adm is no XML ({error}); put addresses into <![CDATA[...]]>"
            ) from None
        if root.tag.rpartition("}")[2] not in ("VAST", "DAAST"):
            raise ValueError(f"adm is <{root.tag}>; give VAST")

    def markup(self, click: str, pixel: str, w: int | None, h: int | None) -> str:
        """What is shown of a banner, a video or an audio spot."""
        text = self._template.replace("{{click}}", click).replace("{{pixel}}", pixel)
        if self._sized:
            text = text.replace("{{width}}", str(w)).replace("{{height}}", str(h))
        return text

    @cached_property
    def _template(self) -> str:
        markup = self.adm or ""
        if self.type == "banner" and "{{pixel}}" not in markup:
            markup += _PIXEL
        return markup

    @cached_property
    def _sized(self) -> bool:
        return "{{width}}" in self._template or "{{height}}" in self._template

    @cached_property
    def linearities(self) -> frozenset[int]:
        """Of a video, as its VAST says: 1 plays in the content's time, 2 lies over it."""
        kinds = {1: r"<Linear\b", 2: r"<NonLinear\b"}
        return frozenset(each for each, tag in kinds.items() if re.search(tag, self.adm or ""))

    @cached_property
    def mtype(self) -> int:
        """Of the medium."""
        return MEDIA.index(self.type) + 1

    @cached_property
    def domains(self) -> frozenset[str]:
        """The advertiser's domains and those above them."""
        found = set()
        for domain in self.adomain:
            labels = domain.split(".")
            found |= {".".join(labels[start:]) for start in range(len(labels) - 1)}
        return frozenset(found)

    @cached_property
    def media_types(self) -> frozenset[str]:
        """Lower case."""
        names = self.mimes or (["text/html"] if self.type == "banner" else [])
        return frozenset(name.casefold() for name in names)


class Catalogue:
    """All that can be shown.

    Args:
        creatives: in order of preference.

    Raises:
        UserError: two have the same id.
    """

    def __init__(self, creatives: list[Creative]) -> None:
        seen: set[str] = set()
        for each in creatives:
            if each.crid in seen:
                raise UserError(f"two creatives have the crid {each.crid!r}; give each its own")
            seen.add(each.crid)
        self.of_medium = {
            medium: tuple(each for each in creatives if each.type == medium) for medium in MEDIA
        }
        self.crids = frozenset(seen)
        self.names = frozenset(each.creative for each in creatives if each.creative is not None)
        """Creatives of the policy that are named."""


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    creatives: Annotated[list[Creative], Field(min_length=1)]


def load_catalogue(path: str | None) -> Catalogue:
    """Reads a catalogue.

    Args:
        path: of a TOML or JSON file; None: the example that comes with the package.

    Raises:
        UserError: it cannot be read, or a creative is not complete; the line says which.
    """
    if path is None:
        example = files("rllib_seq.serving.openrtb") / "example_creatives.toml"
        return Catalogue(_File.model_validate(tomllib.loads(example.read_text("utf-8"))).creatives)
    return Catalogue(read_table(path, "creatives", _File).creatives)
