"""Bodies of requests: JSON that is checked against a model."""

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

Model = TypeVar("Model", bound=BaseModel)


class _TwiceError(Exception):
    """An object has two keys of one name."""


def parsed(model: type[Model], body: bytes) -> Model:
    """A body as a model.

    Raises:
      HTTPException: 422; its one line names the field.
    """
    try:
        value = model.model_validate_json(body)
        # pydantic takes the last of several keys of one name.
        _ONCE.decode(body.decode())
    except _TwiceError as error:
        raise HTTPException(422, f"{error}: given twice"[:300]) from None
    except ValidationError as error:
        problem = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(str(name) for name in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        raise HTTPException(422, f"{place}: {message}"[:300] if place else message[:300]) from None
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of JSON that has these keys and values.

    Raises:
      _TwiceError: two keys have one name.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    return made


_ONCE = json.JSONDecoder(object_pairs_hook=_unique)
