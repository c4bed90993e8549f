"""A bucket or a PostgreSQL database that is another deployment's is noticed, at the start and while running."""

import shutil
import threading
from pathlib import Path

from tests import pictures
from tests.integration.server import Server, eventually, serving
from tests.integration.test_identity import png, refusal
from tests.servers import S3Server, postgres, running


def test_a_bucket_or_a_database_of_another_deployment_is_refused(data_dir: Path, tmp_path: Path) -> None:
    s3 = S3Server(tmp_path / "s3")
    with running(s3), postgres(tmp_path / "postgres") as database:
        one = {**s3.settings("one"), "database_url": database.new_database()}
        servers: list[Server] = []

        def start(name: str) -> None:
            servers.append(Server(data_dir.with_name(name), **one))

        nodes = [threading.Thread(target=start, args=(name,)) for name in ("node1", "node2")]
        for node in nodes:
            node.start()
        for node in nodes:
            node.join()
        assert len(servers) == 2
        reference = servers[0].put(png())
        assert servers[1].get(reference).status_code == 200
        with serving(tmp_path / "other", **s3.settings("two"), database_url=database.new_database()) as other:
            other.put(png((31, 20)))
        root = tmp_path / "s3" / "buckets"
        (root / "one").rename(root / "away")
        shutil.copytree(root / "two", root / "one")
        for server in servers:
            assert server.client.get("/readyz").status_code == 503
            assert server.client.put("/storage/", content=pictures.oriented(1)).status_code == 503
        variables = {f"PROGIMAGE_{name.upper()}": value for name, value in one.items()}
        assert "deployment" in refusal(data_dir, **variables)
        shutil.rmtree(root / "one")
        (root / "away").rename(root / "one")
        eventually(lambda: servers[0].client.get("/readyz").status_code == 200)
        known = database.sql("SELECT id FROM deployment", "progimage1")
        assert known
        database.sql("UPDATE deployment SET id = 'another'", "progimage1")
        assert "different deployment" in refusal(data_dir, **variables)
        for server in servers:
            server.stop()
