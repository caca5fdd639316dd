"""The command line: every command by what a shell sees of it."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import psutil
import pytest
from fastcore.docments import docments
from PIL import Image

import dq_workbook
from dq_workbook.core.files import write_json
from dq_workbook.repairs.folder_copy import folder_digests
from dq_workbook.app import cli, cost, folder_audit
from dq_workbook.app.audit_results import write_csv

ROOT = Path(__file__).parent.parent


def dq(*arguments, **environment):
    """Run `dq` in a process of its own, from this checkout."""
    path = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    code = 'import sys; from dq_workbook.app.cli import main; sys.exit(main())'
    return subprocess.run([sys.executable, '-c', code, *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': path, **environment})


def make_pets(folder):
    """Thirteen pictures in two classes, two of them the same file."""
    for k in range(12):
        file = folder/('cat', 'dog')[k % 2]/f'{k}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((32, 32), 20 + 10 * min(k, 10)).save(file)
    (folder/'cat'/'copy.png').write_bytes((folder/'cat'/'0.png').read_bytes())
    return folder


@pytest.fixture
def pets(tmp_path): return make_pets(tmp_path/'pets')


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
    assert 'xit code: ' in done.stdout and '143' in done.stdout


def test_version_and_no_command():
    assert dq('--version').stdout == f'dq_workbook {dq_workbook.__version__}\n'
    assert dq().stdout == dq('--help').stdout and dq().returncode == 0


@pytest.mark.parametrize('arguments, message', [
    (['sweeep'], "dq: unknown command 'sweeep'; did you mean 'sweep'?"),
    (['sweep', 'defualt'], "dq sweep: unknown sweep 'defualt'; did you mean 'default'?"),
    (['sweep'], 'dq sweep: the following arguments are required: grid'),
    (['sweep', 'smoke', '--jobs', 'two'], "dq sweep: argument --jobs: invalid int value: 'two'"),
    (['sweep', 'smoke', '--engine', 'slrum'], "dq sweep: unknown engine 'slrum'"),
    (['audit', 'no/such/folder'], "dq audit: unknown data set 'no/such/folder'"),
    (['audit', 'digits', '--kinds', 'dark,blury'],
     "dq audit: unknown kind of finding 'blury'; did you mean 'blurry'"),
    (['audit', 'digits', '--tool', 'opne'], "dq audit: unknown tool 'opne'; did you mean 'open'"),
    (['experiment', 'digits', '--budget', 'smal'],
     "dq experiment: unknown budget 'smal'; did you mean 'small'"),
    (['experiment', 'digits', '--recipes', ''], "dq experiment: "),
    (['catalogue', '--n', '0'], 'dq catalogue: --n is the number of sets'),
    (['catalogue', '--name', ''], "dq catalogue: unknown"),
    (['guard', 'no/such/folder', 'digits'], "dq guard: unknown data set 'no/such/folder'")])
def test_a_mistake_is_one_line_and_exit_code_two(arguments, message, capsys):
    assert cli.main(arguments) == 2
    told = capsys.readouterr()
    assert told.err.startswith(message) and told.err.count('\n') == 1 and not told.out


@pytest.fixture(scope='module')
def audited(tmp_path_factory):
    """A folder named like markup, audited in a process of its own: (folder, home, that process)."""
    base = tmp_path_factory.mktemp('audited')
    folder = make_pets(base/'pets & <b>$x$')
    return folder, base, dq('audit', folder, '--json', DQ_HOME=str(base))


def test_json_is_one_object_on_standard_output(audited):
    folder, base, done = audited
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told) == ['kinds', 'changes', 'findings'] and all(f['flagged'] for f in told['findings'])
    assert {kind['kind'] for kind in told['kinds']} == {finding['kind'] for finding in told['findings']}
    assert {change['id'] for change in told['changes']} <= {finding['id'] for finding in told['findings']}
    copies = [f for f in told['findings'] if f['kind'] in ('exact_duplicate', 'leak')]
    assert any('copy' in f['id'] + f['other'] for f in copies)
    assert 'measuring pictures' in done.stderr and 'left' in done.stderr
    assert 'Auditor: open. Time: ' in done.stderr


def test_the_page_needs_nothing_else_and_its_links_open(audited):
    folder, base, _ = audited
    results, = base.glob('runs/audit/*')
    text = (results/'index.html').read_text()
    assert '<b>$x$' not in text and 'cat/copy.png' in text and 'can&#39;t be told with fewer than 100' in text
    assert 'viewport' in text and 'prefers-color-scheme' in text
    assert not re.findall(r'(?:src|href)="https?:', text)
    pictures = re.findall('<img[^>]*>', text)
    assert pictures and all('alt="' in picture and 'loading="lazy"' in picture for picture in pictures)
    for link in re.findall(r'href="([^#"][^"]*)"', text):
        place = unquote(link.removeprefix('file://')).replace('&amp;', '&')
        assert (results/place).exists(), link
    flags = pd.read_csv(results/'findings.csv')
    assert all(Path(file).is_file() for file in flags.file)
    shown = len(re.findall('<figure>', text))
    assert shown == len(flags) and 'Nothing found: ' in text


def test_a_copy_is_made_of_what_was_audited_and_undone(audited, monkeypatch, capsys):
    folder, base, _ = audited
    monkeypatch.setenv('DQ_HOME', str(base))
    monkeypatch.chdir(base)
    before = folder_digests(folder)
    assert cli.main(['apply', str(folder), '--out', 'clean']) == 0
    assert len({'cat/copy.png', 'cat/0.png'} & folder_digests(base/'clean').keys()) == 1
    assert cli.main(['undo', 'clean']) == 0
    assert folder_digests(base/'clean') == before == folder_digests(folder)
    assert '1 pictures left out' in capsys.readouterr().out
    (folder/'dog'/'new.png').write_bytes((folder/'dog'/'1.png').read_bytes())
    refused = [['apply', str(folder), '--out', 'b'], ['apply', str(folder), '--out', 'clean'],
               ['apply', str(base), '--out', 'b'], ['apply', 'digits', '--out', 'b'], ['undo', str(folder)]]
    for command in refused: assert cli.main(command) == 2, command
    told = capsys.readouterr().err.splitlines()
    (folder/'dog'/'new.png').unlink()
    words = ['dog/new.png is new; audit it again', 'is there already', 'has not been audited', 'no digits',
             'is no cleaned copy']
    assert len(told) == 5 and all(word in line for word, line in zip(words, told)), told


def test_an_audit_of_some_kinds_leaves_the_whole_one_as_it_was(audited, monkeypatch, capsys):
    folder, base, _ = audited
    monkeypatch.setenv('DQ_HOME', str(base))
    whole, = base.glob('runs/audit/*')
    before = folder_digests(whole)
    assert cli.main(['audit', str(folder), '--kinds', 'dark']) == 0
    part, = set(base.glob('runs/audit/*')) - {whole}
    assert folder_digests(whole) == before and part.name == f'{whole.name}-dark'
    shutil.rmtree(part)


def test_a_class_spelt_two_ways_is_told_on_the_page_and_labels_by_name_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv('DQ_HOME', str(tmp_path))
    pets = make_pets(tmp_path/'pets')
    shutil.copytree(pets/'cat', pets/'Cat')
    assert cli.main(['audit', str(pets), '--kinds', 'label_conflict']) == 0
    results, = tmp_path.glob('runs/audit/*')
    text = (results/'index.html').read_text()
    assert '<b>One class or several? ' in text and 'How the pictures were read' in text
    rows = pd.DataFrame(dict(id=['a', 'b'], suggested=[1.0, None]))
    table = write_csv(rows, {}, tmp_path/'x.csv', ['u', 'v'])
    assert pd.read_csv(table).suggested.fillna('').tolist() == ['v', '']


def test_a_link_to_a_folder_is_audited_and_copied_as_the_folder(audited, monkeypatch, capsys):
    folder, base, _ = audited
    monkeypatch.setenv('DQ_HOME', str(base))
    monkeypatch.chdir(base)
    for name, target in {'link': folder, 'above': base}.items(): (base/name).symlink_to(target)
    for name in ('link', f'above/{folder.name}', str(folder)):
        assert cli.main(['audit', name, '--kinds', 'exact_duplicate']) == 0
        part, = base.glob('runs/audit/*-exact_duplicate')
        assert cli.main(['apply', name, '--out', 'copy', '--changes', str(part/'changes.csv')]) == 0
        (base/'to the copy').symlink_to(base/'copy')
        monkeypatch.chdir(base/'to the copy')
        assert cli.main(['undo', '.']) == 0 and folder_digests(base/'copy') == folder_digests(folder)
        monkeypatch.chdir(base)
        (base/'to the copy').unlink()
        shutil.rmtree('copy')
    shutil.rmtree(part)
    for name in ('link', 'above'): (base/name).unlink()


def test_places_where_nothing_can_be_written_or_read_are_refused_first(audited, monkeypatch, capsys):
    folder, base, _ = audited
    monkeypatch.setenv('DQ_HOME', str(base))
    before = folder_digests(base)
    file = base/'a file'
    file.touch()
    refused = {'lies in the folder that is audited': ['audit', folder, '--out', folder/'res'],
               'is a file': ['audit', folder, '--out', file],
               'no.csv is no file': ['apply', folder, '--out', base/'c', '--changes', base/'no.csv'],
               'an empty name is no file': ['apply', folder, '--out', base/'c', '--changes', ''],
               'runs is no file': ['apply', folder, '--out', base/'c', '--changes', base/'runs']}
    for words, command in refused.items():
        assert cli.main([*map(str, command)]) == 2, command
        assert words in capsys.readouterr().err
    file.unlink()
    assert folder_digests(base) == before


def test_a_guard_is_never_clear_where_nothing_was_compared(pets, monkeypatch, capsys):
    monkeypatch.chdir(pets.parent)
    for one, other in (('pets', 'pets'), ('pets', './pets/'), (str(pets), 'pets')):
        assert cli.main(['guard', one, other]) == 2
        assert 'has no test split' in capsys.readouterr().err
    for one, other in (('pets', 'pets/cat'), ('pets/cat', 'pets')):
        assert cli.main(['guard', one, other]) == 2
        assert 'pets/cat lies in the other folder' in capsys.readouterr().err
    monkeypatch.setenv('HOME', str(pets.parent))
    assert cli.main(['fingerprint', 'pets/cat', '--out', '~/cats.jsonl']) == 0
    assert cli.main(['guard', 'pets/dog', 'cats.jsonl']) == 0
    assert cli.main(['guard', 'pets/cat', '--fingerprints', '~/cats.jsonl']) == 1
    assert '7 test images are among the training images; training = test:' in capsys.readouterr().out


def test_where_no_audit_is_seen_the_way_to_one_elsewhere_is_told(pets, tmp_path, monkeypatch, capsys):
    """As after `dq audit --out`, whose results `dq apply` can't know of."""
    monkeypatch.setenv('DQ_HOME', str(tmp_path))
    assert cli.main(['apply', str(pets), '--out', str(tmp_path/'clean')]) == 2
    assert 'apply with --changes RESULTS/changes.csv' in capsys.readouterr().err


def test_an_audit_in_words_is_quick_again_and_stays_out_of_the_folder(audited, monkeypatch, capsys):
    """Where results would go into the folder, they go beside it."""
    folder, base, _ = audited
    monkeypatch.setenv('DQ_HOME', str(folder))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(folder_audit, 'audit', lambda *_, **__: pytest.fail('it was kept'))
    before = folder_digests(folder)
    opened = []
    monkeypatch.setattr(cli.webbrowser, 'open', opened.append)
    assert cli.main(['audit', '.', '--open', '--strict']) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 12 and lines[0].startswith('pets & <b>$x$: 13 images in 2 classes')
    assert any(line.split()[0] == 'exact_duplicate' and line.endswith('safe to drop') for line in lines)
    page, = opened
    assert page.startswith('file://') and page.endswith('index.html') and folder_digests(folder) == before


def test_an_experiment_is_a_grid_of_one_run_and_tells_its_cost_first(pets, monkeypatch, capsys):
    """Thirteen pictures have four test images: no verdict is told of them, whatever came out."""
    asked = []
    monkeypatch.setenv('DQ_HOME', str(pets.parent))
    monkeypatch.setattr(cli, 'run_grid', lambda grid: asked.append(grid) or 0)
    no_audit = lambda dataset: asked.append(dataset) or (None, [], 'page')
    monkeypatch.setattr(cost, 'audit_folder', no_audit)
    options = ['--seeds', '3', '--recipes', 'relabel,curated']
    for model in ([], ['--model', 'test_byobnet']):
        assert cli.main(['experiment', str(pets), *options, *model]) == 0
    audited, grid, _, own = asked
    run = dict(name='pets', dataset=str(pets), seeds=3, recipes=['relabel', 'curated'])
    assert audited == str(pets) and grid['template'] == 'experiment'
    assert grid['runs'] == [dict(run, model='probe')] and own['runs'] == [dict(run, model='test_byobnet')]
    told = capsys.readouterr()
    assert 'model: probe, a linear head' in told.err
    fits = 'cost: at most 15 fits, and at most 21 before them that choose the learning rate' # 5 arms, 3 seeds
    assert f'{fits}\n' in told.err and re.search(rf'{fits}, about \d+ min for these', told.err)
    assert 'Too few test images to tell: 4; you would need about 900' in told.err
    assert told.out == 'page of the audit: page\n' * 2


def test_an_interrupt_ends_a_sweep_at_once_and_begins_no_other_run(tmp_path):
    """As a terminal sends Ctrl-C: to all processes of the command."""
    runs = [dict(name=name, dataset='digits', limit=limit) for name, limit in (('one', 300), ('two', 301))]
    grid = dict(study='stop', template='audit', common=dict(calibrated=0), runs=runs)
    (tmp_path/'two.yaml').write_text(json.dumps(grid))
    code = 'from dq_workbook.app.cli import main; raise SystemExit(main())'
    command = [sys.executable, '-c', code, 'sweep', str(tmp_path/'two.yaml')]
    hears = lambda: signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True,
                               env={**os.environ, 'PYTHONPATH': str(ROOT), 'DQ_HOME': str(tmp_path)},
                               preexec_fn=hears)
    begun = lambda: list(tmp_path.glob('runs/stop/one-*/.report.part.ipynb'))
    while not begun() and process.poll() is None: time.sleep(0.1)
    family, start = psutil.Process(process.pid).children(recursive=True), time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    told = process.communicate(timeout=30)[1]
    assert process.returncode == 130 and time.monotonic() - start < 5
    assert told.splitlines()[-1] == 'dq sweep: interrupted; the same command goes on where it was'
    assert 'Traceback' not in told and family
    psutil.wait_procs(family, timeout=5)
    assert not [p for p in family if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert [path.name[:4] for path in (tmp_path/'runs'/'stop').iterdir()] == ['one-']
    assert not list(tmp_path.glob('runs/stop/*/run.json'))


def test_status_tells_a_line_for_each_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('DQ_HOME', str(tmp_path))
    assert cli.main(['status']) == 0 and capsys.readouterr().out == ''
    ended = dict(study='s', minutes=2.0, headline=dict(text='+3 pp'), error='ValueError: x')
    for name, status in (('fine', 'done'), ('broken', 'failed')):
        write_json(dict(ended, name=name, status=status), tmp_path/'runs'/'s'/name/'run.json')
    write_json(dict(cells=[]), tmp_path/'runs'/'s'/'half'/'.report.part.ipynb')
    assert cli.main(['status']) == 0
    lines = ['s/broken: failed in 2.0 min. ValueError: x', 's/fine: done in 2.0 min. +3 pp',
             's/half: interrupted, 0 fits']
    assert capsys.readouterr().out.splitlines() == lines


def test_the_catalogue_is_as_long_as_it_is_asked_to_be(capsys):
    assert cli.main(['catalogue', '--n', '3']) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_a_list_of_leaks_is_a_release_without_pictures(tmp_path, capsys):
    random = np.random.default_rng(0)
    for split, n in (('train', 24), ('test', 6)):
        for k in range(n):
            file = tmp_path/'pets'/split/('cat', 'dog')[k % 2]/f'{k}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (32, 32, 3), dtype='uint8')).save(file)
    copied = tmp_path/'pets'/'test'/'cat'/'again.png'
    shutil.copy(tmp_path/'pets'/'train'/'cat'/'0.png', copied)
    assert cli.main(['release', str(tmp_path/'pets'), '--leaks', '--out', str(tmp_path/'leaks')]) == 0
    said = capsys.readouterr().out
    pairs = pd.read_parquet(tmp_path/'leaks'/'pairs.parquet')
    assert 'NOT OK' not in said and not (tmp_path/'leaks'/'data').exists()
    assert [Path(name).name for name in pairs.iloc[0][['train', 'test']]] == ['0.png', 'again.png']
