"""What a server says of itself, read from untrusted JSON. Source: `GET /v6/ServiceInstance`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exporter.vb365.errors import BadResponseError

__all__ = ["ServiceInstance", "parse_service_instance"]

_LONGEST_TEXT_CHARACTERS: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceInstance:
    """What the server says of itself. Texts it left out are empty."""

    version: str
    """`version`: of the product."""
    installation_id: str
    """`installationId`."""


def parse_service_instance(answer: object) -> ServiceInstance:
    """Read the answer.

    Args:
        answer: any value a JSON decoder can produce.

    Raises:
        BadResponseError: it is no JSON object.
    """
    if not isinstance(answer, dict):
        raise BadResponseError("the answer is no JSON object", operation="service_instance")
    return ServiceInstance(
        version=_text(answer, "version"), installation_id=_text(answer, "installationId")
    )


def _text(record: Mapping[object, object], field: str) -> str:
    value = record.get(field)
    return value[:_LONGEST_TEXT_CHARACTERS] if isinstance(value, str) else ""
