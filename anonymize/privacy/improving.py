"""The compiled second half of local recoding: classes that hold k are made to lose less. Import this inside functions, as `kernels`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anonymize.privacy.compiled import compiled

#: A column of more leaves times groups than this has no table of what is near; classes are then found by the other columns.
_MOST_NEAR = 1 << 18
#: A class of more tuples is not parted.
_PARTED = 256


class Records(NamedTuple):
    """What does not change. n tuples of m columns, whose leaves are numbered through all columns.

    codes: int32 (n, m), leaves; rows: int64 (n), each tuple's subjects; lowest, highest: int64 (m), levels; groups: int32 (levels,
    leaves), the group of a leaf at a level, numbered through all columns and levels; losses: float64 (levels, leaves); k. near: int32,
    groups of a column, in the order of what a record of them would lose more if the group took a leaf in, which is `extra`: float64; those
    of leaf x stand from near_at[x] to near_at[x + 1]; indexed: bool (m), the columns that have them.
    """

    codes: np.ndarray
    rows: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    groups: np.ndarray
    losses: np.ndarray
    k: int
    near_at: np.ndarray
    near: np.ndarray
    extra: np.ndarray
    indexed: np.ndarray


class Classes(NamedTuple):
    """The classes as they are now, c of them at the most.

    levels: int16 (c, m); costs: float64 (c), a record's loss; sizes: int64 (c), subjects; head: int64 (c), a first tuple, after: int64
    (n), the tuple after each, -1 at the end; group: int32 (c, m), own: float64 (c, m), of each column the group and a record's loss. The
    classes of a group are a list: begin, many: int32 (groups), its first and its length; next, last: int32 (m, c), -1 at the ends.
    """

    levels: np.ndarray
    costs: np.ndarray
    sizes: np.ndarray
    head: np.ndarray
    after: np.ndarray
    group: np.ndarray
    own: np.ndarray
    begin: np.ndarray
    many: np.ndarray
    next: np.ndarray
    last: np.ndarray


class Scratch(NamedTuple):
    """Room to work in. some, other, hosts: int64 (n); trial: int16 (m); old: int16 (n, m).

    looked: float64 (1), how many hosts were looked at.
    """

    some: np.ndarray
    other: np.ndarray
    hosts: np.ndarray
    trial: np.ndarray
    old: np.ndarray
    looked: np.ndarray


@compiled
def improve(
    codes: np.ndarray,
    rows: np.ndarray,
    class_of: np.ndarray,
    count: int,
    lowest: np.ndarray,
    highest: np.ndarray,
    groups: np.ndarray,
    losses: np.ndarray,
    starts: np.ndarray,
    k: int,
    most: float,
) -> tuple[np.ndarray, float]:
    """Make the classes of a recoding lose less, as long as that goes: a tuple moves to another class; a class is dissolved into others; a class
    of twice k is parted. Each class is then at the least levels at which it is one. The dearest go first, so that few classes are tried in vain.

    codes: int32 (n, m); rows: int64 (n), each tuple's subjects; class_of: int64 (n), the tuples' classes, `count` of them: changed in
    place; groups, losses, starts: as in `Encoded`. most: so many classes are looked at as hosts. Returns int16 (classes, m), levels; and
    how many hosts were looked at.
    """
    n, m = codes.shape
    records = _records(codes, rows, lowest, highest, groups, losses, starts, k)
    classes = _classes(records, class_of, count)
    scratch = Scratch(
        np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64), np.empty(m, np.int16), np.empty((n, m), np.int16), np.zeros(1)
    )
    for h in range(count):
        number = _members(h, classes, scratch.some)
        joined(scratch.some, number, -1, records, classes.levels[h])
        _settle(h, records, classes)
    changed = True
    while changed and scratch.looked[0] < most:
        changed = False
        order = np.argsort(-classes.costs[:count] * classes.sizes[:count], kind="mergesort")
        for i in order:
            if scratch.looked[0] >= most:
                break
            while _moved_one(i, count, records, classes, scratch):
                changed = True
            if _dissolved(i, count, records, classes, scratch):
                changed = True
        i = 0
        while i < count:
            if count < len(classes.head) and _parted(i, count, records, classes, scratch):
                changed = True
                count += 1
            else:
                i += 1
    for h in range(count):
        t = classes.head[h]
        while t >= 0:
            class_of[t] = h
            t = classes.after[t]
    return classes.levels[:count].copy(), scratch.looked[0]


@compiled
def _records(
    codes: np.ndarray,
    rows: np.ndarray,
    lowest: np.ndarray,
    highest: np.ndarray,
    groups: np.ndarray,
    losses: np.ndarray,
    starts: np.ndarray,
    k: int,
) -> Records:
    """Number the groups through all columns and levels, and tell for each leaf which are near."""
    m, height = len(lowest), len(groups)
    numbers = np.zeros(groups.shape, np.int32)
    leaves = starts[m]
    most = 0
    for c in range(m):
        most += (starts[c + 1] - starts[c]) * height
    level_of, leaf_of = np.empty(most, np.int64), np.empty(most, np.int64)
    begins, total = np.zeros(m + 1, np.int64), 0
    for c in range(m):
        for level in range(lowest[c], highest[c] + 1):
            wide = 0
            for x in range(starts[c], starts[c + 1]):
                group = groups[level, x]
                numbers[level, x] = total + group
                level_of[total + group], leaf_of[total + group] = level, x
                wide = max(wide, group + 1)
            total += wide
        begins[c + 1] = total
    indexed, room = np.zeros(m, np.bool_), 0
    for c in range(m):
        table = (starts[c + 1] - starts[c]) * (begins[c + 1] - begins[c])
        indexed[c] = table <= _MOST_NEAR
        room += table if indexed[c] else 0
    near_at, near, extra = np.zeros(leaves + 1, np.int64), np.empty(room, np.int32), np.empty(room)
    at = 0
    for c in range(m):
        cost = np.empty(begins[c + 1] - begins[c])
        for x in range(starts[c], starts[c + 1]):
            near_at[x] = at
            if not indexed[c]:
                continue
            for b in range(begins[c], begins[c + 1]):
                level, y = level_of[b], leaf_of[b]
                while level <= highest[c] and groups[level, x] != groups[level, y]:
                    level += 1
                cost[b - begins[c]] = losses[level, y] - losses[level_of[b], y] if level <= highest[c] else np.inf
            for b in np.argsort(cost, kind="mergesort"):
                if cost[b] < np.inf:
                    near[at], extra[at] = begins[c] + b, cost[b]
                    at += 1
    near_at[leaves] = at
    return Records(codes, rows, lowest, highest, numbers, losses, k, near_at, near, extra, indexed)


@compiled
def _classes(records: Records, class_of: np.ndarray, count: int) -> Classes:
    """The classes with their tuples; their levels are yet to be found."""
    n, m = records.codes.shape
    room = 2 * count + n // max(records.k, 1) + 1
    lists = records.groups.max() + 1
    classes = Classes(
        np.zeros((room, m), np.int16), np.zeros(room), np.zeros(room, np.int64), np.full(room, -1, np.int64), np.full(n, -1, np.int64),
        np.full((room, m), -1, np.int32), np.zeros((room, m)),
        np.full(lists, -1, np.int32), np.zeros(lists, np.int32), np.full((m, room), -1, np.int32), np.full((m, room), -1, np.int32),
    )  # fmt: skip
    for t in range(n - 1, -1, -1):
        _put(t, class_of[t], records, classes)
    return classes


@compiled
def _put(t: int, h: int, records: Records, classes: Classes) -> None:
    """A tuple becomes a class's first; the class's levels are not looked at."""
    classes.after[t] = classes.head[h]
    classes.head[h] = t
    classes.sizes[h] += records.rows[t]


@compiled
def _members(h: int, classes: Classes, out: np.ndarray) -> int:
    """A class's tuples, into `out`, and how many they are."""
    number = 0
    t = classes.head[h]
    while t >= 0:
        out[number] = t
        number += 1
        t = classes.after[t]
    return number


@compiled
def joined(some: np.ndarray, number: int, without: int, records: Records, out: np.ndarray) -> float:
    """The least levels at which some tuples are one class, into `out`, and a record's loss there. some: positions, the first `number` of them
    but for the one at `without`."""
    cost = 0.0
    codes, groups = records.codes, records.groups
    first = some[1] if without == 0 else some[0]
    for c in range(codes.shape[1]):
        level = records.lowest[c]
        a = 0
        while a < number:
            if a != without and groups[level, codes[some[a], c]] != groups[level, codes[first, c]]:
                level += 1
                a = 0
            else:
                a += 1
        out[c] = level
        cost += records.losses[level, codes[first, c]]
    return cost


@compiled
def _settle(h: int, records: Records, classes: Classes) -> None:
    """Note of a class each column's group and loss at the class's levels, and hang it into the groups' lists."""
    cost, t = 0.0, classes.head[h]
    for c in range(records.codes.shape[1]):
        level, leaf = classes.levels[h, c], records.codes[t, c]
        classes.own[h, c] = records.losses[level, leaf]
        cost += classes.own[h, c]
        group = records.groups[level, leaf]
        if group != classes.group[h, c]:
            _unhang(h, c, classes)
            classes.group[h, c] = group
            begin = classes.begin[group]
            classes.next[c, h], classes.last[c, h] = begin, -1
            if begin >= 0:
                classes.last[c, begin] = h
            classes.begin[group] = h
            classes.many[group] += 1
    classes.costs[h] = cost


@compiled
def _unhang(h: int, c: int, classes: Classes) -> None:
    """Take a class out of a column's list."""
    group = classes.group[h, c]
    if group < 0:
        return
    after, before = classes.next[c, h], classes.last[c, h]
    if after >= 0:
        classes.last[c, after] = before
    if before >= 0:
        classes.next[c, before] = after
    else:
        classes.begin[group] = after
    classes.many[group] -= 1
    classes.group[h, c] = -1


@compiled
def _take_in(t: int, h: int, records: Records, classes: Classes) -> None:
    """A tuple joins a class, which becomes as coarse as the tuple needs it."""
    codes, groups, first = records.codes, records.groups, classes.head[h]
    for c in range(codes.shape[1]):
        while groups[classes.levels[h, c], codes[t, c]] != groups[classes.levels[h, c], codes[first, c]]:
            classes.levels[h, c] += 1
    _settle(h, records, classes)
    _put(t, h, records, classes)


@compiled
def _best_host(t: int, limit: float, skip: int, count: int, records: Records, classes: Classes, looked: np.ndarray) -> tuple[int, float]:
    """The class that takes a tuple in at the least loss, if that is under `limit`, else -1; and the loss.

    A class takes a tuple in for no less than its records and the tuple's lose more in any one column; so it is enough to look at the
    classes of the groups that are near enough in one column: in that in which they are the fewest.
    """
    codes, rows = records.codes, records.rows[t]
    m = codes.shape[1]
    column, fewest = -1, count
    for c in range(m):
        if not records.indexed[c]:
            continue
        number = 0
        for j in range(records.near_at[codes[t, c]], records.near_at[codes[t, c] + 1]):
            if (records.k + rows) * records.extra[j] >= limit or number >= fewest:
                break
            number += classes.many[records.near[j]]
        if number < fewest:
            column, fewest = c, number
    looked[0] += fewest + m
    found, best = -1, limit
    # What the tuple shows in each column at each level, side by side: this is read for every class.
    shown = np.empty((m, records.groups.shape[0]), np.int32)
    for c in range(m):
        shown[c] = records.groups[:, codes[t, c]]
    if column < 0:
        for h in range(count):
            price = _price(h, rows, best, shown, records, classes) if classes.sizes[h] and h != skip else np.inf
            if price < best:
                found, best = h, price
        return found, best
    for j in range(records.near_at[codes[t, column]], records.near_at[codes[t, column] + 1]):
        if (records.k + rows) * records.extra[j] >= best:
            break
        h = classes.begin[records.near[j]]
        while h >= 0:
            price = _price(h, rows, best, shown, records, classes) if classes.sizes[h] and h != skip else np.inf
            if price < best:
                found, best = h, price
            h = classes.next[column, h]
    return found, best


@compiled
def _price(h: int, rows: int, limit: float, shown: np.ndarray, records: Records, classes: Classes) -> float:
    """What is lost more where a class takes in a tuple of so many rows; where that is no less than `limit`, a number that is no less."""
    price = classes.costs[h] * rows
    if price >= limit:
        return price
    everybody = classes.sizes[h] + rows
    for c in range(shown.shape[0]):
        level = classes.levels[h, c]
        if shown[c, level] == classes.group[h, c]:
            continue
        leaf = records.codes[classes.head[h], c]
        while level <= records.highest[c] and shown[c, level] != records.groups[level, leaf]:
            level += 1
        if level > records.highest[c]:
            return np.inf
        price += everybody * (records.losses[level, leaf] - classes.own[h, c])
        if price >= limit:
            return price
    return price


@compiled
def _moved_one(i: int, count: int, records: Records, classes: Classes, scratch: Scratch) -> bool:
    """Move one tuple away from a class that holds k without it, if that loses less; and whether there was one."""
    if classes.sizes[i] <= records.k:
        return False
    number = _members(i, classes, scratch.some)
    for a in range(number):
        t = scratch.some[a]
        if number < 2 or classes.sizes[i] - records.rows[t] < records.k:
            continue
        left = joined(scratch.some, number, a, records, scratch.trial)
        gain = classes.costs[i] * classes.sizes[i] - left * (classes.sizes[i] - records.rows[t]) - 1e-9
        if gain <= classes.costs[i] * records.rows[t] * 0.01:
            continue
        h, _ = _best_host(t, gain, i, count, records, classes, scratch.looked)
        if h < 0:
            continue
        if a == 0:
            classes.head[i] = classes.after[t]
        else:
            classes.after[scratch.some[a - 1]] = classes.after[t]
        classes.sizes[i] -= records.rows[t]
        classes.levels[i] = scratch.trial
        _settle(i, records, classes)
        _take_in(t, h, records, classes)
        return True
    return False


@compiled
def _dissolved(i: int, count: int, records: Records, classes: Classes, scratch: Scratch) -> bool:
    """Dissolve a class, if all its tuples together lose less elsewhere; and whether it was."""
    some, hosts = scratch.some, scratch.hosts
    number = _members(i, classes, some)
    if number == 0:
        return False
    saved, size, spent, done = classes.costs[i] * classes.sizes[i] - 1e-9, classes.sizes[i], 0.0, 0
    classes.sizes[i] = 0
    while done < number:
        h, price = _best_host(some[done], saved - spent, i, count, records, classes, scratch.looked)
        if h < 0:
            break
        hosts[done], scratch.old[done] = h, classes.levels[h]
        _take_in(some[done], h, records, classes)
        spent += price
        done += 1
    if done == number:
        classes.head[i], classes.costs[i] = -1, 0.0
        for c in range(records.codes.shape[1]):
            _unhang(i, c, classes)
        return True
    for a in range(done - 1, -1, -1):
        h = hosts[a]
        classes.head[h] = classes.after[some[a]]
        classes.sizes[h] -= records.rows[some[a]]
        classes.levels[h] = scratch.old[a]
        _settle(h, records, classes)
    for a in range(number):
        classes.after[some[a]] = some[a + 1] if a + 1 < number else -1
    classes.sizes[i] = size
    return False


@compiled
def _parted(i: int, count: int, records: Records, classes: Classes, scratch: Scratch) -> bool:
    """Part a class that is large enough, one group of one column from the rest, if that loses less; the rest becomes class `count`."""
    codes, groups, some, other, k = records.codes, records.groups, scratch.some, scratch.other, records.k
    if classes.sizes[i] < 2 * k:
        return False
    number = _members(i, classes, some)
    if number < 2 or number > _PARTED:
        return False
    best, column, at, chosen = classes.costs[i] * classes.sizes[i] - 1e-9, -1, 0, 0
    for c in range(codes.shape[1]):
        for level in range(records.lowest[c], classes.levels[i, c]):
            for a in range(number):
                group = groups[level, codes[some[a], c]]
                seen = False
                for b in range(a):
                    if groups[level, codes[some[b], c]] == group:
                        seen = True
                        break
                if seen:
                    continue
                here, there, x, y = 0, 0, 0, number
                for b in range(number):
                    if groups[level, codes[some[b], c]] == group:
                        other[x] = some[b]
                        x += 1
                        here += records.rows[some[b]]
                    else:
                        y -= 1
                        other[y] = some[b]
                        there += records.rows[some[b]]
                if here < k or there < k:
                    continue
                price = joined(other, x, -1, records, scratch.trial) * here
                if price < best:
                    price += joined(other[x:], number - x, -1, records, scratch.trial) * there
                if price < best:
                    best, column, at, chosen = price, c, level, group
    if column < 0:
        return False
    classes.head[i], classes.head[count] = -1, -1
    classes.sizes[i], classes.sizes[count] = 0, 0
    for b in range(number - 1, -1, -1):
        _put(some[b], i if groups[at, codes[some[b], column]] == chosen else count, records, classes)
    for h in (i, count):
        number = _members(h, classes, other)
        joined(other, number, -1, records, classes.levels[h])
        _settle(h, records, classes)
    return True
