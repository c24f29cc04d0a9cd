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
    shown, spot, crowd, hopeful = np.empty(n, np.int64), np.empty(n, np.int64), np.zeros(1 << bits, np.int64), np.empty(n + 1, np.int32)
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
        # A first look without comparing keys: where all that share a slot are too few, no class among them holds.
        for a in range(left.size):
            u = left[a]
            key = np.int64(0)
            for c in range(m):
                key += steps[codes[u, c]]
            slot = np.int64((np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits))
            shown[a], spot[a] = key, slot
            crowd[slot] += rows[u]
        enough = 0
        for a in range(left.size):
            hopeful[enough] = a
            enough += crowd[spot[a]] >= k
        for a in range(left.size):
            crowd[spot[a]] = 0
        count = 0
        for j in range(enough):
            a = hopeful[j]
            u, key, slot = left[a], shown[a], spot[a]
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
            ids[j] = h
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
            for j in range(enough):
                u = left[hopeful[j]]
                if take[ids[j]]:
                    place[u] = numbers[o]
                    remaining -= rows[u]
            kept = 0
            for a in range(left.size):
                u = left[a]
                left[kept] = u
                kept += place[u] < 0
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
