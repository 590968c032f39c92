"""Operators' passwords and sessions. A session is a signed cookie; the account says from when on sessions count."""

from __future__ import annotations

import time
from functools import cache
from hashlib import sha256
from secrets import token_urlsafe

import trio
from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from fastapi import Request, Response
from itsdangerous import BadData, URLSafeTimedSerializer

from scanner.proof import derive
from scanner.secret import MasterSecret
from scanner.store import Store
from scanner.web.edge import requester_of
from scanner.web.problems import Problem
from scanner.web.words import wait

COOKIE = "operator"
SHORTEST = 12  # characters of a password
LONGEST = 200
LINK_FOR = 86400.0  # seconds that a one-time link is good
_SESSION_FOR = 12 * 3600  # seconds
_TRIES, _TRIES_IN = 10, 900.0  # sign-ins that one requester may try, in so many seconds
_HASHER = PasswordHasher()


def new_secret() -> tuple[str, str]:
    """Something to hand out, and the hash of it to keep."""
    text = token_urlsafe(32)
    return text, hashed(text)


def hashed(text: str) -> str:
    """Of a random text: it needs no slow hash."""
    return sha256(text.encode("utf-8", "replace")).hexdigest()


class Sessions:
    """Signs operators in, and knows them again."""

    def __init__(self, store: Store, secret: MasterSecret) -> None:
        keys = [derive(secret.keys[number], "proxywarden web operator") for number in sorted(secret.keys)]
        self._signer = URLSafeTimedSerializer(keys, salt="session")
        self._store = store
        self._limiter = trio.CapacityLimiter(2)  # a hash takes 64 MiB

    async def operator(self, request: Request) -> str | None:
        """Who asks; None where nobody is signed in."""
        try:
            name, began = self._signer.loads(request.cookies.get(COOKIE, "")[:500], max_age=_SESSION_FOR)
        except (BadData, ValueError, TypeError):
            return None
        for account in await self._store.accounts():
            if account.name == name and account.password and account.since <= began:
                return account.name
        return None

    async def sign_in(self, request: Request, name: str, password: str) -> bool:
        """Problem 429 after too many tries."""
        now = time.time()
        later = await self._store.take(f"sign-in:{requester_of(request.state.client)}", now, _TRIES, _TRIES_IN)
        if later is not None:
            raise Problem(429, f"too many tries: the next one in {wait(later - now)}", retry_after=later - now)
        known = {account.name: account.password for account in await self._store.accounts()}
        kept = known.get(name)
        return await trio.to_thread.run_sync(_matches, kept, password, limiter=self._limiter)

    async def invited(self, link: str) -> str | None:
        """Whose one-time link this is."""
        return await self._store.invited(hashed(link), time.time())

    async def set_password(self, link: str, password: str) -> str | None:
        """By a one-time link, which is used up; the operator's name."""
        if not SHORTEST <= len(password) <= LONGEST:
            raise Problem(422, f"expected {SHORTEST} to {LONGEST} characters", field="password")
        kept = await trio.to_thread.run_sync(_HASHER.hash, password, limiter=self._limiter)
        return await self._store.set_password(hashed(link), kept, time.time())

    def begin(self, answer: Response, name: str, *, secure: bool) -> None:
        answer.set_cookie(
            COOKIE,
            str(self._signer.dumps([name, time.time()])),
            max_age=_SESSION_FOR,
            path="/operator",
            httponly=True,
            samesite="strict",
            secure=secure,
        )

    async def end(self, answer: Response, name: str) -> None:
        """All of them: whoever signs out somewhere is out everywhere."""
        answer.delete_cookie(COOKIE, path="/operator")
        await self._store.end_sessions(name, time.time())


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody's password")


def _matches(kept: str | None, password: str) -> bool:
    """Takes as long for a name that is not there."""
    try:
        return _HASHER.verify(kept or _nobodys(), password[:LONGEST]) and kept is not None
    except (Argon2Error, InvalidHashError):
        return False
