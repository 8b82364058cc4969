"""Figures for Prometheus: `/metrics`, in its text format; with a viewer's token, as every other call."""

from collections.abc import Iterable

from fastapi import APIRouter, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from provisioner.api.auth import Ports, Viewer
from provisioner.api.errors import documented
from provisioner.domain.connection import ConnectionState
from provisioner.views import metrics as view
from provisioner.views.metrics import Figures

router = APIRouter(tags=["health"], responses=documented(400, 401, 403, 503))


class _Told(Collector):
    """What was just read, as the library wants it."""

    def __init__(self, figures: Figures) -> None:
        self._figures = figures

    def collect(self) -> Iterable[Metric]:
        told = self._figures
        jobs = GaugeMetricFamily("provisioner_jobs", "Jobs that have not ended.", labels=["state"])
        oldest = GaugeMetricFamily(
            "provisioner_oldest_waiting_seconds", "For how long the oldest has waited.", labels=["reason"]
        )
        quarantined = GaugeMetricFamily(
            "provisioner_quarantined_servers", "Servers out of sale.", labels=["connection"]
        )
        states = GaugeMetricFamily(
            "provisioner_connections", "1 for the state that a connection is in.", labels=["connection", "state"]
        )
        failed = CounterMetricFamily(
            "provisioner_panel_call_errors",
            "Looks and acts that found the panel away, or our credentials refused.",
            labels=["connection"],
        )
        tick = GaugeMetricFamily("provisioner_last_tick_age_seconds", "Since the reconciler last looked.")
        for state, count in told.jobs.items():
            jobs.add_metric([state], count)
        for reason, seconds in told.oldest_seconds.items():
            oldest.add_metric([reason], seconds)
        for connection, count in told.quarantined.items():
            quarantined.add_metric([connection], count)
        for connection, present in told.connections.items():
            for state in ConnectionState:
                states.add_metric([connection, state], float(present == state))
        for connection, count in told.calls_failed.items():
            failed.add_metric([connection], count)
        if told.tick_age_seconds is not None:
            tick.add_metric([], told.tick_age_seconds)
        return (jobs, oldest, quarantined, states, failed, tick)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text."}},
)
def metrics(ports: Ports, who: Viewer) -> Response:
    """Give jobs by state, the oldest that waits by reason, quarantine, connections, panel errors, the last tick."""
    del who
    registry = CollectorRegistry()
    registry.register(_Told(view.figures(reads=ports.reads)))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)
