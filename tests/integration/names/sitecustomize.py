"""Names that are resolved as an attacker's name server would, for the tests of uploads by URL."""

import itertools
import socket
import time

_real = socket.getaddrinfo
_ADDRESSES = {
    # The first answer is harmless, all others lead to where nobody outside can get.
    "rebind.test": itertools.chain([["127.0.0.1"]], itertools.repeat(["127.0.0.2"])),
    "mixed.test": itertools.repeat(["127.0.0.1", "127.0.0.2"]),
    "good.test": itertools.repeat(["127.0.0.1"]),
    "inside.test": itertools.repeat(["127.0.0.2"]),
    "metadata.test": itertools.repeat(["169.254.169.254"]),
    "mapped.test": itertools.repeat(["::ffff:127.0.0.1"]),
}


def _resolve(host, port, *args, **kwargs):
    name = host.decode() if isinstance(host, bytes) else host
    if name.endswith("slow.test"):
        time.sleep(8)
        raise socket.gaierror(socket.EAI_AGAIN, "no name server has answered")
    if name in _ADDRESSES:
        addresses = next(_ADDRESSES[name])
        return [found for address in addresses for found in _real(address, port, *args, **kwargs)]
    return _real(host, port, *args, **kwargs)


socket.getaddrinfo = _resolve
