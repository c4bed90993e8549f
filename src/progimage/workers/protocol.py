"""What a server and its workers say to each other: plain data (MessagePack), over one private socket for each worker.

A worker may have been taken over, so that nothing it says is believed: an answer has a bounded length, is decoded to
declared types and nothing else, and names its error by a kind out of a table. Files go the other way only: the server
opens them, and hands the descriptors over with the task (unix(7), `SCM_RIGHTS`).
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
"""In bytes. One datagram of a Unix socket can have it with the kernel's usual buffers of 208 KiB."""
_MOST_DESCRIPTORS = 64
_LONGEST_TEXT = 2000
_LARGEST_NUMBER = 2**62
_DESCRIPTOR_BYTES = array.array("i").itemsize


class BadAnswer(Exception):
    """A worker said something that no worker says unless it was taken over."""


class Unexpected(Exception):
    """The engine raised what it should not: a bug there, or in a codec.

    Args:
        kind: The name of the exception's type.
        text: What it said.
        trace: Its traceback, as text.
    """

    def __init__(self, kind: str, text: str, trace: str) -> None:
        """Store the parts."""
        super().__init__(f"{kind}: {text}")
        self.kind, self.trace = kind, trace


class Order(msgspec.Struct):
    """What the server sends.

    Attributes:
        inputs: How many of the descriptors that come along are inputs; the others are outputs.
        task: The task, encoded.
    """

    inputs: int
    task: msgspec.Raw


class Began(msgspec.Struct, tag="began"):
    """The worker has the task. If it dies before it says so, another one may be given it."""


class Done(msgspec.Struct, tag="done"):
    """The task is done.

    Attributes:
        result: The task's result, encoded.
    """

    result: msgspec.Raw


class Failed(msgspec.Struct, tag="failed"):
    """The task raised an error.

    Attributes:
        kind: One of `_ERRORS`.
        details: What that kind of error is made of, encoded.
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
"""By its name, each error that a worker may raise here, and the types of what it is made of."""
_said = msgspec.msgpack.Decoder(Began | Done | Failed)


def encode_error(error: Exception, trace: str) -> bytes:
    """Return the answer that a task has raised an error. Called by the worker.

    Args:
        error: The error; one that is not in the table becomes `Unexpected`.
        trace: Its traceback, as text.
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
    """Return a part of an error such that the server takes it: no longer, larger or stranger than allowed."""
    if isinstance(part, str):
        return part[:_LONGEST_TEXT].encode(errors="replace").decode()
    return max(-_LARGEST_NUMBER, min(part, _LARGEST_NUMBER)) if isinstance(part, int) else part


def decode_answer(data: bytes, result: Any) -> Any:
    """Return what a worker has answered. Called by the server.

    Args:
        data: The message.
        result: The type of the task's result.

    Returns:
        `Began`, or the result.

    Raises:
        BadAnswer: It is no answer, or not to this task.
        Exception: The error that the task has raised, one of the table.
    """
    if len(data) > LARGEST_MESSAGE:
        raise BadAnswer(f"more than {LARGEST_MESSAGE} bytes")
    try:
        said = _said.decode(data)
        if isinstance(said, Began):
            return said
        if isinstance(said, Done):
            return msgspec.msgpack.decode(said.result, type=result)
        make, parts = _ERRORS[said.kind]
        details = msgspec.msgpack.decode(said.details, type=parts)
    # Text may be no Unicode, and nesting may be too deep for the decoder.
    except (msgspec.DecodeError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise BadAnswer(f"{type(error).__name__}: {error}"[:_LONGEST_TEXT]) from None
    raise make(*details)


def send(channel: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send a message, with copies of open descriptors.

    Raises:
        OSError: The other side is gone.
        ValueError: The message is too large.
    """
    if len(data) > LARGEST_MESSAGE or len(descriptors) > _MOST_DESCRIPTORS:
        raise ValueError(f"a message of {len(data)} bytes and {len(descriptors)} descriptors")
    passed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
    channel.sendmsg([data], passed)


def receive(channel: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a message with descriptors, which are closed on exec; an empty one means that the other side is gone."""
    room = socket.CMSG_SPACE(_MOST_DESCRIPTORS * _DESCRIPTOR_BYTES)
    data, passed, _, _ = channel.recvmsg(LARGEST_MESSAGE + 1, room, socket.MSG_CMSG_CLOEXEC)
    descriptors = array.array("i")
    for level, kind, bytes_ in passed:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(bytes_[: len(bytes_) - len(bytes_) % _DESCRIPTOR_BYTES])
    return data, list(descriptors)


def channel_pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a channel: of messages, in order, each whole or not at all."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
