"""The protocol between a server and its workers: MessagePack over one private socket per worker.

A worker can have been taken over by an attacker, so nothing that it sends is trusted: messages have a maximum length,
are decoded to declared types only, and errors are looked up by name in a table. The server opens files and passes their
descriptors with the task (unix(7), `SCM_RIGHTS`); workers can't pass any.
"""

import array
import os
import socket
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec

from progimage import engine
from progimage.engine.files import FULL_DISK
from progimage.engine.libraries import LIBRARIES

LARGEST_MESSAGE = 192 * 1024
"""In bytes. This fits into one datagram of a Unix socket with the kernel's default buffers of 208 KiB."""
_MOST_DESCRIPTORS = 64
_LONGEST_TEXT = 2000
_LARGEST_NUMBER = 2**62
_DESCRIPTOR_BYTES = array.array("i").itemsize


class BadResult(Exception):
    """A worker sent something that no worker sends unless it was taken over."""


class Unexpected(Exception):
    """The engine raised an unexpected exception, because of a bug in the engine or in a codec.

    Args:
        kind: Name of the exception's type.
        text: Message of the exception.
        trace: Traceback as text.
    """

    def __init__(self, kind: str, text: str, trace: str) -> None:
        super().__init__(f"{kind}: {text}")
        self.kind, self.trace = kind, trace


class Order(msgspec.Struct):
    """A message from the server: run a task.

    Attributes:
        inputs: Number of attached descriptors that are inputs; the others are outputs.
        task: The encoded task.
    """

    inputs: int
    task: msgspec.Raw


class Began(msgspec.Struct, tag="began"):
    """The worker has received the task. If it dies before it sends this, another worker can get the task."""


class Done(msgspec.Struct, tag="done"):
    """The task is done.

    Attributes:
        result: The encoded result of the task.
    """

    result: msgspec.Raw


class Failed(msgspec.Struct, tag="failed"):
    """The task raised an error.

    Attributes:
        kind: A key of `_ERRORS`.
        details: The encoded arguments of the error.
    """

    kind: str
    details: msgspec.Raw


_Text = Annotated[str, msgspec.Meta(max_length=_LONGEST_TEXT)]
_Number = Annotated[int, msgspec.Meta(ge=-_LARGEST_NUMBER, le=_LARGEST_NUMBER)]
_Names = Annotated[list[_Text], msgspec.Meta(max_length=500)]
_Library: Any = Literal[tuple(LIBRARIES)]

_ERRORS: dict[str, tuple[type[Exception], Any]] = {
    "CannotRepresent": (engine.CannotRepresent, tuple[_Text]),
    "CorruptImage": (engine.CorruptImage, tuple[_Text]),
    "InvalidParameter": (engine.InvalidParameter, tuple[_Text, _Text, _Text]),
    "LimitExceeded": (engine.LimitExceeded, tuple[_Text, _Number, _Number]),
    "LibraryNotLoaded": (engine.LibraryNotLoaded, tuple[_Library]),
    "MemoryError": (MemoryError, tuple[_Text]),
    "NotAnImage": (engine.NotAnImage, tuple[_Text]),
    "TooCostly": (engine.TooCostly, tuple[Annotated[float, msgspec.Meta(ge=0, le=1e9)], bool]),
    "UnreadKind": (engine.UnreadKind, tuple[_Text]),
    "UnknownParameter": (engine.UnknownParameter, tuple[_Text, _Text, _Names]),
    "OSError": (OSError, tuple[_Number, _Text]),
    "Unexpected": (Unexpected, tuple[_Text, _Text, _Text]),
}
"""The errors that a worker can raise, by name, with the types of their arguments."""
_said = msgspec.msgpack.Decoder(Began | Done | Failed)


def encode_error(error: Exception, trace: str) -> bytes:
    """Return the message that a task has raised an error. Called by the worker.

    Args:
        error: The error; errors that aren't in the table become `Unexpected`.
        trace: Traceback as text.
    """
    kind, details = type(error).__name__, error.args
    if isinstance(error, OSError) and error.errno in FULL_DISK:
        kind, details = "OSError", (error.errno, os.strerror(error.errno))
    elif isinstance(error, MemoryError):
        kind, details = "MemoryError", (str(error),)
    elif not isinstance(error, engine.EngineError) or kind not in _ERRORS:
        kind, details = "Unexpected", (kind, str(error), trace[-_LONGEST_TEXT:])
    elif _ERRORS[kind][1] == tuple[_Text]:
        details = (str(error),)
    return msgspec.msgpack.encode(Failed(kind, msgspec.Raw(msgspec.msgpack.encode(list(map(_plain, details))))))


def _plain(part: Any) -> Any:
    """Return an argument of an error within the limits of the server: length of text, size of numbers, valid UTF-8."""
    if isinstance(part, str):
        return part[:_LONGEST_TEXT].encode(errors="replace").decode()
    return max(-_LARGEST_NUMBER, min(part, _LARGEST_NUMBER)) if isinstance(part, int) else part


def decode_result(data: bytes, result: Any) -> Any:
    """Decode a message from a worker. Called by the server.

    Args:
        data: The message.
        result: The type of the task's result.

    Returns:
        `Began`, or the result of the task.

    Raises:
        BadResult: The message is invalid, or not a response to this task.
        Exception: The error that the task raised, one of those in the table.
    """
    if len(data) > LARGEST_MESSAGE:
        raise BadResult(f"more than {LARGEST_MESSAGE} bytes")
    try:
        said = _said.decode(data)
        if isinstance(said, Began):
            return said
        if isinstance(said, Done):
            return msgspec.msgpack.decode(said.result, type=result)
        make, parts = _ERRORS[said.kind]
        details = msgspec.msgpack.decode(said.details, type=parts)
    # Text can be invalid UTF-8, and nesting can be too deep for the decoder.
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise BadResult(f"{type(error).__name__}: {error}"[:_LONGEST_TEXT]) from None
    raise make(*details)


def send(channel: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send a message, with copies of open descriptors.

    Raises:
        OSError: The other side has closed the channel.
        ValueError: The message is too large.
    """
    if len(data) > LARGEST_MESSAGE or len(descriptors) > _MOST_DESCRIPTORS:
        raise ValueError(f"a message of {len(data)} bytes and {len(descriptors)} descriptors")
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    channel.sendmsg([data], passed)


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a message with descriptors, which are close-on-exec. It is empty if the other side has closed."""
    room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * _DESCRIPTOR_BYTES)
    data, passed, _, _ = channel.recvmsg(LARGEST_MESSAGE + 1, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, bytes_ in passed:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(bytes_[: len(bytes_) - len(bytes_) % _DESCRIPTOR_BYTES])
    return data, list(descriptors)


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a channel, which delivers whole messages in order."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
