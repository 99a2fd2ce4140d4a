"""The OpenAPI document of the HTTP interface, made from the types that parse the bodies.

FastAPI generates it from handlers whose bodies it parses itself. The handlers here read the body themselves, to bound
its bytes and its time, so FastAPI would need the same schemas and responses by hand.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any

from pydantic.json_schema import models_json_schema

from serve.server.protocol import ChatBody, CompletionBody

_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
_MODEL = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_REFUSALS = {
    "400": "The body is malformed or asks for what is not supported.",
    "401": "The API key is missing or wrong.",
    "404": "The model is not served here.",
    "408": "The body did not arrive in time.",
    "413": "The body is too large.",
    "415": "The body is not named application/json.",
    "421": "The request names a host that is not served here.",
    "429": "Too many requests are open.",
    "503": "The server is shutting down or has failed.",
}


@cache
def openapi_document() -> dict[str, Any]:
    """The document, OpenAPI 3.1."""
    _, schemas = models_json_schema(
        [(ChatBody, "validation"), (CompletionBody, "validation")],
        ref_template="#/components/schemas/{model}",
    )
    return {
        "openapi": "3.1.0",
        "info": {"title": "vckg-serve", "version": version("vckg")},
        "security": [{"key": []}],
        "paths": {
            "/v1/chat/completions": {"post": _completion("ChatBody", "Answer a conversation.")},
            "/v1/completions": {"post": _completion("CompletionBody", "Continue a text.")},
            "/v1/models": {"get": _plain("The model that is served.", {"type": "object"})},
            "/v1/models/{model}": {
                "get": _plain("A model by its name.", {"type": "object"}, refusals=("404",))
                | {"parameters": [_MODEL]}
            },
            "/health": {
                "get": _plain("Whether requests are being served.", {"type": "object"}) | {"security": []}
            },
            "/metrics": {
                "get": _plain("Counters in Prometheus' text form.", {"type": "string"}, "text/plain")
            },
            "/openapi.json": {"get": _plain("This document.", {"type": "object"}) | {"security": []}},
        },
        "components": {
            "schemas": schemas["$defs"] | {"Error": _ERROR},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _refused(*codes: str) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {code: {"description": _REFUSALS[code], "content": content} for code in codes}


def _completion(body: str, summary: str) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{body}"}}},
        },
        "responses": {
            "200": {
                "description": "The answer, in one piece or as server-sent events (`stream: true`).",
                "content": {
                    "application/json": {"schema": {"type": "object"}},
                    "text/event-stream": {},  # a schema here would be that of one event
                },
            },
            **_refused(*_REFUSALS),
        },
    }


def _plain(
    summary: str, schema: dict[str, Any], media: str = "application/json", refusals: tuple[str, ...] = ()
) -> dict[str, Any]:
    ok = {"description": summary, "content": {media: {"schema": schema}}}
    return {"summary": summary, "responses": {"200": ok, **_refused("400", "401", "421", "503", *refusals)}}
