"""Children of a test's process: what they say, and killing them.

A fork costs a millisecond where a new Python with torch costs seconds. Only a process that has not called backward() yet may
fork children that will, so tests that kill a training start one fresh process that does the forking.
"""

import os
import signal
import time
from collections.abc import Callable


def fork(function: Callable[[], object]) -> int:
    """Run the function in a child; return its process id."""
    child = os.fork()
    if child:
        return child
    try:
        function()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def wait(child: int) -> int:
    """Its exit code, negative for a signal."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_after(child: int, seconds: float) -> bool:
    """Kill the child with SIGKILL after so many seconds; return whether it was still running."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            assert status == 0, f"a child ended with {os.waitstatus_to_exitcode(status)}"
            return False
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    return wait(child) == -signal.SIGKILL


def said_by_child(function: Callable[[], str]) -> str:
    """What the function returns in a child, whose limits may be changed freely."""
    reader, writer = os.pipe()
    child = fork(lambda: os.write(writer, function().encode()))
    os.close(writer)
    with os.fdopen(reader) as said:
        text = said.read()
    assert wait(child) == 0
    return text
