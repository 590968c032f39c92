"""The sections of the configuration about what is published, and how far it may change at once."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from scanner.fields import (
    DomainName,
    HostPort,
    Positive,
    Section,
    Share,
    ZoneName,
    checked,
    formed,
    parse_host_port,
)
from scanner.publish import views


def _known_lists(written: dict[str, int]) -> dict[str, int]:
    if unknown := set(written) - set(views.LISTS):
        raise ValueError(f"{', '.join(sorted(unknown))}: expected {', '.join(views.LISTS)}")
    return written


PerList = Annotated[dict[str, Annotated[int, Field(ge=1)]], AfterValidator(_known_lists)]
EXPORTS = ("plain", "csv", "jsonl", "nft", "ipset", "postfix", "haproxy", "nginx", "rpz", "rbldnsd", "crowdsec")


def _with_defaults(cls: type[Section], written: dict[str, int], about: ValidationInfo) -> dict[str, int]:
    """Who writes one list's number means only that one."""
    default: dict[str, int] = cls.model_fields[str(about.field_name)].default
    return default | written


class RbldnsdSection(Section):
    directory: str = ""
    view: str = "maps"
    ttl: Annotated[int, Field(ge=1, le=86400)] = 120
    name_servers: tuple[DomainName, ...] = ()
    expires_hours: PerList = {"ops": 168, "rss": 168, "dul": 1440, "rbl": 168}
    pid_file: str = ""
    check: str = "rbldnsd"

    _others = field_validator("expires_hours")(classmethod(_with_defaults))


class ExportsSection(Section):
    directory: str = ""
    formats: tuple[Literal[EXPORTS], ...] = ()  # type: ignore[valid-type]
    interval: Positive = 60.0
    expires_hours: Annotated[int, Field(ge=1)] = 24


class WebhookSection(Section):
    name: Annotated[str, formed(r"[A-Za-z0-9_.-]{0,64}", "letters, digits, dots and dashes, 64 at most")] = ""
    url: Annotated[str, formed(r"https?://[^\s/]+(/\S*)?", "a web address such as https://partner.example/hook")]
    secret: str = ""
    secret_file: str = ""

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if bool(self.secret) == bool(self.secret_file):
            raise ValueError("expected a secret or a secret_file, to sign what is sent")
        return self

    @property
    def title(self) -> str:
        """How status names it."""
        return self.name or urlsplit(self.url).netloc.rpartition("@")[2]


class DnsUpdateSection(Section):
    server: Annotated[str, checked(lambda text: parse_host_port(text) if text else None)] = ""
    zone: ZoneName = ""
    zone6: ZoneName = ""
    view: str = "maps"
    key_name: str = ""
    key_file: str = ""
    key_algorithm: Literal["hmac-sha256", "hmac-sha384", "hmac-sha512"] = "hmac-sha256"
    ttl: Annotated[int, Field(ge=1, le=86400)] = 120
    batch: Annotated[int, Field(ge=1, le=1000)] = 400

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.server and not (self.zone or self.zone6):
            raise ValueError(f"server = {self.server!r}: expected a zone or a zone6 to update there")
        if self.server and not (self.key_name and self.key_file):
            raise ValueError(f"server = {self.server!r}: expected key_name and key_file, to sign the updates with")
        if self.zone and self.zone == self.zone6:
            raise ValueError(f"zone6 = {self.zone6!r}: expected another zone than that of IPv4, for the wildcards")
        return self


class GateSection(Section):
    cycle_hours: Positive = 24.0
    fresh_hours: Positive = 24.0
    growth_floor: Annotated[int, Field(ge=0)] = 1000
    growth_share: Share = 0.05
    removal_floor: Annotated[int, Field(ge=0)] = 1000
    removal_share: Share = 0.1
    share_floor: Annotated[int, Field(ge=1)] = 250
    network_share: Share = 0.3
    detector_share: Share = 0.9
    vantage_share: Share = 0.9
    as_file: str = ""
    prefix4: PerList = {"ops": 32, "rss": 32, "dul": 12, "rbl": 16}
    prefix6: PerList = {"ops": 64, "rss": 64, "dul": 24, "rbl": 32}
    max_entries: PerList = {"ops": 10_000_000, "rss": 2_000_000, "dul": 2_000_000, "rbl": 1_000_000}
    max_addresses: PerList = {"ops": 10_000_000, "rss": 2_000_000, "dul": 1_500_000_000, "rbl": 50_000_000}
    sample: Annotated[int, Field(ge=0, le=100_000)] = 1000

    _others = field_validator("prefix4", "prefix6", "max_entries", "max_addresses")(classmethod(_with_defaults))

    @model_validator(mode="after")
    def _prefixes(self) -> Self:
        for name, longest in (("prefix4", 32), ("prefix6", 128)):
            for list_, length in getattr(self, name).items():
                if not 8 <= length <= longest:
                    raise ValueError(f"{name}.{list_} = {length}: expected 8 to {longest}")
        return self


class PublishSection(Section):
    events: str = ""
    events_rotate_mb: Annotated[int, Field(ge=0)] = 256
    events_keep: Annotated[int, Field(ge=1)] = 8
    interval: Annotated[float, Field(ge=0.1)] = 1.0
    log_directory: str = ""
    log_rotate_mb: Annotated[int, Field(ge=1)] = 64
    log_keep_days: Annotated[float, Field(ge=0)] = 0.0
    servers: tuple[HostPort, ...] = ()
    zone: ZoneName = ""
    rbldnsd: RbldnsdSection = RbldnsdSection()
    exports: ExportsSection = ExportsSection()
    dns_update: DnsUpdateSection = DnsUpdateSection()
    webhooks: tuple[WebhookSection, ...] = ()
    gate: GateSection = GateSection()
    views: dict[str, dict[str, str]] = {}

    @model_validator(mode="after")
    def _known(self) -> Self:
        if lines := [f"views.{line}" for name, values in self.views.items() for line in views.lint(name, values)]:
            raise ValueError("; ".join(lines))
        for where, name in (("rbldnsd", self.rbldnsd.view), ("dns_update", self.dns_update.view)):
            if name not in (*self.views, *views.SHIPPED):
                raise ValueError(f"{where}.view = {name!r}: expected one of {', '.join((*views.SHIPPED, *self.views))}")
        names = [hook.title for hook in self.webhooks]
        if len(set(names)) != len(names):
            raise ValueError("webhooks: names must differ; without a name it is the host")
        return self
