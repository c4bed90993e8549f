"""The sandbox: what a worker can't do even if its code is taken over, and what the server believes of what it says."""

import asyncio
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from progimage.engine import ImageInfo, Inspection, Ladder, Limits, Placeholder, Rendered, Rung, Swatch
from progimage.workers import (
    CpuBudgetExceeded,
    Requester,
    Sandbox,
    TaskTooLong,
    WorkerCrashed,
    WorkerPool,
    available_defences,
)
from progimage.workers.protocol import BadResult
from progimage.workers.tasks import (
    InspectTask,
    InspectUploadTask,
    Nothing,
    PaletteTask,
    PlaceholderTask,
    RenderTask,
    Task,
)
from tests.attacks import MESSAGES, Attack, Forever, Say

ROOT = Path(__file__).parents[2]
SANDBOX = Sandbox(1 << 30, 60, 1 << 20, (str(ROOT),))  # which has the attacks
ALICE, BOB = Requester("alice", frozenset(("alice",))), Requester("bob", frozenset(("bob",)))
landlock = pytest.mark.skipif(not available_defences()["landlock"], reason="this kernel has no Landlock")
seccomp = pytest.mark.skipif(not available_defences()["seccomp"], reason="this kernel has no seccomp")


@pytest.fixture
def attacking(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a scenario with a pool whose workers are attackers."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))

    def run(scenario: Callable[[WorkerPool], Awaitable[Any]], workers: int = 1, seconds: float = 20) -> Any:
        async def within() -> Any:
            pool = WorkerPool(workers, 10, seconds, SANDBOX, "tests.attacks", died=deaths.append)
            pool.start()
            try:
                return await scenario(pool)
            finally:
                await pool.close()

        return asyncio.run(within())

    deaths: list[str] = []
    run.deaths = deaths  # type: ignore[attr-defined]
    return run


@pytest.fixture
def attack(attacking: Callable[..., Any]) -> Callable[..., str]:
    """Runs one attack, and returns how it ended."""

    def run(name: str, *arguments: str | int, **options: Any) -> str:
        return str(attacking(lambda pool: pool.run(Attack(name, arguments), ALICE, **options)))

    return run


# --- what it has


def test_a_worker_has_nothing_but_its_socket(attack, monkeypatch: pytest.MonkeyPatch) -> None:
    read, write = os.pipe()
    os.set_inheritable(write, True)
    assert attack("descriptors") == "0,1,2,3"
    os.close(read)
    os.close(write)


def test_what_a_worker_prints_is_seen_nowhere() -> None:
    program = """
import asyncio
from progimage.workers import Requester, Sandbox, WorkerPool
from tests.attacks import Attack
async def main():
    pool = WorkerPool(1, 1, 10, Sandbox(1 << 30, 60, 1 << 20, (".",)), "tests.attacks")
    pool.start()
    print(await pool.run(Attack("print_something"), Requester("x")))
    await pool.close()
asyncio.run(main())
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    assert (done.stdout, done.stderr) == ("done\n", "")


def test_a_worker_has_no_setting_and_no_secret(attack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROGIMAGE_SIGNING_KEYS", "AWS_SECRET_ACCESS_KEY", "DATABASE_URL", "HOME", "FORWARDED_SECRET"):
        monkeypatch.setenv(name, "secret")
    known = {"LANG", "LANGUAGE", "PATH", "TZ", "VIPS_CONCURRENCY", "OPENBLAS_NUM_THREADS", "LC_CTYPE"}
    for name in attack("environment").split(","):
        assert name in known or name.startswith(("LC_", "LD_", "PYTHON", "MALLOC_", "FONTCONFIG_", "VIPS_")), name


def test_an_input_and_an_output_are_all_it_can_use(attacking, tmp_path: Path) -> None:
    source, target = tmp_path / "in", tmp_path / "out"
    source.write_bytes(b"12345")

    async def scenario(pool: WorkerPool) -> None:
        assert await pool.run(Attack("write_input"), ALICE, [source]) == "EBADF"
        assert await pool.run(Attack("map_input"), ALICE, [source]) == "EACCES"
        assert await pool.run(Attack("write_and_keep"), ALICE, [], [target]) == "done"

    attacking(scenario)
    assert source.read_bytes() == b"12345"
    assert target.read_bytes() == b"what it wrote"


@landlock
def test_other_files_cannot(attacking, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"12345")
    secret = tmp_path / "secret"
    secret.write_bytes(b"s")

    async def scenario(pool: WorkerPool) -> None:
        for name, *arguments in (
            ("read", secret),
            ("read", source),  # even the file of its own task
            ("read", "/etc/passwd"),
            ("read", f"/proc/{os.getpid()}/environ"),
            ("read", "/proc/self/environ"),
            ("names", tmp_path),
            ("write", source),
            ("make", tmp_path / "new"),
            ("make", "/tmp/new"),
            ("link", source, tmp_path / "second"),
        ):
            ended = await pool.run(Attack(name, tuple(map(str, arguments))), ALICE)
            assert ended in ("EACCES", "EPERM"), (name, arguments, ended)
        assert await pool.run(Attack("reopen"), ALICE, [source]) in ("EACCES", "EPERM")

    attacking(scenario)
    assert source.read_bytes() == b"12345"


def test_without_landlock_an_input_is_a_copy(attacking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("progimage.workers.files.landlock_version", lambda: 0)
    source = tmp_path / "in"
    source.write_bytes(b"12345")

    async def scenario(pool: WorkerPool) -> str:
        return await pool.run(Attack("inode"), ALICE, [source])

    assert attacking(scenario) not in (str(source.stat().st_ino), "done")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_positions_are_not_shared_from_task_to_task(attacking, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes(b"12345")

    async def scenario(pool: WorkerPool) -> None:
        assert await pool.run(Attack("seek"), ALICE, [source, source][:1]) == "0"
        assert await pool.run(Attack("seek"), ALICE, [source]) == "0"

    attacking(scenario)


def test_what_it_wrote_cannot_be_changed_later(attacking, tmp_path: Path) -> None:
    target = tmp_path / "out"

    async def scenario(pool: WorkerPool) -> None:
        await pool.run(Attack("write_and_keep"), ALICE, [], [target])
        assert target.read_bytes() == b"what it wrote"
        assert await pool.run(Attack("write_later"), ALICE) == "done"

    attacking(scenario)
    assert target.read_bytes() == b"what it wrote"


# --- one owner at a time


def test_a_worker_never_sees_the_bytes_of_two_owners(attacking) -> None:
    async def scenario(pool: WorkerPool) -> None:
        await pool.run(Attack("keep", ("alice's",)), ALICE)
        assert await pool.run(Attack("kept"), ALICE) == "alice's"  # or this test would show nothing
        assert await pool.run(Attack("kept"), BOB) == "None"
        both = Requester("alice", frozenset(("alice", "bob")))
        await pool.run(Attack("keep", ("both's",)), both)
        for whom in (ALICE, BOB, both):
            assert await pool.run(Attack("kept"), whom) != "both's"

    attacking(scenario, workers=2)


# --- what it says


@pytest.mark.parametrize("what", list(MESSAGES))
def test_a_worker_that_lies_is_killed_and_believed_nothing(attacking, what: str) -> None:
    marker = Path("/tmp/pickle-was-loaded")
    marker.unlink(missing_ok=True)

    async def scenario(pool: WorkerPool) -> None:
        try:
            answer = await pool.run(Say(what), ALICE)
        except WorkerCrashed:
            pass
        else:  # whoever answers twice may be found out only when it is asked the next time
            assert (answer, what) in (("one", "two results"), ("x", "a flood"))
        assert await pool.run(Attack("kept"), ALICE) == "None"  # by another worker

    attacking(scenario)
    assert not marker.exists()
    assert attacking.deaths[0] == "lie"


def test_descriptors_that_a_worker_sends_are_not_taken(attacking) -> None:
    async def scenario(pool: WorkerPool) -> None:
        await pool.warm_up()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(WorkerCrashed):
                await pool.run(Attack("send_descriptors"), ALICE)
        await pool.warm_up()
        assert len(os.listdir("/proc/self/fd")) <= before + 4  # of the workers that have taken the places

    attacking(scenario)


INFO = ImageInfo("PNG", "image/png", 10, 20, 1, False, 0, "RGB", 8, False, None, 1)
PREVIEW = "data:image/webp;base64,AAAA"


def _info(**changes: Any) -> tuple[Task, Any]:
    import dataclasses

    return InspectTask(Limits()), dataclasses.replace(INFO, **changes)


def _ladder(*rungs: Rung, width: int = 10, height: int = 20) -> tuple[Task, Any]:
    return InspectUploadTask(Limits(), (1024, 512)), Inspection(INFO, Ladder(width, height, False, rungs))


@pytest.mark.parametrize(
    ("task", "result"),
    [
        _info(format="EXE"),
        _info(format="PDF", media_type="application/pdf"),  # it is written only
        _info(media_type="text/html"),
        _info(width=0),
        _info(height=-1),
        _info(width=10**6, height=10**6),
        _info(frames=0),
        _info(frames=10**6),
        _info(duration=-1),
        _info(mode="RGB\r\nSet-Cookie: a=b"),
        _info(bit_depth=99),
        _info(orientation=9),
        _info(icc="a\nb"),
        _info(icc="a" * 2000),
        _info(exif={"a" * 100: 1}),
        _info(exif={"Make": "a" * 2000}),
        _info(exif={"Make": "a\x00b"}),
        _info(exif={"FNumber": float("nan")}),
        _info(exif={"FNumber": float("inf")}),
        _info(exif={f"a{n}": n for n in range(200)}),
        _info(damaged=True),  # which was not accepted
        _info(page_sizes=((1, 2), (3, 4))),
        _info(page_sizes=((0, 20),)),
        _info(perceptual_hash="'; DROP TABLE images"),
        _ladder(Rung(300, 10, 20, 5)),
        _ladder(Rung(512, 10, 20, 5), Rung(512, 10, 20, 5)),
        _ladder(Rung(512, 10, 20, 5), Rung(1024, 10, 20, 5)),
        _ladder(Rung(1024, 2000, 20, 5)),
        _ladder(Rung(1024, 0, 20, 5)),
        _ladder(width=11),
        (RenderTask("PNG", Limits()), Rendered(0, 5, 1)),
        (RenderTask("PNG", Limits()), Rendered(5, 5, 10**6)),
        (PlaceholderTask(Limits()), Placeholder(1, 1, "<script>", "LEHV6nWB2yk8", PREVIEW)),
        (PlaceholderTask(Limits()), Placeholder(1, 1, "AAAA", '"onload="', PREVIEW)),
        (PlaceholderTask(Limits()), Placeholder(1, 1, "AAAA", "LEHV6nWB2yk8", "javascript:alert(1)")),
        (PlaceholderTask(Limits()), Placeholder(1, 1, "AAAA", "LEHV6nWB2yk8", PREVIEW + "A" * 20000)),
        (PaletteTask(Limits(), 2), [Swatch("red;background:url(//evil)", 1)]),
        (PaletteTask(Limits(), 2), [Swatch("#ff0000", 2)]),
        (PaletteTask(Limits(), 2), [Swatch("#ff0000", 0.1)] * 3),
    ],
    ids=repr,
)
def test_values_that_cannot_be_are_not_believed(task: Task, result: Any) -> None:
    with pytest.raises(BadResult):
        task.check(result)


def test_values_that_can_be_are_believed() -> None:
    for task, result in (
        _info(exif={"Make": "Ünïcode", "FNumber": 2.8, "ISOSpeedRatings": 100}, icc="sRGB", perceptual_hash="0" * 32),
        _ladder(Rung(1024, 10, 20, 5), Rung(512, 10, 20, 5)),
        (
            PlaceholderTask(Limits()),
            Placeholder(1, 1, "3OcRJYB4d3h/iIeHeEh3eIhw+j3A", "LEHV6nWB2yk8pyo0adR*.7kCMdnj", PREVIEW),
        ),
        (PaletteTask(Limits(), 2), [Swatch("#ff0000", 0.5)]),
    ):
        task.check(result)


# --- what it takes


def test_a_worker_is_stopped_at_its_budget_of_cpu_time(attacking) -> None:
    async def scenario(pool: WorkerPool) -> None:
        started = time.monotonic()
        with pytest.raises(CpuBudgetExceeded):
            await pool.run(Forever(), ALICE, cpu_seconds=0.3)
        assert time.monotonic() - started < 10
        assert await pool.run(Attack("kept"), ALICE) == "None"

    attacking(scenario)
    assert attacking.deaths == ["cpu"]


def test_a_worker_is_stopped_at_its_time(attacking) -> None:
    async def scenario(pool: WorkerPool) -> None:
        with pytest.raises(TaskTooLong):
            await pool.run(Forever(), ALICE)

    attacking(scenario, seconds=1)
    assert attacking.deaths == ["time"]


def test_what_a_client_used_is_what_the_kernel_says(attacking) -> None:
    spent: dict[str, float] = {}

    async def scenario(pool: WorkerPool) -> None:
        pool._spent = lambda caller, seconds: spent.__setitem__(caller, seconds)
        with pytest.raises(CpuBudgetExceeded):
            await pool.run(Forever(), ALICE, cpu_seconds=0.5)

    attacking(scenario)
    assert 0.5 <= spent["alice"] < 2


def test_nothing_outlives_the_server(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from progimage.workers import Requester, Sandbox, WorkerPool
from tests.attacks import Forever
async def main():
    pool = WorkerPool(1, 1, 100, Sandbox(1 << 30, 600, 1 << 20, (".",)), "tests.attacks")
    pool.start()
    await pool.warm_up()
    running = asyncio.ensure_future(pool.run(Forever(), Requester("x")))
    await asyncio.sleep(0.5)
    print("running", flush=True)
    await running
asyncio.run(main())
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment, start_new_session=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"running\n"
        assert len(_of_session(process.pid)) >= 3
        process.send_signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while _of_session(process.pid):
        assert time.monotonic() < end, "a process of the pool is still there"
        time.sleep(0.02)


def _of_session(session: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def test_a_fork_server_that_is_killed_is_replaced(attacking) -> None:
    async def scenario(pool: WorkerPool) -> None:
        await pool.warm_up()
        for _ in range(2):
            os.kill(pool._staff._fork_server._process.pid, signal.SIGKILL)
            assert await pool.run(Attack("kept"), ALICE) == "None"

    attacking(scenario)


# --- system calls


@seccomp
@pytest.mark.parametrize(
    "name",
    ["make_socket", "run_program", "fork", "signal_parent", "raise_cpu_limit", "raise_soft_cpu_limit", "map_code"],
)
def test_a_worker_cannot(attack, name: str) -> None:
    assert attack(name) in ("EPERM", "EACCES", "ValueError")


def test_a_worker_can_have_threads(attack) -> None:
    assert attack("start_thread") == "ran"


def test_a_worker_with_many_threads_is_killed(attacking) -> None:
    async def scenario(pool: WorkerPool) -> None:
        with pytest.raises(WorkerCrashed, match="threads"):
            await pool.run(Attack("start_many_threads"), ALICE)
        assert await pool.run(Attack("kept"), ALICE) == "None"

    attacking(scenario)


NEW_USER = 0x10000000
# By their numbers on x86-64, from the kernel's arch/x86/entry/syscalls/syscall_64.tbl.
CALLS: dict[str, tuple[int, ...]] = {
    "inotify_init": (253,), "inotify_init1": (294, 0), "fanotify_init": (300, 0, 0),
    "chmod": (90,), "fchmod": (91, 1, 0o777), "fchmodat": (268, -100), "fchmodat2": (452, -100),
    "chown": (92,), "fchown": (93, 1, 0, 0), "lchown": (94,), "fchownat": (260, -100),
    "setxattr": (188,), "lsetxattr": (189,), "fsetxattr": (190, 1), "utimensat": (280, -100), "utime": (132,),
    "prlimit64": (302, 1, 7), "setrlimit": (160, 0), "setpriority": (141, 0, 0, 5), "ioprio_set": (251, 1, 0, 0),
    "clone": (56, NEW_USER | 17), "unshare": (272, NEW_USER), "setns": (308, 3, 0), "fork": (57,), "vfork": (58,),
    "fsopen": (430,), "open_tree": (428, -100), "mount": (165,), "fsmount": (432, 3), "move_mount": (429,),
    "shmget": (29, 0, 4096, 0o1600), "msgget": (68, 0, 0o1600), "semget": (64, 0, 1, 0o1600), "mq_open": (240,),
    "ptrace": (101, 0, 0), "process_vm_readv": (310, 1), "pidfd_open": (434, 1, 0), "pidfd_getfd": (438, 3, 0, 0),
    "kill": (62, 1, 0), "tkill": (200, 1, 0), "tgkill": (234, 1, 1, 0), "rt_sigqueueinfo": (129, 1, 0),
    "io_uring_setup": (425, 1), "bpf": (321, 0), "perf_event_open": (298,), "userfaultfd": (323, 0),
    "keyctl": (250, 0), "socket": (41, 1, 1, 0), "socketpair": (53, 1, 1, 0), "bind": (49, 3), "connect": (42, 3),
    "execve": (59,), "execveat": (322, -100), "rename": (82,), "unlink": (87,), "mkdir": (83,), "link": (86,),
    "symlink": (88,), "truncate": (76,), "mknod": (133,), "chroot": (161,), "sched_setaffinity": (203, 1),
    "personality": (135, 0), "seccomp": (317, 0), "landlock_create_ruleset": (444, 0, 0, 1),
}  # fmt: skip


@seccomp
@pytest.mark.skipif(platform.machine() != "x86_64", reason="the numbers are those of x86-64")
def test_system_calls_that_reach_others_are_refused(attacking) -> None:
    async def scenario(pool: WorkerPool) -> dict[str, str]:
        ended = {}
        for name, (number, *arguments) in CALLS.items():
            # A path where one is wanted is 0, so that a call that is let through fails with EFAULT, or is done.
            ended[name] = await pool.run(Attack("call", (number, *arguments, *[0] * (6 - len(arguments)))), ALICE)
        return ended

    ended = attacking(scenario)
    assert {name: how for name, how in ended.items() if how not in ("EPERM", "ENOSYS")} == {}


def test_the_pool_is_warm_when_it_says_so(attacking) -> None:
    async def scenario(pool: WorkerPool) -> None:
        await pool.warm_up()
        assert await pool.run(Nothing(), ALICE) is None

    attacking(scenario)
