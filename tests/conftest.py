"""Each process has its own cores; the files that take longest begin first."""
import os

LONG = ('sweep', 'train', 'near_duplicates', 'audit', 'wheel', 'data')


def pytest_configure():
    if 'PYTEST_XDIST_WORKER' not in os.environ or not hasattr(os, 'sched_setaffinity'): return
    number = int(os.environ['PYTEST_XDIST_WORKER'].removeprefix('gw'))
    own = sorted(os.sched_getaffinity(0))[number::int(os.environ['PYTEST_XDIST_WORKER_COUNT'])]
    if own: os.sched_setaffinity(0, own)


def pytest_collection_modifyitems(items):
    place = {f'test_{name}.py': number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))
