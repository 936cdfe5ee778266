"""OpenRTB 2.6 requests, as far as a bidder of display, video, audio and native needs them.

- `BidRequest` and its parts: pydantic models with the specification's names.

Only fields that change the answer are here; all others are ignored, whatever is in them. Of those
that are here, null is absent, whole floats are integers, true and false are flags, and numbers as
ids are strings. What remains wrong is refused with the field's name.

Source: IAB Tech Lab, OpenRTB 2.6 (section 3.2). Prices are per thousand impressions (CPM).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

__all__ = ["BidRequest", "Imp", "Model"]


def _whole(value: Any) -> Any:
    return int(value) if value.__class__ is float and value.is_integer() else value


def _flag(value: Any) -> Any:
    return int(value) if value.__class__ is bool else _whole(value)


def _text(value: Any) -> Any:
    value = _whole(value)
    return str(value) if value.__class__ is int else value


def _list_of(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Of values that are read alike; null is absent."""

    def read_list(value: Any) -> Any:
        if value.__class__ is not list:
            return value
        return [read(each) for each in value if each is not None]

    return read_list


def _given(value: Any) -> Any:
    """Of objects; null is absent."""
    return [each for each in value if each is not None] if value.__class__ is list else value


def _object(value: Any) -> Any:
    """PHP and others write an empty object as an empty list."""
    return None if value == [] else value


def _not_negative(value: Any) -> Any:
    if value.__class__ in (int, float) and value < 0:
        raise PydanticCustomError("negative", "Input should be greater than or equal to 0")
    return None


Whole = Annotated[int | None, BeforeValidator(_whole)]
Size = Annotated[Annotated[int, Field(ge=0)] | None, BeforeValidator(_whole)]
Flag = Annotated[int | None, BeforeValidator(_flag)]
Text = Annotated[str | None, BeforeValidator(_text)]
Id = Annotated[Annotated[str, Field(min_length=1, max_length=256)], BeforeValidator(_text)]
Wholes = Annotated[list[int] | None, BeforeValidator(_list_of(_whole))]
Texts = Annotated[list[str] | None, BeforeValidator(_list_of(_text))]
Mimes = Annotated[Annotated[list[str], Field(min_length=1)], BeforeValidator(_list_of(_text))]
Price = Annotated[float, Field(ge=0)] | None
Unused = Annotated[Any, BeforeValidator(_not_negative)]
"""Not read, but never negative."""


class Model(BaseModel):
    """Of the specification."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


class Format(Model):
    """A size, or a ratio with a least width."""

    w: Size = None
    h: Size = None
    wratio: Size = None
    hratio: Size = None
    wmin: Size = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        sized = self.w is not None or self.h is not None
        flexible = bool(self.wratio or self.hratio or self.wmin)
        if sized and flexible:
            _refuse("give either w and h, or wratio, hratio and wmin")
        if sized and not (self.w and self.h):
            _refuse("give w and h above 0")
        if not sized and not (self.wratio and self.hratio):
            _refuse("give w and h, or wratio and hratio")
        return self


class Banner(Model):
    """A banner."""

    format: Annotated[list[Format] | None, BeforeValidator(_given)] = None
    w: Size = None
    h: Size = None
    wmin: Size = None
    wmax: Size = None
    hmin: Size = None
    hmax: Size = None
    btype: Wholes = None
    battr: Wholes = None
    mimes: Texts = None
    api: Wholes = None

    @model_validator(mode="after")
    def _whole_size(self) -> Self:
        if self.format or (self.w and self.h):
            return self
        if self.format == []:
            _refuse("give a format, or w and h")
        if (self.w or self.h) and not (self.wmin or self.wmax or self.hmin or self.hmax):
            _refuse("give w and h, or a format")
        return self


class DurFloor(Model):
    """The floor of creatives of some durations, from `mindur` to `maxdur` seconds."""

    mindur: Whole = None
    maxdur: Whole = None
    bidfloor: Price = None


DurFloors = Annotated[list[DurFloor] | None, BeforeValidator(_given)]


class Spot(Model):
    """What video and audio share."""

    mimes: Mimes
    minduration: Size = None
    maxduration: Size = None
    rqddurs: Wholes = None
    poddur: Size = None
    protocols: Wholes = None
    minbitrate: Size = None
    maxbitrate: Size = None
    battr: Wholes = None
    api: Wholes = None
    sequence: Unused = None
    durfloors: DurFloors = None
    mincpmpersec: Price = None


class Audio(Spot):
    """An audio spot."""


class Video(Spot):
    """A video."""

    protocol: Whole = None
    w: Size = None
    h: Size = None
    boxingallowed: Flag = None
    linearity: Whole = None


class Native(Model):
    """A native ad."""

    request: Annotated[str, Field(min_length=1)]
    """Of the Native Ads API, as JSON in a string."""
    battr: Wholes = None


class Deal(Model):
    """Terms that a seller offers to some buyers."""

    id: Id
    bidfloor: Price = None
    bidfloorcur: Text = None
    at: Whole = None
    wseat: Texts = None
    wadomain: Texts = None
    durfloors: DurFloors = None
    mincpmpersec: Price = None


class Pmp(Model):
    """A private marketplace."""

    private_auction: Flag = None
    deals: Annotated[list[Deal] | None, BeforeValidator(_given)] = None


class Qty(Model):
    """For how many impressions one counts."""

    multiplier: float | None = None


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
    pmp: Annotated[Pmp | None, BeforeValidator(_object)] = None
    bidfloor: Price = None
    bidfloorcur: Text = None
    secure: Flag = None
    instl: Flag = None
    rwdd: Flag = None
    exp: Size = None
    qty: Annotated[Qty | None, BeforeValidator(_object)] = None
    ext: Annotated[ImpExt | None, BeforeValidator(_object)] = None

    @model_validator(mode="after")
    def _some_medium(self) -> Self:
        if self.banner is self.video is self.audio is self.native is None:
            _refuse("give at least one of banner, video, audio and native")
        return self


class Segment(Model):
    """A group that a user belongs to."""

    id: Text = None
    name: Text = None
    value: Text = None


class Data(Model):
    """What a provider knows of a user."""

    segment: Annotated[list[Segment] | None, BeforeValidator(_given)] = None


class Uid(Model):
    """An id of a user."""

    id: Text = None


class Eid(Model):
    """Ids of a user that one source gives."""

    source: Text = None
    uids: Annotated[list[Uid] | None, BeforeValidator(_given)] = None


Eids = Annotated[list[Eid] | None, BeforeValidator(_given)]


class UserExt(Model):
    """Where OpenRTB 2.5 has what 2.6 has in the user."""

    eids: Eids = None
    consent: str | None = None


class User(Model):
    """The user."""

    id: Text = None
    buyeruid: Text = None
    eids: Eids = None
    consent: str | None = None
    data: Annotated[list[Data] | None, BeforeValidator(_given)] = None
    ext: Annotated[UserExt | None, BeforeValidator(_object)] = None


class Device(Model):
    """The device."""

    devicetype: Whole = None
    ifa: Text = None
    dnt: Flag = None
    lmt: Flag = None
    w: Size = None
    h: Size = None


class RegsExt(Model):
    """Where OpenRTB 2.5 has what 2.6 has in the regulations."""

    gdpr: Flag = None
    us_privacy: str | None = None
    gpp: str | None = None
    gpp_sid: Wholes = None
    gpc: Annotated[str | None, BeforeValidator(lambda value: _text(_flag(value)))] = None


class Regs(RegsExt):
    """Laws that hold."""

    coppa: Flag = None
    ext: Annotated[RegsExt | None, BeforeValidator(_object)] = None


class Place(Model):
    """A site, an app or screens outside; what they are like is not read."""


class BidRequest(Model):
    """A bid request."""

    id: Id
    imp: Annotated[list[Imp], Field(min_length=1)]
    site: Annotated[Place | None, BeforeValidator(_object)] = None
    app: Annotated[Place | None, BeforeValidator(_object)] = None
    dooh: Annotated[Place | None, BeforeValidator(_object)] = None
    device: Annotated[Device | None, BeforeValidator(_object)] = None
    user: Annotated[User | None, BeforeValidator(_object)] = None
    regs: Annotated[Regs | None, BeforeValidator(_object)] = None
    test: Flag = None
    tmax: Size = None
    cur: Texts = None
    wseat: Texts = None
    bseat: Texts = None
    wlang: Texts = None
    wlangb: Texts = None
    acat: Texts = None
    bcat: Texts = None
    cattax: Whole = None
    badv: Texts = None
    bapp: Texts = None

    @model_validator(mode="after")
    def _different_ids(self) -> Self:
        if len(self.imp) > 1 and len({imp.id for imp in self.imp}) < len(self.imp):
            _refuse("two impressions have the same imp.id")
        return self


def _refuse(text: str) -> None:
    raise PydanticCustomError("openrtb", "{text}", {"text": text})
