"""The compiled part of local recoding. Import this inside functions, as `kernels`."""

from __future__ import annotations

import numpy as np

from anonymize.privacy.compiled import compiled


@compiled
def peel(
    codes: np.ndarray,
    rows: np.ndarray,
    subjects: np.ndarray,
    groups: np.ndarray,
    losses: np.ndarray,
    starts: np.ndarray,
    widths: np.ndarray,
    nodes: np.ndarray,
    costs: np.ndarray,
    numbers: np.ndarray,
    k: int,
    slack: float,
    stop: int,
    place: np.ndarray,
    later: np.ndarray,
    work: float,
) -> tuple[np.ndarray, int, float]:
    """Visit nodes in order; at each, publish the classes of what is left that hold k subjects and cost no more than the node's turn.

    codes, rows, subjects: of what is left, as in `Cells`; nodes: int64 (v, m), levels; costs: float64 (v), in order; numbers: int64 (v), the
    nodes' numbers; stop: leave when no more records are left. place: int64 (n), filled with the number of the node at which a tuple is
    published (-1: not yet); later: float64 (all nodes), filled for each node visited with the cost of its cheapest class that must wait,
    or infinity; work: stop when so many cells times columns were counted. Returns the positions that are left, how many nodes were visited, and
    the work that was done.
    """
    n, m = codes.shape
    steps = np.zeros(groups.shape[1], np.int64)
    bits = 4
    while (1 << bits) < 2 * n:
        bits += 1
    mask = (1 << bits) - 1
    slots = np.full(1 << bits, -1, np.int32)
    keys, used = np.empty(n, np.int64), np.empty(n, np.int64)
    size, first, last = np.empty(n, np.int64), np.empty(n, np.int32), np.empty(n, np.int32)
    ids, take = np.empty(n, np.int32), np.empty(n, np.bool_)
    left = np.arange(n).astype(np.int32)
    remaining, visited, done = rows.sum(), 0, 0.0
    for o in range(len(costs)):
        if remaining <= stop or not left.size or done > work:
            break
        visited += 1
        done += left.size * m + 1000.0
        stride = np.int64(1)
        for c in range(m):
            level = nodes[o, c]
            for leaf in range(starts[c], starts[c + 1]):
                steps[leaf] = groups[level, leaf] * stride
            stride *= widths[c, level]
        count = 0
        for a in range(left.size):
            u = left[a]
            key = np.int64(0)
            for c in range(m):
                key += steps[codes[u, c]]
            slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))
            while slots[slot] >= 0 and keys[slots[slot]] != key:
                slot = (slot + 1) & mask
            h = slots[slot]
            if h < 0:
                h = count
                count += 1
                slots[slot], used[h], keys[h], size[h], first[h], last[h] = h, slot, key, 0, u, -1
            if not subjects.size:
                size[h] += rows[u]
            elif last[h] != subjects[u]:
                size[h] += 1
                last[h] = subjects[u]
            ids[a] = h
        some, waiting = False, np.inf
        for h in range(count):
            take[h] = False
            slots[used[h]] = -1
            if size[h] < k:
                continue
            cost = 0.0
            for c in range(m):
                cost += losses[nodes[o, c], codes[first[h], c]]
            if cost <= costs[o] * (1 + slack) + 1e-12:
                take[h] = some = True
            else:
                waiting = min(waiting, cost)
        later[numbers[o]] = waiting
        if some:
            kept = 0
            for a in range(left.size):
                u = left[a]
                if take[ids[a]]:
                    place[u] = numbers[o]
                    remaining -= rows[u]
                else:
                    left[kept] = u
                    kept += 1
            left = left[:kept]
    return left.copy(), visited, done


@compiled
def cheapest_hosts(
    newcomer: np.ndarray,
    newcomers: int,
    codes: np.ndarray,
    levels: np.ndarray,
    rows: np.ndarray,
    costs: np.ndarray,
    highest: np.ndarray,
    groups: np.ndarray,
    losses: np.ndarray,
    most: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The classes that take a tuple in at the least loss, the cheapest first, and the levels that each would have then.

    newcomer: int32 (m), a tuple of `newcomers` records; codes, levels: (hosts, m), of each class; rows: int64, its records; costs: float64, a
    record's loss; highest: int64 (m). At most `most`; fewer where others would have to be coarser than `highest`.
    """
    hosts, m = codes.shape
    found, prices = np.empty(most, np.int64), np.empty(most)
    count = 0
    for h in range(hosts):
        after = 0.0
        able = True
        for c in range(m):
            level = levels[h, c]
            while level <= highest[c] and groups[level, newcomer[c]] != groups[level, codes[h, c]]:
                level += 1
            if level > highest[c]:
                able = False
                break
            after += losses[level, codes[h, c]]
            if count == most and rows[h] * (after - costs[h]) + after * newcomers >= prices[most - 1]:
                able = False
                break
        if not able:
            continue
        price = rows[h] * (after - costs[h]) + after * newcomers
        if count == most and price >= prices[most - 1]:
            continue
        j = count if count < most else most - 1
        while j > 0 and prices[j - 1] > price:
            found[j], prices[j] = found[j - 1], prices[j - 1]
            j -= 1
        found[j], prices[j] = h, price
        count = min(count + 1, most)
    met = np.empty((count, m), np.int64)
    for j in range(count):
        h = found[j]
        for c in range(m):
            level = levels[h, c]
            while groups[level, newcomer[c]] != groups[level, codes[h, c]]:
                level += 1
            met[j, c] = level
    return found[:count].copy(), met


@compiled
def joined(
    codes: np.ndarray, some: np.ndarray, number: int, without: int, lowest: np.ndarray, groups: np.ndarray, losses: np.ndarray, out: np.ndarray
) -> float:
    """The least levels at which some tuples are one class, into `out`, and a record's loss there. some: positions, the first `number` of them
    but for the one at `without`."""
    cost = 0.0
    first = some[1] if without == 0 else some[0]
    for c in range(codes.shape[1]):
        level = lowest[c]
        a = 0
        while a < number:
            if a != without and groups[level, codes[some[a], c]] != groups[level, codes[first, c]]:
                level += 1
                a = 0
            else:
                a += 1
        out[c] = level
        cost += losses[level, codes[first, c]]
    return cost


@compiled
def mark(
    h: int, t: int, codes: np.ndarray, levels: np.ndarray, groups: np.ndarray, losses: np.ndarray, marks: np.ndarray, own: np.ndarray
) -> float:
    """Note of a class, of which t is a tuple, each column's group and loss at the class's levels; and return their sum."""
    cost = 0.0
    for c in range(codes.shape[1]):
        marks[h, c] = groups[levels[h, c], codes[t, c]]
        own[h, c] = losses[levels[h, c], codes[t, c]]
        cost += own[h, c]
    return cost


@compiled
def widen(t: int, h: int, codes: np.ndarray, levels: np.ndarray, first: np.ndarray, groups: np.ndarray) -> None:
    """Make a class as coarse as a tuple needs it."""
    for c in range(codes.shape[1]):
        while groups[levels[h, c], codes[t, c]] != groups[levels[h, c], codes[first[h], c]]:
            levels[h, c] += 1


@compiled
def best_host(
    t: int,
    rows: int,
    limit: float,
    codes: np.ndarray,
    levels: np.ndarray,
    first: np.ndarray,
    sizes: np.ndarray,
    costs: np.ndarray,
    marks: np.ndarray,
    own: np.ndarray,
    count: int,
    skip: int,
    highest: np.ndarray,
    groups: np.ndarray,
    losses: np.ndarray,
) -> tuple[int, float]:
    """The class that takes a tuple in at the least loss, if that is under `limit`, else -1; and the loss."""
    found, best, m = -1, limit, codes.shape[1]
    # What the tuple shows in each column at each level, side by side: this is read for every class.
    shown = np.empty((m, groups.shape[0]), np.int32)
    for c in range(m):
        shown[c] = groups[:, codes[t, c]]
    for h in range(count):
        price = costs[h] * rows
        if price >= best or sizes[h] == 0 or h == skip:
            continue
        everybody = sizes[h] + rows
        for c in range(m):
            level = levels[h, c]
            if shown[c, level] == marks[h, c]:
                continue
            leaf = codes[first[h], c]
            while level <= highest[c] and shown[c, level] != groups[level, leaf]:
                level += 1
            if level > highest[c]:
                price = np.inf
                break
            price += everybody * (losses[level, leaf] - own[h, c])
            if price >= best:
                break
        if price < best:
            found, best = h, price
    return found, best


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
    k: int,
    most: float,
) -> tuple[np.ndarray, float]:
    """Make the classes of a recoding lose less, as long as that goes: a tuple moves to another class; a class is dissolved into others; a class
    of twice k is parted. Each class is then at the least levels at which it is one. The dearest go first, so that few classes are tried in vain.

    codes: int32 (n, m); rows: int64 (n), each tuple's subjects; class_of: int64 (n), the tuples' classes, `count` of them: changed in place.
    most: so many classes are looked at as hosts. Returns int16 (classes, m), levels; and how many hosts were looked at.
    """
    n, m = codes.shape
    room = 2 * count + n // max(k, 1) + 1
    levels, costs, sizes = np.zeros((room, m), np.int16), np.zeros(room), np.zeros(room, np.int64)
    head, after = np.full(room, -1, np.int64), np.full(n, -1, np.int64)
    for t in range(n - 1, -1, -1):
        h = class_of[t]
        after[t] = head[h]
        head[h] = t
        sizes[h] += rows[t]
    some, other, trial = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(m, np.int16)
    old_levels, hosts = np.empty((n, m), np.int16), np.empty(n, np.int64)
    marks, own = np.zeros((room, m), np.int32), np.zeros((room, m))
    for h in range(count):
        number = 0
        t = head[h]
        while t >= 0:
            some[number] = t
            number += 1
            t = after[t]
        joined(codes, some, number, -1, lowest, groups, losses, levels[h])
        costs[h] = mark(h, head[h], codes, levels, groups, losses, marks, own)
    visits, changed = 0.0, True
    while changed and visits < most:
        changed = False
        order = np.argsort(-costs[:count] * sizes[:count], kind="mergesort")
        for i in order:
            if visits >= most:
                break
            # Move tuples away, one at a time, while k stay.
            again = sizes[i] > k
            while again:
                again = False
                number = 0
                t = head[i]
                while t >= 0:
                    some[number] = t
                    number += 1
                    t = after[t]
                for a in range(number):
                    t = some[a]
                    if number < 2 or sizes[i] - rows[t] < k:
                        continue
                    left = joined(codes, some, number, a, lowest, groups, losses, trial)
                    gain = costs[i] * sizes[i] - left * (sizes[i] - rows[t]) - 1e-9
                    if gain <= costs[i] * rows[t] * 0.01:
                        continue
                    visits += count
                    h, price = best_host(t, rows[t], gain, codes, levels, head, sizes, costs, marks, own, count, i, highest, groups, losses)
                    if h < 0:
                        continue
                    if a == 0:
                        head[i] = after[t]
                    else:
                        after[some[a - 1]] = after[t]
                    levels[i] = trial
                    costs[i] = mark(i, head[i], codes, levels, groups, losses, marks, own)
                    sizes[i] -= rows[t]
                    widen(t, h, codes, levels, head, groups)
                    costs[h] = mark(h, t, codes, levels, groups, losses, marks, own)
                    after[t], head[h] = head[h], t
                    sizes[h] += rows[t]
                    changed = again = True
                    break
            # Dissolve the class, if all its tuples together lose less elsewhere.
            number = 0
            t = head[i]
            while t >= 0:
                some[number] = t
                number += 1
                t = after[t]
            if number == 0:
                continue
            saved, size, spent, done = costs[i] * sizes[i] - 1e-9, sizes[i], 0.0, 0
            sizes[i] = 0
            while done < number:
                t = some[done]
                visits += count
                h, price = best_host(t, rows[t], saved - spent, codes, levels, head, sizes, costs, marks, own, count, i, highest, groups, losses)
                if h < 0:
                    break
                hosts[done], old_levels[done] = h, levels[h]
                widen(t, h, codes, levels, head, groups)
                costs[h] = mark(h, t, codes, levels, groups, losses, marks, own)
                after[t], head[h] = head[h], t
                sizes[h] += rows[t]
                spent += price
                done += 1
            if done == number:
                head[i], costs[i] = -1, 0.0
                changed = True
            else:
                for a in range(done - 1, -1, -1):
                    h = hosts[a]
                    head[h] = after[some[a]]
                    levels[h] = old_levels[a]
                    costs[h] = mark(h, head[h], codes, levels, groups, losses, marks, own)
                    sizes[h] -= rows[some[a]]
                for a in range(number):
                    after[some[a]] = some[a + 1] if a + 1 < number else -1
                sizes[i] = size
        # Part what has become large enough, by one group of one column against the rest.
        i = 0
        while i < count:
            number = 0
            t = head[i]
            while t >= 0 and number <= 256:
                some[number] = t
                number += 1
                t = after[t]
            if sizes[i] < 2 * k or number < 2 or number > 256 or count >= room:
                i += 1
                continue
            best, column, at, group = costs[i] * sizes[i] - 1e-9, -1, 0, 0
            for c in range(m):
                for level in range(lowest[c], levels[i, c]):
                    for a in range(number):
                        value = groups[level, codes[some[a], c]]
                        seen = False
                        for b in range(a):
                            if groups[level, codes[some[b], c]] == value:
                                seen = True
                                break
                        if seen:
                            continue
                        here, there = 0, 0
                        x, y = 0, number
                        for b in range(number):
                            if groups[level, codes[some[b], c]] == value:
                                other[x] = some[b]
                                x += 1
                                here += rows[some[b]]
                            else:
                                y -= 1
                                other[y] = some[b]
                                there += rows[some[b]]
                        if here < k or there < k:
                            continue
                        price = joined(codes, other, x, -1, lowest, groups, losses, trial) * here
                        if price < best:
                            price += joined(codes, other[x:], number - x, -1, lowest, groups, losses, trial) * there
                        if price < best:
                            best, column, at, group = price, c, level, value
            if column < 0:
                i += 1
                continue
            changed = True
            head[i], head[count] = -1, -1
            sizes[i], sizes[count] = 0, 0
            for b in range(number - 1, -1, -1):
                t = some[b]
                h = i if groups[at, codes[t, column]] == group else count
                after[t], head[h] = head[h], t
                sizes[h] += rows[t]
            for h in (i, count):
                number = 0
                t = head[h]
                while t >= 0:
                    other[number] = t
                    number += 1
                    t = after[t]
                joined(codes, other, number, -1, lowest, groups, losses, levels[h])
                costs[h] = mark(h, head[h], codes, levels, groups, losses, marks, own)
            count += 1
    for h in range(count):
        t = head[h]
        while t >= 0:
            class_of[t] = h
            t = after[t]
    return levels[:count].copy(), visits
