"""/metrics, from the store and the heartbeat: so that it says the same in each process."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from scanner.web.health import unready
from scanner.web.site import Site


def routes(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/metrics")
    async def metrics() -> Response:
        figures = await site.store.figures(time.time())
        value, seen = (await site.store.status()).get("daemon", ({}, 0.0))
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collected([*_figures(figures), *_heartbeat(value, seen), _ready(await unready(site))]))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router


class _Collected:
    def __init__(self, metrics: list[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics

    def describe(self) -> Iterable[Metric]:
        return ()


def _figures(figures: Mapping[str, int]) -> Iterable[Metric]:
    listings = GaugeMetricFamily("proxywarden_listings", "Listings that stand", labels=("list", "type"))
    for name, number in figures.items():
        kind, _, rest = name.partition(".")
        if kind == "listings" and "." in rest:
            listings.add_metric(rest.split(".", 1), number)
        else:
            words = name.replace(".", "_")
            yield GaugeMetricFamily(f"proxywarden_{words}", f"{name.replace('.', ', ')}", value=number)
    yield listings


def _heartbeat(value: Mapping[str, Any], seen: float) -> Iterable[Metric]:
    yield GaugeMetricFamily("proxywarden_last_seen_seconds", "Latest heartbeat of the daemon", value=seen)
    controls = value.get("controls", {})
    for name, number in (
        ("visits", value.get("visits")),
        ("void_visits", value.get("void_visits")),
        ("control_rounds", controls.get("rounds")),
        ("bad_control_rounds", controls.get("bad_rounds")),
    ):
        if isinstance(number, int | float):
            text = f"{name.replace('_', ' ')} since the daemon's start"
            yield CounterMetricFamily(f"proxywarden_{name}", text, value=number)
    for group in ("sweep", "canary", "letters"):
        found = value.get(group, {})
        numbers = {key: item for key, item in found.items() if isinstance(item, int | float)}
        if numbers:
            family = GaugeMetricFamily(f"proxywarden_{group}", f"Figures of the {group}", labels=("figure",))
            for key, item in numbers.items():
                family.add_metric([key], float(item))
            yield family
    web = GaugeMetricFamily("proxywarden_web", "Figures of the web's listeners", labels=("listener", "figure"))
    for listener, found in value.get("web", {}).items():
        for key, item in found.items():
            if isinstance(item, int | float):
                web.add_metric([listener, key], float(item))
    yield web


def _ready(problems: Mapping[str, str]) -> Metric:
    return GaugeMetricFamily("proxywarden_ready", "1 where everything works", value=float(not problems))
