"""The command line: every command by what a shell sees of it."""
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fastcore.docments import docments
from PIL import Image

import dq_workbook
from dq_workbook.core.files import write_json
from dq_workbook.app import cli

ROOT = Path(__file__).parent.parent


def dq(*arguments, **environment):
    """Run `dq` in a process of its own, from this checkout."""
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    code = 'import sys; from dq_workbook.app.cli import main; sys.exit(main())'
    return subprocess.run([sys.executable, '-c', code, *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': path, **environment})


@pytest.fixture
def pets(tmp_path):
    """Twelve pictures in two classes, two of them the same file."""
    folder = tmp_path/'pets'
    for k in range(12):
        file = folder/('cat', 'dog')[k % 2]/f'{k}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((32, 32), 20 + 10 * min(k, 10)).save(file)
    (folder/'cat'/'copy.png').write_bytes((folder/'cat'/'0.png').read_bytes())
    return folder


def test_the_script_is_installed_under_its_name():
    assert '\ndq = "dq_workbook.app.cli:main"\n' in (ROOT/'pyproject.toml').read_text()


def test_help_is_quick_because_nothing_heavy_is_imported():
    heavy = {'torch', 'pandas', 'numpy', 'datasets', 'papermill', 'matplotlib'}
    code = ('import sys; from dq_workbook.app.cli import main; main(["--help"]);'
            f'print(*(set(sys.modules) & {heavy}), file=sys.stderr)')
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, env=environment)
    assert done.stderr.strip() == '' and all(f'  {name}' in done.stdout for name in cli.COMMANDS)


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_command_explains_itself(name):
    call = cli.COMMANDS[name]
    assert len(call.__doc__.splitlines()) == 1 and call.__doc__.endswith('.')
    assert all(docments(call, returns=False).values()), 'every parameter is commented'
    done = dq(name, '--help')
    assert done.returncode == 0 and done.stdout.startswith(f'usage: dq {name}') and not done.stderr


def test_version_and_no_command():
    assert dq('--version').stdout == f'dq_workbook {dq_workbook.__version__}\n'
    assert dq().stdout == dq('--help').stdout and dq().returncode == 0


@pytest.mark.parametrize('arguments, message', [
    (['sweeep'], "dq: unknown command 'sweeep'; did you mean 'sweep'?"),
    (['sweep', 'defualt'], "dq sweep: unknown sweep 'defualt'; did you mean 'default'?"),
    (['sweep'], 'dq sweep: the following arguments are required: grid'),
    (['sweep', 'smoke', '--jobs', 'two'], "dq sweep: argument --jobs: invalid int value: 'two'"),
    (['sweep', 'smoke', '--engine', 'slurm'], "dq sweep: unknown engine 'slurm'"),
    (['audit', 'no/such/folder'], "dq audit: unknown data set 'no/such/folder'"),
    (['audit', 'digits', '--tool', 'opne'], "dq audit: unknown tool 'opne'; did you mean 'open'"),
    (['experiment', 'digits', '--budget', 'smal'],
     "dq experiment: unknown budget 'smal'; did you mean 'small'")])
def test_a_mistake_is_one_line_and_exit_code_two(arguments, message, capsys):
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert told.err.startswith(message) and told.err.count('\n') == 1 and not told.out


def test_json_is_one_object_on_standard_output(pets, tmp_path):
    done = dq('audit', pets, '--json', '--out', tmp_path/'out', DQ_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == ['findings'] and all(finding['flagged'] for finding in told['findings'])
    copies = [f for f in told['findings'] if f['kind'] in ('exact_duplicate', 'leak')]
    assert any('copy' in f['id'] + f['other'] for f in copies)
    assert 'Auditor: open.' in done.stderr
    assert sorted(path.name for path in (tmp_path/'out').glob('*.*')) == ['findings.csv', 'findings.parquet']


def test_an_audit_in_words(pets, tmp_path):
    done = dq('audit', pets, DQ_HOME=str(tmp_path))
    assert done.returncode == 0 and any(line.split()[0] == 'blurry' for line in done.stdout.splitlines())
    assert not (tmp_path/'out').exists()


def test_an_experiment_is_a_grid_of_one_run(pets, monkeypatch):
    asked = []
    monkeypatch.setattr(cli, 'run_grid', lambda grid: asked.append(grid) or 0)
    assert cli.main(['experiment', str(pets), '--seeds', '3', '--recipes', 'relabel,curated']) == 0
    (run,) = asked[0]['runs']
    assert run == dict(name='pets', dataset=str(pets), seeds=3, recipes=['relabel', 'curated'])
    assert asked[0]['template'] == 'experiment'


def test_status_tells_a_line_for_each_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('DQ_HOME', str(tmp_path))
    assert cli.main(['status']) == 0 and capsys.readouterr().out == ''
    ended = dict(study='s', minutes=2.0, headline=dict(text='+3 pp'), error='ValueError: x')
    for name, status in (('fine', 'done'), ('broken', 'failed')):
        write_json(dict(ended, name=name, status=status), tmp_path/'runs'/'s'/name/'run.json')
    assert cli.main(['status']) == 0
    lines = ['s/broken: failed in 2.0 min. ValueError: x', 's/fine: done in 2.0 min. +3 pp']
    assert capsys.readouterr().out.splitlines() == lines


def test_the_catalogue_is_as_long_as_it_is_asked_to_be(capsys):
    assert cli.main(['catalogue', '--n', '3']) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
