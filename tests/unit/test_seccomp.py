"""The filter of system calls, run by an interpreter over every call of each architecture."""

import errno
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from progimage.workers.seccomp import ALLOWED, AUDIT_ARCH, UNKNOWN, is_available, program
from tests.programs import missing

ROOT = Path(__file__).parents[2]
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
PROCESS = 4711
MACHINES = pytest.mark.parametrize("machine", list(AUDIT_ARCH))


def run(machine: str, number: int, *arguments: int, architecture: int | None = None, process: int = PROCESS) -> str:
    """Interpret the filter as the kernel does (classic BPF over struct seccomp_data), and return how it ends."""
    words = struct.pack(
        "<IIQ6Q", number, AUDIT_ARCH[machine] if architecture is None else architecture, 0,
        *(argument & (2**64 - 1) for argument in arguments), *[0] * (6 - len(arguments)),
    )  # fmt: skip
    accumulator = at = 0
    instructions = program(machine, process)
    while True:
        code, if_true, if_false, operand = instructions[at]
        at += 1
        if code == 0x20:  # ld [k]
            accumulator = struct.unpack_from("<I", words, operand)[0]
        elif code == 0x54:  # and #k
            accumulator &= operand
        elif code in (0x15, 0x35, 0x45):  # jeq, jge, jset
            holds = {0x15: accumulator == operand, 0x35: accumulator >= operand, 0x45: bool(accumulator & operand)}
            at += if_true if holds[code] else if_false
        elif code == 0x06:  # ret #k
            action, data = operand & 0xFFFF0000, operand & 0xFFFF
            return {0x7FFF0000: "allow", 0x80000000: "kill"}.get(action) or errno.errorcode[data]
        else:
            raise AssertionError(f"no instruction of classic BPF: {code:#x}")


def calls_of(machine: str) -> dict[str, int]:
    """The numbers of all system calls of a machine, from the headers of the kernel."""
    if not HEADERS[machine].exists():
        missing("linux-libc-dev")
    text = HEADERS[machine].read_text()
    numbers = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+) (\d+)", text)}
    for name, other in re.findall(r"#define __NR_(\w+) __NR3264_(\w+)", text):
        if other in numbers:
            numbers[name] = numbers[other]
    return numbers


@MACHINES
def test_the_numbers_are_those_of_the_kernel(machine: str) -> None:
    numbers, column = calls_of(machine), list(AUDIT_ARCH).index(machine)
    for name, row in (ALLOWED | UNKNOWN).items():
        assert row[column] == numbers.get(name), name


@MACHINES
def test_exactly_what_is_listed_is_allowed(machine: str) -> None:
    column = list(AUDIT_ARCH).index(machine)
    plain = {row[column] for row in ALLOWED.values() if not row[2]}
    checked = {row[column] for row in ALLOWED.values() if row[2]}
    unknown = {row[column] for row in UNKNOWN.values()}
    for number in range(1000):
        if number not in checked:
            expected = "allow" if number in plain else "ENOSYS" if number in unknown else "EPERM"
            assert run(machine, number) == expected, number


@MACHINES
def test_a_foreign_call_is_fatal(machine: str) -> None:
    (other,) = set(AUDIT_ARCH.values()) - {AUDIT_ARCH[machine]}
    assert run(machine, 0, architecture=other) == "kill"
    assert run(machine, 0, architecture=0x40000003) == "kill"  # i386, through int 0x80
    assert run(machine, 0x40000000) == "kill"  # x32
    assert run(machine, 0x40000000 | 1) == "kill"
    assert run(machine, 2**32 - 1) == "kill"


def number_of(machine: str, name: str) -> int:
    number = ALLOWED[name][list(AUDIT_ARCH).index(machine)]
    assert isinstance(number, int)
    return number


THREAD = 0x3D0F00  # as glibc's pthread_create has it: VM, FS, FILES, SIGHAND, THREAD, SYSVSEM, SETTLS, the two TIDs
CASES = [
    ("clone", (THREAD,), "allow"),
    ("clone", (0x7D0F00,), "allow"),  # musl
    ("clone", (17,), "EPERM"),  # fork
    ("clone", (0x4111,), "EPERM"),  # vfork
    *(
        ("clone", (THREAD | new,), "EPERM")
        for new in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000)
    ),
    ("clone", (THREAD | 0x40000000,), "EPERM"),
    ("clone", (THREAD | 1 << 40,), "EPERM"),
    ("openat", (-100, 0, 0), "allow"),
    ("openat", (-100, 0, 0x80000), "allow"),  # O_CLOEXEC
    *(("openat", (-100, 0, flag), "EPERM") for flag in (1, 2, 3, 0x40, 0x200, 0x400, 0x200000, 0x410000)),
    ("mmap", (0, 4096, 3), "allow"),
    ("mmap", (0, 4096, 4), "EPERM"),
    ("mmap", (0, 4096, 7), "EPERM"),
    ("mprotect", (0, 4096, 1), "allow"),
    ("mprotect", (0, 4096, 5), "EPERM"),
    ("prlimit64", (0, 7, 0, 1), "allow"),
    ("prlimit64", (0, 7, 1, 0), "EPERM"),
    ("prlimit64", (0, 7, 1 << 32, 0), "EPERM"),
    ("prlimit64", (1, 7, 0, 1), "EPERM"),
    ("tgkill", (PROCESS, 1, 6), "allow"),
    ("tgkill", (1, 1, 9), "EPERM"),
    ("tgkill", (PROCESS | 1 << 32, 1, 9), "EPERM"),
    ("ioctl", (1, 0x5401), "allow"),
    ("ioctl", (1, 0x5412), "EPERM"),  # TIOCSTI, which types into a terminal
    ("fcntl", (1, 1030, 0), "allow"),
    *(("fcntl", (1, command), "EPERM") for command in (6, 8, 10, 1024, 1026, 1033)),  # locks, owners, leases, seals
    ("prctl", (15,), "allow"),
    *(("prctl", (option,), "EPERM") for option in (1, 4, 8, 22, 36, 38, 52, 0x59616D61)),
]


@MACHINES
@pytest.mark.parametrize(("name", "arguments", "expected"), CASES)
def test_arguments(machine: str, name: str, arguments: tuple[int, ...], expected: str) -> None:
    assert run(machine, number_of(machine, name), *arguments) == expected


REFUSED = """
    socket socketpair connect bind listen accept accept4 execve execveat fork vfork ptrace process_vm_readv
    process_vm_writev kill tkill rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open pidfd_getfd pidfd_send_signal mount
    umount2 move_mount fsopen fsmount fsconfig open_tree mount_setattr pivot_root chroot unshare setns bpf
    perf_event_open io_uring_setup io_uring_enter userfaultfd keyctl add_key request_key inotify_init inotify_init1
    inotify_add_watch fanotify_init fanotify_mark chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat
    setxattr lsetxattr fsetxattr removexattr utime utimes utimensat futimesat setrlimit setpriority ioprio_set
    sched_setaffinity sched_setscheduler sched_setattr shmget shmat shmctl msgget msgsnd msgrcv semget semop mq_open
    memfd_create memfd_secret rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat mkdir mkdirat
    rmdir mknod mknodat truncate creat personality seccomp landlock_create_ruleset landlock_restrict_self setuid
    setgid setgroups setresuid setsid setpgid capset reboot swapon init_module finit_module kexec_load quotactl acct
    syslog name_to_handle_at open_by_handle_at pkey_mprotect modify_ldt iopl ioperm timer_create setitimer alarm
    splice tee vmsplice sendfile copy_file_range process_madvise kcmp lookup_dcookie remap_file_pages move_pages
    migrate_pages mbind set_mempolicy clock_settime settimeofday adjtimex sethostname vhangup nfsservctl
""".split()  # noqa: SIM905


@MACHINES
def test_what_reaches_others_is_refused(machine: str) -> None:
    numbers = calls_of(machine)
    for name in REFUSED:
        assert name not in ALLOWED, name
        if name in numbers:
            assert run(machine, numbers[name], 3, 1, 1) == "EPERM", name


def test_a_container_with_dockers_profile_allows_all_that_a_worker_needs() -> None:
    lines = (ROOT / "tests" / "data" / "docker-default-calls.txt").read_text().splitlines()
    docker = {name for line in lines if not line.startswith("#") for name in line.split()}
    # Of clone Docker allows what makes no namespace, which is all that is allowed here.
    assert set(ALLOWED) - docker == {"clone"}
    assert len(ALLOWED) < len(docker) / 4


WITHIN = """
import ctypes, os, sys, threading
from progimage.workers import seccomp
if sys.argv[1] == "nobody":
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(38, 1, 0, 0, 0)
seccomp.install()
def attempt(number, *arguments):
    return libc.syscall(number, *map(ctypes.c_long, arguments)) >= 0 or ctypes.get_errno()
seen = []
thread = threading.Thread(target=seen.append, args=(attempt(39),))
thread.start()
thread.join()
new_user, clone3 = attempt(56, 0x10000000 | 17, 0), attempt(435, 0)
print(os.getuid(), *seen, new_user, attempt(57), attempt(41, 1, 1, 0), clone3, flush=True)
os._exit(0)
"""


@pytest.mark.skipif(not is_available() or os.uname().machine != "x86_64", reason="the numbers are those of x86-64")
@pytest.mark.parametrize("user", ["as it is", "nobody"])
def test_it_holds_for_every_user(user: str) -> None:
    if user == "nobody" and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    done = subprocess.run([sys.executable, "-c", WITHIN, user], capture_output=True, text=True, timeout=60)
    uid = 65534 if user == "nobody" else os.getuid()
    assert done.stdout.split() == [str(uid), "True", "1", "1", "1", "38"], done.stderr  # EPERM is 1, ENOSYS 38
