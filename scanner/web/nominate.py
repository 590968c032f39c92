"""Nominations: somebody received abuse from an address. Without a sample they wait for the operator."""

from __future__ import annotations

import time
from base64 import b64decode
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from pydantic import BaseModel, Field

from scanner.model import Address
from scanner.publish.events import iso
from scanner.store import Nomination, NominationIn, TooMany
from scanner.web.docs import answers
from scanner.web.edge import requester_of
from scanner.web.problems import Problem
from scanner.web.sample import SAMPLE_LIMIT, reported_address
from scanner.web.site import Site, named_address
from scanner.web.words import wait

_ADDRESS, _COMMENT = 64, 1000  # characters
_ENCODED = -(-SAMPLE_LIMIT // 3) * 4  # characters of a sample in base64
_TAKEN = {
    "id": "7f1d0c7a2b9e4a5f8c3d6e1f0a9b8c7d",
    "address": "192.0.2.1",
    "state": "scheduled",  # or review, and due null
    "due": "2026-11-22T10:00:00Z",
}


class NominationRequest(BaseModel):
    """Have an address visited that sent abuse; it may be left out where the sample is a message or a report."""

    address: Annotated[str, Field(max_length=_ADDRESS, examples=["192.0.2.1"])] = ""
    sample: Annotated[str, Field(max_length=_ENCODED)] | None = None
    encoding: Annotated[Literal["text", "base64"], Field(description="of the sample: base64 where it is not UTF-8")] = (
        "text"
    )
    comment: Annotated[str, Field(max_length=_COMMENT)] | None = None

    @property
    def evidence(self) -> bytes:
        """Problem 422 where the sample is not what it is said to be."""
        if self.encoding == "text":
            return _short(_encoded(self.sample or ""), "sample")
        try:
            return _short(b64decode(self.sample or "", validate=True), "sample")
        except ValueError:
            raise Problem(422, "expected base64", field="sample") from None


def pages(site: Site) -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.get("/nominate")
    async def form(request: Request) -> Response:
        return site.page(request, "nominate.html", taken=None, wrong="", address="", sample="", comment="")

    @router.post("/nominate")
    async def nominate(
        request: Request,
        address: Annotated[str, Form()] = "",
        sample: Annotated[str, Form()] = "",
        comment: Annotated[str, Form()] = "",
        file: Annotated[UploadFile | None, File()] = None,
    ) -> Response:
        try:
            for field, text, most in (
                ("address", address, _ADDRESS),
                ("sample", sample, SAMPLE_LIMIT),
                ("comment", comment, _COMMENT),
            ):
                if len(text) > most:
                    raise Problem(422, f"{field}: longer than {most} characters", field=field)
            uploaded = await _uploaded(file) if file is not None else b""
            taken = await take(site, request, address, uploaded or _encoded(sample), comment)
        except Problem as problem:
            return site.page(
                request,
                "nominate.html",
                status=problem.status,
                headers=problem.headers,
                taken=None,
                wrong=problem.detail
                + ("; the file has to be chosen again" if file is not None and file.filename else ""),
                address=address[:_ADDRESS],
                sample=sample[:SAMPLE_LIMIT],
                comment=comment[:_COMMENT],
            )
        return site.page(request, "nominate.html", status=202, taken=taken, wrong="", address="", sample="", comment="")

    return router


def api(site: Site) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["nomination"])

    @router.post(
        "/nominations", status_code=202, summary="Nominate an address that sent abuse", responses=answers(_TAKEN, 202)
    )
    async def nominate(request: Request, asked: NominationRequest) -> dict[str, Any]:
        taken = await take(site, request, asked.address, asked.evidence, asked.comment or "")
        return {"id": taken.id, "address": str(taken.address), "state": taken.state, "due": iso(taken.due)}

    return router


async def take(site: Site, request: Request, address: str, sample: bytes, comment: str) -> Nomination:
    """Accept a nomination, which is on disk then, or say with a Problem why not."""
    now = time.time()
    evidence = sample.strip()
    _encoded(comment, "comment")
    wanted = _wanted(address, evidence)
    why = site.untouchable(wanted)
    if why is not None:
        raise Problem(422, f"{why}: it is never visited", field="address")
    trusted = await site.submitter(request)
    excluded = (await site.store.standing(wanted)).excluded
    if excluded is not None and not evidence:
        raise Problem(422, f"{wanted} is opted out of being probed: a sample of the abuse is needed", field="sample")
    submitter = trusted or f"web:{requester_of(request.state.client)}"
    item = NominationIn(wanted, evidence or None, " ".join(comment.split()), submitter, known=trusted is not None)
    limit = 0 if trusted else site.settings.web.nominations_per_requester
    try:
        (taken,) = await site.store.nominate([item], now, an_hour=limit)
    except TooMany as error:
        left = error.not_before - now
        raise Problem(429, f"those were many nominations: go on in {wait(left)}", retry_after=left) from None
    site.ring()
    return taken


def _encoded(text: str, field: str = "sample") -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Problem(422, "half of a surrogate pair is no text", field=field) from None


async def _uploaded(file: UploadFile) -> bytes:
    """A message as it was saved, which is rarely UTF-8. Empty where none was chosen."""
    return _short(await file.read(SAMPLE_LIMIT + 1), "file")


def _short(sample: bytes, field: str) -> bytes:
    if len(sample) > SAMPLE_LIMIT:
        raise Problem(422, f"longer than {SAMPLE_LIMIT} bytes: its beginning is enough", field=field)
    return sample


def _wanted(address: str, evidence: bytes) -> Address:
    if address.strip():
        return named_address(address)
    found = reported_address(evidence) if evidence else None
    if found is None:
        raise Problem(
            422, "expected an IPv4 or IPv6 address, or a sample that shows who handed it over", field="address"
        )
    return found
