"""mmap_lock: a readers-writer lock of which every wait knows who ended it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import simpy

if TYPE_CHECKING:
    from model.kernel.task import Path, Task


@dataclass(slots=True, eq=False)
class RwLock:
    """A fair readers-writer lock (`kernel/locking/rwsem.c:down_write@v6.18`), taken and given back in simulated order.

    Attributes:
        writer: the task that holds it for writing.
        readers: tasks that hold it for reading.
    """

    env: simpy.Environment
    writer: Task | None = None
    readers: set[Task] = field(default_factory=set)
    waiting: deque[tuple[simpy.Event, Task, bool]] = field(default_factory=deque)

    def acquire(self, task: Task, *, write: bool) -> Path:
        """Take the lock; the wait, if any, is recorded with the task that released it."""
        yield from task.meet()
        if self._free_for(write) and not self.waiting:
            self._grant(task, write)
            return
        from model.kernel.sched import block_on

        granted = self.env.event()
        self.waiting.append((granted, task, write))
        yield from block_on(task, granted, "mmap_lock")

    def release(self, task: Task) -> Path:
        """Give the lock back and hand it to the next in line."""
        yield from task.meet()
        if self.writer is task:
            self.writer = None
        else:
            self.readers.discard(task)
        while self.waiting and self._free_for(self.waiting[0][2]):
            granted, waiter, write = self.waiting.popleft()
            self._grant(waiter, write)
            granted.succeed(task)

    def _free_for(self, write: bool) -> bool:
        return self.writer is None and not (write and self.readers)

    def _grant(self, task: Task, write: bool) -> None:
        if write:
            self.writer = task
        else:
            self.readers.add(task)
