"""Sets and tables as people have them: plain Datasets, any labels, tables that were csv files in between."""
import io

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

import dq_workbook as dq
from dq_workbook.core.tables import TABLES
from dq_workbook.sets.images import encode_image

CLASSES = 'cat', 'dog', 'cow'
random = np.random.default_rng(0)
NOISE = random.integers(0, 256, (24, 16, 16, 3), dtype='uint8')
PICTURES = [encode_image(Image.fromarray(pixels)) for pixels in NOISE]


def own(labels=None, ids=None, pictures=PICTURES):
    """A Dataset such as people make."""
    columns = dict(image=[dict(bytes=raw, path=None) if raw else None for raw in pictures])
    columns |= dict(label=list(labels)) if labels is not None else {}
    rows = datasets.Dataset.from_dict(columns | (dict(id=list(ids)) if ids else {}))
    return rows.cast_column('image', datasets.Image())


OWN = dict(text=own(CLASSES * 8), numbers=own([3, 30, 4] * 8), unlabelled=own(),
           some=own([None, 'a', 'b'] * 8), number_ids=own(CLASSES * 8, range(24)))


def through_csv(table): return pd.read_csv(io.StringIO(table.to_csv(index=False)))


def findings(*rows):
    """Findings by hand: id, other, kind, score, flagged."""
    table = pd.DataFrame(rows, columns=['id', 'other', 'kind', 'score', 'flagged'])
    return table.assign(dataset='', suggested=None, tool='open')[TABLES['findings']]


@pytest.mark.parametrize('name', OWN)
def test_a_plain_dataset_is_audited_repaired_and_has_a_control(name):
    found = dq.audit(OWN[name], kinds=['dark', 'exact_duplicate'])
    found.loc[0, ['flagged', 'score']] = [True, 1.0]
    curated, ledger = dq.curate(OWN[name], found, [('drop', found.kind[0])], drop_from=0)
    again = dq.apply(OWN[name], through_csv(ledger))
    assert len(ledger) == 1 and again['train']['id'][:] == curated['train']['id'][:]
    both = pd.concat([ledger, ledger])
    assert [len(dq.random_control(OWN[name], rows, 0)['train']) for rows in (ledger, both)] == [23, 23]


def test_the_control_of_images_without_a_label_is_drawn_from_such():
    rows = dq.audit(OWN['some'], kinds=['dark'])
    dropped = rows[rows.id == 'train-00000'].assign(flagged=True)
    ledger = dq.curate(OWN['some'], dropped, [('drop', 'dark')], drop_from=0)[1]
    left = dq.random_control(OWN['some'], ledger, 0)['train']
    assert ledger.old.tolist() == [None] and sorted(left['label']) == [-1] * 7 + [0] * 8 + [1] * 8


def test_a_ledger_of_numbered_classes_survives_csv_json_and_parquet(tmp_path):
    images = dq.load('digits', limit=10)
    rows = [(images['train']['id'][0], 'relabel', 'label_error', '3', '8', 'by hand'),
            (images['train']['id'][1], 'drop', 'dark', '3', None, 'by hand')]
    ledger = pd.DataFrame(rows, columns=TABLES['ledger'])
    ledger.to_csv(tmp_path/'l.csv', index=False)
    ledger.to_json(tmp_path/'l.json', orient='records')
    ledger.to_parquet(tmp_path/'l.parquet')
    for source in (ledger, *(tmp_path/f'l.{ending}' for ending in ('csv', 'json', 'parquet'))):
        changed = dq.apply(images, source)['train']
        assert changed['label'][0] == 8 and len(changed) == len(images['train']) - 1


@pytest.mark.parametrize('change, message', [
    (dict(action='dropp'), "'dropp'; did you mean 'drop'"),
    (dict(action='relabel', new='cats'), "'cats'; did you mean 'cat'")])
def test_a_ledger_with_an_unknown_action_or_class_is_refused(change, message):
    ledger = pd.DataFrame([('train-00000', 'drop', 'dark', 'cat', None, '')], columns=TABLES['ledger'])
    with pytest.raises(ValueError, match=message): dq.apply(OWN['text'], ledger.assign(**change))


def test_tables_without_the_name_of_a_set_are_no_empty_tables():
    rows = [dict(dataset='', model='m', arm=arm, seed=seed, id=name, label=0, predicted=0, p0=0.9, p1=0.1)
            for arm in ('raw', 'repair') for seed in range(3) for name in ('t1', 't2')]
    predictions = pd.DataFrame(rows)
    scores = dq.score(predictions)
    assert len(dq.score(through_csv(predictions))) == len(scores) > 0
    assert len(dq.inflation(through_csv(predictions), ['t1'])) == len(dq.inflation(predictions, ['t1'])) > 0
    assert len(dq.compare(through_csv(scores), family='repair')) == len(dq.compare(scores)) > 0


def test_flags_that_became_words_are_flags_and_one_flag_is_enough():
    pair = findings(('a', 'b', 'near_duplicate', 0.9, True), ('a', 'b', 'same_scene', 0.3, False))
    assert dq.groups(pair).nunique() == 1
    assert dq.groups(pair.assign(flagged='False')).empty
    with pytest.raises(ValueError, match='flagged is nan in row 0'): dq.groups(pair.assign(flagged=np.nan))


def test_splits_that_name_their_classes_in_another_order_keep_their_labels():
    def split(names, prefix):
        rows = own([0, 1, 2] * 2, [f'{prefix}{k}' for k in range(6)], PICTURES[:6])
        return rows.cast_column('label', datasets.ClassLabel(names=list(names)))
    images = datasets.DatasetDict(train=split('abc', 't'), test=split('cba', 'w'))
    new = dq.resplit(images, pd.Series(dtype=object), 0).values()
    words = {name: rows.features['label'].int2str(label) for rows in new
             for name, label in zip(rows['id'], rows['label'])}
    assert [words[name] for name in ('t0', 't2', 'w0', 'w2')] == ['a', 'c', 'c', 'a']


def test_no_picture_is_an_unreadable_one():
    rows = own([*CLASSES, 'cat'], pictures=[*PICTURES[:3], None])
    assert dq.audit(rows, kinds=['corrupt']).flagged.sum() == 1


def test_a_missing_split_is_named():
    with pytest.raises(ValueError, match='no split is called test; here are train'):
        dq.fit(OWN['text'], budget='smoke')


def test_two_pictures_of_one_name_are_refused():
    twice = own(CLASSES * 8, [*range(23), 0])
    with pytest.raises(ValueError, match="several pictures are called '0'"): dq.audit(twice, kinds=['dark'])


def test_a_plain_dataset_is_measured_and_reviewed():
    found = dq.audit(OWN['text'], kinds=['dark', 'exact_duplicate'])
    found.loc[0, ['flagged', 'score']] = [True, 1.0]
    assert dq.review(OWN['text'], found, found.kind[0], dataset='own', by='me').total == 1
    table = dq.detection(OWN['text'], found)
    shares = table[['recall_low', 'recall', 'recall_high']].dropna()
    assert len(shares) and (shares.diff(axis=1).iloc[:, 1:] >= -1e-9).all(axis=None)


def test_wrong_labels_are_planted_where_there_are_labels():
    images, truth = dq.plant(OWN['some'], 'label_error', 1.0)
    assert len(truth) == 16 and images['train']['label'][:].count(-1) == 8


def test_half_a_pair_joins_nothing():
    table = findings(('a', None, 'near_duplicate', 0.9, True), ('b', 'c', 'near_duplicate', 0.9, True))
    assert dq.groups(table).to_dict() == dict(b='b', c='b')


def test_a_negative_spread_is_refused():
    with pytest.raises(ValueError, match='a standard deviation is 0 or more'): dq.mde(-1.0, 5)
