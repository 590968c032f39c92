"""A mail server that takes messages, and refuses as it is told: one connection after the other, in a thread."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

CERTIFICATE = Path(__file__).parent / "data" / "smarthost.test.pem"


@dataclass
class Smarthost:
    """replies: by the command's first word, and `.` for the end of a message; the rest is a yes."""

    port: int = 0
    tls: bool = False
    replies: dict[str, str] = field(default_factory=dict)
    messages: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)  # commands, with `TLS` where the handshake was made
    holds: threading.Event | None = None  # what the answer to a message waits for
    hang_up_after: str = ""  # a command that is carried out, and not answered


@contextmanager
def smarthost(**options: object) -> Iterator[Smarthost]:
    made = Smarthost(**options)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", made.port)) as listener:
        made.port = listener.getsockname()[1]
        over = threading.Event()
        thread = threading.Thread(target=_serve, args=(listener, made, over))
        thread.start()
        try:
            yield made
        finally:
            over.set()
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", made.port), 1).close()
            thread.join()


def _serve(listener: socket.socket, made: Smarthost, over: threading.Event) -> None:
    while not over.is_set():
        connection, _ = listener.accept()
        connection.settimeout(10)
        with connection, suppress(OSError, ssl.SSLError):
            _talk(connection, made)


def _talk(connection: socket.socket, made: Smarthost) -> None:
    connection.sendall(made.replies.get("greeting", "220 mail.test ESMTP").encode() + b"\r\n")
    if _obey(connection, made):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(CERTIFICATE)
        with context.wrap_socket(connection, server_side=True) as secured:
            made.said.append("TLS")
            _obey(secured, made)


def _obey(connection: socket.socket, made: Smarthost) -> bool:
    """Until the client goes: False; or until it wants TLS: True."""
    lines = connection.makefile("rb")
    while line := lines.readline(1000):
        text = line.decode("ascii").strip()
        verb = text.split()[0].upper()
        made.said.append(text)
        reply = made.replies.get(verb, "250 yes")
        if verb == "EHLO" and "EHLO" not in made.replies:
            offers = [
                "mail.test",
                *(["STARTTLS"] if made.tls and "TLS" not in made.said else []),
                "AUTH PLAIN",
                "8BITMIME",
            ]
            reply = "\r\n".join(f"250{'-' if offer is not offers[-1] else ' '}{offer}" for offer in offers)
        elif verb == "RCPT" and reply.startswith("2"):
            made.recipients.append(text)
        elif verb == "DATA" and reply.startswith("2"):
            reply = "354 go on"
        elif verb == "AUTH":
            reply = made.replies.get(verb, "235 welcome")
        elif verb == "STARTTLS":
            connection.sendall(b"220 go on\r\n")
            return True
        if verb == made.hang_up_after:
            return False
        connection.sendall(reply.encode() + b"\r\n")
        if verb == "QUIT":
            return False
        if reply.startswith("354"):
            message = b""
            while (line := lines.readline(2000)) not in (b".\r\n", b""):
                message += line
            reply = made.replies.get(".", "250 taken")
            if reply.startswith("2"):
                made.messages.append(message)
            if made.holds is not None:
                made.holds.wait(60)
            if made.hang_up_after == ".":
                return False
            connection.sendall(reply.encode() + b"\r\n")
    return False
