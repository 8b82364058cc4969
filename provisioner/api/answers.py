"""The page behind a ticket's link, and `/v1/jobs/{id}/answer`: a person says what a job waits for."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import parse_qs

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse

from provisioner.api import page
from provisioner.api.auth import Operator, Ports
from provisioner.api.errors import STATUS, documented
from provisioner.api.schemas import AnswerBody, JobNumber
from provisioner.bootstrap import App
from provisioner.errors import IllegalMove, ProvisionerError
from provisioner.ports import Asking
from provisioner.usecases.answer import PATH, answer, of_link
from provisioner.views import job
from provisioner.views.job import JobView

router = APIRouter(tags=["jobs"])
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
}


@router.post("/v1/jobs/{job_id}/answer", responses=documented(400, 401, 403, 404, 409, 413, 422, 502, 503))
def answer_job(job_id: JobNumber, body: AnswerBody, ports: Ports, who: Operator) -> JobView:
    """
    Say what a job asks a person: which server was placed, or that one was removed.

    The DCIM is asked at once; what it contradicts is refused, and the job goes on waiting.
    """
    asking = ports.questions.of_job(job_id)
    _answer(asking, ports, server=body.server, done=body.done, by=f"token {who.name}")
    return job.show(job_id, reads=ports.reads, spans=ports.spans)


@router.get(PATH + "{token}", include_in_schema=False)
def show(token: str, ports: Ports) -> HTMLResponse:
    """Give the form, or why there is none."""
    try:
        asking = of_link(token, questions=ports.questions, vault=ports.vault)
    except ProvisionerError as error:
        return _html(page.sentence(str(error)), _status(error))
    return _html(page.form(asking), HTTPStatus.OK) if asking.open else _gone(asking)


@router.post(PATH + "{token}", include_in_schema=False)
async def take(token: str, request: Request, ports: Ports) -> HTMLResponse:
    """Take what the form sends."""
    given = parse_qs((await request.body()).decode(errors="replace"), max_num_fields=8)
    return await run_in_threadpool(_take, token, given, ports)


def _take(token: str, given: Mapping[str, list[str]], ports: App) -> HTMLResponse:
    try:
        asking = of_link(token, questions=ports.questions, vault=ports.vault)
    except ProvisionerError as error:
        return _html(page.sentence(str(error)), _status(error))
    server = given.get("server", [""])[0]
    try:
        _answer(asking, ports, server=server, done="done" in given, by=page.BY_LINK)
    except IllegalMove:
        return _gone(ports.questions.by_id(asking.question))
    except ProvisionerError as error:
        return _html(page.form(asking, server=server, trouble=str(error)), _status(error))
    return _html(page.thanks(asking), HTTPStatus.OK)


def _gone(asking: Asking) -> HTMLResponse:
    return _html(page.gone(asking), HTTPStatus.GONE)


def _html(text: str, status: HTTPStatus) -> HTMLResponse:
    return HTMLResponse(text, status, HEADERS)


def _answer(asking: Asking, ports: App, *, server: str, done: bool, by: str) -> None:
    answer(
        asking,
        server=server,
        done=done,
        by=by,
        questions=ports.questions,
        drivers=ports.drivers,
        waker=ports.waker,
    )


def _status(error: ProvisionerError) -> HTTPStatus:
    return next((status for kind, status in STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
