"""The words errors are told in: the specification's codes, or those of Faye's server. Pure.

Faye gives 401 and 402 each other's meaning. CometD's clients, aiocometd and the specification agree
on ours; a page that looks at the numbers Faye's server sent can have those.
"""

from __future__ import annotations

from typing import Literal

from ..errors import BadMessage, NoClientId, ProtocolError, UnknownClient

Dialect = Literal["spec", "faye"]

SPEC: Dialect = "spec"


def wire(error: ProtocolError, dialect: Dialect) -> str:
    """The error field of a reply."""
    if dialect == "faye":
        match error:
            case NoClientId():
                return "402:clientId:Missing required parameter"
            case UnknownClient():
                return f"401:{','.join(error.params)[:200]}:Unknown client"
            case BadMessage() if error.text == "Missing field":
                return f"402:{','.join(error.params)[:200]}:Missing required parameter"
    return error.wire()
