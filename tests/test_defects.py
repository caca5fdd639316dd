"""Every kind and severity of planted defect on sixty digits: the truth table says exactly what changed."""
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from dq_workbook.audits.auditors import audit
from dq_workbook.audits.image_stats import image_stats
from dq_workbook.sets.images import decode_image, read_bytes, without_decoding
from dq_workbook.sets.dataset import dataset_hash
from dq_workbook.sets.load import load
from dq_workbook.faults.corruptions import CORRUPTIONS, corrupt_image
from dq_workbook.faults.kinds import KINDS, kind_names
from dq_workbook.faults.plant import plant, plant_all

RATE = 0.1
PLANTED_KINDS = kind_names(planted=True)
CASES = [(kind, severity) for kind in PLANTED_KINDS for severity in KINDS[kind].severities]


def rows(split):
    """id -> (bytes, label), in the split's order."""
    return {r['id']: (read_bytes(r['image']), r['label']) for r in without_decoding(split)}


def readable(raw):
    try: decode_image(raw)
    except ValueError: return False
    return True


@pytest.fixture(scope='module')
def digits():
    images = load('digits', limit=60, seed=0)
    images['test'] = images['test'].select(range(40))
    return images


@pytest.mark.parametrize('kind, severity', CASES)
def test_truth_names_exactly_what_changed(digits, kind, severity):
    planted, truth = plant(digits, kind, RATE, severity=severity, seed=1)
    before, after, test = rows(digits['train']), rows(planted['train']), rows(digits['test'])
    assert len(truth) == (4 if kind == 'leak' else 6)
    assert truth['id'].is_unique and set(truth['kind']) == {kind} and set(truth['severity']) == {severity}
    assert {i for i in after if i not in before or after[i] != before[i]} == set(truth['id'])
    assert list(after)[:60] == list(before)
    assert rows(planted['test']) == test
    source = test if kind == 'leak' else before
    for row in truth.itertuples():
        assert row.label == source[row.other if KINDS[kind].adds_row else row.id][1]
        if KINDS[kind].adds_row: assert row.id == f'{row.other}+{kind}'
        else: assert row.other is None


@pytest.mark.parametrize('kind, severity', CASES)
def test_what_changed_is_what_the_kind_says(digits, kind, severity):
    planted, truth = plant(digits, kind, RATE, severity=severity, seed=1)
    before, after = rows(digits['train']), rows(planted['train'])
    for row in truth.itertuples():
        old = (rows(digits['test']) if kind == 'leak' else before)[row.other or row.id]
        new = after[row.id]
        assert readable(new[0]) == (kind != 'corrupt')
        assert (new[1] != old[1]) == (kind in ('label_error', 'label_conflict'))
        altered = KINDS[kind].plant is not None and (kind != 'leak' or severity > 1)
        assert (new[0] != old[0]) == altered
        if kind != 'corrupt': assert decode_image(new[0]).size == decode_image(old[0]).size


@pytest.mark.parametrize('kind', PLANTED_KINDS)
def test_the_seed_decides(digits, kind):
    first, again, other = (dataset_hash(plant(digits, kind, RATE, seed=seed)[0]) for seed in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize('kind', PLANTED_KINDS)
def test_unreadable_images_are_no_source(digits, kind):
    broken, bad = plant(digits, 'corrupt', 0.5, severity=3, seed=0)
    _, truth = plant(broken, kind, 1, seed=0)
    assert len(truth) == (40 if kind == 'leak' else 30)
    assert not set(bad['id']) & {*truth['id'], *truth['other'].dropna()}


def test_rate_zero_changes_nothing(digits):
    planted, truth = plant(digits, 'blurry', 0, seed=0)
    assert dataset_hash(planted) == dataset_hash(digits) and truth.empty


def test_the_same_kind_twice_never_gives_an_id_twice(digits):
    once, _ = plant(digits, 'exact_duplicate', 0.5, seed=0)
    twice, _ = plant(once, 'exact_duplicate', 0.5, seed=0)
    assert len(set(twice['train']['id'])) == len(twice['train']) > 90


def test_another_split_may_be_planted(digits):
    planted, truth = plant(digits, 'dark', 0.1, seed=0, split='test')
    assert rows(planted['train']) == rows(digits['train'])
    assert set(truth['id']) <= set(digits['test']['id']) and len(truth) == 4


def test_all_kinds_at_once_fall_on_different_images(digits):
    planted, truth = plant_all(digits, {kind: 0.05 for kind in PLANTED_KINDS}, seed=0)
    touched = truth['other'].fillna(truth['id'])
    assert len(truth) == 3 * 8 + 2 and touched.is_unique
    before, after = rows(digits['train']), rows(planted['train'])
    assert {i for i in after if i not in before or after[i] != before[i]} == set(truth['id'])


def test_kinds_share_images_only_when_none_are_left(digits):
    _, truth = plant_all(digits, {'label_error': 0.7, 'blurry': 0.7}, seed=0)
    assert len(truth) == 84 and truth['id'].nunique() == 60


def test_extra_columns_are_kept(digits):
    images = digits.copy()
    images['train'] = digits['train'].add_column('writer', [f'w{i}' for i in range(60)])
    planted, truth = plant(type(digits)(images), 'near_duplicate', 0.1, seed=0)
    writer = dict(zip(planted['train']['id'], planted['train']['writer']))
    assert all(writer[row.id] == writer[row.other] for row in truth.itertuples())


@pytest.mark.parametrize('wrong, message', [
    (dict(kind='blury', rate=0.1), "did you mean 'blurry'"),
    (dict(kind='blurry', rate=1.5), 'rate is a share'),
    (dict(kind='blurry', rate=-0.1), 'rate is a share'),
    (dict(kind='blurry', rate=float('nan')), 'rate is a share'),
    (dict(kind='blurry', rate=0.1, severity=0), 'severity of blurry is one of 1, 2, 3, not 0'),
    (dict(kind='leak', rate=0.1, severity=4), 'severity of leak is one of 0, 1, 2, 3, not 4'),
    (dict(kind='blurry', rate=0.1, severity='high'), 'severity of blurry'),
    (dict(kind='blurry', rate=0.1, split='training'), "unknown split 'training'"),
    (dict(kind='leak', rate=0.1, split='test'), 'into another split')])
def test_wrong_arguments_are_refused_in_one_line(digits, wrong, message):
    with pytest.raises(ValueError) as error: plant(digits, **wrong)
    assert message in str(error.value) and '\n' not in str(error.value)


def test_plant_all_refuses_before_it_plants(digits):
    with pytest.raises(ValueError, match='unknown kind of defect'):
        plant_all(digits, {'dark': 0.1, 'typo': 0.1}, seed=0)


# The contracts of the registries

@pytest.mark.parametrize('kind', [kind for kind in kind_names('quality') if KINDS[kind].measure])
@pytest.mark.parametrize('n', [1, 2, 40])
def test_a_measurement_answers_for_every_image(digits, kind, n):
    stats, thumbs = image_stats(dict(train=digits['train'].select(range(n))))
    z, bad = KINDS[kind].measure(stats, thumbs)
    assert z.shape == bad.shape == (n,) and np.isfinite(z).all() and bad.dtype == bool


@pytest.mark.parametrize('kind', kind_names('quality', planted=True))
def test_a_planted_quality_defect_is_flagged(digits, kind):
    planted, truth = plant(digits, kind, 0.05, severity=3, seed=0)
    found = audit(planted, kinds=[kind])
    assert set(truth.id) <= set(found.id[found.flagged])


def test_streams_of_random_numbers_differ_between_kinds():
    streams = [KINDS[kind].stream for kind in kind_names()]
    assert len(set(streams)) == len(streams)


@pytest.fixture(scope='module')
def photo(): return Image.fromarray(load_sample_image('flower.jpg')).resize((48, 32))


def change_of(picture, kind, severity):
    worse = corrupt_image(picture, kind, severity, np.random.default_rng(0))
    assert worse.size == picture.size and worse.mode == 'RGB'
    return np.abs(np.asarray(worse, float) - np.asarray(picture)).mean()


@pytest.mark.parametrize('kind', CORRUPTIONS)
@pytest.mark.parametrize('scale', [1, 4])
def test_a_corruption_keeps_the_size_and_grows_with_severity(photo, kind, scale):
    picture = photo.resize((48 * scale, 32 * scale))
    mildest, worst = change_of(picture, kind, 1), change_of(picture, kind, 5)
    trades = ('elastic_transform', 'glass_blur') # one kind of change for another, from severity to severity
    assert worst > (0 if kind in trades else mildest)


def test_a_picture_of_one_pixel_has_no_contrast_to_lose(photo):
    assert change_of(photo.resize((1, 1)), 'contrast', 5) < 1
