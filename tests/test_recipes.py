"""Recipes do no harm: what they change is measured on the very set, and wrong labels never become more."""

import datasets
import numpy as np
import pandas as pd
import pytest

from dq_workbook.core.project import project_root
from dq_workbook.core.tables import TABLES, read_table
from dq_workbook.sets.dataset import replace_column, replace_rows
from dq_workbook.sets.load import load
from dq_workbook.faults.plant import known_label_errors, plant
from dq_workbook.audits.auditors import audit
from dq_workbook.audits.detection import detection
from dq_workbook.audits.flag_precision import PRECISION_COLUMNS, measure_precision
from dq_workbook.repairs.causes import CAUSES, is_right
from dq_workbook.repairs.recipes import apply, curate
from dq_workbook.repairs.visual_layer import KIND_OF_FLAG

LEAST_FALL = {0: 0, 0.1: 0.4, 0.4: 0.4} # share of wrong labels -> by what share they have to fall


@pytest.fixture(scope='module', params=LEAST_FALL)
def noisy(request):
    """Digits with a share of wrong labels, their findings, and how often these are right."""
    digits = load('digits')
    images = plant(digits, 'label_error', request.param, seed=11)[0] if request.param else digits
    findings = audit(images, kinds=['label_error'])
    return request.param, digits, images, findings, measure_precision(images, findings, ['label_error'])


def labels(images): return dict(zip(images['train']['id'], images['train']['label']))


@pytest.mark.parametrize('recipe', ['relabel', 'drop_label_errors', 'curated'])
def test_a_recipe_never_leaves_more_wrong_labels(noisy, recipe):
    share, digits, images, findings, precision = noisy
    right, before = labels(digits), labels(images)
    repaired, ledger = curate(images, findings, recipe, precision=precision)
    wrong_before = sum(before[i] != right[i] for i in before)
    wrong_after = sum(label != right[i] for i, label in labels(repaired).items())
    assert wrong_after <= wrong_before and (share or len(ledger) <= 0.01 * len(before))
    fall = LEAST_FALL[share] / 3 if recipe == 'relabel' else LEAST_FALL[share] # it leaves more to people
    assert wrong_after <= (1 - fall) * wrong_before
    assert set(ledger.attrs['review']).isdisjoint(ledger.id)
    _, low, high = ledger.attrs['expected_wrong']
    assert low <= high <= len(ledger) + 1e-9


def test_the_share_of_wrong_labels_is_found(noisy):
    share, _, _, _, precision = noisy
    row = precision[precision.kind == 'label_error'].iloc[0]
    assert row.prevalence_low - 0.01 <= share <= row.prevalence_high + 0.01


def test_a_rare_class_keeps_half_of_its_labels(noisy):
    _, _, images, findings, _ = noisy
    rare = images['train'].filter(lambda row: row['label'] == 0)['id'][:6]
    others = images['train'].filter(lambda row: row['label'] != 0)['id'][:]
    few = images['train'].filter(lambda row: row['id'] in {*rare, *others[:300]})
    accused = findings.head(6).assign(id=rare, kind='label_error', flagged=True, suggested=1.0, tool='hand')
    ledger = curate({'train': few, 'test': images['test']}, accused, 'relabel')[1]
    assert len(ledger) == 3


def by_hand(*rows):
    """Findings of a person: id, kind, other, suggested."""
    full = [('', i, kind, 0.9, True, other, suggested, 'me') for i, kind, other, suggested in rows]
    return pd.DataFrame(full, columns=TABLES['findings'])


@pytest.mark.parametrize('rows, gone', [
    ([('small', 'near_duplicate', 'large', None), ('large', 'dark', None, None)], ['large']),
    ([('a', 'near_duplicate', 'b', None), ('b', 'near_duplicate', 'a', None)], ['b']),
    ([('a', 'near_duplicate', 'a', None)], []),
    ([('small', 'near_duplicate', 'large', None), ('third', 'near_duplicate', 'large', None),
      ('large', 'blurry', None, None)], ['large', 'third'])])
def test_of_every_picture_one_copy_stays(rows, gone):
    """Also where the one that should have stayed is dropped for a reason of its own."""
    digits = load('digits', limit=100)
    names = digits['train']['id'][:4]
    real = dict(zip(('small', 'large', 'third', 'a'), names)) | dict(b=names[1])
    same = replace_rows(digits['train'], labels=dict.fromkeys(names, 0))
    images = datasets.DatasetDict(digits, train=same)
    findings = by_hand(*[(real[i], kind, real.get(other), new) for i, kind, other, new in rows])
    assert sorted(curate(images, findings, 'curated')[1].id) == sorted(real[i] for i in gone)


def test_what_names_no_image_class_or_kind_for_sure_is_refused():
    digits = load('digits', limit=100)
    name = digits['train']['id'][0]
    for suggested in (-1, 0.5, 10, 'b'):
        with pytest.raises(ValueError, match='no number of a class'):
            curate(digits, by_hand((name, 'label_error', None, suggested)), 'relabel')
    with pytest.raises(ValueError, match="did you mean 'blurry'"):
        curate(digits, by_hand((name, 'blurry', None, None)), (('drop', 'blurr'),))
    number = lambda rows: replace_column(rows, 'id', list(map(str, range(len(rows)))))
    alike = datasets.DatasetDict({split: number(rows) for split, rows in digits.items()})
    for call in (lambda: curate(alike, by_hand(('3', 'blurry', None, None)), 'curated'),
                 lambda: apply(alike, pd.DataFrame(columns=TABLES['ledger']))):
        with pytest.raises(ValueError, match="train and test have an image '0' each"): call()


def test_no_finding_is_no_change():
    digits = load('digits')
    findings = audit(digits, kinds=['corrupt']).head(0)
    _, ledger = curate(digits, findings, 'curated')
    assert not len(ledger) and not ledger.attrs['review']


@pytest.mark.parametrize('cause', CAUSES)
def test_a_cause_is_a_ledger_of_training_images_that_empties_no_class(noisy, cause):
    share, digits, images, findings, precision = noisy
    clean = digits['train']['label'][:] # as people say; the planted ones are what is wrong
    train = images['train'].add_column('clean_label', clean, feature=images['train'].features['label'])
    truth = known_label_errors({**images, 'train': train})
    flags = curate(images, findings, 'drop_label_errors', drop_from=0, precision=precision)[1]
    ledger = CAUSES[cause](images, findings, flags, truth)
    assert list(ledger) == TABLES['ledger'] and ledger.id.is_unique
    assert set(ledger.id) <= set(images['train']['id'])
    assert set(apply(images, ledger)['train']['label']) == set(images['train']['label'])
    wrong = is_right(ledger, truth)
    assert wrong.all() if cause in ('true_flags', 'oracle') else not wrong.any()
    wanted = dict(true_flags=is_right(flags, truth).sum(), false_flags=(~is_right(flags, truth)).sum(),
                  oracle=len(truth), hard=len(flags))
    assert len(ledger) == wanted[cause]


def test_the_kept_flags_of_fastdup_are_as_many_as_it_gave():
    folder = project_root()/'docs'/'results'/'fastdup'
    flags, sets = read_table(folder/'flags.parquet'), read_table(folder/'sets.parquet').set_index('dataset')
    assert len(sets) == 13 and sets.ids.is_unique and set(flags.kind) <= set(KIND_OF_FLAG)
    counts = flags.groupby(['dataset', 'kind']).size().unstack(fill_value=0)
    for kind in counts: assert counts[kind].to_dict() == sets[kind].to_dict()
    assert not flags.duplicated(['dataset', 'id', 'kind']).any()


@pytest.mark.parametrize('names', [['part 1', 'part 2'], ['a', 'b', 'c']])
def test_nothing_is_changed_where_labels_say_nothing_of_the_pictures(names):
    """As folders that are parts of a set, and no classes: half of them was called wrong."""
    train = load('digits', limit=300)['train']
    parts = np.random.default_rng(0).integers(0, len(names), len(train)).tolist()
    train = train.remove_columns('label').add_column('label', parts, feature=datasets.ClassLabel(names=names))
    images = datasets.DatasetDict(train=train)
    findings = audit(images, kinds=['label_error'])
    for recipe in ('relabel', 'drop_label_errors'):
        ledger = curate(images, findings, recipe)[1]
        assert ledger.empty and {*findings.id[findings.flagged]} >= {*ledger.attrs['review']}
    trust = detection(images, findings).set_index('kind')
    assert np.isnan(trust.precision['label_error']) and np.isnan(trust.prevalence['label_error'])


def test_shares_and_tables_that_are_none_are_refused_in_a_line():
    images = load('digits', limit=100)
    findings = audit(images, kinds=['dark'])
    for wrong in (dict(drop_from=-1), dict(drop_from=70), dict(relabel_from=float('nan'))):
        with pytest.raises(ValueError, match='0 to 1, not'): curate(images, findings, 'curated', **wrong)
    for table in (detection(images, findings), 'x'):
        with pytest.raises(ValueError, match='a row a score'):
            curate(images, findings, 'curated', precision=table)


def test_nobody_chooses_between_two_labels_of_one_picture():
    """Each of two equal pictures has a label that nobody doubts: both stay, to be looked at."""
    digits = load('digits')
    train = digits['train'].select(range(200))
    first = train[0]
    twin = dict(first, id='twin', label=(first['label'] + 1) % 10)
    rows = datasets.concatenate_datasets([train, datasets.Dataset.from_list([twin], features=train.features)])
    images = datasets.DatasetDict(train=rows, test=digits['test'].select(range(20)))
    findings = audit(images, kinds=['exact_duplicate', 'label_conflict'])
    ledger = curate(images, findings, 'curated')[1]
    pair = set(findings.id[findings.kind == 'exact_duplicate'])
    assert pair and not set(ledger.id) & {first['id'], 'twin'} and pair <= set(ledger.attrs['review'])
    agree = lambda row: dict(label=first['label'] if row['id'] == 'twin' else row['label'])
    images['train'] = rows.map(agree).cast(train.features)
    assert len(curate(images, audit(images, kinds=['exact_duplicate']), 'curated')[1]) == 1


@pytest.mark.parametrize('check, dropped', [(0.8, 3), (2, 1)])
def test_copies_go_only_where_chance_surely_explains_few_of_them(check, dropped):
    images = load('digits', limit=300)
    ids, scores = [i for i, label in labels(images).items() if label == 3][:6], (0.55, 0.6, 0.999)
    rows = [('digits', ids[2 * k], 'near_duplicate', score, True, ids[2 * k + 1], None, 'open', 'copy')
            for k, score in enumerate(scores)]
    findings = pd.DataFrame(rows, columns=[*TABLES['findings'], 'relation'])
    findings.attrs['near_duplicates'] = dict(threshold=1.5, n_images=240, tail=(0.4, 0.2), decoy_check=check)
    ledger = curate(images, findings, 'dedup', precision=measure_precision(images, findings))[1]
    assert len(ledger) == dropped and len(ledger.attrs['review']) == len(scores) - dropped


def test_nothing_is_dropped_where_all_flags_may_be_wrong():
    images = load('digits', limit=300)
    rows = [('digits', images['train']['id'][0], 'dark', 0.9, True, None, None, 'open')]
    findings = pd.DataFrame(rows, columns=TABLES['findings'])
    for low, n_dropped in ((0.6, 1), (0.1, 0)):
        told = pd.DataFrame(dict(kind=['dark'], score=0.5, precision=0.8, low=low, high=0.9))
        told = told.reindex(columns=PRECISION_COLUMNS)
        assert len(curate(images, findings, 'drop_low_quality', precision=told)[1]) == n_dropped
