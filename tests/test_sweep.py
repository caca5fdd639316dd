"""A whole run: executed notebooks, skipping, failure, resuming, and what the network sees of it."""
import ast
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from huggingface_hub import ModelCard
from nbclient.exceptions import DeadKernelError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from papermill.engines import NotebookExecutionManager
from papermill.translators import PythonTranslator
from PIL import Image

from dq_workbook.core.files import write_json
from dq_workbook.core import kernels
from dq_workbook.core.kernels import ForkedKernel
from dq_workbook.core.runs import finished_record, template_path
from dq_workbook.core.tables import read_table
from dq_workbook.sets.images import image_bytes
from dq_workbook.sets.dataset import append_rows
from dq_workbook.sets.load import load
from dq_workbook.audits.fastdup import FASTDUP_SEARCH, fastdup_python
from dq_workbook.audits.auditors import fastdup_available
from dq_workbook.app import keys, run as run_room, sweep as sweep_room
from dq_workbook.app.cli import main
from dq_workbook.app.run import describe_error, execute_run
from dq_workbook.app.plan import COMMAND, plan
from dq_workbook.app.index import read_records, run_step, write_index
from dq_workbook.app.sweep import plan_runs, sweep, was_killed

ROOT = Path(__file__).parent.parent
TINY = dict(dataset='digits', limit=200, tool='open', recipes=['curated'], model='probe', budget='smoke',
            seeds=2, peak_lr=6e-3, corrupted=0)
OFFERED = 'fastdup' if fastdup_available()[0] else 'open' # a process of its own where there is one
PYTHON = dict(language_info=dict(name='python'))
TABLES = ('findings', 'scores', 'effects', 'predictions', 'ledger', 'sizes')


def grid(study, **changes): return dict(study=study, runs=[{**TINY, 'name': 'tiny', **changes}])


@pytest.fixture(scope='module')
def study():
    """A study's name whose runs are removed afterwards."""
    name = f'test-{os.getpid()}'
    yield name
    shutil.rmtree(ROOT/'runs'/name, ignore_errors=True)
    write_index()


@pytest.fixture(scope='module')
def first(study): return sweep(grid(study, plant=dict(label_error=[0.1, 2]))).iloc[0]


def test_a_run_leaves_an_executed_report_tables_and_a_line_in_the_index(first):
    assert first.status == 'done', first.headline
    folder = ROOT/first.folder
    notebook = json.loads((folder/'report.ipynb').read_text())
    assert not any(o['output_type'] == 'error' for c in notebook['cells'] for o in c.get('outputs', []))
    assert 'curated against raw' in (folder/'report.html').read_text()
    assert all((folder/'tables'/f'{t}.parquet').exists() for t in TABLES)
    assert first.folder.removeprefix('runs/') in (ROOT/'runs'/'index.html').read_text()


def test_a_finished_run_is_skipped_and_a_broken_record_is_not(first, study, capsys, tmp_path):
    again = sweep(grid(study, plant=dict(label_error=[0.1, 2]))).iloc[0]
    assert '1 finished before, 0 to do' in capsys.readouterr().out
    assert again.equals(first)
    assert finished_record(ROOT/first.folder)
    (tmp_path/'run.json').write_text((ROOT/first.folder/'run.json').read_text()[:-20])
    assert finished_record(tmp_path) is None


def test_the_same_run_twice_gives_identical_tables(first, capsys):
    """The second time in a root of its own, without anything that the first one left."""
    assert main(['sweep', 'verify', first.folder]) == 0
    told = capsys.readouterr().out
    assert [f'{t}.parquet: identical' in told for t in TABLES] == [True] * len(TABLES)


def test_the_card_of_a_run_tells_its_arms_and_reads_as_a_card(first, capsys):
    assert main(['sweep', 'card', first.folder]) == 0
    card = ModelCard.load(capsys.readouterr().out.strip())
    assert {result.metric_name.split(',')[0] for result in card.data.eval_results} >= {'raw'}
    assert '| raw | ' in card.text and 'labels known to be wrong' in card.text


def test_a_failing_run_is_reported_and_the_exit_code_says_so(study, tmp_path):
    path = tmp_path/'bad.yaml'
    run = {**TINY, 'name': 'broken', 'metric': 'worst_group'} # digits don't say who wrote them
    path.write_text(json.dumps(dict(study=study, runs=[run])))
    assert main(['sweep', str(path)]) == 1
    record = json.loads(next((ROOT/'runs'/study).glob('broken-*/run.json')).read_text())
    assert record['status'] == 'failed'
    assert record['error'].startswith('ValueError: digits has none of the columns')
    page = (ROOT/'runs'/'index.html').read_text()
    assert page.index('digits has none of the columns') < page.find('curated against raw') % len(page)


@pytest.mark.parametrize('change, message', [
    (dict(dataset='digitz'), "unknown data set 'digitz'"),
    (dict(model='resnet81'), "unknown model 'resnet81'; did you mean"),
    (dict(budget='smal'), "did you mean 'small'"),
    (dict(recipes=['dedupe']), "unknown recipe 'dedupe'; did you mean 'dedup'"),
    (dict(tool='fastdub'), "did you mean 'fastdup'"),
    (dict(plant=dict(blury=[0.1, 2])), "did you mean 'blurry'"),
    (dict(corruptions=['jpeg']), "unknown corruption 'jpeg'"),
    (dict(metric='acuracy'), "did you mean 'accuracy'"),
    (dict(template='experment'), "did you mean 'experiment'"),
    (dict(sedes=3), "did you mean 'seeds'")])
def test_a_misspelt_name_is_one_line_before_anything_runs(study, change, message):
    with pytest.raises(ValueError) as caught: sweep(grid(study, **change))
    assert message in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('text, message', [
    ('runs:\n  - {dataset: digits, sedes: 3}\n', "line 2: unknown parameter .*mean 'seeds'"),
    ('common: {seed: 1}\nruns: [{seeds: 1}]\nruns: [{seeds: 2}]\n', "line 3: 'runs' stands twice"),
    ('runs:\n  - dataset: digits\n    seeds: 3\n    seeds: 4\n', "line 4: 'seeds' stands twice"),
    ('coomon: {seeds: 3}\nruns: [{dataset: digits}]\n', "line 1: unknown grid key .*mean 'common'"),
    ('runs:\n  - dataset: digits\n    seeds: "3"\n', "line 3: seeds is '3', expected a whole number"),
    ('runs:\n  - dataset: digits\n    margin: .nan\n', 'line 3: margin is nan'),
    ('common: &all\n  metric: acuracy\nruns:\n  - {dataset: digits, <<: *all}\n', 'line 2: unknown metric'),
    ('grid:\n  dataset: [digits]\n  slice: [test, tset]\n', "line 3: unknown slice 'tset'"),
    ('runs:\n  - dataset: digits\n    plant: {blury: [0.1, 2]}\n', 'line 3: unknown kind of defect'),
    ('runs:\n  - dataset: digits\n    primary: x\n', 'line 3: unknown recipe'),
    ('runs:\n  - {name: x, dataset: digitz}\n', "line 2: unknown data set 'digitz'"),
    ('runs:\n  - {name: x, seeds: 3}\n', "line 2: the run 'x' names no data set")])
def test_a_mistake_is_told_with_file_and_line(tmp_path, text, message):
    (tmp_path/'mine.yaml').write_text(text)
    with pytest.raises(ValueError, match=f'mine.yaml, {message}') as caught: sweep(tmp_path/'mine.yaml')
    assert '\n' not in str(caught.value)


WILD = ['../../out', '/etc/passwd', '..', '"><img src=x onerror=alert(1)>', 'x' * 300]

@pytest.mark.parametrize('name', WILD)
def test_no_name_leads_out_of_the_runs_and_every_run_is_in_the_index(tmp_path, monkeypatch, name):
    monkeypatch.setenv('DQ_HOME', str(tmp_path))
    grid = dict(study=name, template='audit', runs=[dict(name=name, dataset='digits')])
    run, = plan_runs(grid)
    folder = (tmp_path/run['folder']).resolve()
    assert folder.parent.parent == tmp_path/'runs' and folder.name[0] != '.' and len(folder.name) < 120
    ended = dict(run, status='done', minutes=1.0, headline=dict(text='<script>alert(1)</script> $x$'))
    write_json(ended, folder/'run.json')
    page = write_index().read_text()
    assert '<script>alert' not in page and '<img src=x' not in page and '$x$' in page and folder.name in page
    assert sweep(grid).status[0] == 'done'


CODE = ['"; import os; os.abort() #', "'\n1/0\n'", '{1/0}', [['"""', '\\']], {'a"b': 'c'}]

@pytest.mark.parametrize('value', CODE)
def test_the_values_of_a_grid_are_never_code(value):
    told = PythonTranslator.translate(value)
    assert ast.literal_eval(told) == value


def test_a_template_that_names_its_sets_inside_depends_on_them(tmp_path, monkeypatch):
    monkeypatch.setenv('DQ_DATA_DIR', str(tmp_path))
    folder = tmp_path/'cifar10'/'data'
    folder.mkdir(parents=True)
    run = dict(template='bench_train', parameters={})
    before = keys.run_inputs(run)
    (folder/'train.csv').write_text('filename,label\n')
    assert keys.changed_inputs(before, keys.run_inputs(run)).startswith('data cifar10: ')


VICTIM = """
import os, signal, time
from pathlib import Path
def execute_run(run):
    mark = Path(run['mark'])
    if run['name'] == 'busy': # while others are killed
        with mark.open('a') as told: told.write('begun ')
        time.sleep(4)
    if run['name'] == 'always' or run['name'] == 'once' and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return dict(run, status='done', error='', headline={}, minutes=0.0)
"""


def test_a_killed_process_costs_one_more_try_and_no_other_run(tmp_path, monkeypatch):
    (tmp_path/'victim.py').write_text(VICTIM)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv('DQ_HOME', str(tmp_path))
    monkeypatch.setattr(sweep_room, 'execute_run', importlib.import_module('victim').execute_run)
    sources, names = dict(summary=dict(sources=['runs/s/fine'])), 'summary busy fine once always later'
    todo = [dict(name=name, template='selection', folder=f'runs/s/{name}', mark=str(tmp_path/name),
                 parameters=sources.get(name, {})) for name in names.split()]
    records = [record for record in sweep_room.run_all(todo, 2, None) if record]
    assert sorted(r['name'] for r in records[:-1]) == ['always', 'busy', 'fine', 'later', 'once']
    assert (tmp_path/'busy').read_text() == 'begun ', 'the death of others does not end it'
    assert records[-1]['name'] == 'summary', 'it waits for the others, also for those that are tried twice'
    assert {r['name'] for r in records if r['status'] == 'failed'} == {'always'}
    told = json.loads((tmp_path/'runs'/'s'/'always'/'run.json').read_text())
    assert told['status'] == 'failed' and 'was killed' in told['error']


KILL_ONE = '''import os, signal, sys
from dq_workbook.app.engines import make_executor
with make_executor(2, None) as pool:
    ids = [call.result() for call in [pool.submit(os.getpid) for _ in range(2)]]
    os.kill(ids.pop(int(sys.argv[1])), signal.SIGKILL)
    if sys.argv[2] == 'goes on': # a call that comes at once may still go to the one that was killed
        for _ in range(3):
            calls = [pool.submit(os.getpid) for _ in range(2)]
            for call in calls: call.exception()
        assert len({call.result() for call in calls} | {*ids}) == 2
'''


@pytest.mark.parametrize('which, then', [('0', 'ends'), ('1', 'ends'), ('0', 'goes on')])
def test_a_process_that_is_killed_while_it_waits_holds_nothing_up(which, then):
    """In a pool of several, which leave SIGTERM to their parent, it may hold the key to their queue."""
    subprocess.run([sys.executable, '-c', KILL_ONE, which, then], check=True, timeout=60)


def test_the_next_run_begins_before_anybody_hears_of_the_last_one():
    """What is done with a record, as the writing of the index, doesn't hold up the runs."""
    begun = []

    class Pool:
        def submit(self, _, run):
            begun.append(run['folder'])
            future = Future()
            future.set_result(dict(run, status='done'))
            return future

    records = sweep_room.run_queue(Pool(), deque(dict(folder=name) for name in 'ab'), 1)
    assert next(records)['folder'] == 'a' and begun == ['a', 'b']
    assert [record['folder'] for record in records] == ['b']


def test_a_file_gets_lines_and_no_bar(tmp_path, monkeypatch, capsys):
    """Each says how many runs have ended, run and failed, and what those have come to that run."""
    monkeypatch.setenv('DQ_HOME', str(tmp_path))
    monkeypatch.setattr(sweep_room, 'draws_bars', lambda: False)
    cells = [dict(cell_type='markdown', source='## Train', metadata={}),
             dict(cell_type='code', source='', metadata=dict(papermill=dict(status='running')))]
    folder = write_json(dict(cells=cells), tmp_path/'runs'/'s'/'a-1'/'.report.part.ipynb').parent
    run = dict(name='a', study='s', template='selection', folder='runs/s/a-1', parameters={})

    def made(*_):
        with run_room.only_here(folder): yield None
        yield dict(run, status='done', minutes=1.0, headline=dict(text='+3 pp'))

    monkeypatch.setattr(sweep_room, 'run_all', made)
    assert len(sweep_room.run_planned([run], 1, None)) == 1
    told = capsys.readouterr()
    assert told.err == '0 of 1 runs have ended; 1 running, 0 failed, 0 fits; s/a-1: running, 0 fits, Train\n'
    assert told.out == 's/a: done in 1.0 min. +3 pp\n'


def test_a_run_says_what_computed_it_and_a_crate_lists_its_files(first):
    folder = ROOT/first.folder
    told = json.loads((folder/'report.ipynb').read_text())['metadata']['dq_workbook']
    assert {'commit', 'processor', 'threads', 'arithmetic', 'torch'} <= told['provenance'].keys()
    assert told['key'] in first.folder and told['inputs']['parameter seeds'] == 2 and told['minutes'] > 0
    crate = json.loads((folder/'ro-crate-metadata.json').read_text())['@graph']
    files = {entity['@id'] for entity in crate if entity['@type'] == 'File'}
    assert {'report.ipynb', 'report.html', 'tables/effects.parquet'} <= files
    assert all((folder/name).exists() for name in files)


def test_another_margin_trains_nothing_again(first, study):
    """It is another run, whose fits are those of the first one under a second name."""
    fits = sorted((ROOT/first.folder/'fits').glob('*.predictions.parquet'))
    again = sweep(grid(study, plant=dict(label_error=[0.1, 2]), margin=0.01)).iloc[0]
    assert again.status == 'done' and again.folder != first.folder
    shared = [ROOT/again.folder/'fits'/path.name for path in fits]
    assert fits and all(path.samefile(old) for path, old in zip(shared, fits))


@pytest.mark.parametrize('engine', ['', 'slrum', 'http://host:8786', 'tcp://host'])
def test_an_engine_is_nothing_or_an_address(study, engine):
    with pytest.raises(ValueError, match='leave it out for processes of this machine'):
        sweep(grid(study), engine=engine)


@pytest.mark.parametrize('path', sorted((ROOT/'nbs'/'sweeps').glob('*.yaml')), ids=lambda path: path.stem)
def test_every_grid_file_can_be_planned(path):
    assert plan_runs(path.stem)


def test_the_smoke_sweep_runs_every_template():
    templates = {path.stem for path in (ROOT/'nbs'/'templates').glob('*.ipynb')}
    elsewhere = {'paper', 'sources'} # `make paper` executes it; test_sources.py has three sets for it
    assert {run['template'] for run in plan_runs('smoke')} == templates - elsewhere


WATCH = '''
import os, socket, sys
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        said = args[1:] if event == "socket.connect" else args
        with open(os.environ["DQ_WATCH"], "a") as f: print(event, said, file=f)
sys.addaudithook(watch)
with open(os.environ["DQ_WATCH"], "a") as f: print("started", *sys.orig_argv, file=f)
'''


def run_sweep(path, *first, cwd=ROOT, folders=(), **environment):
    """`dq sweep` in a process of its own, from this checkout; `folders` stand before it on Python's path."""
    code = f'from dq_workbook.app.cli import main; raise SystemExit(main(["sweep", {json.dumps(str(path))}]))'
    before = os.environ.get('PYTHONPATH', '').split(os.pathsep)
    env = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, [*folders, ROOT, *before])), **environment}
    command = [*first, sys.executable, '-c', code]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def without_network():
    """The first words of a command that cut its network off, where the system allows that."""
    if shutil.which('unshare') is None: return []
    if subprocess.run(['unshare', '-rn', 'true'], capture_output=True).returncode != 0: return []
    return ['unshare', '-rn', 'sh', '-c', 'ip link set lo up 2>/dev/null; exec "$@"', 'sh']


def test_a_run_connects_to_nothing_but_this_machine(study, tmp_path):
    """Every Python process of a run, the kernel too, writes down what it connects to; the network is cut."""
    (tmp_path/'sitecustomize.py').write_text(WATCH)
    seen = tmp_path/'seen.txt'
    seen.touch()
    path = tmp_path/'watched.yaml'
    path.write_text(json.dumps(grid(study, name='watched', tool=OFFERED)))
    done = run_sweep(path, *without_network(), folders=[tmp_path], DQ_WATCH=str(seen))
    assert done.returncode == 0, done.stdout + done.stderr
    local = ('127.0.0.1', 'localhost', '::1', '/')
    lines = seen.read_text().splitlines()
    started = [line for line in lines if line.startswith('started')]
    assert any('ipykernel' in line for line in started), 'the watch did not reach the kernel'
    if OFFERED == 'fastdup': assert any('fastdup_worker' in line for line in started), 'nor fastdup'
    assert [line for line in lines if line not in started and not any(place in line for place in local)] == []


can_trace = shutil.which('strace') and fastdup_python().exists()

@pytest.mark.skipif(not can_trace, reason='needs strace and fastdup')
def test_fastdup_opens_no_connection_from_native_code_either(tmp_path):
    (tmp_path/'images').mkdir()
    for k in range(8): Image.effect_noise((64, 64), 20 + 10 * k).save(tmp_path/'images'/f'{k}.png')
    worker = ROOT/'dq_workbook'/'audits'/'fastdup_worker.py'
    trace = ['strace', '-f', '-e', 'trace=connect,sendto', '-o', tmp_path/'calls.txt']
    command = [fastdup_python(), '-P', worker, tmp_path/'images', tmp_path/'out', FASTDUP_SEARCH]
    subprocess.run([*trace, *command], capture_output=True)
    calls = (tmp_path/'calls.txt').read_text()
    assert 'exited with' in calls and 'AF_INET' not in calls, calls


def test_a_set_of_images_and_texts_is_audited_to_its_report(study, tmp_path):
    pictures = load('digits')['train'].remove_columns('label').select(range(60))
    pictures = pictures.add_column('captions', [['a digit']] * 60)
    (tmp_path/'data').mkdir()
    copy = dict(id='copy', image=image_bytes(pictures)[0], captions=['its copy'])
    broken = dict(id='broken', image=b'', captions=[])
    append_rows(pictures, [copy, broken]).to_parquet(tmp_path/'data'/'train-0.parquet')
    texts = dict(study=study, template='audit', runs=[dict(name='texts', dataset=str(tmp_path), tool='open')])
    done = sweep(texts).iloc[0]
    assert done.status == 'done', done.headline
    flagged = read_table(ROOT/done.folder/'tables'/'findings.parquet').query('flagged')
    assert {'copy', 'broken'} <= {*flagged.id, *flagged.other.dropna()}


def test_a_sweep_works_from_any_directory(tmp_path, monkeypatch):
    """What it reads lies where it is started, what it makes lies below `$DQ_HOME`."""
    home, started = tmp_path/'home', tmp_path/'started'
    for name in ('cat', 'dog'): (started/'pets'/name).mkdir(parents=True)
    for k in range(24):
        picture, folder = Image.effect_noise((32, 32), 20 + 10 * k), ('cat', 'dog')[k % 2]
        picture.save(started/'pets'/folder/f'{k}.png')
    run = dict(template='audit', name='pets', dataset='pets', tool='open', calibrated=0)
    (started/'mine.yaml').write_text(json.dumps(dict(runs=[run], summary='prevalence')))
    done = run_sweep('mine.yaml', cwd=started, DQ_HOME=str(home))
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in started.iterdir()) == ['mine.yaml', 'pets']
    assert len(list(home.glob('runs/mine/*/report.html'))) == 2 and (home/'runs'/'index.html').exists()
    monkeypatch.setenv('DQ_HOME', str(home))
    monkeypatch.chdir(started)
    minutes = {record['name']: record['minutes'] for record in read_records()}
    assert dict(sweep('mine.yaml').set_index('name').minutes) == minutes # nothing ran again


def test_a_killed_sweep_leaves_no_finished_record(tmp_path, monkeypatch):
    monkeypatch.setenv('DQ_HOME', str(tmp_path))
    write_json(dict(status='done'), tmp_path/'whole'/'run.json')
    (tmp_path/'half').mkdir()
    (tmp_path/'half'/'.report.part.ipynb').write_text('{')
    assert finished_record(tmp_path/'whole') and finished_record(tmp_path/'half') is None


def test_a_cell_that_is_silent_for_long_is_told_and_a_full_disk_stops_no_saving(tmp_path, monkeypatch):
    part, seen = tmp_path/'part.ipynb', tmp_path/'seen.ipynb'
    look = f'import shutil, time; time.sleep(3); shutil.copy({str(part)!r}, {str(seen)!r})'
    cells = [new_markdown_cell('## One'), new_code_cell('1'),
             new_markdown_cell('## Two'), new_code_cell(look)]
    monkeypatch.setattr(run_room, 'open_template', lambda _: new_notebook(cells=cells, metadata=PYTHON))
    monkeypatch.setattr(run_room, 'SAVED_EVERY', 0.3)
    save, refused = NotebookExecutionManager.save, []
    def refuse_once(self, **options):
        if threading.current_thread() is threading.main_thread() or refused: return save(self, **options)
        refused.append(1)
        raise OSError('No space left on device')
    monkeypatch.setattr(NotebookExecutionManager, 'save', refuse_once)
    run_room.execute_template(dict(template='claims', parameters={}, folder='runs/s/a'), part)
    assert refused and run_step(seen) == 'Two'


def test_a_run_without_a_page_is_done_and_says_so(tmp_path, monkeypatch):
    """And one that was planned with other code isn't made at all."""
    def odd(_): raise ValueError('an odd output')
    monkeypatch.setenv('DQ_HOME', str(tmp_path))
    execute = lambda run, part: shutil.copy(template_path('claims'), part)
    monkeypatch.setattr(run_room, 'execute_template', execute)
    monkeypatch.setattr(run_room, 'to_html', odd)
    run, = plan_runs(dict(study='odd', template='claims', runs=[dict(name='a')]))
    write_json(dict(text='fine'), tmp_path/run['folder']/'headline.json')
    monkeypatch.setattr(run_room, 'MADE_ANEW', ())
    record = execute_run(run)
    assert record['status'] == 'done' and record['warning'] == 'without a page: ValueError: an odd output'
    page = write_index().read_text()
    assert 'fine; without a page' in page and 'report.html' not in page
    with pytest.raises(ValueError, match='was planned with other code than is here now .version of numpy'):
        execute_run(dict(run, folder='runs/odd/b', inputs=run['inputs'] | {'version of numpy': '1.0'}))


@pytest.fixture
def quick(tmp_path, monkeypatch):
    """A planned run whose notebook is copied instead of executed, in a project of its own."""
    def execute(run, part):
        shutil.copy(template_path('claims'), part)
        write_json(dict(text='fine'), part.parent/'headline.json')
    monkeypatch.setenv('DQ_HOME', str(tmp_path/'home'))
    monkeypatch.setattr(run_room, 'execute_template', execute)
    monkeypatch.setattr(run_room, 'leave_page', lambda _: '')
    return plan_runs(dict(study='quick', template='claims', runs=[dict(name='a')]))[0]


@pytest.mark.parametrize('limit', [0, 100, 2000, 4000])
def test_a_full_disk_leaves_nothing_that_counts_as_finished(quick, tmp_path, limit):
    """Files may grow to some bytes only: at each limit another one of a run can't be written."""
    folder, before = tmp_path/'home'/quick['folder'], resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        record = execute_run(quick) # where what went wrong can be written down
        assert record['status'] == 'failed' and 'File too large' in record['error']
    except OSError as error: assert 'File too large' in str(error)
    finally: resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert finished_record(folder) is None and not list(folder.glob('.*.part'))
    assert execute_run(quick)['status'] == 'done' == finished_record(folder)['status']


def test_a_clock_that_jumps_changes_nothing(quick, tmp_path, monkeypatch):
    """Neither the time of day nor that of files says what is finished, how long it took, what data are."""
    class Jumping(datetime):
        now = classmethod(lambda cls, tz: datetime(2040, 1, 1, tzinfo=tz))
    monkeypatch.setattr(run_room, 'datetime', Jumping)
    record = execute_run(quick)
    assert 0 <= record['minutes'] < 1 and record['started'].startswith('2040')
    for day in (0, 4e9): # 1970 and 2096
        for path in (tmp_path/'home').rglob('*'): os.utime(path, (day, day))
        again, = plan(dict(study='quick', template='claims', runs=[dict(name='a')])).itertuples()
        assert (again.state, again.folder) == ('finished', quick['folder']) and execute_run(quick) == record
    picture, kept = tmp_path/'a.png', tmp_path/'kept.json'
    monkeypatch.setattr(keys, 'SMALL_DATA', 0) # as large sets, of which only changed files are read
    digests = []
    for content in (b'1', b'2'): # written at the same time, as it seems
        picture.write_bytes(content)
        os.utime(picture, (0, 0))
        digests += keys.file_digests([picture], kept)
    assert digests[0] != digests[1]


def test_what_a_store_has_is_not_made_again(quick, tmp_path, monkeypatch):
    """Another machine has the run from there, with all its files; an unknown store is told at once."""
    grid = dict(study='quick', template='claims', runs=[dict(name='a')])
    monkeypatch.setenv('DQ_STORE', f'file://{tmp_path}/store')
    record = execute_run(plan_runs(grid)[0])
    files = lambda home: sorted(p.name for p in (tmp_path/home/quick['folder']).rglob('[!.]*'))
    monkeypatch.setenv('DQ_HOME', str(tmp_path/'other'))
    monkeypatch.setattr(run_room, 'execute_template', None)
    assert execute_run(plan_runs(grid)[0]) == record and files('other') == files('home')
    monkeypatch.setenv('DQ_STORE', 'nowhere://x')
    with pytest.raises(ValueError, match="the store 'nowhere://x'"): sweep(grid)


@pytest.mark.skipif(not kernels.can_fork(), reason='kernels are forked on Linux only')
def test_a_signal_to_a_whole_group_leaves_the_server_of_kernels_to_who_started_it(monkeypatch):
    """Without the server nobody would find, and end, what the cells of its kernels have started."""
    monkeypatch.setattr(kernels, 'KERNEL_MODULES', [])
    monkeypatch.setattr(kernels.forkserver, '_forkserver', server := kernels.forkserver.ForkServer())
    for name in ('ensure_running', 'set_forkserver_preload'):
        monkeypatch.setattr(kernels.forkserver, name, getattr(server, name))
    kernels.warm_up(['dq_workbook.core.kernels'])
    try:
        process = psutil.Process(server._forkserver_pid)
        for number in (signal.SIGINT, signal.SIGTERM): process.send_signal(number)
        with pytest.raises(psutil.TimeoutExpired): process.wait(0.5)
    finally: server._stop()


def test_a_kernel_that_cannot_be_forked_is_tried_again_as_a_killed_one(monkeypatch):
    """What a start gives when the process that kernels are forked from is killed meanwhile."""
    def ended(_): raise EOFError('unexpected EOF')
    monkeypatch.setattr('multiprocessing.process.BaseProcess.start', ended)
    with pytest.raises(DeadKernelError) as caught: ForkedKernel([], {}, '.')
    early = RuntimeError('Kernel died before replying to kernel_info') # of jupyter_client
    for error in (caught.value, early): assert was_killed(dict(status='failed', error=describe_error(error)))


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a quarter of a megabyte: (Path of it, function that makes it larger)."""
    place, mount = tmp_path/'disk', lambda *words: subprocess.run(['mount', *words], capture_output=True)
    place.mkdir()
    if os.geteuid() or mount('-t', 'tmpfs', '-o', 'size=240k', 'tmpfs', str(place)).returncode:
        pytest.skip('no disk can be mounted here')
    yield place, lambda: mount('-o', 'remount,size=100m', str(place))
    subprocess.run(['umount', str(place)])


def test_a_full_disk_is_one_line_and_the_same_command_goes_on_when_there_is_room(small_disk, tmp_path):
    place, enlarge = small_disk
    run = dict(name='a', template='selection', draws=50, n_pictures=50)
    command = [*COMMAND, 'sweep', write_json(dict(study='full', runs=[run]), tmp_path/'full.yaml')]
    env = {**os.environ, 'DQ_HOME': str(place)}
    full = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True)
    last = full.stderr.strip().splitlines()[-1]
    assert full.returncode == 2 and 'No space left' in last and f'results go to {place}: make room' in last
    assert not list(place.glob('runs/full/*/run.json')) and not list(place.rglob('*.part'))
    enlarge()
    assert subprocess.run(command, env=env, cwd=ROOT, capture_output=True).returncode == 0
    assert finished_record(next(place.glob('runs/full/*')))
