"""The house is in order: notebooks and package agree, imports go downwards, a notebook stays a lesson."""
import ast
import importlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
import yaml

import dq_workbook as dq

ROOT = Path(__file__).parent.parent
PRIVATE = rf'/home/|/root/|/Users/|/tmp/|0x[0-9a-f]{{8}}|(?<!\w){re.escape(str(ROOT))}/' # in no stored output
BENCH = 10 # number of the wing without one
ROOMS = sorted((ROOT/'nbs').glob('*/[0-9][0-9]_*.ipynb'))
GUIDES = [path for path in ROOMS if path.parent.name == 'guides']
ROOMS = [path for path in ROOMS if path not in GUIDES]
TEMPLATES = sorted((ROOT/'nbs'/'templates').glob('*.ipynb'))
NOTEBOOKS = ROOMS + GUIDES + TEMPLATES
MODULES = sorted(path for path in (ROOT/'dq_workbook').glob('*/*.py') if path.name != '__init__.py')
PROJECT = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']
name_of = lambda path: f'{path.parent.name}/{path.stem}'


def cells(path): return json.loads(path.read_text())['cells']


def code_of(path): return [''.join(c['source']) for c in cells(path) if c['cell_type'] == 'code']


def place(path):
    """(number of the wing, number of the room)"""
    wing = re.match(r'(\d+)_', path.parent.name)
    return int(wing[1]) if wing else BENCH, int(path.name[:2])


def module_of(path):
    return '.'.join(re.sub(r'^\d+_', '', part) for part in (path.parent.name, path.stem))


def functions_of(path):
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]


def lines_of(function): return function.end_lineno - function.lineno + 1


def test_package_is_what_the_notebooks_export(tmp_path):
    for part in ('nbs', 'pyproject.toml', 'README.md', 'LICENSE'):
        copy = shutil.copytree if (ROOT/part).is_dir() else shutil.copy
        copy(ROOT/part, tmp_path/part)
    (tmp_path/'dq_workbook').mkdir()
    shutil.copy(ROOT/'dq_workbook'/'__init__.py', tmp_path/'dq_workbook')
    export = Path(sys.executable).parent/'nbdev-export'
    subprocess.run([export], cwd=tmp_path, check=True, env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    folders = [base/'dq_workbook' for base in (ROOT, tmp_path)]
    ours, theirs = ({str(p.relative_to(f)): p.read_text() for p in f.rglob('*.py')} for f in folders)
    assert ours.keys() == theirs.keys(), 'a module without a notebook, or one not exported: make export'
    assert ours == theirs, 'the package differs from the notebooks: make export'


def test_conda_and_pip_users_get_the_same_dependencies():
    conda = yaml.safe_load((ROOT/'environment.yml').read_text())['dependencies'][-1]['pip']
    assert sorted(conda) == sorted(PROJECT['dependencies'] + PROJECT['optional-dependencies']['dev'])


def test_every_direct_dependency_is_locked_and_no_address_is_named():
    rows = (ROOT/'requirements.lock').read_text().splitlines()
    lock = [row for row in rows if row and not row.startswith('#')]
    assert all(re.fullmatch(r'[\w.\-]+==[\w.+!\-]+', row) for row in lock)
    canonical = lambda name: re.sub(r'[-_.]+', '-', name).lower()
    direct = {canonical(re.match(r'[\w.\-]+', d)[0]) for d in PROJECT['dependencies']}
    assert direct <= {canonical(row.split('==')[0]) for row in lock}


def test_the_version_stands_once():
    cited = yaml.safe_load((ROOT/'CITATION.cff').read_text())['version']
    assert dq.__version__ == PROJECT['version'] == cited
    assert f"## {PROJECT['version']}" in (ROOT/'CHANGELOG.md').read_text()


# Rooms and wings

def test_numbers_are_unique_within_a_wing():
    assert len({place(path) for path in ROOMS}) == len(ROOMS)
    assert len({place(path)[1] for path in GUIDES}) == len(GUIDES)


@pytest.mark.parametrize('path', ROOMS, ids=name_of)
def test_a_module_is_named_after_its_room(path):
    assert f'#| default_exp {module_of(path)}' in code_of(path)


@pytest.mark.parametrize('path', ROOMS, ids=name_of)
def test_imports_go_to_a_lower_room(path):
    number = {module_of(room): place(room) for room in ROOMS}
    source = '\n'.join(code for code in code_of(path) if code.startswith('#| export'))
    used = set(re.findall(r'^\s*from dq_workbook\.([\w.]+) import', source, re.M))
    for wing, names in re.findall(r'^\s*from dq_workbook\.(\w+) import ([\w, ]+)', source, re.M):
        used = used - {wing} | {f'{wing}.{name.strip()}' for name in names.split(',')}
    assert [room for room in sorted(used) if number[room] >= place(path)] == []


@pytest.mark.parametrize('path', ROOMS, ids=name_of)
def test_lessons_use_nothing_from_a_higher_wing(path):
    number = {module_of(room): place(room) for room in ROOMS}
    used = set(re.findall(r'^\s*from dq_workbook\.(\w+\.\w+) import', '\n'.join(code_of(path)), re.M))
    assert [room for room in sorted(used) if number[room][0] > place(path)[0]] == []


@pytest.mark.parametrize('path', ROOMS + GUIDES, ids=name_of)
def test_a_notebook_opens_with_a_title_and_a_summary(path):
    first = ''.join(cells(path)[0]['source']).split('\n')
    assert cells(path)[0]['cell_type'] == 'markdown' and first[0].startswith('# ')
    assert first[2].startswith('> '), 'the summary, which becomes the docstring of the module'


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name_of)
def test_notebooks_are_committed_clean(path):
    code = [c for c in cells(path) if c['cell_type'] == 'code']
    assert not any(c['execution_count'] for c in code)
    outputs = [output for c in code for output in c['outputs']]
    assert not any(o['output_type'] == 'error' or o.get('name') == 'stderr' for o in outputs)
    private = re.search(PRIVATE, json.dumps(outputs))
    assert not private, 'a path or an address in an output'
    if path in TEMPLATES: assert not any(c['outputs'] for c in code)


def test_stored_outputs_stay_small():
    pictures = [(path.stem, len(o['data']['image/png']) * 3 // 4) for path in NOTEBOOKS for c in cells(path)
                for o in c.get('outputs', []) if 'image/png' in o.get('data', {})]
    assert [row for row in pictures if row[1] > 60_000] == []
    assert sum(path.stat().st_size for path in NOTEBOOKS) < 6_000_000


def test_most_rooms_show_something_without_being_run():
    shown = [path for path in ROOMS if any(c.get('outputs') for c in cells(path))]
    assert [path.stem for path in ROOMS if path not in shown] == []


@pytest.mark.parametrize('path', TEMPLATES, ids=name_of)
def test_a_template_starts_with_its_claim_and_its_parameters(path):
    title, parameters, *rest = cells(path)
    assert title['cell_type'] == 'markdown' and ''.join(title['source']).startswith('# ')
    assert parameters['metadata'] == {'tags': ['parameters']}
    assert all('#' in line for line in parameters['source'] if line.strip()), 'every parameter is commented'
    source = '\n'.join(''.join(c['source']) for c in rest)
    assert not re.search(r'^\s*def ', source, re.M), 'functions belong into a room'


# Lines, functions and names

@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_functions_and_modules_are_short(path):
    assert [f.name for f in functions_of(path) if lines_of(f) > 40] == []
    assert len(path.read_text().splitlines()) <= 300


def test_half_of_the_functions_have_at_most_twelve_lines():
    assert statistics.median(lines_of(f) for path in MODULES for f in functions_of(path)) <= 12


@pytest.mark.parametrize('path', NOTEBOOKS, ids=name_of)
def test_cells_are_short(path):
    assert [code.split('\n')[1] for code in code_of(path) if len(code.split('\n')) > 30] == []


@pytest.mark.parametrize('path', [*MODULES, ROOT/'dq_workbook'/'__init__.py'], ids=name_of)
def test_exported_lines_have_at_most_110_columns(path):
    source = re.sub(r'^__all__ = \[.*?\]$', '', path.read_text(), flags=re.M | re.S)
    assert [line for line in source.split('\n') if len(line) > 110] == []


def test_ruff_is_clean():
    done = subprocess.run([sys.executable, '-m', 'ruff', 'check', '--output-format', 'concise', '.'],
                          cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_a_public_name_stands_for_one_thing():
    homes = defaultdict(list)
    for path in MODULES:
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            names = [target.id for target in targets if isinstance(target, ast.Name)]
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)): names = [node.name]
            for name in names:
                if not name.startswith('_') and name != 'main': homes[name].append(name_of(path))
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_every_parameter_of_a_public_function_is_commented(path):
    source, missing = path.read_text().split('\n'), []
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith('_') or node.name == 'main': continue
        if not ast.get_docstring(node): missing.append(node.name)
        for argument in (*node.args.args, *node.args.kwonlyargs):
            commented = argument.arg == 'self' or '#' in source[argument.lineno - 1]
            if not commented: missing.append(f'{node.name}({argument.arg})')
    assert missing == []


# The face

def test_importing_the_package_is_quick_and_loads_no_torch():
    code = ('import sys, time; start = time.perf_counter(); import dq_workbook; '
            'print(time.perf_counter() - start, "torch" in sys.modules)')
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    seconds, torch = done.stdout.split()
    assert float(seconds) < 1 and torch == 'False'


@pytest.mark.parametrize('name', dq.__all__)
def test_help_says_what_each_argument_of_a_public_call_means(name):
    call = getattr(dq, name)
    assert 'Arguments' in call.__doc__ or name == 'cards'
    assert 'Returns' in call.__doc__ or name in ('guard', 'push_release')


def test_the_lab_asks_nobody_for_news():
    file = Path(sys.prefix)/'etc'/'jupyter'/'labconfig'/'page_config.json'
    disabled = json.loads(file.read_text())['disabledExtensions']
    assert disabled['@jupyterlab/apputils-extension:announcements'], 'make setup switches it off'


@pytest.mark.parametrize('path', TEMPLATES + GUIDES, ids=name_of)
def test_what_a_template_or_a_guide_imports_is_there(path):
    tree = ast.parse('\n'.join(code_of(path)))
    wanted = [(node.module, name.name) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
              and node.module.startswith('dq_workbook') for name in node.names]
    assert [row for row in wanted if not hasattr(importlib.import_module(row[0]), row[1])] == []
