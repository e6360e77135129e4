"""Real parents that time their own spawns: a JVM, a C program and a CPython interpreter, captured in the act.

cases.py      LiveCase, and the matrices jvm_matrix, c_matrix, cpython_matrix
artefacts.py  the C parent and the Java class, compiled at run time and cached
commands.py   the words that start a parent
driver.py     one parent process: started, captured, told to measure, ended
runs.py       run_case, run_matrix: several processes, interleaved in random order
mutating.py   a C parent or a JVM with mutator threads (mutate_loop.c, MutateLoop.java): run_load_case, load_matrix
results.py    LiveResult
redis.py      a real Redis that snapshots: run_redis
programs.py   real programs of this system, and copies that end at their entry
exec_runs.py  such copies from execve to `_start` and to their end (exec_loop.c): run_execs
loader_runs.py  what their ld.so says that it took: run_loaders
spawn_loop.c, SpawnLoop.java, spawn_loop.py   the parents
"""

from calibration.live.cases import LiveCase, c_matrix, cpython_matrix, jvm_matrix
from calibration.live.results import LiveProcess, LiveResult
from calibration.live.runs import run_case, run_matrix

__all__ = [
    "LiveCase",
    "LiveProcess",
    "LiveResult",
    "c_matrix",
    "cpython_matrix",
    "jvm_matrix",
    "run_case",
    "run_matrix",
]
