"""Processes on this machine that run one command together, on CPU devices that XLA makes up.

python launch/local/processes.py [--dry-run] PROCESSES DEVICES COMMAND …

Every process is told of the others as `videopoet train --distributed` reads it. Where one that gets SIGTERM has all of
them save and leave with code 75, they start again; SIGTERM or Ctrl-C to this program is handed to all, and ends it.
"""

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from types import FrameType

STOPPED = 75  # what `videopoet train` exits with when it was told to stop and has saved
PATIENCE = 15  # seconds that processes have to end by themselves after one has failed


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def settings(number: int, processes: int, devices: int, port: int | str) -> dict[str, str]:
    """Environment variables of process `number`."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    return {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": flags.strip(),
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(number),
    }


class Processes:
    """The processes of a run, started again for as long as they are stopped from outside."""

    def __init__(self, processes: int, devices: int, command: list[str], patience: float = PATIENCE) -> None:
        self._count, self._devices, self._command, self._patience = processes, devices, command, patience
        self._running: list[subprocess.Popen] = []
        self._told = 0

    def run(self) -> int:
        """Runs to the end; returns 0, 75 where this program was told to stop, or the exit code of the first failure."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hand_on)
        while True:
            code = self._run_once()
            if code != STOPPED or self._told:
                return code
            print("stopped from outside; starting again", file=sys.stderr, flush=True)

    def _run_once(self) -> int:
        port = free_port()
        readers = []
        self._running = []
        for number in range(self._count):
            process = subprocess.Popen(
                self._command,
                env={**os.environ, **settings(number, self._count, self._devices, port)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,  # Ctrl-C comes through this program alone
            )
            self._running.append(process)
            readers.append(threading.Thread(target=_tell, args=(f"[{number}] ", process)))
            readers[-1].start()
        if self._told:  # meanwhile
            self._send(signal.SIGTERM)
        code = self._wait()
        for reader in readers:
            reader.join()
        return code

    def _wait(self) -> int:
        """The first exit code that is neither 0 nor 75, else 75 if there is one; after a failure the others are ended.

        A process that SIGTERM ends at once, before it could listen, was stopped rather than failed.
        """
        failed, deadline = 0, float("inf")
        while any(process.poll() is None for process in self._running):
            codes = [process.poll() for process in self._running]
            if not failed and (bad := [code for code in codes if code not in (None, 0, STOPPED)]):
                failed, deadline = bad[0], time.monotonic() + self._patience
            if time.monotonic() > deadline:
                self._send(signal.SIGKILL)
            time.sleep(0.05)
        codes = [process.returncode for process in self._running]
        failed = failed or next((code for code in codes if code not in (0, STOPPED)), 0)
        if failed == -signal.SIGTERM:
            return STOPPED
        if failed:
            return failed if failed > 0 else 128 - failed  # as a shell counts signals
        return max(codes)

    def _hand_on(self, number: int, frame: FrameType | None) -> None:
        self._told += 1
        self._send(signal.SIGTERM if self._told == 1 else signal.SIGKILL)

    def _send(self, number: int) -> None:
        for process in self._running:
            if process.poll() is None:
                process.send_signal(number)


def _tell(prefix: str, process: subprocess.Popen) -> None:
    for line in process.stdout:
        print(prefix + line, end="", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Runs a command line; returns the exit code."""
    dry = arguments[0] == "--dry-run"
    arguments = arguments[dry:]
    processes, devices, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if dry:
        for number in range(processes):
            own = settings(number, processes, devices, "PORT")
            print("+", *(f"{key}={shlex.quote(value)}" for key, value in own.items()), shlex.join(command))
        return 0
    return Processes(processes, devices, command).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
