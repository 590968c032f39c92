"""Dynamic DNS by itself: records and keys; tests/peers has a primary."""

import base64
from types import SimpleNamespace

import pytest
import trio

from scanner.config import ConfigError, load
from scanner.publish.dns_update import DnsUpdate
from scanner.publish.image import Image, item_of
from scanner.publish.ledger import Changes
from scanner.publish.names import Names
from scanner.publish.publisher import OutputError
from scanner.publish.views import LISTS, Heading
from tests.scanner.live import reset

SECRET = base64.b64encode(b"k" * 32).decode()


@pytest.fixture
def made(tmp_path):
    def make(secret=SECRET, port=5353):
        (tmp_path / "key").write_text(secret)
        (tmp_path / "c.toml").write_text(
            f'[publish.dns_update]\nserver = "127.0.0.1:{port}"\nzone = "bl.example"\nkey_name = "k"\n'
            f'key_file = "{tmp_path}/key"\n'
        )
        return DnsUpdate(load(tmp_path / "c.toml"))

    return make


def test_records_of_a_name_are_one_a_for_each_list_and_texts_of_ours(made):
    image = Image()
    image.put(Heading("ops", "entry", "socks"), item_of("11.0.0.1"))
    image.put(Heading("dul", "dynamic"), item_of("11.0.0.0/16"))
    zone = dict(made().all(Names(image, 4, LISTS)))
    assert {text for kind, text in zone["1.0.0.11"] if kind == "A"} == {"127.1.0.8", "127.1.0.2"}
    assert {text for kind, text in zone["*.0.11"] if kind == "A"} == {"127.1.0.2"}
    assert all(len(text) <= 200 for records in zone.values() for _, text in records)


def test_test_entries_are_always_there_and_127_0_0_1_never(made):
    zone = dict(made().all(Names(Image(), 4, LISTS)))
    assert ("A", "127.1.0.8") in zone["2.0.0.127"]
    assert "1.0.0.127" not in zone
    assert ("A", "127.1.0.16") in zone["16.0.1.127"]


@pytest.mark.parametrize("end", [reset, lambda stream: stream.socket.close()], ids=["reset", "closed"])
async def test_a_primary_that_ends_the_connection_is_an_output_that_failed(made, nursery, end):
    async def hang_up(stream):
        await stream.receive_some(4096)
        end(stream)

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, hang_up, listeners)
    output = made(port=listeners[0].socket.getsockname()[1])
    publisher = SimpleNamespace(ledger=SimpleNamespace(published=Image(), cursor=None), serials={})
    with trio.fail_after(20), pytest.raises(OutputError):
        await output.update(publisher, Changes(), whole=True)


def test_a_key_that_is_none_is_said(made, tmp_path):
    with pytest.raises(ConfigError, match="expected a secret in base64"):
        made("not base64!")
