"""The look at the servers after a release, against a name server on loopback that says what a test wants."""

from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
import trio

from scanner.publish.outputs import Servers, _any_unlisted
from tests.scanner.publish.source import Memory
from tests.scanner.publish.test_publisher import publisher_of, settings_of


@asynccontextmanager
async def answering(names, serials=()):
    """Answers 127.1.0.8 for the names, NXDOMAIN for all others. serials: for one question after the other.

    A question that is asked again, for want of an answer in time, has the same number as before.
    """
    serials, told = iter(serials), {}
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as server, trio.fail_after(20):
        await server.bind(("127.0.0.1", 0))

        async def serve():
            while True:
                wire, peer = await server.recvfrom(4096)
                query = dns.message.from_wire(wire)
                answer = dns.message.make_response(query)
                name = query.question[0].name
                kind = query.question[0].rdtype
                if kind == dns.rdatatype.SOA:
                    if query.id not in told:
                        told[query.id] = next(serials, 2**31)
                    soa = f"ns.x. a.x. {told[query.id]} 1 1 1 1"
                    answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, soa))
                elif name.to_text() in names or "*" in names:
                    answer.answer.append(dns.rrset.from_text(name, 60, "IN", kind, "127.1.0.8" if kind == 1 else '"x"'))
                else:
                    answer.set_rcode(dns.rcode.NXDOMAIN)
                await server.sendto(answer.to_wire(), peer)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield f"127.0.0.1:{server.getsockname()[1]}"
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["2.0.0.127", "1.0.0.11"], "ok, 1 servers"),
        (["1.0.0.11"], "the test entry 127.0.0.2 is not there"),
        (["2.0.0.127", "1.0.0.127", "1.0.0.11"], "lists 127.0.0.1"),
        (["2.0.0.127"], "11.0.0.1 is published, and not there"),
    ],
)
async def test_what_a_server_gets_wrong_is_said(tmp_path, names, said):
    store = Memory()
    store.list("11.0.0.1")
    async with answering({f"{name}.bl.example." for name in names}) as server:
        publisher = publisher_of(tmp_path, store)
        await publisher.release()
        text = settings_of(tmp_path).publish.model_copy(update={"servers": (server,), "zone": "bl.example"})
        look = Servers(publisher.settings.model_copy(update={"publish": text}))
        publisher.outputs = {"servers": look}
        for _ in range(2):  # what was published by the first look must be there at the second
            look._asked = -1000.0
            publisher._retry.clear()
            await publisher.release()
    assert said in publisher.states["servers"]


async def test_a_server_that_lists_the_world_is_said(tmp_path):
    store = Memory()
    store.list("11.0.0.0/16", list_="dul")
    async with answering(["*"]) as server:
        publisher = publisher_of(tmp_path, store)
        section = settings_of(tmp_path).publish.model_copy(update={"servers": (server,), "zone": "bl.example"})
        publisher.outputs = {"servers": Servers(publisher.settings.model_copy(update={"publish": section}))}
        await publisher.release()
    assert "lists 127.0.0.1" in publisher.states["servers"]
    for _ in range(200):
        address = IPv4Address(_any_unlisted(publisher))
        assert address not in IPv4Network("11.0.0.0/16")
        assert not address.is_loopback
        assert not address.is_multicast


async def test_what_each_server_gets_wrong_is_said(tmp_path):
    async with answering(["*"]) as one, answering([]) as two, answering(["2.0.0.127.bl.example."]) as good:
        publisher = publisher_of(tmp_path, Memory())
        servers = {"servers": (one, two, good), "zone": "bl.example."}
        section = settings_of(tmp_path).publish.model_copy(update=servers)
        publisher.outputs = {"servers": Servers(publisher.settings.model_copy(update={"publish": section}))}
        await publisher.release()
    said = publisher.states["servers"]
    assert said.count(" port ") == 2
    assert "lists 127.0.0.1; " in said
    assert said.endswith("the test entry 127.0.0.2 is not there")


async def test_one_address_at_random_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("scanner.publish.outputs._any_unlisted", lambda publisher: "11.2.3.4")
    async with answering({"2.0.0.127.bl.example.", "4.3.2.11.bl.example."}) as server:
        publisher = publisher_of(tmp_path, Memory())
        section = settings_of(tmp_path).publish.model_copy(update={"servers": (server,), "zone": "bl.example"})
        publisher.outputs = {"servers": Servers(publisher.settings.model_copy(update={"publish": section}))}
        await publisher.release()
    assert publisher.states["servers"].endswith("lists 11.2.3.4, which is not listed")


@pytest.mark.parametrize(
    ("serials", "said"),
    [
        ((7, 7), "ok, 1 servers"),
        ((7, 9), "ok, 1 servers"),
        ((4, 6), "serial 6, published is 7: it takes nothing"),
        ((9, 8), "serial 8, it had 9: an old copy"),
        ((0xFFFFFFFF, 7), "ok, 1 servers"),
    ],
)
async def test_a_server_that_stands_still_or_goes_back_is_said(tmp_path, serials, said):
    async with answering({"2.0.0.127.bl.example."}, serials) as server:
        publisher = publisher_of(tmp_path, Memory())
        section = settings_of(tmp_path).publish.model_copy(update={"servers": (server,), "zone": "bl.example"})
        look = Servers(publisher.settings.model_copy(update={"publish": section}))
        publisher.outputs, publisher.serials = {"servers": look}, {"bl.example": 7, "rbldnsd": 2**31}
        for _ in range(2):  # what was published by the first look must be there at the second
            look._asked = -1000.0
            publisher._retry.clear()
            await publisher.release()
    assert said in publisher.states["servers"]
