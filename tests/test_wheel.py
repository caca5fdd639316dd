"""What a user gets who installs the wheel: the calls, the templates and the sweeps, from an empty folder."""
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope='module')
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp('wheel')
    options = ['-q', '--no-deps', '--no-build-isolation', '-w', out]
    command = [sys.executable, '-m', 'pip', 'wheel', *options, ROOT]
    subprocess.run(command, check=True, capture_output=True)
    return next(out.glob('*.whl'))


def test_templates_sweeps_cards_and_fingerprints_travel_in_the_wheel(wheel):
    held = set(zipfile.ZipFile(wheel).namelist())
    for folder in ('templates', 'sweeps'):
        paths = [path for path in (ROOT/'nbs'/folder).iterdir() if path.is_file()]
        files = {f'dq_workbook/{folder}/{path.name}' for path in paths}
        assert files and files <= held
    files = (ROOT/'dq_workbook'/'fingerprints').iterdir()
    released = {f'dq_workbook/fingerprints/{path.name}' for path in files}
    assert len(released) == 3 and {'dq_workbook/cards.yaml', *released} <= held


WORK = '''
import dq_workbook as dq, pathlib, sys
assert pathlib.Path(dq.__file__).is_relative_to(sys.argv[1]), dq.__file__
images = dq.load('digits', limit=200)
assert dq.audit(images, kinds=['blurry', 'exact_duplicate']).id.nunique() == 560
done = dq.sweep('selection')
assert done.status.tolist() == ['done'], done.headline[0]
assert (pathlib.Path.cwd()/done.folder[0]/'report.html').exists()
'''


def test_the_wheel_works_from_an_empty_folder_and_writes_only_there(wheel, tmp_path):
    site, work = tmp_path/'site', tmp_path/'work'
    work.mkdir()
    zipfile.ZipFile(wheel).extractall(site)
    before = sorted(site.rglob('*.py'))
    env = {key: value for key, value in os.environ.items() if key != 'DQ_HOME'} | dict(PYTHONPATH=str(site))
    command = [sys.executable, '-c', WORK, str(site)]
    done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path.name for path in work.iterdir()} <= {'runs', 'data', 'lightning_logs'}
    assert sorted(site.rglob('*.py')) == before
