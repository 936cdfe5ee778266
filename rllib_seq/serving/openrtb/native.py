"""Native ads: their parts put together as a publisher asks for them.

- `NativeAd`: the parts, as the catalogue has them.
- `NativeRequest`: what a publisher asks for; `read_request` reads it.
- `native_markup`: the ad.

Source: IAB Tech Lab, Dynamic Native Ads API 1.2.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

__all__ = ["NativeAd", "NativeRequest", "native_markup", "read_request"]

_ICON = 1
_SHORT = 16_384
_SPONSORED, _TEXT, _RATING, _CALL = 1, 2, 3, 12


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[int | None, BeforeValidator(_whole)]


class Image(BaseModel):
    """An image of a native ad."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(pattern=r"^https?://\S+$")]
    w: Annotated[int, Field(gt=0)]
    h: Annotated[int, Field(gt=0)]


class NativeAd(BaseModel):
    """Parts of a native ad; a part that is missing is not offered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: Annotated[str, Field(min_length=1)]
    sponsored: str | None = None
    """By whom."""
    text: str | None = None
    rating: str | None = None
    call: str | None = None
    """To action, "Order now" say."""
    image: Image | None = None
    icon: Image | None = None

    def data(self, kind: int | None) -> str | None:
        """The text of a data asset."""
        names = {_SPONSORED: "sponsored", _TEXT: "text", _RATING: "rating", _CALL: "call"}
        return getattr(self, names[kind]) if kind in names else None


class _Title(BaseModel):
    len: Number = None


class _Img(BaseModel):
    type: Number = None
    w: Number = None
    h: Number = None
    wmin: Number = None
    hmin: Number = None

    def takes(self, image: Image) -> bool:
        """Whether an image has the size that is asked for; some have a least one, some a ratio."""
        if self.wmin or self.hmin:
            return image.w >= (self.wmin or 0) and image.h >= (self.hmin or 0)
        if self.w and self.h:
            return image.w >= self.w and image.h >= self.h
        return True


class _Data(BaseModel):
    type: Number = None
    len: Number = None


class _Asset(BaseModel):
    id: Annotated[int, BeforeValidator(_whole)]
    required: Annotated[int, BeforeValidator(lambda value: int(bool(value)))] = 0
    title: _Title | None = None
    img: _Img | None = None
    data: _Data | None = None
    video: Any = None


class NativeRequest(BaseModel):
    """What a publisher asks for."""

    ver: str | None = None
    assets: Annotated[list[_Asset], Field(min_length=1)]

    def assets_of(self, ad: NativeAd) -> list[dict[str, Any]] | None:
        """The assets that an ad can give; None if a required one is missing."""
        found = []
        for asset in self.assets:
            content = _content(asset, ad)
            if content is not None:
                found.append({"id": asset.id, "required": asset.required, **content})
            elif asset.required:
                return None
        return found or None


def read_request(text: str) -> NativeRequest | None:
    """The request in a string, with or without `native` around it; None if it cannot be read."""
    return _read_short(text) if len(text) <= _SHORT else _read(text)


def _read(text: str) -> NativeRequest | None:
    try:
        content = json.loads(text)
        if isinstance(content, dict) and isinstance(content.get("native"), dict):
            content = content["native"]
        return NativeRequest.model_validate(content)
    except (ValueError, RecursionError, ValidationError):
        return None


_read_short = lru_cache(maxsize=256)(_read)  # most publishers ask for the same again and again


def native_markup(request: NativeRequest, ad: NativeAd, click: str, pixel: str) -> str:
    """The ad as JSON, with the link and the impression trackers."""
    native: dict[str, Any] = {
        "ver": request.ver or "1.2",
        "assets": request.assets_of(ad),
        "link": {"url": click},
        "imptrackers": [pixel],
    }
    return json.dumps({"native": native})


def _content(asset: _Asset, ad: NativeAd) -> dict[str, Any] | None:
    if asset.title is not None:
        length = asset.title.len or len(ad.title)
        return {"title": {"text": ad.title}} if len(ad.title) <= length else None
    if asset.img is not None:
        image = ad.icon if asset.img.type == _ICON else ad.image
        if image is None or not asset.img.takes(image):
            return None
        return {"img": {"url": image.url, "w": image.w, "h": image.h}}
    if asset.data is not None:
        text = ad.data(asset.data.type)
        if text is None or (asset.data.len and len(text) > asset.data.len):
            return None
        return {"data": {"value": text}}
    return None
