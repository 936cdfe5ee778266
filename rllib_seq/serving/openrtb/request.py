"""OpenRTB 2.6, as far as a bidder of display, video, audio and native needs it.

- `BidRequest` and its parts: pydantic models with the specification's names. Types are strict;
  fields that are not here are ignored.

Source: IAB Tech Lab, OpenRTB 2.6 (section 3.2). Prices are per thousand impressions (CPM).
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = ["BidRequest", "Imp", "Model"]

Id = Annotated[str, StringConstraints(min_length=1, max_length=256)]
_MOST_IMPS = 64


class Model(BaseModel):
    """Of the specification."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Banner(Model):
    """A banner."""

    w: int | None = None
    h: int | None = None


class Video(Model):
    """A video."""

    mimes: list[str] = Field(default_factory=list)
    minduration: int | None = None
    maxduration: int | None = None


class Audio(Model):
    """An audio spot."""

    mimes: list[str] = Field(default_factory=list)


class Native(Model):
    """A native ad."""

    request: str | None = None
    ver: str | None = None


class ImpExt(Model):
    """Ours: the channel by its name in the training, where the medium does not tell."""

    channel: str | None = None


class Imp(Model):
    """One impression that is for sale."""

    id: Id
    banner: Banner | None = None
    video: Video | None = None
    audio: Audio | None = None
    native: Native | None = None
    tagid: str | None = None
    bidfloor: Annotated[float, Field(ge=0)] = 0.0
    bidfloorcur: str = "USD"
    secure: int | None = None
    instl: int = 0
    exp: int | None = None
    ext: ImpExt | None = None


class Segment(Model):
    """A group that a user belongs to."""

    id: str | None = None
    name: str | None = None
    value: str | None = None


class Data(Model):
    """What a provider knows of a user."""

    id: str | None = None
    name: str | None = None
    segment: list[Segment] = Field(default_factory=list)


class User(Model):
    """The user."""

    id: str | None = None
    buyeruid: str | None = None
    data: list[Data] = Field(default_factory=list)


class Device(Model):
    """The device."""

    ua: str | None = None
    ip: str | None = None
    devicetype: int | None = None
    os: str | None = None
    ifa: str | None = None


class Publisher(Model):
    """Who sells."""

    id: str | None = None
    name: str | None = None
    domain: str | None = None


class Site(Model):
    """The website."""

    id: str | None = None
    domain: str | None = None
    page: str | None = None
    cat: list[str] = Field(default_factory=list)
    publisher: Publisher | None = None


class App(Model):
    """The app."""

    id: str | None = None
    bundle: str | None = None
    name: str | None = None
    cat: list[str] = Field(default_factory=list)
    publisher: Publisher | None = None


class BidRequest(Model):
    """A bid request."""

    id: Id
    imp: Annotated[list[Imp], Field(min_length=1, max_length=_MOST_IMPS)]
    site: Site | None = None
    app: App | None = None
    device: Device | None = None
    user: User | None = None
    test: int = 0
    at: int = 2
    tmax: Annotated[int, Field(gt=0)] | None = None
    cur: list[str] = Field(default_factory=list)
    bcat: list[str] = Field(default_factory=list)
    badv: list[str] = Field(default_factory=list)
