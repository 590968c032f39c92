"""What the sections of the configuration are made of: checked texts, numbers with bounds, and Section itself."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

from core.cidr import CidrSet
from scanner.proof import CANARY_ID
from scanner.protocols import parse_endpoint

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PUBLIC_URL = 100  # characters, so that a TXT record of 200 bytes has room for the reason and the address as well
_NAME = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")


def parse_host_port(text: str) -> tuple[str, int]:
    """`HOST:PORT` or `[HOST6]:PORT`, HOST an address. ValueError says what was expected."""
    host, colon, port = text.rpartition(":")
    try:
        address = ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port)
    except ValueError:
        raise ValueError("expected ADDRESS:PORT, such as 127.0.0.1:8021 or [::1]:8021") from None
    if not colon or not 0 <= number <= 65535 or (address.version == 6) != host.startswith("["):
        raise ValueError("expected ADDRESS:PORT, such as 127.0.0.1:8021 or [::1]:8021")
    return str(address), number


def on_loopback(host: object) -> bool:
    """Whether it is an address that only its own machine can reach; a name is none."""
    try:
        return ip_address(str(host)).is_loopback
    except ValueError:
        return False


def parse_smarthost(text: str) -> tuple[str, int]:
    """`NAME:PORT`, `ADDRESS:PORT` or `[ADDRESS6]:PORT`. ValueError says what was expected."""
    name, _, port = text.rpartition(":")
    if _NAME.fullmatch(name) and port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535:
        return name, int(port)
    try:
        return parse_host_port(text)
    except ValueError:
        raise ValueError("expected HOST:PORT, such as localhost:25 or mail.example.org:587") from None


def checked(parse: Any) -> AfterValidator:
    def check(text: str) -> str:
        parse(text)
        return text

    return AfterValidator(check)


def formed(pattern: str, expected: str) -> AfterValidator:
    """Text that the pattern fits from end to end; else the error is in words, which a pattern is not."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"expected {expected}")
        return text

    return AfterValidator(check)


HostPort = Annotated[str, checked(parse_host_port)]
EndpointText = Annotated[str, checked(parse_endpoint)]
NetworkText = Annotated[str, checked(lambda text: CidrSet([text]))]
Port = Annotated[int, Field(ge=1, le=65535, strict=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]  # of one connection: core.sweep takes no more
Share = Annotated[float, Field(gt=0, le=1)]
DOMAIN = r"(?!.{254})([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?"
DomainName = Annotated[str, formed(DOMAIN, "a domain name such as bl.example.net")]
ZoneName = Annotated[str, formed(f"({DOMAIN})?", "a domain name such as bl.example.net, or nothing")]
CanaryId = Annotated[str, formed(CANARY_ID.pattern, "letters, digits, '.', '-' or '_', 63 at most")]
HostName = Annotated[str, formed(r"[A-Za-z0-9.-]{1,64}", "a name such as canary.example.net, of 64 characters at most")]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @field_validator("*", mode="before")
    @classmethod
    def _rest_of_a_table(cls, written: Any, info: ValidationInfo) -> Any:
        """A table of numbers for each list: those that are not written keep their defaults."""
        default = cls.model_fields[str(info.field_name)].default
        return {**default, **written} if isinstance(written, dict) and isinstance(default, dict) else written


def at_most(section: Section, low: str, high: str) -> None:
    if getattr(section, low) > getattr(section, high):
        raise ValueError(
            f"{low} = {getattr(section, low)} contradicts {high} = {getattr(section, high)}: expected at most that"
        )


def web_url(text: str) -> None:
    if not re.fullmatch(r"[!#%&(-;=?-\[\]-~]*", text):  # it stands in headers, TXT records and zone files as it is
        raise ValueError(
            "expected a web address in ASCII without spaces, quotes and $: a name as xn--, the rest as %XX"
        )
    url = urlsplit(text)
    if url.scheme not in ("http", "https") or not url.hostname or url.query or url.fragment:
        raise ValueError("expected a web address such as https://dnsbl.example.net")


def short_web_url(text: str) -> None:
    web_url(text)
    if len(text) > _PUBLIC_URL:
        raise ValueError(f"expected at most {_PUBLIC_URL} characters: it stands in TXT records")
