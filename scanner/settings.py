"""Every setting and its default, as frozen sections. config/proxywarden.toml documents each; config.py loads them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from scanner.fields import (
    CanaryId,
    EndpointText,
    HostName,
    HostPort,
    NetworkText,
    Port,
    Positive,
    Seconds,
    Section,
    at_most,
    checked,
    formed,
    parse_host_port,
    parse_smarthost,
    short_web_url,
    web_url,
)
from scanner.model import Endpoint, Identity, Vantage
from scanner.protocols import PROTOCOLS, parse_endpoint
from scanner.protocols.forms import FEW, FORMS
from scanner.publish.settings import PublishSection
from scanner.ranking import RELAYS, SHIPPED

ENVIRONMENT = "PROXYWARDEN_"
_SENDER = r"([A-Za-z0-9._+-]{1,64}@[A-Za-z0-9.-]{1,189})?"
_RELOAD = 60.0  # seconds in which a name server takes up a new zone


class IdentitySection(Section):
    name: Annotated[str, formed(r"[A-Za-z0-9.-]{1,253}", "a name such as scanner.example.net")] = "proxywarden.invalid"
    url: Annotated[str, checked(web_url)] = "https://proxywarden.invalid/"
    contact: Annotated[
        str, formed(r"[!-~]{0,254}", "an address such as abuse@example.net, in ASCII and without spaces")
    ] = "abuse@proxywarden.invalid"


class VantageSection(Section):
    name: Annotated[str, Field(min_length=1, max_length=32)]
    source: IPv4Address | None = None
    source6: IPv6Address | None = None


class CanaryTargetSection(Section):
    id: CanaryId
    address: IPv4Address | None = None
    address6: IPv6Address | None = None
    name: HostName | None = None
    tcp: Port | None = None
    mail: Port | None = None
    http: Port | None = None
    mail_domain: HostName | None = None

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if not (self.address or self.address6 or self.name):
            raise ValueError("needs an address, an address6 or a name")
        if not (self.tcp or self.mail or self.http):
            raise ValueError("needs at least one of the ports tcp, mail and http")
        for address in (self.address, self.address6):
            if address is not None and address.is_unspecified:
                raise ValueError("a wildcard address can't be reached: name the address seen from outside")
        return self


class HandoverSection(Section):
    listen: tuple[HostPort, ...] = ()
    url: Annotated[str, checked(lambda text: text and web_url(text))] = ""
    spool: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000


class CanarySection(Section):
    id: CanaryId = "main"
    listen: tuple[HostPort, ...] = ("127.0.0.1:8021",)
    mail_listen: tuple[HostPort, ...] = ("127.0.0.1:8022",)
    http_listen: tuple[HostPort, ...] = ("127.0.0.1:8023",)
    targets: tuple[CanaryTargetSection, ...] = ()
    mail_exchangers: tuple[IPv4Address | IPv6Address, ...] = ()
    tls: bool = True
    tls_certificate: str = ""
    tls_key: str = ""
    handover: HandoverSection = HandoverSection()

    @model_validator(mode="after")
    def _whole_certificate(self) -> Self:
        if bool(self.tls_certificate) != bool(self.tls_key):
            raise ValueError("tls_certificate and tls_key go together: expected both or neither")
        return self

    @model_validator(mode="after")
    def _known_ways_in(self) -> Self:
        ids = [target.id for target in self.targets]
        if len(set(ids)) != len(ids):
            raise ValueError("targets: ids must differ")
        if not self.targets:
            for key in ("listen", "mail_listen", "http_listen"):
                for text in getattr(self, key):
                    if ip_address(parse_host_port(text)[0]).is_unspecified:
                        raise ValueError(f"{key} has {text}, a wildcard: targets must name the address from outside")
        return self


class ScopeSection(Section):
    never_scan: tuple[str, ...] = ("never-scan.txt",)
    never_list: tuple[str, ...] = ("never-list.txt",)
    allow: tuple[NetworkText, ...] = ()
    own_networks: tuple[NetworkText, ...] = ()


class ScanSection(Section):
    rate: Positive = 500.0
    per_host: Annotated[int, Field(ge=1, le=16)] = 1
    per_network_rate: Positive = 20.0
    sockets: Annotated[int, Field(ge=16)] = 4096
    hosts: Annotated[int, Field(ge=1, le=1_000_000)] = 4096
    connect_timeout: Seconds = 4.0
    conversation_timeout: Positive = 15.0
    max_read: Annotated[int, Field(ge=1024)] = 16384
    endpoints: tuple[EndpointText, ...] = tuple(str(endpoint) for endpoint in SHIPPED)
    learn_order: bool = True


def _plain_proxy(name: str) -> None:
    names = [protocol.name for protocol in PROTOCOLS.values() if not protocol.forms]
    if name not in names:
        raise ValueError(f"expected one of {', '.join(names)}")


class RemoteControlSection(Section):
    address: IPv4Address | IPv6Address
    port: Port
    protocol: Annotated[str, checked(_plain_proxy)]
    expect: Literal["open", "closed"]


def _two_ports(text: str) -> None:
    if parse_host_port(text)[1] == 65535:
        raise ValueError("expected a port below 65535: the one above it is taken too")


class ControlsSection(Section):
    listen: Annotated[HostPort, checked(_two_ports)] = "127.0.0.1:0"
    interval: Positive = 30.0
    timeout: Seconds = 5.0
    names: bool = True
    remote: tuple[RemoteControlSection, ...] = ()


class OpsSection(Section):
    require: Literal["any", "mail"] = "any"
    expiry_days: Positive = 30.0
    exit_expiry_days: Positive = 7.0
    expiry_cap_days: Positive = 90.0
    relisting_factors: tuple[Positive, ...] = (1.0, 1.0, 2.0, 3.0)
    removal_delay_days: tuple[Annotated[float, Field(ge=0)], ...] = (0.0, 0.0, 1.0, 2.0, 4.0)
    exits_per_entry: Annotated[int, Field(ge=0)] = 16
    exit_interval_minutes: Positive = 10.0
    rescan_hours: Annotated[float, Field(ge=24)] = 24.0
    rescan_max_hours: Annotated[float, Field(ge=24)] = 168.0
    rescan_max_hours_with_exits: Annotated[float, Field(ge=24)] = 72.0
    clean_rescans: Annotated[int, Field(ge=2)] = 2
    gone_rescans: Annotated[int, Field(ge=3)] = 3
    recheck_hours: Annotated[float, Field(ge=24, le=72)] = 48.0

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        at_most(self, "rescan_hours", "rescan_max_hours")
        at_most(self, "rescan_hours", "rescan_max_hours_with_exits")
        at_most(self, "expiry_days", "expiry_cap_days")
        return self


def _form(text: str) -> None:
    if text not in FORMS:
        raise ValueError(f"expected one of {', '.join(FORMS)}")


class RssSection(Section):
    endpoints: tuple[EndpointText, ...] = tuple(str(endpoint) for endpoint in RELAYS)
    forms: Annotated[tuple[Annotated[str, checked(_form)], ...], Field(min_length=1)] = FEW
    receipt_wait: Positive = 5.0
    timeout: Positive = 30.0
    tries: Annotated[int, Field(ge=1, le=16)] = 3
    expiry_days: Positive = 30.0
    list_outputs: bool = False


class RblSection(Section):
    expiry_days: Positive = 180.0


class ListsSection(Section):
    ops: OpsSection = OpsSection()
    rss: RssSection = RssSection()
    rbl: RblSection = RblSection()


class RemovalSection(Section):
    endpoints: Annotated[int, Field(ge=0, le=64)] = 8
    connect_timeout: Seconds = 3.0
    gap: Annotated[float, Field(ge=10)] = 10.0
    per_requester: Annotated[int, Field(ge=1)] = 120
    per_network: Annotated[int, Field(ge=1)] = 256
    appeals_per_requester: Annotated[int, Field(ge=1)] = 10


def _directory(written: Any) -> Any:
    if written == "":  # which Path takes for the working directory: the secret would be wherever a command is given
        raise ValueError("expected a directory, such as /var/lib/proxywarden")
    return written


def _store_url(text: str) -> None:
    if text and not (text.startswith("sqlite:///") and len(text) > len("sqlite:///")):
        raise ValueError("expected sqlite:///PATH, or nothing for a file in data_dir")


class StoreSection(Section):
    url: Annotated[str, checked(_store_url)] = ""
    keep_transcripts_days: Positive = 90.0


class WebSection(Section):
    listen: tuple[HostPort, ...] = ("127.0.0.1:8025",)
    operator_listen: tuple[HostPort, ...] = ("127.0.0.1:8027",)
    trusted_proxies: tuple[NetworkText, ...] = ()
    connections: Annotated[int, Field(ge=16)] = 512
    rate: Annotated[float, Field(ge=1)] = 400.0
    resolver: Annotated[str, checked(lambda text: text and parse_host_port(text))] = ""
    nominations_per_requester: Annotated[int, Field(ge=1)] = 60
    public_url: Annotated[str, checked(short_web_url)] = "http://127.0.0.1:8025"


class MailSection(Section):
    smarthost: Annotated[str, checked(lambda text: text and parse_smarthost(text))] = ""
    sender: Annotated[str, formed(_SENDER, "an e-mail address such as removal@dnsbl.example.net")] = ""
    tls: Literal["offered", "required"] = "offered"
    ca_file: str = ""
    user: str = ""
    password_file: str = ""
    keep_days: Positive = 7.0

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.smarthost and not self.sender:
            raise ValueError("smarthost needs a sender, such as removal@dnsbl.example.net")
        if bool(self.user) != bool(self.password_file):
            raise ValueError("user and password_file belong together")
        return self


class Settings(BaseSettings):
    """Every setting, validated and frozen."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT, env_nested_delimiter="__", extra="forbid", frozen=True)
    data_dir: Annotated[Path, BeforeValidator(_directory)] = Path("/var/lib/proxywarden")
    secret_file: str = ""
    identity: IdentitySection = IdentitySection()
    vantage: Annotated[tuple[VantageSection, ...], Field(min_length=1)] = (VantageSection(name="main"),)
    canary: CanarySection = CanarySection()
    scope: ScopeSection = ScopeSection()
    scan: ScanSection = ScanSection()
    controls: ControlsSection = ControlsSection()
    lists: ListsSection = ListsSection()
    removal: RemovalSection = RemovalSection()
    store: StoreSection = StoreSection()
    web: WebSection = WebSection()
    mail: MailSection = MailSection()
    publish: PublishSection = PublishSection()

    @classmethod
    def settings_customise_sources(  # type: ignore[override]
        cls, *_: Any, init_settings: Any, **__: Any
    ) -> tuple[Any, ...]:
        return (init_settings,)  # load() merges the sources, so that each value's origin can be told

    @model_validator(mode="after")
    def _distinct_vantages(self) -> Self:
        names = [vantage.name for vantage in self.vantage]
        if len(set(names)) != len(names):
            raise ValueError("vantage: names must differ")
        return self

    @property
    def store_url(self) -> str:
        return self.store.url or f"sqlite:///{self.data_dir / 'proxywarden.sqlite'}"

    @property
    def secret_path(self) -> Path:
        return Path(self.secret_file) if self.secret_file else self.data_dir / "secret"

    @property
    def cache_seconds(self) -> float:
        """How long a mail server may have an answer that is out of date: its cache's time, and the name server's."""
        return self.publish.rbldnsd.ttl + _RELOAD

    @property
    def who(self) -> Identity:
        return Identity(self.identity.name, self.identity.url, self.identity.contact)

    @property
    def vantages(self) -> tuple[Vantage, ...]:
        return tuple(Vantage(v.name, v.source, v.source6) for v in self.vantage)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        return tuple(parse_endpoint(text) for text in self.scan.endpoints)

    @property
    def relays(self) -> tuple[Endpoint, ...]:
        """Where mail servers are asked to relay: nowhere as long as no canary has a mail domain."""
        post = any(target.mail_domain for target in self.canary.targets)
        return tuple(parse_endpoint(text) for text in self.lists.rss.endpoints) if post else ()
