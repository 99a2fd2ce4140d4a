"""Render self-contained HTML pages: one file, no request, all text escaped.

The graph card, the annotation report and the leaderboard extend ``templates/base.html.j2`` and share its style sheet
and script. The comments at the top of those files describe them. A page holds its data as JSON blocks. Its style and
script are inline, and a Content-Security-Policy with their hashes forbids every other source.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from vckg.base.words import counted

TEMPLATES = Path(__file__).parent / "templates"

# Characters that can end a script element or open a comment, and two line ends that JavaScript once refused.
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def script_json(value: object) -> Markup:
    r"""Return `value` as JSON that is safe inside ``<script type="application/json">``.

    ``</script>`` and ``<!--`` cannot occur: ``<``, ``>`` and ``&`` are written as ``\u003c`` and the like.
    A float that is not finite raises a `ValueError`.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))


def render(
    template: Path,
    *,
    title: str,
    data: Mapping[str, object] | None = None,
    styles: Iterable[Path] = (),
    scripts: Iterable[Path] = (),
    folders: Iterable[Path] = (),
    **variables: Any,
) -> str:
    """Return the HTML of one page.

    Parameters
    ----------
    template
        A jinja2 file that starts with ``{% extends "base.html.j2" %}``; it may include files of its folder.
    title
        Title of the document, plain text.
    data
        JSON blocks by element id; the script reads one with ``page.data(id)``.
    styles, scripts
        Files to append to the shared style sheet and script, in this order.
    folders
        More folders of templates to include.
    variables
        Variables of the template. They are escaped; an undefined name is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, *folders, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["counted"] = counted
    style = _inline("style.css", styles, closing="</style")
    script = _inline("page.js", scripts, closing="</script")
    return environment.get_template(template.name).render(
        title=title,
        style=Markup(style),
        script=Markup(script),
        policy=content_security_policy(style, script),
        data={name: script_json(value) for name, value in (data or {}).items()},
        **variables,
    )


def content_security_policy(style: str, script: str) -> str:
    """Return the policy that allows this style, this script and inline images only."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def _inline(shared: str, own: Iterable[Path], *, closing: str) -> str:
    text = "\n".join(path.read_text(encoding="utf-8").strip("\n") for path in (TEMPLATES / shared, *own))
    assert closing not in text.lower(), "a style or script file would end its own element"
    return text


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
