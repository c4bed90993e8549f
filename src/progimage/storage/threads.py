"""Methods that block, run in a thread."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

_Self = TypeVar("_Self")
_Args = ParamSpec("_Args")
_Result = TypeVar("_Result")


def in_thread(
    method: Callable[Concatenate[_Self, _Args], _Result],
) -> Callable[Concatenate[_Self, _Args], Coroutine[Any, Any, _Result]]:
    """Make a method that blocks awaitable: it runs in a thread, see `asyncio.to_thread`."""

    @wraps(method)
    async def run(self: _Self, /, *args: _Args.args, **kwargs: _Args.kwargs) -> _Result:
        return await asyncio.to_thread(method, self, *args, **kwargs)

    return run
