"""A release goes to a server that plays the Hub: whole, after a broken connection, not with a wrong token."""
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from PIL import Image

PUSH = '''
import sys
from dq_workbook.app import push
push.PAUSE = .01
try: print(push.push_release(sys.argv[1], 'owner/pets'))
except (OSError, ValueError) as error: print(type(error).__name__, error); sys.exit(1)
'''


class Hub(BaseHTTPRequestHandler):
    """The endpoints that an upload asks for."""
    def log_message(self, *_): pass

    def answer(self, status, value=None):
        body = json.dumps(value or {}).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self): self.answer(200, dict(id='owner/pets', sha='0'*40, siblings=[]))

    def do_POST(self):
        raw, hub = self.rfile.read(int(self.headers.get('Content-Length', 0))), self.server
        if self.headers.get('Authorization') != 'Bearer hf_right': return self.answer(401, dict(error='No'))
        if self.path.endswith('/preupload/main'):
            mode = lambda path: 'lfs' if path.endswith('.parquet') else 'regular'
            paths = [file['path'] for file in json.loads(raw)['files']]
            modes = [dict(path=path, uploadMode=mode(path), shouldIgnore=False) for path in paths]
            return self.answer(200, dict(files=modes))
        if self.path.endswith('/info/lfs/objects/batch'):
            objects = [dict(oid=o['oid'], size=o['size']) for o in json.loads(raw)['objects']]
            for thing in objects:
                if thing['oid'] not in hub.stored:
                    thing['actions'] = dict(upload=dict(href=f'http://127.0.0.1:{hub.server_port}/put/{thing["oid"]}'))
            return self.answer(200, dict(transfer='basic', objects=objects))
        if '/commit/' in self.path:
            lines = [json.loads(line) for line in raw.splitlines() if line]
            hub.committed = {line['value']['path'] for line in lines if line['key'] != 'header'}
            url = f'http://127.0.0.1:{hub.server_port}/datasets/owner/pets/commit/{"1"*40}'
            return self.answer(200, dict(success=True, commitUrl=url, commitOid='1'*40))
        self.answer(200, dict(url=f'http://127.0.0.1:{hub.server_port}/datasets/owner/pets'))

    def do_PUT(self):
        hub, raw = self.server, self.rfile.read(int(self.headers['Content-Length']))
        hub.puts += 1
        if hub.puts in hub.broken: return self.connection.close()
        oid = self.path.rsplit('/', 1)[-1]
        assert hashlib.sha256(raw).hexdigest() == oid
        hub.stored[oid] = hub.stored.get(oid, 0) + 1
        self.answer(200)


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(('127.0.0.1', 0), Hub)
    server.stored, server.committed, server.puts, server.broken = {}, set(), 0, ()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture(scope='module')
def release(tmp_path_factory):
    import dq_workbook as dq
    from dq_workbook.core.tables import TABLES
    import pandas as pd
    images = dq.load('digits')
    ledger = pd.DataFrame([(images['train'][0]['id'], 'drop', 'blurry', '0', None, 'by hand')],
                          columns=TABLES['ledger'])
    card = dict(name='digits', licence='CC-BY-4.0', redistributable=True)
    out = tmp_path_factory.mktemp('releases')/'digits'
    return dq.build_release(dq.apply(images, ledger), ledger, card, out, original=images)


def push(hub, folder, token='hf_right'):
    env = {**os.environ, 'HF_ENDPOINT': f'http://127.0.0.1:{hub.server_port}', 'HF_HUB_DISABLE_XET': '1',
           'HF_HUB_DISABLE_PROGRESS_BARS': '1', 'HF_TOKEN': token, 'HF_HUB_OFFLINE': '0'}
    return subprocess.run([sys.executable, '-c', PUSH, str(folder)], env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=120)


def test_every_file_arrives_even_when_the_connection_breaks(hub, release):
    hub.broken = (2,)
    done = push(hub, release)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith('/datasets/owner/pets')
    files = {path.relative_to(release).as_posix() for path in release.rglob('*') if path.is_file()}
    assert hub.committed == files
    assert set(hub.stored.values()) == {1}, 'what had arrived is not sent again'


def test_a_wrong_token_is_told_in_one_line(hub, release):
    done = push(hub, release, 'hf_wrong')
    assert done.returncode == 1 and done.stdout.startswith('PermissionError') and '401' in done.stdout
    assert 'hf_wrong' not in done.stdout + done.stderr and len(done.stdout.splitlines()) == 1


def test_another_copy_of_the_images_is_refused(release):
    import dq_workbook as dq
    images = dq.load('digits')
    by_folder, by_file = dq.apply(images, release), dq.apply(images, str(release/'ledger.parquet'))
    assert by_folder['train']['id'][:] == by_file['train']['id'][:]
    spoilt, _ = dq.plant(images, 'blurry', rate=.1, severity=3, seed=0)
    with pytest.raises(ValueError, match='images differ from those'): dq.apply(spoilt, release)


def test_a_card_without_a_name_and_a_ledger_of_two_minds_are_refused(release, tmp_path):
    import dq_workbook as dq
    from dq_workbook.core.tables import read_table
    ledger = read_table(release/'ledger.parquet')
    twice = ledger.loc[[0, 0]].assign(action=['drop', 'relabel'], new=[None, '1'])
    for rows, card, word in ((ledger, {}, 'needs the name'), (twice, dict(name='digits'), 'says two things')):
        with pytest.raises(ValueError, match=word): dq.build_release(None, rows, card, tmp_path/'refused')
    assert not (tmp_path/'refused').exists()


def test_pictures_of_a_folder_are_in_the_release_when_the_folder_is_gone(tmp_path):
    """They lie in files of their own, to which a table may point, on this machine alone."""
    import datasets
    import dq_workbook as dq
    from dq_workbook.app.release_check import check_bytes
    for k in range(24):
        (tmp_path/'pets'/'cd'[k % 2]).mkdir(parents=True, exist_ok=True)
        Image.effect_noise((32, 32), 20 + 10 * k).save(tmp_path/'pets'/'cd'[k % 2]/f'{k}.png')
    images = dq.load(tmp_path/'pets')
    ledger = dq.curate(images, dq.audit(images, kinds=['exact_duplicate']), 'dedup')[1]
    card = dict(name='pets', licence='CC0-1.0', redistributable=True)
    folder = dq.build_release(images, ledger, card, tmp_path/'out', original=images)
    shutil.rmtree(tmp_path/'pets')
    opened = datasets.load_dataset(str(folder), 'default', cache_dir=str(tmp_path/'cache'))
    assert sum(len(rows) for rows in opened.values()) == 24
    for rows in opened.values():
        check_bytes(rows)
        assert {picture.size for picture in rows['image']} == {(32, 32)}
    with pytest.raises(ValueError, match='is not in the release'): check_bytes(images['train'])


def test_a_release_opens_as_its_users_will_open_it_even_one_without_a_change(release, tmp_path):
    import dq_workbook as dq
    from dq_workbook.app.release_check import check_release
    from dq_workbook.core.tables import read_table
    images, card = dq.load('digits'), dict(name='digits', licence='CC-BY-4.0', redistributable=True)
    nothing = read_table(release/'ledger.parquet').iloc[:0]
    same = dq.build_release(images, nothing, card, tmp_path/'same', original=images)
    checks = [check_release(folder, images).set_index('check') for folder in (release, same)]
    assert all(table.passed.all() for table in checks), checks
    with pytest.raises(ValueError, match='nothing to release'):
        dq.build_release(None, nothing, card, tmp_path/'no')
    assert '1 changes' in checks[0].said['load_dataset'] and 'changes' not in checks[1].said['load_dataset']
