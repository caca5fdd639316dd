"""The house is in order: notebooks and package agree, the environments agree, a notebook stays a lesson."""
import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT/'nbs').glob('[0-9]*.ipynb'))
TEMPLATES = sorted((ROOT/'nbs'/'reports').glob('*.ipynb'))
PROJECT = tomllib.loads((ROOT/'pyproject.toml').read_text())['project']


def cells(path): return json.loads(path.read_text())['cells']


def test_package_is_what_the_notebooks_export(tmp_path):
    for part in ('nbs', 'pyproject.toml', 'README.md', 'LICENSE'):
        copy = shutil.copytree if (ROOT/part).is_dir() else shutil.copy
        copy(ROOT/part, tmp_path/part)
    (tmp_path/'dq_workbook').mkdir()
    shutil.copy(ROOT/'dq_workbook'/'__init__.py', tmp_path/'dq_workbook')
    subprocess.run([Path(sys.executable).parent/'nbdev-export'], cwd=tmp_path, check=True, env={**os.environ, 'PYTHONPATH': str(tmp_path)})
    ours, theirs = ({p.name: p.read_text() for p in (base/'dq_workbook').glob('*.py')} for base in (ROOT, tmp_path))
    assert ours.keys() == theirs.keys(), 'a module without a notebook, or a notebook that was not exported: make export'
    assert ours == theirs, 'the package differs from the notebooks: make export'


def test_conda_and_pip_users_get_the_same_dependencies():
    conda = yaml.safe_load((ROOT/'environment.yml').read_text())['dependencies'][-1]['pip']
    assert sorted(conda) == sorted(PROJECT['dependencies'] + PROJECT['optional-dependencies']['dev'])


def test_every_direct_dependency_is_locked_and_no_address_is_named():
    lock = [line for line in (ROOT/'requirements.lock').read_text().splitlines() if line and not line.startswith('#')]
    assert all(re.fullmatch(r'[\w.\-]+==[\w.+!\-]+', line) for line in lock)
    canonical = lambda name: re.sub(r'[-_.]+', '-', name).lower()
    locked = {canonical(line.split('==')[0]) for line in lock}
    assert {canonical(re.match(r'[\w.\-]+', d)[0]) for d in PROJECT['dependencies']} <= locked


@pytest.mark.parametrize('path', TEMPLATES, ids=lambda p: p.stem)
def test_a_template_starts_with_its_claim_and_its_parameters(path):
    title, parameters, *rest = cells(path)
    assert title['cell_type'] == 'markdown' and ''.join(title['source']).startswith('# ')
    assert parameters['metadata'] == {'tags': ['parameters']}
    assert all('#' in line for line in parameters['source'] if line.strip()), 'every parameter is commented'
    assert not any(re.search(r'^\s*def ', ''.join(c['source']), re.M) for c in rest), 'functions belong into a room'


@pytest.mark.parametrize('path', NOTEBOOKS + TEMPLATES, ids=lambda p: p.stem)
def test_notebooks_are_committed_clean(path):
    code = [c for c in cells(path) if c['cell_type'] == 'code']
    assert not any(c['outputs'] or c['execution_count'] for c in code)


@pytest.mark.parametrize('path', sorted((ROOT/'dq_workbook').glob('*.py')), ids=lambda p: p.stem)
def test_functions_are_short(path):
    functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
    assert [f.name for f in functions if f.end_lineno - f.lineno + 1 > 40] == []


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: p.stem)
def test_imports_only_go_to_lower_numbers(path):
    number = {''.join(c['source']).split('default_exp ')[1].split()[0]: int(p.name[:2]) for p in NOTEBOOKS for c in cells(p) if 'default_exp' in ''.join(c['source'])}
    source = '\n'.join(''.join(c['source']) for c in cells(path) if ''.join(c['source']).startswith('#| export'))
    used = re.findall(r'^\s*from dq_workbook\.(\w+) import', source, re.M)
    assert all(number[room] <= int(path.name[:2]) for room in used)


def test_the_lab_asks_nobody_for_news():
    settings = json.loads((Path(sys.prefix)/'etc'/'jupyter'/'labconfig'/'page_config.json').read_text())
    assert settings['disabledExtensions']['@jupyterlab/apputils-extension:announcements'], 'make setup switches it off'
