"""Reads the pages of the documentation as somebody does who tries everything that stands there.

A block of code is run by what it is called: `console` in one shell a page, whose output has to be what is shown (`…`
stands for anything, and a UUID for any), `sh` likewise without output, `python` in one namespace a page. What can't be
run says why, in a comment before it. The recipes' blocks have a `title`: the file that they are.
"""

import contextlib
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt

from tests.integration.server import Server
from tests.servers import BIN

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
HOST = "http://127.0.0.1:5000"
"""Where the service of the documentation is; the tests' one is elsewhere."""
_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")
_NOT_RUN = re.compile(r"<!-- not run: (.+?) -->", re.DOTALL)
_SERVE = re.compile(r"^((?:\w+=(?:'[^']*'|\S)+ )*)progimage serve((?: --\w+ \S+)*)$")


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        page: Where it stands.
        line: Of the page, counted from 1.
        language: What it is called.
        title: The file that it is, if it is one.
        text: What it says.
        not_run: Why it can't be run, or None.
    """

    page: Path
    line: int
    language: str
    title: str | None
    text: str
    not_run: str | None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """Return the blocks of code of a page."""
    found, reason = [], None
    for token in MarkdownIt().parse(page.read_text()):
        if token.type == "fence":
            language, _, rest = token.info.strip().partition(" ")
            title = re.fullmatch(r'title="(.+)"', rest)
            assert token.map
            found.append(Block(page, token.map[0] + 1, language, title and title[1], token.content, reason))
            reason = None
        elif token.type == "html_block" and (match := _NOT_RUN.search(token.content)):
            reason = match[1]
        elif token.type != "html_block":
            reason = None
    return found


class Reader:
    """Somebody with a machine, a folder of pictures, and a service of their own.

    Args:
        folder: An empty one.
        settings: Of the service.
        elsewhere: Replaces addresses of the documentation by those of servers of the tests.
    """

    def __init__(self, folder: Path, elsewhere: dict[str, str], **settings: Any) -> None:
        self.folder = folder / "reader"
        self.folder.mkdir()
        self._settings = settings
        self.server = Server(folder / "data", **settings)
        self._elsewhere = {HOST: self.server.url, **elsewhere}
        self.environment = {
            **self.server.environment,
            "HOME": str(self.folder),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "PROGIMAGE_URL": self.server.url,
            "PROGIMAGE_DATA_DIR": str(self.server.data_dir),
            "host": self.server.url,
        }
        self._shell = subprocess.Popen(
            ["bash", "--norc"], cwd=self.folder, env=self.environment, text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert self._shell.stdin and self._shell.stdout
        self._stdin, self._stdout = self._shell.stdin, self._shell.stdout
        self._names: dict[str, Any] = {"__name__": "example"}

    def close(self) -> None:
        self._stdin.close()
        self._shell.wait(timeout=30)
        self.server.stop()

    def run(self, block: Block) -> None:
        """Do what a block says.

        Raises:
            AssertionError: Something else came out than it says.
        """
        text = block.text
        for there, here in self._elsewhere.items():
            text = text.replace(there, here)
        if block.language == "console":
            for command, expected in commands(text):
                self._command(str(block), command, expected)
        elif block.language == "sh":
            self._command(str(block), text.rstrip(), "")
        elif block.language == "python":
            exec(compile("\n" * block.line + text, str(block.page), "exec"), self._names)
        else:
            raise AssertionError(f"{block}: nobody knows how to run {block.language!r}")

    def _command(self, where: str, command: str, expected: str) -> None:
        if match := _SERVE.match(command):
            self._serve(match[1], match[2])
            return
        self._stdin.write(f'{command}\ncode=$?; echo; echo "<<$code>>"\n')
        said, code = [], None
        for line in self._stdout:
            if match := re.fullmatch(r"<<(\d+)>>\n", line):
                code = int(match[1])
                break
            said.append(line)
        output = "".join(said).strip()
        assert code == 0, f"{where}: {command}\nended with {code}:\n{output}\n{self.server.log()}"
        assert not expected or _says(expected, output), (
            f"{where}: {command}\nwas to say:\n{expected}\nand said:\n{output}\n{self.server.log()}"
        )

    def _serve(self, variables: str, options: str) -> None:
        """Start the service anew, as the command says, where it was."""
        given = dict(word.split("=", 1) for word in shlex.split(variables))
        words = shlex.split(options)
        given |= {f"PROGIMAGE_{name[2:].upper()}": value for name, value in zip(words[::2], words[1::2], strict=True)}
        settings: dict[str, Any] = {name.removeprefix("PROGIMAGE_").lower(): value for name, value in given.items()}
        self.server.stop()
        self.server = Server(self.server.data_dir, port=self.server.port, **self._settings, **settings)


def _says(expected: str, output: str) -> bool:
    """Return whether a command said what the page shows; its lines may be broken elsewhere."""
    parts = _UUID.sub("UUID", " ".join(expected.split())).split("…")
    pattern = ".*".join(re.escape(part).replace(r"\ ", r"\s*") for part in parts)
    return bool(re.fullmatch(pattern, _UUID.sub("UUID", output), re.DOTALL))


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Part the text of a console into commands and what they say."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        length = 1
        while lines[length - 1].endswith("\\"):
            length += 1
        yield "\n".join(lines[:length]), "\n".join(lines[length:])


@contextlib.contextmanager
def reading(folder: Path, elsewhere: dict[str, str], **settings: Any) -> Iterator[Reader]:
    """A reader, for as long as it takes."""
    reader = Reader(folder, elsewhere, **settings)
    try:
        yield reader
    finally:
        reader.close()


def recipes(host: str) -> dict[str, str]:
    """Return the files that docs/recipes.md shows, by their names, for a service at an address."""
    blocks = blocks_of(ROOT / "docs" / "recipes.md")
    return {block.title: block.text.replace(HOST, host) for block in blocks if block.title}
