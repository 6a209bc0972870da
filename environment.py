"""Makes `.venv` from `requirements.lock`; the Makefile runs it before anything is installed.

    python3 -I environment.py [--torch-index URL] [--this-python]

Standard library only, and written so that even Python 3.6 reads the file and prints the sentence that says which
Python is needed (hence no future import and no `list[str]`). A note, `.venv/saekit.json`, records what the environment
was made from: a second call with the same lock, metadata and choice of torch ends at once and needs no network. A call
that was interrupted is completed by the next one.
"""

import argparse
import errno
import hashlib
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time

PYTHONS = ((3, 11), (3, 12), (3, 13))
GIGABYTE = 10**9
# .venv and pip's temporary files with a CPU build of torch: 2.9 GB and 0.8 GB were seen.
NEEDED_BYTES = 4 * GIGABYTE
SIZES = "0.8 GB to fetch with a CPU build of torch, 3.2 GB with the CUDA build"
HEARTBEAT_SECONDS = 15
AGAIN = "run the same command again"

ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
NOTE = os.path.join(VENV, "saekit.json")
LOG = os.path.join(VENV, "install.log")
LOCK = os.path.join(ROOT, "requirements.lock")
METADATA = os.path.join(ROOT, "pyproject.toml")


class Failure(Exception):
    """One sentence: what went wrong and what to do."""


def say(text: str) -> None:
    """Print at once, also into a pipe."""
    print(text, flush=True)


def check_python(version: tuple) -> None:
    """Raise `Failure` unless `version` (major, minor, …) is one that saekit and its lock are made for."""
    if tuple(version[:2]) not in PYTHONS:
        raise Failure(
            f"saekit needs Python 3.11, 3.12 or 3.13 and this is {version[0]}.{version[1]} ({sys.executable}); "
            "install one, or name one that is there: make demo PYTHON=/path/to/python3.12"
        )


def check_modules() -> None:
    """Raise `Failure` where Python came without what makes virtual environments (Debian and Ubuntu split it off)."""
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise Failure(
                f"{sys.executable} cannot make a virtual environment, since its module {module} is missing; on Debian "
                f"and Ubuntu: sudo apt install python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            )


def check_disk() -> None:
    """Raise `Failure` where less than `NEEDED_BYTES` are free; what a half-made `.venv` holds counts as free."""
    place = os.path.realpath(VENV)  # where a symbolic link points, which may be another disk
    free = shutil.disk_usage(place if os.path.isdir(place) else ROOT).free
    held = 0
    for folder, _, files in os.walk(VENV):
        for name in files:
            held += os.lstat(os.path.join(folder, name)).st_size
    if free + held < NEEDED_BYTES:
        raise Failure(
            f"{place if os.path.islink(VENV) else ROOT} has {free / GIGABYTE:.1f} GB free and the environment needs "
            f"{(NEEDED_BYTES - held) / GIGABYTE:.1f} GB (with CUDA's libraries about 12); free some space and {AGAIN}"
        )


def check_place(note: dict) -> None:
    """Raise `Failure` unless `.venv` is a folder, or to be one. A symbolic link is followed to a folder of this
    checkout's own, which is empty or holds its environment: a fresh one would remove what anybody else has there."""
    if not os.path.islink(VENV):
        if os.path.exists(VENV) and not os.path.isdir(VENV):
            raise Failure(f"{VENV} is not a folder; remove it and {AGAIN}")
        return
    target = os.path.realpath(VENV)
    found = os.path.isdir(target) and os.listdir(target)
    if os.path.exists(target) and not os.path.isdir(target):
        held = "a file"
    elif not found or note.get("root") == ROOT:
        return
    else:
        held = f"the environment of {note['root']}" if note.get("root") else f"other things ({sorted(found)[0]})"
    raise Failure(
        f"{VENV} is a symbolic link to {target}, where {held} is; remove the link (rm {VENV}) or let it point to an "
        f"empty folder, and {AGAIN}"
    )


def digest(path: str) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def read_note() -> dict:
    """What `.venv` was made from; empty where there is no note or it cannot be read."""
    try:
        with open(NOTE, encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError, TypeError):
        return {}


def write_note(note: dict) -> None:
    """Replace the note in one move, so that none is half written."""
    with open(NOTE + ".part", "w", encoding="utf-8") as file:
        json.dump(note, file, indent=1)
    os.replace(NOTE + ".part", NOTE)


def venv_version() -> list:
    """`[major, minor]` of the Python in `.venv` if it runs and has pip, else an empty list."""
    code = "import sys, pip; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([VENV_PYTHON, "-I", "-c", code], capture_output=True, text=True)
    except OSError:
        return []
    return [int(part) for part in done.stdout.split()] if done.returncode == 0 else []


def explain(log: str) -> str:
    """The one sentence for a failed pip, from what it wrote. The first cause that fits is the one named."""
    if re.search(r"No space left on device|Errno 28\b|Disk quota exceeded", log):
        return f"the disk is full: make room for {VENV} and for pip's cache (pip cache purge empties it), and {AGAIN}"
    damaged = re.search(r"Invalid requirement: .*|UndefinedEnvironmentName: .*|InvalidMarker: .*", log)
    if damaged:
        return f"requirements.lock is damaged ({damaged.group(0).strip()}); restore it: git checkout requirements.lock"
    connection = re.search(
        r"\w*(?:NewConnectionError|NameResolutionError|ConnectTimeoutError|ReadTimeoutError|ProxyError|SSLError)\b"
        r"|Max retries exceeded|Network is unreachable|Connection refused|Connection reset|Connection broken"
        r"|[Nn]ame resolution|ConnectionError|HTTP error 5\d\d|IncompleteRead",
        log,
    )
    if connection:
        return (
            f"the package index did not answer ({connection.group(0)}) and the first time needs a network: connect, or "
            f"name a proxy or a mirror (HTTPS_PROXY, PIP_INDEX_URL), and {AGAIN}"
        )
    missing = re.search(r"No matching distribution found for ([^\s(]+)", log)
    if missing:
        return (
            f"the package index has no {missing.group(1)} for Python {platform.python_version()} on "
            f"{platform.system()} {platform.machine()}; README.md says which systems the lock covers"
        )
    failed = re.search(r"Failed to build '?([^\s']+)|Failed building wheel for (\S+)", log)
    if failed:
        name = failed.group(1) or failed.group(2)
        return (
            f"{name} could not be built from source; install a C compiler and Python's headers (Debian: "
            f"build-essential python3-dev; macOS: xcode-select --install) and {AGAIN}"
        )
    errors = re.findall(r"^ERROR: (?!Exception:)(.*)", log, flags=re.MULTILINE) or log.strip().splitlines()
    last = errors[-1].strip() if errors else "no message"
    return f"pip failed ({last}); look at the end of its log, put that right and {AGAIN}"


def progress(log: str, wanted: int) -> str:
    """How far pip is, from what it wrote so far; `wanted` is the number of lines in the lock."""
    if "Installing collected packages" in log:
        return "putting the packages in place"
    found = len(re.findall(r"^(?:Collecting|Requirement already satisfied:) \S+==\S+", log, flags=re.MULTILINE))
    wanted -= len(re.findall(r"^Ignoring ", log, flags=re.MULTILINE))
    megabytes = {"B": 1e-6, "kB": 1e-3, "MB": 1.0, "GB": 1e3}
    sizes = re.findall(r"Downloading \S+ \(([\d.]+) ([kMG]?B)\)", log)
    fetched = sum(float(number) * megabytes[unit] for number, unit in sizes)
    return f"{found} packages of at most {wanted} looked up, {fetched:.0f} MB fetched"


def read_log(start: int) -> str:
    """What pip has written since byte ``start``."""
    with open(LOG, encoding="utf-8", errors="replace") as file:
        file.seek(start)
        return file.read()


def pip_install(arguments: list, wanted: int = 0) -> None:
    """Run `pip install` in `.venv`, its output in the log, with a line every quarter of a minute; raise `Failure`."""
    # pip unpacks gigabytes into the temporary folder, and /tmp is often a small disk in memory.
    temporary = os.path.join(VENV, "tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    os.makedirs(temporary)
    # Python compiles each module when it is first imported; compiling all of them here would take a minute more.
    command = [VENV_PYTHON, "-I", "-m", "pip", "install", "--no-compile", "--no-input", "--disable-pip-version-check"]
    command += ["--progress-bar", "off", *arguments]
    start = os.path.getsize(LOG) if os.path.exists(LOG) else 0
    began = said = time.monotonic()
    with open(LOG, "ab") as file:
        environment = dict(os.environ, TMPDIR=temporary)
        pip = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while pip.poll() is None:
                time.sleep(0.1)
                if time.monotonic() - said > HEARTBEAT_SECONDS:
                    said = time.monotonic()
                    say(f"      {said - began:4.0f} s  {progress(read_log(start), wanted)}")
        finally:
            if pip.poll() is None:
                pip.terminate()
                pip.wait()
            shutil.rmtree(temporary, ignore_errors=True)
    if pip.returncode < 0:
        raise Failure(f"pip was killed by signal {-pip.returncode}, most often for want of memory; {AGAIN}")
    if pip.returncode:
        raise Failure(f"{explain(read_log(start))} (pip's whole output is in {LOG})")


def locked_lines() -> list:
    """The requirements of the lock, without comments."""
    with open(LOCK, encoding="utf-8") as file:
        lines = [line.split("#")[0].strip() for line in file]
    return [line for line in lines if line]


def make_venv() -> None:
    """A fresh `.venv` with pip in it; what stood there before is removed."""
    check_modules()
    place = os.path.realpath(VENV)  # venv itself takes no symbolic link
    done = subprocess.run([sys.executable, "-I", "-m", "venv", "--clear", place], capture_output=True, text=True)
    if done.returncode:
        output = done.stdout + done.stderr
        if "No space left" in output:
            raise Failure(explain(output))
        last = (output.strip().splitlines() or ["no message"])[-1]
        raise Failure(f"{sys.executable} could not make {VENV} ({last}); put that right and {AGAIN}")


def make(torch_index: str, this_python: bool) -> None:
    """Bring `.venv` to what the lock says; nothing to do where its note says that it is there already."""
    began = time.monotonic()
    note = read_note()
    check_place(note)
    there = note.get("torch_index", "")
    torch_index = torch_index or there  # not named: the build that is there stays
    own = list(sys.version_info[:2])
    aim = {"root": ROOT, "torch_index": torch_index, "lock": digest(LOCK), "metadata": digest(METADATA)}
    ready = dict(aim, python=own if this_python else note.get("python"), complete=True)
    if note == ready and os.path.exists(VENV_PYTHON):
        say("Environment: .venv is up to date.")
        return

    say(f"Environment: making .venv with Python {platform.python_version()} ({sys.executable})")
    if not note.get("complete"):
        check_disk()
    version = venv_version()
    usable = tuple(version) in PYTHONS and (version == own or not this_python)
    if usable and note.get("root", ROOT) == ROOT and there == torch_index:
        say("[1/3] .venv is there: completing it")
    else:
        say("[1/3] a fresh .venv (some seconds)")
        make_venv()
        version, there = own, ""
    write_note(dict(aim, python=version, torch_index=there, complete=False))

    lines = locked_lines()
    say(f"[2/3] {len(lines)} packages in requirements.lock: {SIZES}; two to five minutes the first time")
    if torch_index:
        say(f"      first torch, from {torch_index}")
        torch = [line.split(";")[0].strip() for line in lines if line.startswith("torch==")]
        pip_install(["--no-deps", "--index-url", torch_index, *torch])  # what it needs comes with the lock
        write_note(dict(aim, python=version, complete=False))  # only now: an address that does not work is forgotten
    elif sys.platform == "linux":
        say("      (without an NVIDIA GPU, TORCH_INDEX=https://download.pytorch.org/whl/cpu takes the small build)")
    pip_install(["-r", LOCK], wanted=len(lines))
    say(f"[3/3] saekit itself, editable ({time.monotonic() - began:.0f} s so far)")
    pip_install(["--no-deps", "--no-build-isolation", "-e", ROOT])
    write_note(dict(aim, python=version, complete=True))
    say(f"Environment: ready after {time.monotonic() - began:.0f} s.")


def main(arguments: list) -> int:
    """The exit code: 0 ready, 1 with one sentence on what to do, 130 stopped."""
    try:
        check_python(sys.version_info)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # stop pip too when this process is told to end
        parser = argparse.ArgumentParser(description="Make .venv from requirements.lock.")
        parser.add_argument("--torch-index", default="", metavar="URL", help="take torch from this index first")
        parser.add_argument("--this-python", action="store_true", help="make .venv again if it is of another Python")
        options = parser.parse_args(arguments)
        make(options.torch_index, options.this_python)
    except Failure as failure:
        print(f"error: {failure}.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno == errno.ENOSPC:
            print(f"error: the disk is full: free some space and {AGAIN}.", file=sys.stderr)
        else:
            print(f"error: {error.filename}: {error.strerror}; put that right and {AGAIN}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
