"""Splits by group: whatever the groups are, none straddles, nothing is lost, and what can be met is met."""
import itertools
import logging
import time

import datasets
import numpy as np
import pandas as pd
import pytest

import dq_workbook as dq
from dq_workbook.repairs.groups import leaks
from dq_workbook.repairs.resplit import TOLERANCE, image_rows, split_account


def made(sizes, labels=None):
    """A set of ids and labels alone; the first ids are those of the first split."""
    ids, splits = iter(range(sum(sizes.values()))), {}
    for split, n in sizes.items():
        names = [next(ids) for _ in range(n)]
        columns = dict(id=list(map(str, names)))
        if labels is not None: columns['label'] = [int(labels[i]) for i in names]
        splits[split] = datasets.Dataset.from_dict(columns)
    return datasets.DatasetDict(splits)


def account(images, fresh, groups):
    """Checks that hold always; what became of sizes and shares."""
    rows = image_rows(images, groups)
    place = {name: split for split, part in fresh.items() for name in part['id']}
    assert sorted(place) == sorted(rows.id) and sum(map(len, fresh.values())) == len(rows), 'nothing is lost'
    assert len(leaks(fresh, groups)) == 0, 'no group straddles'
    wanted = rows.split.value_counts().reindex(list(images))
    return split_account(rows, rows.id.map(place).to_numpy(object), wanted)


def sizes_can_be_met(numbers, wanted):
    """Whether groups of these sizes fill two splits within the tolerance: by every sum that they can have."""
    sums = {0}
    for n in numbers: sums |= {total + n for total in sums}
    slack = min(int(TOLERANCE * n) for n in wanted)
    return any(abs(total - wanted[1]) <= slack for total in sums if 0 < total < sum(wanted))


@pytest.mark.parametrize('case', range(25))
def test_random_groups(case, caplog):
    random = np.random.default_rng(case)
    n, n_classes = int(random.integers(20, 400)), int(random.integers(1, 5))
    largest = random.choice([0.05, 0.2, 0.44, 0.7])
    member = random.integers(0, max(3, n // int(random.integers(1, 12))), n)
    member[random.random(n) < largest] = 0
    labels = None if case % 5 == 0 else random.integers(-1 if case % 7 == 0 else 0, n_classes, n)
    test = max(1, n // 5)
    images = made(dict(train=n - test, test=test), labels)
    groups = pd.Series(member, list(map(str, range(n)))).map('group {}'.format)
    with caplog.at_level(logging.WARNING): fresh = dq.resplit(images, groups, seed=case)
    table = account(images, fresh, groups)
    can = sizes_can_be_met(np.bincount(member)[np.bincount(member) > 0], (n - test, test))
    size_met = ((table.images - table.wanted).abs() <= np.floor(TOLERANCE * table.wanted)).all()
    assert size_met == can, 'sizes are met where any choice of groups meets them'
    told = [record.message for record in caplog.records if "groups don't allow" in record.message]
    assert len(told) == (~table.met).sum(), 'what is missed is said'


SIZES = {'two': dict(train=800, test=200), 'three': dict(train=600, validation=200, test=200),
         'four': dict(train=500, validation=200, test=200, other=100)}


@pytest.mark.parametrize('splits, share', list(itertools.product(SIZES, (0.01, 0.3))))
def test_shares_and_sizes_are_met_and_hardly_anything_moves(splits, share):
    """Pairs across classes and splits; one class has 70 % of the images."""
    random = np.random.default_rng(1)
    labels = random.choice(4, 1000, p=[0.7, 0.1, 0.1, 0.1])
    images, paired = made(SIZES[splits], labels), random.permutation(1000)[:int(2000 * share) // 2 * 2]
    groups = pd.Series(np.arange(len(paired)) // 2, paired.astype(str)).map('pair {}'.format)
    table = account(images, dq.resplit(images, groups, seed=0), groups)
    straddling = leaks(images, groups).group.nunique()
    slack = len(images) * 2 * int(TOLERANCE * 1000)
    assert table.met.all() and table.moved.sum() <= straddling + slack


@pytest.mark.parametrize('case', range(4))
def test_no_other_split_moves_fewer_images(case):
    """Against every way to put eight groups into two splits."""
    random = np.random.default_rng(case)
    images, member = made(dict(train=24, test=12), np.zeros(36)), random.integers(0, 8, 36)
    groups = pd.Series(member, list(map(str, range(36)))).map('group {}'.format)
    now, costs = np.arange(36) >= 24, []
    for sides in itertools.product((False, True), repeat=8):
        new = np.array(sides)[member]
        if 0 < new.sum() < 36: costs.append((abs(int(new.sum()) - 12), int((new != now).sum())))
    table = account(images, dq.resplit(images, groups, seed=0), groups)
    assert (abs(table.images['test'] - 12), table.moved.sum()) == min(costs)


def test_a_clean_split_stays_and_the_seed_draws_among_equals():
    images = made(dict(train=90, test=10), np.zeros(100))
    alone = pd.Series(dtype=object)
    assert dq.resplit(images, alone, seed=0)['test']['id'] == images['test']['id']
    halve = lambda seed: set(dq.resplit(images, alone, seed, dict(train=0.5, test=0.5))['test']['id'])
    halves = [halve(seed) for seed in (0, 0, 1)]
    assert halves[0] == halves[1] != halves[2] and all(len(half) == 50 for half in halves)
    with pytest.raises(ValueError, match='sum to 1'): dq.resplit(images, alone, 0, dict(train=0.5, test=0.6))
    with pytest.raises(ValueError, match="the id '0' stands twice"):
        dq.resplit(datasets.DatasetDict(train=images['train'], test=images['train']), alone, 0)


def test_sixty_thousand_images_in_ten_seconds():
    random = np.random.default_rng(0)
    images = made(dict(train=50_000, test=10_000), random.permutation(np.repeat(np.arange(10), 6000)))
    groups = pd.Series(np.arange(9000) // 3, random.permutation(60_000)[:9000].astype(str))
    start = time.process_time()
    table = account(images, dq.resplit(images, groups, seed=0), groups)
    assert table.met.all() and time.process_time() - start < 10
