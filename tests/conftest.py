"""The files that take longest begin first, so that no process is left with them at the end."""
LONG = ['test_sweep.py', 'test_train.py', 'test_near_duplicates.py', 'test_audit.py', 'test_wheel.py', 'test_data.py']

def pytest_collection_modifyitems(items):
    place = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: place.get(item.path.name, len(LONG)))
