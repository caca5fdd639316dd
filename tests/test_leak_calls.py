"""The calls about leaks say in one line what is wrong with what they are given, and lose nothing silently."""
import datasets
import numpy as np
import pandas as pd
import pytest

import dq_workbook as dq

IDS = [f'test-{i}' for i in range(4)]
PREDICTIONS = pd.DataFrame(dict(dataset='d', model='m', arm='raw', seed=np.repeat([0, 1, 2], 4), id=IDS * 3,
                                label=0, predicted=[0, 1, 0, 0] * 3))


@pytest.fixture(scope='module')
def digits():
    images = dq.load('digits')
    return datasets.DatasetDict(train=images['train'].select(range(8)), test=images['test'].select(range(4)))


WRONG_PREDICTIONS = {
    'no row of a test image': PREDICTIONS[:0],
    "no prediction of image 'test-3' by the arm 'raw', seed 2": PREDICTIONS[:-1],
    "no label or prediction of image 'test-0'": PREDICTIONS.assign(predicted=[np.nan] + [0.] * 11),
    "two predictions of image 'test-0'": pd.concat([PREDICTIONS, PREDICTIONS]),
    r'lacks the column\(s\) predicted': PREDICTIONS.drop(columns='predicted'),
    'a table, not a list': [1]}


@pytest.mark.parametrize('message', WRONG_PREDICTIONS)
def test_predictions_that_tell_no_inflation(message):
    with pytest.raises(ValueError, match=message) as caught:
        dq.inflation(WRONG_PREDICTIONS[message], ['test-0'])
    assert '\n' not in str(caught.value)


def test_leaked_ids_that_nobody_predicted(caplog):
    with pytest.raises(ValueError, match="no leaked id was predicted, the first: 'x'"):
        dq.inflation(PREDICTIONS, ['x'])
    some = dq.inflation(PREDICTIONS, ['test-0', 'x'])
    assert some.n_leaked.tolist() == [1]
    assert '1 of 2 leaked ids were not predicted, the first: x' in caplog.text
    with pytest.raises(ValueError, match='columns leaked and matched'):
        dq.inflation(PREDICTIONS, ['test-0'], matched=pd.DataFrame(dict(id=IDS)))


def test_inflation_is_what_the_leaked_images_add():
    """Whatever is right and leaked: counts, the difference by hand, and NaN where a side or a seed lacks."""
    random = np.random.default_rng(0)
    for draw in range(25):
        n_seeds, leaked = 1 + draw % 3, {name for name in IDS if random.random() < 0.5}
        rows = PREDICTIONS.assign(predicted=random.integers(0, 2, 12))[PREDICTIONS.seed < n_seeds]
        row, clean = dq.inflation(rows, leaked).iloc[0], ~rows.id.isin(leaked)
        assert (row.seeds, row.n_leaked, row.n_clean) == (n_seeds, len(leaked), 4 - len(leaked))
        right = rows.predicted == 0
        by_hand = right.mean() - right[clean].mean() if clean.any() else np.nan
        assert np.isclose(row.inflation, by_hand, equal_nan=True)
        assert n_seeds > 1 or np.isnan(row.low)


def decontaminate_mistakes(digits):
    train, test = digits['train'], digits['test']
    return {
        'no benchmark is named': [(train, given) for given in ({}, None, [test], test, digits)],
        'the corpus has no column `image`, only id': [(train.select_columns(['id']), dict(a=test))],
        'the corpus has no column `id`, only image, label': [(train.remove_columns('id'), dict(a=test))],
        "the corpus has no split 'train', only test": [(datasets.DatasetDict(test=test), dict(a=test))],
        "benchmark 'a' has no split 'test', only train": [(train, dict(a=datasets.DatasetDict(train=train)))],
        "benchmark 'a' has no column `image`, only id": [(train, dict(a=test.select_columns(['id'])))],
        "benchmark 'a' is given as a DatasetDict or a Dataset, not as list": [(train, dict(a=[1]))]}


def test_a_corpus_or_benchmark_that_is_none(digits):
    for message, pairs in decontaminate_mistakes(digits).items():
        for corpus, benchmarks in pairs:
            with pytest.raises(ValueError, match=message): dq.decontaminate(corpus, benchmarks)
    with pytest.raises(ValueError, match='overlap is a share from 0 to 1, not 2'):
        dq.decontaminate(digits['train'], dict(a=digits['test']), overlap=2)


def test_an_empty_corpus_or_benchmark_takes_nothing_away(digits):
    train, test = digits['train'], digits['test']
    for corpus, bench in ((train.select([]), test), (train, test.select([]))):
        kept, ledger = dq.decontaminate(corpus, dict(a=bench))
        assert kept['id'][:] == corpus['id'][:] and not ledger.action.eq('drop').any()


def resplit_mistakes(digits):
    named = pd.Series('a', digits['train']['id'][:])
    all_one = dict.fromkeys([*named.index, *digits['test']['id'][:]], 'a')
    nameless = datasets.DatasetDict(train=digits['train'].remove_columns('id'))
    return {'groups are a Series, id -> group': (digits, None),
            'a DatasetDict, not a Dataset': (digits['train'], named),
            "'train-00000' is in two groups": (digits, pd.concat([named, named])),
            'the train images have no column `id`': (nameless, named),
            "1 groups can't be split into 2 parts": (digits, all_one)}


def test_ids_that_are_no_text(digits):
    numbered = digits['train'].remove_columns('id').add_column('id', range(8))
    with pytest.raises(ValueError, match='ids of the corpus are int64, not text'):
        dq.decontaminate(numbered, dict(mine=digits))
    none = dq.audit(digits, kinds=['leak']).head(0)
    for owners in (pd.Series(['a', 'b']), ['a', 'b']):
        with pytest.raises(ValueError, match='a Series whose index are ids') as caught:
            dq.groups(none, digits['train']['id'][:], by=owners)
        assert '\n' not in str(caught.value)


def test_groups_that_split_nothing(digits):
    for message, (images, groups) in resplit_mistakes(digits).items():
        with pytest.raises(ValueError, match=message): dq.resplit(images, groups, seed=0)


def test_what_is_no_set_and_no_fingerprint(digits, tmp_path):
    released = 'released are cifar10-test, fashion_mnist-test, mnist-test'
    for train, test, message in ((None, digits, 'not as NoneType'), (digits, None, 'not as NoneType'),
                                 (digits, 'mnist', released)):
        with pytest.raises(ValueError, match=message): dq.guard(train, test)
    assert dq.guard(digits, 'mnist-test') is None
    with pytest.raises(ValueError, match='not as list'): dq.fingerprint([1], tmp_path/'a.jsonl')
    with pytest.raises(OSError, match=str(tmp_path)): dq.fingerprint(digits, tmp_path)
