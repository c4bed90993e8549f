"""What runs in a worker process: tasks, one after the other, as they come over its socket."""

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
"""The descriptor of the worker's socket, the only one that it has beside /dev/null."""
_ROOM = 4 * 1024 * 1024
_PROBE = bytes(4096)
_BEGAN = msgspec.msgpack.encode(Began())


def run(channel: int, sandbox: Sandbox, tasks: Any) -> NoReturn:
    """Give up all rights, then run tasks until the server is gone.

    Args:
        channel: The descriptor of the socket.
        sandbox: What the worker may do.
        tasks: The union of the types of tasks.
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
            send(server, _answer(decoder.decode(order.task), inputs, outputs))
            for descriptor in descriptors:
                os.close(descriptor)


def _keep_only(channel: int) -> None:
    """Close every descriptor but the socket's. What codecs print of hostile images goes to /dev/null."""
    os.dup2(channel, CHANNEL)
    os.closerange(CHANNEL + 1, os.sysconf("SC_OPEN_MAX"))
    for standard in range(CHANNEL):
        os.dup2(os.open(os.devnull, os.O_RDWR), standard)
    os.closerange(CHANNEL + 1, CHANNEL + 8)


def _answer(task: Any, inputs: list[int], outputs: list[int]) -> bytes:
    try:
        result = task.run(inputs, outputs)
        return msgspec.msgpack.encode(Done(msgspec.Raw(msgspec.msgpack.encode(result))))
    except MemoryError as error:
        # Without the traceback, which holds all that had been allocated; the worker lives on.
        answer = encode_error(MemoryError(str(error)), "")
    except Exception as error:
        # A codec may call it what it likes that there was no room for what it wrote.
        answer = encode_error(_full_disk(outputs) or error, traceback.format_exc())
    gc.collect()
    return answer


def _full_disk(outputs: list[int]) -> OSError | None:
    """Return the error if there is no room to write more to one of the outputs.

    A file system may have room for a page where a larger piece did not fit: ext4 refuses one of 2 MiB as a whole. A
    quota shows only when something is written.
    """
    for output in outputs:
        room = os.fstatvfs(output)
        if room.f_bavail * room.f_frsize < _ROOM:
            return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        try:
            os.lseek(output, 0, os.SEEK_END)
            if os.write(output, _PROBE) < len(_PROBE):  # the next byte would be too much
                return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            if error.errno in FULL_DISK:
                return error
            raise
    return None
