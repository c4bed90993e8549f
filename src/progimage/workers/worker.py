"""The code that runs in a worker process: it runs tasks from its socket, one after the other."""

import errno
import gc
import os
import socket
import traceback
from typing import Any, NoReturn

import msgspec

from progimage.engine.files import FULL_DISK
from progimage.engine.libraries import seal
from progimage.workers.protocol import Began, Done, Order, encode_error, receive, send
from progimage.workers.sandbox import Sandbox

CHANNEL = 3
"""Descriptor of the worker's socket, the only one besides those of /dev/null."""
_ROOM = 4 * 1024 * 1024
_PROBE = bytes(4096)
_BEGAN = msgspec.msgpack.encode(Began())


def run(channel: int, sandbox: Sandbox, tasks: Any) -> NoReturn:
    """Enter the sandbox, then run tasks until the server ends.

    Args:
        channel: Descriptor of the socket.
        sandbox: The limits of the worker.
        tasks: Union of the task types.
    """
    _keep_only(channel)
    orders, decoder = msgspec.msgpack.Decoder(Order), msgspec.msgpack.Decoder(tasks)
    with socket.socket(fileno=CHANNEL) as server:
        sandbox.enter()
        seal()
        while True:
            data, descriptors = receive(server)
            if not data:
                os._exit(0)
            send(server, _BEGAN)
            order = orders.decode(data)
            inputs, outputs = descriptors[: order.inputs], descriptors[order.inputs :]
            send(server, _result(decoder.decode(order.task), inputs, outputs))
            for descriptor in descriptors:
                os.close(descriptor)


def _keep_only(channel: int) -> None:
    """Close all descriptors except the socket's, and redirect codecs' output about hostile images to /dev/null."""
    os.dup2(channel, CHANNEL)
    os.closerange(CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))
    for standard in range(CHANNEL):
        os.dup2(os.open(os.devnull, os.O_RDWR), standard)
    os.closerange(CHANNEL + 1, CHANNEL + 8)


def _result(task: Any, inputs: list[int], outputs: list[int]) -> bytes:
    try:
        result = task.run(inputs, outputs)
        return msgspec.msgpack.encode(Done(msgspec.Raw(msgspec.msgpack.encode(result))))
    except MemoryError as error:
        # Drop the traceback, which keeps all allocated memory alive; the worker goes on.
        result = encode_error(MemoryError(str(error)), "")
    except Exception as error:
        # Codecs raise all kinds of exceptions if the disk is full.
        result = encode_error(_full_disk(outputs) or error, traceback.format_exc())
    gc.collect()
    return result


def _full_disk(outputs: list[int]) -> OSError | None:
    """Return an OSError if there is no space for more data in one of the outputs.

    A file system can have space for a page although a larger write failed: ext4 rejects a write of 2 MiB as a whole.
    Quotas show only when something is written.
    """
    for output in outputs:
        room = os.fstatvfs(output)
        if room.f_bavail * room.f_frsize < _ROOM:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            os.lseek(output, 0, os.SEEK_END)
            if os.write(output, _PROBE) < len(_PROBE):  # there is no space for the next byte
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if error.errno in FULL_DISK:
                return error
            raise
    return None
