"""Start a fork server; see `progimage.workers.fork_server`."""

from progimage.workers.fork_server import main

main()
