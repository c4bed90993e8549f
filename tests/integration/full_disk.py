"""What `test_full_disk` runs inside a small file system: a server is killed there, and starts when it is full."""

import contextlib
import sys
from pathlib import Path

from tests.integration.server import Server
from tests.integration.test_cloud import noise


def main(folder: Path, elsewhere: Path) -> None:
    server = Server(folder / "data", undelete_seconds=0)
    kept, gone = server.put(noise(1, 500)), server.put(noise(2, 500))
    server.kill()
    with (folder / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(1 << 16)):
            pass
    for _ in range(2):
        server = Server(folder / "data", undelete_seconds=0)
        assert server.get(kept).content == noise(1, 500)
        if gone:
            assert server.client.delete(f"/storage/{gone}").status_code == 204
        gone = ""
        for command in (("keys", "create"), ("scrub",), ("check", "--deep")):
            server.command(*command)
        server.command("backup", str(elsewhere))
        assert server.client.put("/storage/", content=noise(3, 900)).status_code == 507
        server.kill()
    (folder / "filler").unlink()
    server = Server(folder / "data")
    assert server.client.put("/storage/", content=noise(3, 900)).status_code == 200
    assert server.get(kept).content == noise(1, 500)
    server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
