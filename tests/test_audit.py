"""The auditors: a fastdup that is missing or has expired, the contract of both, and what they find."""
import functools
import io

import pytest
from datasets import ClassLabel, DatasetDict, Features, Value, concatenate_datasets
from datasets import Image as ImageFeature
from pandas.testing import assert_frame_equal
from PIL import Image

from dq_workbook.core.tables import FINDING_COLUMNS
from dq_workbook.sets.dataset import from_columns, replace_column
from dq_workbook.sets.load import load
from dq_workbook.faults.kinds import kind_names
from dq_workbook.faults.plant import plant, plant_all
from dq_workbook.audits import auditors, fastdup
from dq_workbook.audits.auditors import AUDITORS, audit, resolve_auditor
from dq_workbook.audits.detection import detection, detection_by_kind
from dq_workbook.audits.fastdup import FastdupUnavailable, fastdup_available, fastdup_python
from dq_workbook.repairs.groups import groups, leaked_test_ids
from dq_workbook.repairs.recipes import make_ledger

PLAN = dict(exact_duplicate=[0.05, 2], near_duplicate=[0.05, 1], leak=[0.1, 1], label_error=[0.1, 2],
            blurry=[0.05, 2], dark=[0.05, 2], corrupt=[0.03, 2])
EXPIRED = '''#!/bin/sh
echo "fastdup 2.54"
echo "2027-03-01 10:00:01 [FATAL] This fastdup version is deprecated, please reinstall from pypi"
'''
BROKEN = dict(expired=EXPIRED, crash='#!/bin/sh\necho "Illegal instruction" >&2; exit 132\n')
BROKEN['no module'] = '#!/bin/sh\necho "ModuleNotFoundError: No module named \'fastdup\'" >&2; exit 1\n'
WORDS = {'missing': 'not installed: run `make setup`', 'no module': 'not installed: run `make setup`',
         'expired': 'refuses to run any more', 'crash': 'Illegal instruction'}


@pytest.fixture(params=WORDS)
def broken_fastdup(request, tmp_path, monkeypatch):
    """An interpreter whose fastdup can't be used; gives the words its error has to hold."""
    python = tmp_path/'python'
    if request.param in BROKEN:
        python.write_text(BROKEN[request.param])
        python.chmod(0o755)
    monkeypatch.setenv('DQ_FASTDUP_PYTHON', str(python))
    return WORDS[request.param]


def test_asking_for_a_fastdup_that_does_not_run_says_how_to_fix_it(broken_fastdup):
    few = load('digits').copy()
    few['train'] = few['train'].select(range(20))
    for ask in (lambda: resolve_auditor('fastdup'), lambda: audit(few, 'fastdup')):
        with pytest.raises(FastdupUnavailable, match=broken_fastdup) as caught: ask()
        assert "tool='open'" in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('works', [True, False])
def test_auto_is_the_open_auditor_whether_fastdup_runs_or_not(monkeypatch, works):
    monkeypatch.setattr(auditors, 'fastdup_available', lambda: (works, 'fastdup 9.9'))
    assert resolve_auditor('auto')[0] == 'open'


@pytest.fixture(scope='module')
def planted(): return plant_all(load('digits'), PLAN, seed=0)


def needs(tool):
    if tool == 'fastdup' and not fastdup_available()[0]: pytest.skip('fastdup does not run here')


@pytest.mark.parametrize('tool', AUDITORS)
def test_an_auditor_finds_what_was_planted(planted, tool, tmp_path):
    needs(tool)
    images, truth = planted
    found = audit(images, tool, out=tmp_path)
    found_by = detection_by_kind(found, truth).set_index('kind')
    assert (found_by.recall[['exact_duplicate', 'corrupt']] == 1).all(), found_by
    assert (found_by.recall[['near_duplicate', 'leak', 'blurry', 'dark']] > 0.9).all(), found_by
    assert found_by.recall['label_error'] > 0.6 and (found_by.precision.dropna() > 0.6).all(), found_by
    assert (tmp_path/'fastdup'/'atrain_features.dat').exists() == (tool == 'fastdup')


def test_an_audit_of_one_kind_has_one_kind(planted):
    assert set(audit(planted[0], kinds=['dark']).kind) == {'dark'}
    with pytest.raises(ValueError, match="unknown kind of finding 'blury'; did you mean 'blurry'"):
        audit(planted[0], kinds=['blury'])


def test_files_that_cannot_be_read_are_corrupt_whether_planted_or_not():
    """Those that the set had of its own counted as false alarms."""
    few = DatasetDict(train=load('digits')['train'].select(range(60)))
    broken = plant(few, 'corrupt', 0.2, seed=0)[0]
    told = detection(broken, audit(broken, kinds=['corrupt'])).set_index('kind')
    assert told.precision['corrupt'] == told.precision_low['corrupt'] == 1 > told.precision_low['dark']


# The contract of every auditor

@pytest.fixture(scope='module')
def small():
    """Two hundred and fifty digits with defects of many kinds."""
    return plant_all(load('digits', limit=200), PLAN, seed=1)[0]


def told(findings, names=None):
    """What an audit says of single images, as a table, and the groups of images that it joins."""
    table = findings.assign(id=findings.id.replace(names or {}), other=findings.other.replace(names or {}))
    one = table[~table.kind.isin(kind_names('pair'))].sort_values(['kind', 'id'], ignore_index=True)
    group = groups(table)
    return one.drop(columns='other'), {frozenset(ids) for ids in group.groupby(group).groups.values()}


@pytest.fixture(scope='module')
def told_before(small):
    """What each auditor says of the set as it is."""
    return functools.cache(lambda tool: told(audit(small, tool)))


def assert_same(one, other):
    (images, joined), (others, also_joined) = one, other
    assert joined == also_joined
    assert_frame_equal(images, others, atol=2e-3, rtol=0)


@pytest.mark.parametrize('tool', AUDITORS)
def test_an_auditor_says_the_same_whatever_the_row_order(small, told_before, tool):
    needs(tool)
    turned = DatasetDict({name: rows.select(range(len(rows))[::-1]) for name, rows in small.items()})
    assert_same(told_before(tool), told(audit(turned, tool)))


@pytest.mark.parametrize('tool', AUDITORS)
def test_an_auditor_says_the_same_after_ids_are_renamed(small, told_before, tool):
    needs(tool)
    ids = [i for rows in small.values() for i in rows['id']]
    names = {i: f'{97 * k % 1009:04d}' for k, i in enumerate(ids)}
    rename = lambda rows: replace_column(rows, 'id', [names[i] for i in rows['id']])
    new = {name: rename(rows) for name, rows in small.items()}
    back = {name: i for i, name in names.items()}
    assert_same(told_before(tool), told(audit(DatasetDict(new), tool), back))


def test_copies_of_every_picture_say_nothing_new_of_labels_and_shortcuts():
    """Copies in several folds tell each other's label: all would be shortcuts, and no label wrong."""
    kinds = ['label_error', 'shortcut']
    train = plant(load('digits', limit=200), 'label_error', 0.1, seed=0)[0]['train']
    name = lambda k: replace_column(train, 'id', [f'{i}/{k}' for i in train['id']])
    thrice = audit(DatasetDict(train=concatenate_datasets([name(k) for k in range(3)])), kinds=kinds)
    once = audit(DatasetDict(train=train), kinds=kinds).drop(columns='other').sort_values(['kind', 'id'])
    assert once.flagged.any()
    for _, part in thrice.groupby(thrice.id.str[-2:]):
        part = part.assign(id=part.id.str[:-2]).drop(columns='other').sort_values(['kind', 'id'])
        assert_frame_equal(part.reset_index(drop=True), once.reset_index(drop=True), atol=2e-3, rtol=0)


def test_files_with_one_first_frame_are_no_exact_duplicates_and_copies_of_them_are():
    pictures = [p.convert('L') for p in load('digits', limit=60)['train']['image']]
    blank = Image.new('L', (32, 32))
    def animated(k):
        buffer = io.BytesIO()
        blank.save(buffer, 'GIF', save_all=True, append_images=pictures[3 * k:3 * k + 3])
        return buffer.getvalue()
    raws = [animated(k) for k in (*range(8), 0)]
    rows = dict(id=[f'{k}' for k in range(9)], image=raws, label=[0] * 9)
    features = Features(id=Value('string'), image=ImageFeature(), label=ClassLabel(names=['a']))
    found = audit(DatasetDict(train=from_columns(rows, features)))
    flagged = found[found.flagged & found.kind.isin(['exact_duplicate', 'near_duplicate'])]
    assert [{*pair} for pair in zip(flagged.id, flagged.other)] == [{'0', '8'}]


def test_ids_that_begin_anew_in_each_split_are_told():
    digits = load('digits', limit=60)
    number = lambda rows: replace_column(rows, 'id', [str(k) for k in range(len(rows))])
    with pytest.raises(ValueError, match='train and test have an image .0. each'):
        audit(DatasetDict({split: number(rows) for split, rows in digits.items()}))


def test_a_class_spelt_two_ways_is_no_wrong_label():
    digits = load('digits', limit=400)['train']
    names = [f'number {word}' for word in 'zero one two three four five six seven eight nine Nine'.split()]
    labels = [10 if label == 9 and k % 2 else label for k, label in enumerate(digits['label'][:])]
    spelt = digits.remove_columns('label').add_column('label', labels, feature=ClassLabel(names=names))
    found = audit(DatasetDict(train=spelt), kinds=['label_error'])
    nines = [name for name, label in zip(digits['id'][:], labels) if label >= 9]
    assert len(nines) > 30 and found[found.id.isin(nines)].flagged.mean() < 0.1
    assert not {9, 10} <= {*found.suggested.dropna()}


def test_wrong_labels_of_a_test_split_are_found_and_teach_nothing():
    kinds, digits = ['label_error', 'shortcut'], load('digits')
    spoilt, truth = plant(DatasetDict(train=digits['test']), 'label_error', 0.1, seed=0)
    clean, noisy = (audit(DatasetDict(train=digits['train'], test=test), kinds=kinds)
                    for test in (digits['test'], spoilt['train']))
    of_train = lambda found: found[found.id.isin(digits['train']['id'][:])].reset_index(drop=True)
    assert_frame_equal(of_train(clean), of_train(noisy))
    alone = audit(DatasetDict(train=digits['train']), kinds=kinds)
    assert_frame_equal(of_train(noisy).drop(columns='other'), alone.drop(columns='other'))
    flags = noisy[noisy.flagged & noisy.id.isin(spoilt['train']['id'][:])]
    assert set(flags.kind) == {'label_error'} and flags.id.isin(truth.id).mean() > 0.9
    assert truth.id.isin(flags.id).mean() > 0.8
    ledger = make_ledger(DatasetDict(train=digits['train'], test=spoilt['train']), noisy, 'relabel')
    assert ledger.id.isin(digits['train']['id'][:]).all()


@pytest.mark.parametrize('tool', AUDITORS)
@pytest.mark.parametrize('case', ['one class', 'two images', 'empty test', 'empty train', 'one image'])
def test_an_auditor_answers_on_odd_sets(tool, case):
    needs(tool)
    digits = load('digits')
    train, test = digits['train'].select(range(30)), digits['test'].select(range(5))
    if case == 'one class': train = train.filter(lambda row: row['label'] == train[0]['label'])
    if case == 'two images': train = train.select(range(2))
    if case == 'one image': train = train.select(range(1))
    if case == 'empty test': test = test.select([])
    if case == 'empty train': train = train.select([])
    found = audit(DatasetDict(train=train, test=test), tool)
    assert list(found.columns) == FINDING_COLUMNS and set(found.kind) <= set(kind_names())
    assert set(found.id) == {*train['id'], *test['id']} and found.score.between(0, 1).all()
    assert not found.flagged.all()


def test_leaks_are_found_between_any_splits_in_any_order():
    images, truth = plant(load('digits', limit=300), 'leak', 0.1, seed=0)
    train, test = images['train'], images['test']
    half = len(train) // 2
    parts = dict(test=test, validation=train.select(range(half, len(train))), train=train.select(range(half)))
    whole, cut = (audit(DatasetDict(splits), kinds=['leak']) for splits in (images, parts))
    flags = whole[whole.flagged]
    assert truth.id.isin(flags.id).mean() > 0.9
    found = {*zip(cut.id[cut.flagged], cut.other[cut.flagged])}
    assert {*zip(flags.id, flags.other)} <= found and {*cut.id}.isdisjoint(test['id'])
    of_validation = truth.other[truth.id.isin(parts['validation']['id'][:])]
    assert len(of_validation) and leaked_test_ids(cut, parts).isdisjoint(of_validation)


def test_a_set_without_training_images_or_any_images_is_told_in_a_line(caplog):
    images = load('digits')
    found = audit(DatasetDict(learning=images['test'].select(range(9))), kinds=['label_error', 'dark'])
    assert set(found.kind) == {'dark'} and 'no split is called train' in caplog.messages[0]
    with pytest.raises(ValueError, match='^there is no image to audit$'):
        audit(DatasetDict({name: rows.select([]) for name, rows in images.items()}))


def test_an_audit_with_fastdup_says_the_same_when_nothing_is_remembered(small, tmp_path, monkeypatch):
    needs('fastdup')
    monkeypatch.setenv('DQ_FASTDUP_PYTHON', str(fastdup_python()))
    found = []
    for name in 'ab':
        home = tmp_path/name # a folder of its own for what fastdup gives
        monkeypatch.setattr(fastdup, 'project_root', lambda home=home: home)
        found.append(audit(small, 'fastdup', kinds=['near_duplicate', 'leak', 'outlier'], out=home))
        assert list((home/'data'/'cache').glob('fastdup-*'))
    assert_frame_equal(*found, check_exact=True)
    one, other = (tmp_path/name/'fastdup'/'atrain_features.dat' for name in 'ab')
    assert one.read_bytes() == other.read_bytes() # its own pairs come of a search by several threads
