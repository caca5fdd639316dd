"""The auditors: a fastdup that is missing or has expired, and what both find of defects whose truth is known."""
import pytest
from pandas.testing import assert_frame_equal
from PIL import Image

from dq_workbook import audit as room
from dq_workbook.sets.images import image_bytes
from dq_workbook.sets.load import load
from dq_workbook.faults.plant import plant_all
from dq_workbook.audits.fastdup import FastdupUnavailable, call_fastdup, fastdup_python
from dq_workbook.audits.auditors import audit, fastdup_available, resolve_auditor
from dq_workbook.audits.detection import detection_by_kind

PLAN = dict(exact_duplicate=[0.05, 2], near_duplicate=[0.05, 1], leak=[0.1, 1], label_error=[0.1, 2], blurry=[0.05, 2], dark=[0.05, 2], corrupt=[0.03, 2])
EXPIRED = '''#!/bin/sh
echo "fastdup 2.54"
echo "2027-03-01 10:00:01 [FATAL] This fastdup version is deprecated, please reinstall from pypi using \\`pip install fastdup\\`"
'''


@pytest.fixture(params=['missing', 'no module', 'expired', 'crash'])
def broken_fastdup(request, tmp_path, monkeypatch):
    """An interpreter whose fastdup can't be used; gives the words its error has to hold."""
    python = tmp_path/'python'
    scripts = dict(expired=EXPIRED, crash='#!/bin/sh\necho "Illegal instruction" >&2; exit 132\n')
    scripts['no module'] = '#!/bin/sh\necho "ModuleNotFoundError: No module named \'fastdup\'" >&2; exit 1\n'
    if request.param in scripts:
        python.write_text(scripts[request.param])
        python.chmod(0o755)
    monkeypatch.setenv('DQ_FASTDUP_PYTHON', str(python))
    return {'missing': 'not installed: run `make setup`', 'no module': 'not installed: run `make setup`', 'expired': 'refuses to run any more', 'crash': 'Illegal instruction'}[request.param]


def test_asking_for_a_fastdup_that_does_not_run_names_the_mend(broken_fastdup):
    few = load('digits').copy()
    few['train'] = few['train'].select(range(20))
    for ask in (lambda: resolve_auditor('fastdup'), lambda: audit(few, 'fastdup')):
        with pytest.raises(FastdupUnavailable, match=broken_fastdup) as caught: ask()
        assert "tool='open'" in str(caught.value) and '\n' not in str(caught.value)


def test_auto_takes_the_open_auditor_then_and_says_so(broken_fastdup):
    tool, sentence = resolve_auditor('auto')
    assert tool == 'open' and sentence.startswith('The open auditor ran instead of fastdup') and broken_fastdup in sentence


def test_auto_takes_fastdup_where_it_runs(monkeypatch):
    monkeypatch.setattr(room, 'available', lambda: (True, 'fastdup 9.9'))
    assert resolve_auditor('auto') == ('fastdup', 'fastdup 9.9 runs here; `tool: auto` prefers it.')


@pytest.fixture(scope='module')
def planted(): return plant_all(load('digits'), PLAN, seed=0)


@pytest.mark.parametrize('tool', ['open', 'fastdup'])
def test_both_auditors_find_what_was_planted(planted, tool, tmp_path):
    if tool == 'fastdup' and not fastdup_available()[0]: pytest.skip('fastdup does not run here')
    images, truth = planted
    found = audit(images, tool, out=tmp_path)
    marks = detection_by_kind(found, truth).set_index('kind')
    assert (marks.recall[['exact_duplicate', 'corrupt']] == 1).all() and (marks.recall[['near_duplicate', 'leak', 'blurry', 'dark']] > 0.9).all() and marks.recall['label_error'] > 0.6, marks
    assert (marks.precision.dropna() > 0.6).all(), marks
    assert (tmp_path/'fastdup'/'atrain_features.dat').exists() == (tool == 'fastdup')


def test_an_audit_of_one_kind_has_one_kind(planted):
    assert set(audit(planted[0], kinds=['dark']).kind) == {'dark'}
    with pytest.raises(ValueError, match="unknown kind of finding 'blury'; did you mean 'blurry'"): audit(planted[0], kinds=['blury'])


@pytest.mark.parametrize('n', [0, 1, 3])
def test_a_set_of_hardly_any_images_is_audited(n):
    images = load('digits')
    images['train'], images['test'] = images['train'].select(range(n)), images['test'].select(range(1))
    found = audit(images)
    assert found.id.nunique() == n + 1 and not found.flagged.all()


def test_fastdup_twice_gives_the_same_neighbours(planted, tmp_path):
    if not fastdup_available()[0]: pytest.skip('fastdup does not run here')
    (tmp_path/'images').mkdir()
    for k, raw in enumerate(image_bytes(planted[0]['train'])): (tmp_path/'images'/f'{k:05d}.png').write_bytes(raw)
    for name in 'ab': call_fastdup(tmp_path/'images', tmp_path/name, 'Flat')
    for file in ('similarity.csv', 'outliers.csv', 'atrain_features.dat'): assert (tmp_path/'a'/file).read_bytes() == (tmp_path/'b'/file).read_bytes()


def test_an_audit_with_fastdup_says_the_same_when_nothing_is_remembered(planted, tmp_path, monkeypatch):
    if not fastdup_available()[0]: pytest.skip('fastdup does not run here')
    monkeypatch.setenv('DQ_FASTDUP_PYTHON', str(fastdup_python()))
    found = []
    for name in 'ab':
        monkeypatch.setattr(room, 'root', lambda: tmp_path/name) # a folder of its own for what fastdup gives
        found.append(audit(planted[0], 'fastdup', kinds=['exact_duplicate', 'near_duplicate', 'leak', 'outlier']))
        assert list((tmp_path/name/'data'/'cache').glob('fastdup-*'))
    assert_frame_equal(*found, check_exact=True)
