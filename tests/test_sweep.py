"""A whole run: executed notebooks, skipping, failure, resuming, and what the network sees of it."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from dq_workbook import sweep
from dq_workbook.core.tables import read_table
from dq_workbook.sets.images import image_bytes
from dq_workbook.sets.dataset import append_rows
from dq_workbook.sets.load import load
from dq_workbook.audits.fastdup import FASTDUP_SEARCH, fastdup_python
from dq_workbook.audits.auditors import fastdup_available

ROOT = Path(__file__).parent.parent
TINY = dict(dataset='digits', budget='smoke', seeds=2, recipes=['curated'], corrupted=0, limit=200, tool='open', peak_lr=6e-3)
TABLES = ('findings', 'scores', 'effects', 'predictions', 'ledger')


def grid(study, **changes): return dict(study=study, runs=[{**TINY, 'name': 'tiny', **changes}])


@pytest.fixture(scope='module')
def study():
    """A study's name whose runs are removed afterwards."""
    name = f'test-{os.getpid()}'
    yield name
    shutil.rmtree(ROOT/'runs'/name, ignore_errors=True)
    sweep.index()


@pytest.fixture(scope='module')
def first(study): return sweep.run(grid(study, plant=dict(label_error=[0.1, 2]))).iloc[0]


def test_a_run_leaves_an_executed_report_tables_and_a_line_in_the_index(first):
    assert first.status == 'done', first.headline
    folder = ROOT/first.folder
    notebook = json.loads((folder/'report.ipynb').read_text())
    assert not any(o['output_type'] == 'error' for c in notebook['cells'] for o in c.get('outputs', []))
    assert 'curated against raw' in (folder/'report.html').read_text()
    assert all((folder/'tables'/f'{t}.parquet').exists() for t in TABLES)
    assert first.folder.removeprefix('runs/') in (ROOT/'runs'/'index.html').read_text()


def test_a_finished_run_is_skipped_and_a_broken_record_is_not(first, study, capsys):
    again = sweep.run(grid(study, plant=dict(label_error=[0.1, 2]))).iloc[0]
    assert '1 finished before, 0 to do' in capsys.readouterr().out
    assert again.equals(first)
    assert sweep.finished(ROOT/first.folder)


def test_the_same_run_twice_gives_identical_tables(first, study):
    """The second time in a process of its own, from nothing."""
    before = {t: read_table(ROOT/first.folder/'tables'/f'{t}.parquet') for t in TABLES}
    shutil.rmtree(ROOT/first.folder)
    assert sweep.run(grid(study, plant=dict(label_error=[0.1, 2]))).iloc[0].status == 'done'
    for t in TABLES: pd.testing.assert_frame_equal(before[t], read_table(ROOT/first.folder/'tables'/f'{t}.parquet'), check_exact=True)


def test_a_failing_run_is_reported_and_the_exit_code_says_so(study, tmp_path):
    path = tmp_path/'bad.yaml'
    path.write_text(f'study: {study}\nruns:\n  - {{name: broken, dataset: digits, tool: open, plant: {{blury: [0.1, 2]}}}}\n')
    assert sweep.main([str(path)]) == 1
    record = json.loads(next((ROOT/'runs'/study).glob('broken-*/run.json')).read_text())
    assert record['status'] == 'failed' and "did you mean 'blurry'" in record['error']
    page = (ROOT/'runs'/'index.html').read_text()
    assert page.index('blurry') < page.index('curated against raw') if 'curated against raw' in page else True


@pytest.mark.parametrize('change, message', [
    (dict(dataset='digitz'), "unknown data set 'digitz'"), (dict(model='resnet81'), "unknown model 'resnet81'; did you mean"), (dict(budget='smal'), "did you mean 'small'"),
    (dict(recipes=['dedupe']), "unknown recipe 'dedupe'; did you mean 'dedup'"), (dict(tool='fastdub'), "did you mean 'fastdup'"), (dict(sedes=3), "did you mean 'seeds'")])
def test_a_misspelt_name_is_one_line_before_anything_runs(study, change, message):
    with pytest.raises(ValueError) as caught: sweep.run(grid(study, **change))
    assert message in str(caught.value) and '\n' not in str(caught.value)


WATCH = '''
import os, socket, sys
def watch(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        with open(os.environ["DQ_WATCH"], "a") as f: print(event, args[1:] if event == "socket.connect" else args, file=f)
sys.addaudithook(watch)
with open(os.environ["DQ_WATCH"], "a") as f: print("started", *sys.orig_argv, file=f)
'''


def test_a_run_connects_to_nothing_but_this_machine(study, tmp_path):
    """Every Python process of a run, the notebook's kernel included, writes down what it connects to."""
    (tmp_path/'sitecustomize.py').write_text(WATCH)
    seen = tmp_path/'seen.txt'
    seen.touch()
    path = tmp_path/'watched.yaml'
    path.write_text(json.dumps(grid(study, name='watched', tool='auto')))
    env = {**os.environ, 'PYTHONPATH': str(tmp_path), 'DQ_WATCH': str(seen)}
    done = subprocess.run([sys.executable, '-c', f'from dq_workbook.sweep import main; raise SystemExit(main([{str(path)!r}]))'], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    local = ('127.0.0.1', 'localhost', '::1', '/')
    lines = seen.read_text().splitlines()
    started = [line for line in lines if line.startswith('started')]
    assert any('ipykernel' in line for line in started), 'the watch did not reach the kernel'
    if fastdup_available()[0]: assert any('fastdup_worker' in line for line in started), 'the watch did not reach fastdup'
    assert [line for line in lines if line not in started and not any(place in line for place in local)] == []


@pytest.mark.skipif(shutil.which('strace') is None or not fastdup_python().exists(), reason='needs strace and fastdup')
def test_fastdup_opens_no_connection_from_native_code_either(tmp_path):
    (tmp_path/'images').mkdir()
    for k in range(8): Image.effect_noise((64, 64), 20 + 10 * k).save(tmp_path/'images'/f'{k}.png')
    subprocess.run(['strace', '-f', '-e', 'trace=connect,sendto', '-o', tmp_path/'calls.txt', fastdup_python(), ROOT/'dq_workbook'/'fastdup_worker.py', tmp_path/'images', tmp_path/'out', FASTDUP_SEARCH], capture_output=True)
    calls = (tmp_path/'calls.txt').read_text()
    assert 'exited with' in calls and 'AF_INET' not in calls, calls


@pytest.mark.skipif(shutil.which('unshare') is None or subprocess.run(['unshare', '-rn', 'true'], capture_output=True).returncode, reason='no network namespaces here')
def test_a_run_works_with_the_network_cut(study, tmp_path):
    path = tmp_path/'offline.yaml'
    path.write_text(json.dumps(grid(study, seed=1, tool='auto')))
    script = f'ip link set lo up 2>/dev/null; exec {sys.executable} -c "from dq_workbook.sweep import main; raise SystemExit(main([{str(path)!r}]))"'
    done = subprocess.run(['unshare', '-rn', 'sh', '-c', script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_set_of_images_and_texts_is_audited_to_its_report(study, tmp_path):
    pictures = load('digits')['train'].remove_columns('label').select(range(60))
    pictures = pictures.add_column('captions', [['a digit']] * 60)
    (tmp_path/'data').mkdir()
    append_rows(pictures, [dict(id='twin', image=image_bytes(pictures)[0], captions=['its copy']), dict(id='broken', image=b'', captions=[])]).to_parquet(tmp_path/'data'/'train-0.parquet')
    done = sweep.run(dict(study=study, template='audit', runs=[dict(name='texts', dataset=str(tmp_path), tool='open')])).iloc[0]
    assert done.status == 'done', done.headline
    flagged = read_table(ROOT/done.folder/'tables'/'findings.parquet').query('flagged')
    assert {'twin', 'broken'} <= {*flagged.id, *flagged.other.dropna()}
