"""Compiled counting. Import this inside functions: the compiler takes a second to load, and its work is cached beside this file."""

from __future__ import annotations

import numpy as np

from anonymize.privacy.compiled import compiled


@compiled
def stride_groups(groups: np.ndarray, starts: np.ndarray, node: np.ndarray, strides: np.ndarray) -> np.ndarray:
    """int64 (leaves): each leaf's group at its column's level in a node, times the column's stride (0: the column is left out).

    groups: int32 (levels, leaves); starts: int64 (m + 1); node, strides: int64 (m).
    """
    steps = np.zeros(groups.shape[1], np.int64)
    for c in range(node.size):
        if strides[c]:
            for leaf in range(starts[c], starts[c + 1]):
                steps[leaf] = groups[node[c], leaf] * strides[c]
    return steps


@compiled
def cheapest_path(bounds: np.ndarray, strides: np.ndarray, extents: np.ndarray, place: np.ndarray) -> np.ndarray:
    """int64 (steps, m): from a place of an array to its end, each step along the axis whose next bound is the least.

    bounds: float64, the array, flat; strides, extents: int64 (m); place: int64 (m).
    """
    m = place.size
    steps = 1
    for c in range(m):
        steps += extents[c] - 1 - place[c]
    path = np.empty((steps, m), np.int64)
    here = place.copy()
    path[0] = here
    for step in range(1, steps):
        at = 0
        for c in range(m):
            at += here[c] * strides[c]
        chosen, least = -1, 0.0
        for c in range(m):
            if here[c] + 1 < extents[c] and (chosen < 0 or bounds[at + strides[c]] < least):
                chosen, least = c, bounds[at + strides[c]]
        here[chosen] += 1
        path[step] = here
    return path


@compiled
def loss_of_leaves(losses: np.ndarray, starts: np.ndarray, leaves: np.ndarray, at: np.ndarray) -> np.ndarray:
    """float64 (m, levels): what some records, given by leaf, lose in each column at each level; under `at` as much as there.

    losses: float64 (levels, leaves); leaves: int64 (leaves), records; at: int64 (m).
    """
    m = starts.size - 1
    total = np.zeros((m, losses.shape[0]))
    for c in range(m):
        for level in range(at[c], losses.shape[0]):
            for leaf in range(starts[c], starts[c + 1]):
                total[c, level] += losses[level, leaf] * leaves[leaf]
        total[c, : at[c]] = total[c, at[c]]
    return total


@compiled
def raise_bounds(bounds: np.ndarray, steps: np.ndarray, box: np.ndarray, kept: np.ndarray, low: np.ndarray, more: float) -> None:
    """Raise the bound of each node of a box to what its records keep at least: the sum over the columns, and `more`.

    bounds: float64 (nodes), changed in place; steps: int64 (m), a column's next level is so many nodes further; box: int64 (m), levels of each
    column, from the lowest up; kept: float64 (m, levels), the loss of the records that can be published; low: int64 (m), the lowest levels.
    """
    m = len(box)
    if not m:
        bounds[0] = max(bounds[0], more)
        return
    at, total, node, c = np.zeros(m, np.int64), np.zeros(m), 0, 0
    while c >= 0:
        for d in range(c, m - 1):
            total[d + 1] = total[d] + kept[d, low[d] + at[d]]
        for level in range(box[m - 1]):
            bound = total[m - 1] + kept[m - 1, low[m - 1] + level] + more
            place = node + level * steps[m - 1]
            bounds[place] = max(bounds[place], bound)
        c = m - 2
        while c >= 0:
            at[c] += 1
            node += steps[c]
            if at[c] < box[c]:
                break
            node -= box[c] * steps[c]
            at[c] = 0
            c -= 1


@compiled
def number_classes(codes: np.ndarray, steps: np.ndarray, prior: np.ndarray, width: int, space: int, ids: np.ndarray) -> int:
    """Number the classes of n tuples from 0, in the order in which they are met; returns how many there are.

    codes: int32 (n, m), positions in `steps`; steps: int64, a leaf's group times its column's stride; prior: int32 (n), a number found
    before, times `width` (empty: none); space: one more than the largest key; ids: int32 (n), filled.
    """
    n, m = codes.shape
    count = 0
    if space <= 4 * n + 4096:
        seen = np.full(space, -1, np.int32)
        for i in range(n):
            key = np.int64(0)
            for c in range(m):
                key += steps[codes[i, c]]
            if prior.size:
                key += np.int64(prior[i]) * width
            if seen[key] < 0:
                seen[key] = count
                count += 1
            ids[i] = seen[key]
        return count
    bits = 10
    while (1 << bits) < n + n // 2:
        bits += 1
    mask = (1 << bits) - 1
    slots = np.full(1 << bits, -1, np.int32)
    keys = np.empty(n, np.int64)
    for i in range(n):
        key = np.int64(0)
        for c in range(m):
            key += steps[codes[i, c]]
        if prior.size:
            key += np.int64(prior[i]) * width
        mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
        slot = np.int64(mixed >> np.uint64(64 - bits))
        while True:
            held = slots[slot]
            if held < 0:
                slots[slot] = count
                keys[count] = key
                ids[i] = count
                count += 1
                break
            if keys[held] == key:
                ids[i] = held
                break
            slot = (slot + 1) & mask
    return count


@compiled
def add_up(ids: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """int64 (count): the sum of the weights of each class."""
    total = np.zeros(count, np.int64)
    for i in range(ids.size):
        total[ids[i]] += weights[i]
    return total


@compiled
def count_distinct(ids: np.ndarray, subjects: np.ndarray, count: int) -> np.ndarray:
    """int64 (count): the distinct subjects of each class. subjects: int32 (n), sorted, so that a subject's tuples follow each other."""
    total = np.zeros(count, np.int64)
    last = np.full(count, -1, np.int32)
    for i in range(ids.size):
        if last[ids[i]] != subjects[i]:
            last[ids[i]] = subjects[i]
            total[ids[i]] += 1
    return total


@compiled
def histogram(
    ids: np.ndarray, places: np.ndarray, values: np.ndarray, weights: np.ndarray, subjects: np.ndarray, count: int, width: int
) -> np.ndarray:
    """int64 (count, width): how often each class holds each value, by weight, or by distinct subject where subjects (sorted) are given.

    places: int32, class -> its row in the outcome, or -1 where it is not asked for.
    """
    total = np.zeros((count, width), np.int64)
    last = np.full((count if subjects.size else 0, width), -1, np.int32)
    for i in range(ids.size):
        place = places[ids[i]]
        if place < 0:
            continue
        if subjects.size:
            if last[place, values[i]] != subjects[i]:
                last[place, values[i]] = subjects[i]
                total[place, values[i]] += 1
        else:
            total[place, values[i]] += weights[i]
    return total


@compiled
def lost_leaves(codes: np.ndarray, ids: np.ndarray, good: np.ndarray, rows: np.ndarray, leaves: int) -> tuple[np.ndarray, np.int64]:
    """The records of each leaf that stand in classes that are not good, int64 (leaves), and their number."""
    lost = np.zeros(leaves, np.int64)
    total = np.int64(0)
    for i in range(ids.size):
        if not good[ids[i]]:
            total += rows[i]
            for c in range(codes.shape[1]):
                lost[codes[i, c]] += rows[i]
    return lost, total


@compiled
def first_of_each(ids: np.ndarray, count: int) -> np.ndarray:
    """int64 (count): the position of each class's first tuple."""
    first = np.empty(count, np.int64)
    met = 0
    for i in range(ids.size):
        if ids[i] == met:
            first[met] = i
            met += 1
    return first


@compiled
def first_of_each_pair(ids: np.ndarray, subjects: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the first tuple of each pair of class and subject (sorted), in order; and each tuple's pair, int32 (n)."""
    last = np.full(count, -1, np.int32)
    where = np.empty(count, np.int32)
    first = np.empty(ids.size, np.int64)
    pair = np.empty(ids.size, np.int32)
    met = 0
    for i in range(ids.size):
        if last[ids[i]] != subjects[i]:
            last[ids[i]] = subjects[i]
            where[ids[i]] = met
            first[met] = i
            met += 1
        pair[i] = where[ids[i]]
    return first[:met].copy(), pair
