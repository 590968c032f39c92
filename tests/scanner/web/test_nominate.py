from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable

import httpx
import pytest

from scanner.settings import Settings, WebSection
from scanner.store import Store

Browse = Callable[..., httpx.AsyncClient]


async def nominate(client: httpx.AsyncClient, **body: str) -> httpx.Response:
    return await client.post("/api/v1/nominations", json=body)


async def test_with_a_sample_it_is_scheduled_and_without_it_waits(browse: Browse, store: Store) -> None:
    with_sample = await nominate(browse(), address="192.0.2.1", sample="spam", comment="  a\nb ")
    without = await nominate(browse(), address="192.0.2.2")
    assert (with_sample.status_code, with_sample.json()["state"]) == (202, "scheduled")
    assert (without.status_code, without.json()["state"], without.json()["due"]) == (202, "review", None)
    kept = {str(item.address): item for item in await store.nominations()}
    assert (kept["192.0.2.1"].sample, kept["192.0.2.1"].comment) == (b"spam", "a b")
    leased = await store.lease("t", time.time() + 1, 60, 10)
    assert [str(item.target.address) for item in leased] == ["192.0.2.1"]


async def test_by_the_form_with_a_whole_message(browse: Browse, store: Store) -> None:
    message = "Received: from a ([8.8.4.4]) by mx; now\r\nSubject: x\r\n\r\nspam"
    page = await browse().post("/nominate", data={"address": "", "sample": message})
    assert (page.status_code, "Accepted: 8.8.4.4" in page.text) == (202, True)
    wrong = await browse().post("/nominate", data={"address": "<script>", "sample": "x"})
    assert (wrong.status_code, "<script>" in wrong.text) == (422, False)


@pytest.mark.parametrize(
    ("field", "most"),
    [("address", 64), ("comment", 1000), ("sample", 128 * 1024)],
    ids=["address", "comment", "sample"],
)
async def test_a_form_that_is_too_long_comes_back_with_what_fits(
    browse: Browse, store: Store, field: str, most: int
) -> None:
    """A sample of many lines is: a browser counts a line's end as one character, and sends two."""
    typed = {"address": "192.0.2.1", "sample": "a <spam>", "comment": "of mine"} | {field: "\r\n" * (most // 2 + 1)}
    page = await browse().post("/nominate", files={name: (None, text) for name, text in typed.items()})
    assert (page.status_code, f"{field}: longer than {most} characters" in page.text) == (422, True)
    for name, text in (("address", "192.0.2.1"), ("sample", "a &lt;spam&gt;"), ("comment", "of mine")):
        assert ("\r\n" * (most // 2) if name == field else text) in page.text
    assert "\r\n" * (most // 2 + 1) not in page.text
    assert await store.nominations() == []


async def test_by_the_form_with_a_file(browse: Browse, store: Store) -> None:
    """As browsers send it without script, and not in UTF-8; the file is taken rather than the text."""
    message = b"Received: from a ([8.8.4.4]) by mx; now\r\nSubject: \xe9\r\n\r\nspam\x00"
    fields = {"address": "", "sample": "pasted", "comment": "from a file"}
    page = await browse().post("/nominate", data=fields, files={"file": ("spam.eml", message, "message/rfc822")})
    assert (page.status_code, "Accepted: 8.8.4.4" in page.text) == (202, True)
    (kept,) = await store.nominations()
    assert (kept.sample, kept.comment) == (message, "from a file")


async def test_a_refused_form_does_not_keep_the_file(browse: Browse) -> None:
    page = await browse().post("/nominate", data={"address": "127.0.0.1"}, files={"file": ("spam.eml", b"spam")})
    assert (page.status_code, "; the file has to be chosen again" in page.text) == (422, True)
    page = await browse().post("/nominate", data={"address": "127.0.0.1"}, files={"file": ("", b"")})
    assert "chosen again" not in page.text


async def test_a_form_without_a_chosen_file(browse: Browse, store: Store) -> None:
    """A browser sends a part without a name and content then."""
    fields = {"address": "192.0.2.1", "sample": "pasted"}
    page = await browse().post("/nominate", data=fields, files={"file": ("", b"", "application/octet-stream")})
    assert page.status_code == 202
    assert [item.sample for item in await store.nominations()] == [b"pasted"]


@pytest.mark.parametrize(("size", "status"), [(128 * 1024, 202), (128 * 1024 + 1, 422), (300_000, 413)])
async def test_a_file_is_limited(browse: Browse, size: int, status: int) -> None:
    page = await browse().post("/nominate", data={"address": "192.0.2.1"}, files={"file": ("a", b"x" * size)})
    assert page.status_code == status
    assert "Traceback" not in page.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--b",
        b"--b\r\n\r\n",
        b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--",
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nno file\r\n--b--',
        b'--b\r\nContent-Disposition: form-data; name="address"; filename="x"\r\n\r\nno text\r\n--b--',
        b'--b\r\nContent-Disposition: form-data; name="sample"\r\n\r\n\xff\xfe\r\n--b--',
        b"--b\r\nX: " + b"y" * 100_000 + b"\r\n\r\n--b--",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n\r\n' * 3000,
    ],
)
async def test_a_form_that_is_none(browse: Browse, store: Store, body: bytes) -> None:
    headers = {"content-type": "multipart/form-data; boundary=b"}
    page = await browse().post("/nominate", content=body, headers=headers)
    assert page.status_code in (400, 422)
    assert await store.nominations() == []


@pytest.mark.parametrize("field", ["address", "sample", "comment"])
async def test_half_of_a_surrogate_pair(browse: Browse, store: Store, field: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n\\ud800\r\n--b--\r\n' % field.encode()
    headers = {"content-type": "multipart/form-data; boundary=b; charset=unicode_escape"}
    assert (await browse().post("/nominate", content=body, headers=headers)).status_code == 422
    assert await store.nominations() == []


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "::ffff:10.0.0.1", "0:0:0:0:0:ffff:7f00:1", "203.0.113.9", "127.1", "2130706433", "0177.0.0.1",
     "127.0.0.1%lo", "１２７.0.0.1", "localhost", "192.0.2.0/24", ""],
)  # fmt: skip
async def test_no_way_in(browse: Browse, store: Store, address: str) -> None:
    answer = await nominate(browse(), address=address, sample="spam")
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "address")
    assert await store.nominations() == []


async def test_an_opt_out_yields_only_to_a_sample(browse: Browse, store: Store) -> None:
    await store.exclude("192.0.2.0/24", "asked", "operator", time.time())
    assert (await nominate(browse(), address="192.0.2.1")).status_code == 422
    assert (await nominate(browse(), address="192.0.2.1", sample="spam")).status_code == 202


async def test_too_long_and_no_text(browse: Browse) -> None:
    assert (await nominate(browse(), address="192.0.2.1", sample="x" * 140_000)).status_code == 422
    assert (await nominate(browse(), address="192.0.2.1", sample="x" * 300_000)).status_code == 413
    raw = await browse().post(
        "/api/v1/nominations",
        content=b'{"address": "192.0.2.1", "sample": "\\ud800"}',
        headers={"content-type": "application/json"},
    )
    assert raw.status_code == 422


async def test_a_sample_in_base64(browse: Browse, store: Store) -> None:
    sample = b"Received: from a ([8.8.4.4]) by mx; now\r\n\r\n\xff\x00"
    answer = await nominate(browse(), sample=b64encode(sample).decode(), encoding="base64")
    assert (answer.status_code, answer.json()["address"]) == (202, "8.8.4.4")
    assert [item.sample for item in await store.nominations()] == [sample]
    whole = await nominate(browse(), address="192.0.2.1", sample=b64encode(b"x" * 131072).decode(), encoding="base64")
    assert whole.status_code == 202
    for wrong in ("x", "x\ny=", "\u0660===", b64encode(b"x" * 131073).decode()):
        answer = await nominate(browse(), address="192.0.2.1", sample=wrong, encoding="base64")
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "sample")


class TestLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"web": WebSection(nominations_per_requester=2)})

    async def test_a_stranger_has_an_allowance(self, browse: Browse, store: Store) -> None:
        statuses = [(await nominate(browse(), address=f"192.0.2.{n}")).status_code for n in range(4)]
        assert statuses == [202, 202, 429, 429]
        v6 = [(await nominate(browse(f"2001:db8::{n}"), address="192.0.2.9")).status_code for n in range(1, 4)]
        assert v6 == [202, 202, 429]  # a /64 is one
