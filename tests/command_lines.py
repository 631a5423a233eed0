"""Command lines that start in no time: of a process that has imported what they import."""

import contextlib
import json
import os
import runpy
import subprocess
import sys
import tempfile
import warnings


def outcomes(program, argument_lists):
    """Exit status and standard error of main.py, or of a module, for each list of arguments."""
    command = [sys.executable, "-m", "tests.command_lines", program, json.dumps(argument_lists)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _run(program, arguments):
    with tempfile.TemporaryFile("w+") as told:
        if not (child := os.fork()):
            os.dup2(told.fileno(), 2)
            sys.argv = [program, *arguments]
            status = 1
            try:
                if program.endswith(".py"):
                    runpy.run_path(program, run_name="__main__")
                else:
                    runpy.run_module(program, run_name="__main__")
                status = 0
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except BaseException as error:
                sys.excepthook(type(error), error, error.__traceback__)
            finally:
                with contextlib.suppress(OSError):
                    sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        told.seek(0)
        return os.waitstatus_to_exitcode(status), told.read()


if __name__ == "__main__":
    import run_lib  # noqa: F401

    # JAX warns of forks, which threads do not survive; it has none before its first array.
    warnings.simplefilter("ignore", RuntimeWarning)
    print(json.dumps([_run(sys.argv[1], arguments) for arguments in json.loads(sys.argv[2])]))
