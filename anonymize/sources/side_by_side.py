"""Several readers at once, one order: what they read comes out part after part, as if one had read it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from anonymize.sources.base import ROW, Malformed
from anonymize.sources.sessions import Chunk

Reader = TypeVar("Reader")
#: Chunks that are read ahead of each part: with their size it bounds the memory.
AHEAD = 8


def numbered(chunks: Iterator[Chunk], before: int = 0) -> Iterator[pa.RecordBatch | Malformed]:
    """The items of a part whose first row is number `before + 1`."""
    for _, items in chunks:
        for item in items:
            yield item if not before else _moved(item, before)


def in_order(readers: Sequence[Reader], parts: Sequence[Callable[[Reader], Iterator[Chunk]]]) -> Iterator[pa.RecordBatch | Malformed]:
    """All parts' items, in the order of the parts, with row numbers throughout. Each reader works in a thread of its own and takes the next
    part when it has ended one, so what is read ahead are the parts that come next."""
    lines: list[queue.Queue[Any]] = [queue.Queue(AHEAD) for _ in parts]
    todo, lock, stop = iter(range(len(parts))), threading.Lock(), threading.Event()

    def put(part: int, item: object) -> bool:
        while not stop.is_set():
            try:
                lines[part].put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work(reader: Reader) -> None:
        while True:
            with lock:
                part = next(todo, None)
            if part is None or stop.is_set():
                return
            try:
                for chunk in parts[part](reader):
                    if not put(part, chunk):
                        return
            except BaseException as error:  # whatever it is, it is raised where the part is asked for
                put(part, error)
                return
            put(part, None)

    threads = [threading.Thread(target=work, args=(reader,), daemon=True) for reader in readers[: len(parts)]]
    for thread in threads:
        thread.start()
    try:
        before = 0
        for line in lines:
            read = 0
            while (item := line.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield from numbered(iter([item]), before)
                read += item[0]
            before += read
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _moved(item: pa.RecordBatch | Malformed, by: int) -> pa.RecordBatch | Malformed:
    if isinstance(item, Malformed):
        return replace(item, row=item.row + by)
    place = item.schema.get_field_index(ROW)
    return item.set_column(place, ROW, pc.add(item[ROW], by))
