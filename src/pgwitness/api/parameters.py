"""A parameter that a route does not have is an error: left out in silence, a mistyped filter would give the
whole record as if it had been filtered.
"""

from collections.abc import Iterator

from fastapi import Request
from fastapi.dependencies.models import Dependant

from pgwitness.api.access import ReaderHere
from pgwitness.errors import InvalidError


def only_known(request: Request, _reader: ReaderHere) -> None:
    """Once it is known who asks: strangers learn nothing of parameters. Raises InvalidError, also for one
    that is given twice, of which only the last would count."""
    if not request.query_params:
        return
    known = set(_names(request.scope["route"].dependant))
    given = [name for name, _ in request.query_params.multi_items()]
    for name in given:
        if name not in known:
            raise InvalidError(
                f"there is no parameter {name!a} here",
                hint=f"there are: {', '.join(sorted(known))}" if known else None,
            )
        if given.count(name) > 1:
            raise InvalidError(f"{name} is given twice", hint="each parameter counts once")


def _names(dependant: Dependant) -> Iterator[str]:
    yield from (parameter.alias for parameter in dependant.query_params)
    for each in dependant.dependencies:
        yield from _names(each)
