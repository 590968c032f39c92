"""Firewalls and servers load our exports and act on them."""

import random
import socket
import subprocess
import time
from contextlib import contextmanager

from scanner.publish.exports import Meta, render
from scanner.publish.image import Image, item_of
from scanner.publish.rbldnsd import Zone
from scanner.publish.views import Heading, view
from tests.peers.programs import environment, lacking, needed
from tests.peers.site import takes_connections

META = Meta("proxywarden", time.time(), time.time() + 86400, ("ops", "rss", "dul", "rbl"), "http://127.0.0.1/lookup/")
LISTED = ["11.0.0.1", "198.51.100.7", "2a00::1"]
RANGES = ["11.16.0.0/12", "2a00:7::/32"]
TIMEOUT = 60


def image_of(count=0):
    image, rng = Image(), random.Random(1)
    for text in LISTED:
        image.put(Heading("ops", "entry"), item_of(text))
    image.put(Heading("ops", "exit"), item_of("2a00:0:0:8::/64"))
    for text in RANGES:
        image.put(Heading("dul", "dynamic"), item_of(text))
    image.put(Heading("rbl", "manual", note='spam "and" \\more; #1'), item_of("11.0.0.1"))
    for _ in range(count):
        image.put(Heading("ops", "entry"), rng.randrange(16 << 24, 200 << 24).to_bytes(4, "big"))
    return image


async def written(path, format_, count=0):
    async def nothing():
        return
        yield

    zone = Zone(view("maps", {}), META.lookup, "x", "a@x")
    path.write_text("".join([piece async for piece in render(format_, image_of(count), nothing, META, zone)]))
    return path


def in_namespace(*command, stdin=None):
    """A command in a network namespace of its own: nothing of the machine's firewall is touched."""
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False).returncode:
        lacking("no network namespace may be made here")
    ended = subprocess.run(
        ["unshare", "-n", "sh", "-ec", *command],
        input=stdin,
        env=environment(),
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
    )
    if b"Operation not permitted" in ended.stderr or b"Kernel error" in ended.stderr:
        lacking("this kernel has no such firewall")
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


async def test_nft_loads_its_sets_twice_and_finds_members(tmp_path):
    nft = needed("nft")
    file = await written(tmp_path / "sets", "nft", 5000)
    shown = in_namespace(
        f"{nft} -f {file}; {nft} -f {file}; {nft} get element inet proxywarden ops4 '{{ 198.51.100.7 }}';"
        f" {nft} get element inet proxywarden dul4 '{{ 11.17.3.4 }}'; "
        f" {nft} get element inet proxywarden ops6 '{{ 2a00:0:0:8::9 }}';"
        f" ! {nft} get element inet proxywarden ops4 '{{ 198.51.100.8 }}' 2>/dev/null"
    )
    assert "198.51.100.7" in shown
    assert "11.16.0.0/12" in shown


async def test_ipset_restores_its_sets_twice_and_finds_members(tmp_path):
    ipset = needed("ipset")
    file = await written(tmp_path / "sets", "ipset", 5000)
    in_namespace(
        f"{ipset} restore -file {file}; {ipset} restore -file {file}; {ipset} test proxywarden-ops4 198.51.100.7;"
        f" {ipset} test proxywarden-dul4 11.17.3.4; {ipset} test proxywarden-ops6 2a00:0:0:8::9;"
        f" ! {ipset} test proxywarden-ops4 198.51.100.8"
    )


async def test_postfix_looks_addresses_up_in_its_table(tmp_path):
    postmap = needed("postmap", "postfix")
    file = await written(tmp_path / "clients", "postfix", 500)
    config = tmp_path / "postfix"
    config.mkdir()
    # Owners that every machine has: the unpacked Postfix has made none.
    (config / "main.cf").write_text("compatibility_level = 3.6\nmail_owner = daemon\nsetgid_group = mail\n")

    def look(address):
        command = [str(postmap), "-c", str(config), "-q", address, f"cidr:{file}"]
        ended = subprocess.run(command, env=environment("postfix"), capture_output=True, timeout=TIMEOUT, check=False)
        assert not ended.stderr, ended.stderr
        return ended.stdout.decode().strip()

    assert look("198.51.100.7") == "REJECT Open proxy, see http://127.0.0.1/lookup/198.51.100.7"
    assert look("11.17.3.4").startswith("REJECT Dynamic address range")
    assert look("2a00:7::5").startswith("REJECT Dynamic")
    assert look("198.51.100.8") == ""


def free_port():
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return tcp.getsockname()[1]


@contextmanager
def running(command, port, directory):
    with (directory / "output").open("wb") as output:
        argv = [str(part) for part in command]
        server = subprocess.Popen(argv, env=environment(), stdout=output, stderr=output, cwd=directory)
    try:
        deadline = time.monotonic() + TIMEOUT
        while not takes_connections("127.0.0.1", port):
            assert server.poll() is None, (directory / "output").read_text()
            assert time.monotonic() < deadline, (directory / "output").read_text()
            time.sleep(0.05)
        yield
    finally:
        server.terminate()
        server.wait(20)


def status_for(port, address):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as tcp:
        tcp.sendall(f"GET / HTTP/1.0\r\nX-Client: {address}\r\n\r\n".encode())
        answer = b""
        while piece := tcp.recv(4096):
            answer += piece
    return int(answer.split()[1])


async def test_haproxy_refuses_by_its_map(tmp_path):
    haproxy, port = needed("haproxy"), free_port()
    file = await written(tmp_path / "map", "haproxy", 5000)
    (tmp_path / "haproxy.cfg").write_text(
        "global\n maxconn 50\ndefaults\n mode http\n timeout client 5s\n timeout server 5s\n timeout connect 5s\n"
        f"frontend f\n bind 127.0.0.1:{port}\n"
        f" http-request deny deny_status 403 if {{ req.hdr(x-client),map_ip({file}) -m found }}\n"
        " http-request return status 200\n"
    )
    with running([haproxy, "-db", "-f", tmp_path / "haproxy.cfg"], port, tmp_path):
        found = {
            text: status_for(port, text) for text in (*LISTED, "11.17.3.4", "2a00:7::5", "198.51.100.8", "2a00::2")
        }
    assert [text for text, status in found.items() if status == 200] == ["198.51.100.8", "2a00::2"]
    assert set(found.values()) == {200, 403}


async def test_nginx_refuses_by_its_geo_table(tmp_path):
    nginx, port = needed("nginx"), free_port()
    file = await written(tmp_path / "geo", "nginx", 5000)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid; error_log {tmp_path}/error.log;\nevents {{ }}\n"
        f"http {{ access_log off; client_body_temp_path {tmp_path}; proxy_temp_path {tmp_path};"
        f" fastcgi_temp_path {tmp_path}; uwsgi_temp_path {tmp_path}; scgi_temp_path {tmp_path};\n"
        f" geo $http_x_client $listed {{ default 0; include {file}; }}\n"
        f" server {{ listen 127.0.0.1:{port}; if ($listed != 0) {{ return 403; }} return 200; }} }}\n"
    )
    with running([nginx, "-c", tmp_path / "nginx.conf", "-p", tmp_path], port, tmp_path):
        found = {text: status_for(port, text) for text in (*LISTED, "11.17.3.4", "198.51.100.8", "2a00::2")}
    assert [text for text, status in found.items() if status == 200] == ["198.51.100.8", "2a00::2"]
