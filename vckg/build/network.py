"""Which hosts answer. Each host is asked once, all at the same time, and the waiting has one limit.

A firewall that drops packets, a name server that is silent and a proxy that never replies all look alike: nothing
comes back. So a host that does not answer within the limit is not asked for any file.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

LIMIT_S = 6.0
"""Seconds that one command waits in all for the hosts it knows at its start."""
LATER_S = 2.0
"""Least seconds to wait for a host that becomes known later: an index that answers names where its files lie."""


class Network:
    """What is known about the hosts of one command.

    Parameters
    ----------
    limit_s
        Seconds to wait in all; once they are used, each new host still gets `LATER_S`.
    """

    def __init__(self, limit_s: float = LIMIT_S) -> None:
        self._left_s = limit_s
        self._answers: dict[str, str] = {}
        self._asked: set[str] = set()
        self._asking = threading.Lock()

    def ask(self, addresses: Iterable[str]) -> None:
        """Ask the hosts of some addresses that were not asked before; return when all answered or time is up.

        Several threads may ask; one that meets a host which another is asking waits for that answer.
        """
        with self._asking:
            new = {_host(address) for address in addresses if _is_remote(address)} - self._asked
            if not new:
                return
            self._asked |= new
            limit_s = max(self._left_s, LATER_S) if self._asked - new else self._left_s
            threads = [
                threading.Thread(target=self._probe, args=(host, limit_s), daemon=True)
                for host in sorted(new)
            ]
            start = time.monotonic()
            for thread in threads:  # daemons: a silent name server must not keep the command alive
                thread.start()
            for thread in threads:
                thread.join(max(0.0, start + limit_s - time.monotonic()))
            self._left_s = max(0.0, self._left_s - (time.monotonic() - start))

    def refusal(self, address: str) -> str:
        """Return why the host of an address is not used; an empty text where it answers or is this machine's disk."""
        if not _is_remote(address):
            return ""
        host = _host(address)
        self.ask([address])
        return self._answers.get(host, f"{host} does not answer")

    def _probe(self, host: str, limit_s: float) -> None:
        import requests

        from vckg.build.package_index import certificate

        try:
            requests.head(f"{host}/", timeout=limit_s, verify=certificate(os.environ), allow_redirects=False)
            self._answers[host] = ""
        except (requests.RequestException, ValueError, OSError) as error:
            self._answers[host] = f"{host} does not answer ({_kind(error)})"


def without_login(text: str) -> str:
    """Return a text without the user names and passwords of the addresses in it."""
    return re.sub(r"://[^/\s]*@", "://", text)


def _is_remote(address: str) -> bool:
    return address.startswith(("http:", "https:"))


def _host(address: str) -> str:
    """Scheme and host: ``https://pypi.org``, without a user name or a password."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def _kind(error: Exception) -> str:
    words = str(error)
    for mark, kind in (
        ("refused", "connection refused"),
        ("CERTIFICATE", "its certificate is not trusted"),
        ("resolve", "no such host"),
        ("Name or service", "no such host"),
        ("imed out", "timed out"),
    ):
        if mark in words:
            return kind
    return type(error).__name__
