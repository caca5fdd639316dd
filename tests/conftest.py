"""The files that take longest begin first, so that no process is left with them at the end."""
LONG = ('sweep', 'train', 'near_duplicates', 'audit', 'wheel', 'data')

def pytest_collection_modifyitems(items):
    place = {f'test_{name}.py': number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))
