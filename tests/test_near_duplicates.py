"""Near duplicates: pictures that stand in a set many times, and flags that stay when the set changes."""

import numpy as np
import pytest
from datasets import ClassLabel, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from dq_workbook.sets.dataset import from_columns
from dq_workbook.sets.images import encode_image, image_bytes
from dq_workbook.sets.load import load
from dq_workbook.audits import near_duplicates
from dq_workbook.audits.auditors import audit
from dq_workbook.audits.findings import doubtful_pairs, pair_words
from dq_workbook.faults.plant import plant_alterations
from dq_workbook.repairs.recipes import curate

TURNS = [way for way in Image.Transpose if way != Image.Transpose.FLIP_LEFT_RIGHT]
FEATURES = Features(id=Value('string'), image=ImageFeature(), label=ClassLabel(names=['picture', 'other']))
PAIRS = ['exact_duplicate', 'near_duplicate', 'same_scene']


def pictures(n, seed=0):
    """Pictures of coloured shapes before a coloured sky, no two alike."""
    random = np.random.default_rng(seed)
    color = lambda: tuple(random.integers(0, 256, 3).tolist())
    for _ in range(n):
        sky = random.integers(60, 200, (2, 2, 3)).astype('uint8')
        picture = Image.fromarray(sky).resize((96, 96), Image.Resampling.BICUBIC)
        draw = ImageDraw.Draw(picture)
        for _ in range(12):
            left, top, width, height = (*random.integers(-10, 90, 2), *random.integers(8, 45, 2))
            shape = draw.ellipse if random.random() < 0.5 else draw.rectangle
            shape([*map(int, (left, top, left + width, top + height))], fill=color(), outline=color())
        yield picture


def make_set(rows, labels=None):
    """A training set of (id, picture)."""
    ids, images = zip(*rows)
    raw = [encode_image(picture, 'PNG') for picture in images]
    columns = dict(id=list(ids), image=raw, label=labels or [0] * len(ids))
    return DatasetDict(train=from_columns(columns, FEATURES))


def flagged(images):
    found = audit(images, kinds=PAIRS)
    return found[found.flagged]


def source(name): return name.split('-')[1]


@pytest.mark.parametrize('n_groups', [0, 20, 60])
def test_however_many_pictures_stand_five_times_all_copies_are_found(n_groups):
    photos = list(pictures(300))
    rows = [(f'photo-{k}', picture) for k, picture in enumerate(photos)]
    rows += [(f'mirror-{k}', ImageOps.mirror(photos[k])) for k in range(30)]
    rows += [(f'turned-{k}', photos[k].transpose(TURNS[k % 6])) for k in range(30, 60)]
    rows += [(f'again{j}-{k}', ImageEnhance.Brightness(photos[k]).enhance(1 + 0.03 * (j + 1)))
             for k in range(300 - n_groups, 300) for j in range(4)]
    pairs = flagged(make_set(rows))
    right = [source(a) == source(b) for a, b in zip(pairs.id, pairs.other)]
    joined = {*pairs.id[right], *pairs.other[right]}
    missed = [name for name, _ in rows if not name.startswith('photo') and name not in joined]
    assert missed == [] and all(right)


def test_a_group_of_which_an_image_knows_only_its_copies_is_held_against_rivals_outside():
    photos = list(pictures(100))
    rows = [(f'photo-{k}', picture) for k, picture in enumerate(photos)]
    rows += [(f'again{j}-0', ImageEnhance.Brightness(photos[0]).enhance(1 + 0.01 * j)) for j in range(1, 25)]
    pairs = flagged(make_set(rows))
    assert {*pairs.id, *pairs.other} == {'photo-0', *(f'again{j}-0' for j in range(1, 25))}


def test_twenty_versions_of_one_picture_are_a_set_of_copies():
    photo, *others = pictures(11)
    versions = dict(mirror=ImageOps.mirror(photo), half=photo.resize((48, 48)),
                    dark=ImageEnhance.Brightness(photo).enhance(0.7), crop=photo.crop((5, 5, 90, 90)))
    rows = [('photo-0', photo), *((f'{name}-0', picture) for name, picture in versions.items())]
    rows += [(f'other-{k}', picture) for k, picture in enumerate(others, 1)]
    pairs = flagged(make_set(rows))
    assert {*pairs.id, *pairs.other} == {'photo-0', *(f'{name}-0' for name in versions)}


# Stability: what is said of an image hardly depends on the rest

@pytest.mark.parametrize('seed', [0, 1])
def test_a_small_set_with_copies_is_not_flagged_empty(seed):
    one, *others = pictures(15, seed)
    copies = dict(mirror=ImageOps.mirror(one), small=one.resize((48, 48)), turned=one.rotate(4),
                  grey=ImageOps.grayscale(one).convert('RGB'))
    rows = [(f'photo-{k}', picture) for k, picture in enumerate([one, *others])]
    pairs = flagged(make_set(rows + [(f'{how}-0', picture) for how, picture in copies.items()]))
    assert len(pairs) and all(source(a) == source(b) == '0' for a, b in zip(pairs.id, pairs.other))
    assert {'mirror-0', 'small-0'} <= {*pairs.id, *pairs.other}


def face(mouth):
    """A face of a series, drawn from one template."""
    picture = Image.new('RGB', (64, 64), 'white')
    draw = ImageDraw.Draw(picture)
    draw.ellipse((4, 4, 60, 60), fill='gold', outline='black')
    for left in (18, 38): draw.ellipse((left, 20, left + 8, 28), fill='black')
    draw.arc((18, 30, 46, 52), *mouth, fill='black', width=3)
    return picture


def test_drawings_that_differ_in_one_place_are_left_to_people_in_a_sentence():
    rows = [(f'photo-{k}', picture) for k, picture in enumerate(pictures(20))]
    smile, sad = face((0, 180)), face((180, 360))
    rows += [('smile-s', smile), ('small-s', smile.resize((48, 48))), ('sad-t', sad)]
    found = audit(make_set(rows), kinds=PAIRS)
    flags, left = found[found.flagged], doubtful_pairs(found)
    assert [sorted(pair) for pair in zip(flags.id, flags.other)] == [['small-s', 'smile-s']]
    assert ['sad-t', 'smile-s'] in [sorted(pair) for pair in zip(left.id, left.other)]
    assert pair_words(found).startswith(f'{len(left)} doubtful pair')


@pytest.mark.parametrize('n_copies', [0, 3])
def test_copies_among_few_digits_are_flagged_and_nothing_else(n_copies):
    digits = load('digits')['train'].select(range(120))
    rows = [(f'digit-{k}', picture.convert('RGB')) for k, picture in enumerate(digits['image'])]
    alter = [ImageOps.mirror, lambda picture: ImageEnhance.Brightness(picture).enhance(0.7), ImageOps.mirror]
    rows += [(f'copy-{k}', alter[k](rows[k][1])) for k in range(n_copies)]
    found = audit(make_set(rows), kinds=PAIRS)
    assert {*found.id[found.flagged]} == {f'copy-{k}' for k in range(n_copies)}
    assert n_copies or len(doubtful_pairs(found)) <= 2


def test_a_turned_picture_of_another_class_is_left_to_people():
    photos = list(pictures(16))
    rows = [(f'photo-{k}', picture) for k, picture in enumerate(photos)]
    turned = [*rows, ('turned-0', photos[0].transpose(TURNS[0]))]
    for label in (0, 1):
        found = audit(make_set(turned, [0] * 16 + [label]), kinds=['near_duplicate'])
        pair = found[found.id == 'turned-0'].iloc[0]
        assert pair.other == 'photo-0' and pair.flagged == (label == 0) and pair.score > 0.4


def test_sets_of_one_or_two_or_of_equal_pictures_are_audited():
    one, two = pictures(2)
    assert not len(flagged(make_set([('a-0', one)])))
    assert not len(flagged(make_set([('a-0', one), ('b-1', two)])))
    for picture in (one, Image.new('RGB', (32, 32))):
        pairs = flagged(make_set([(f'same-{k}', picture) for k in range(8)]))
        assert len({*pairs.id, *pairs.other}) == 8 and (pairs.kind == 'exact_duplicate').any()


@pytest.fixture(scope='module')
def altered():
    """Digits, the densest set, with thirty copies of each of four kinds."""
    names = ['mirror', 'JPEG 30', 'darker 30 %', 'brighter 30 %']
    return plant_alterations(load('digits', limit=800), 30, seed=3, names=names)[0]


@pytest.fixture(scope='module')
def before(altered): return flagged(altered)


def same_flags(one, other, ids):
    """The share of pairs within ids that are flagged once only, of those flagged at all."""
    known = lambda found: {frozenset(pair) for pair in zip(found.id, found.other) if set(pair) <= ids}
    return len(known(one) ^ known(other)) / max(1, len(known(one) | known(other)))


def test_flags_stay_when_a_twentieth_is_dropped_or_foreign_images_come(altered, before):
    train, random, ids = altered['train'], np.random.default_rng(0), set(altered['train']['id'])
    kept = train.select(np.sort(random.permutation(len(train))[:int(0.95 * len(train))]))
    assert same_flags(before, flagged(DatasetDict(altered, train=kept)), set(kept['id'])) <= 0.05
    strange = [(f'foreign-{k}', picture) for k, picture in enumerate(pictures(150, seed=9))]
    foreign = make_set(strange)['train']
    columns = {name: [*train[name][:], *foreign[name][:]] for name in ('id', 'label')}
    raw = [*image_bytes(train), *image_bytes(foreign)]
    both = from_columns(dict(columns, image=raw), train.features)
    assert same_flags(before, flagged(DatasetDict(altered, train=both)), ids) <= 0.05


def test_flags_stay_when_the_embedding_differs_a_little(altered, before, monkeypatch):
    judge = near_duplicates.compare_pairs
    def shaken(thumbs, vectors, pairs):
        noisy = np.asarray(vectors, 'float32') + np.random.default_rng(1).normal(0, 0.003, vectors.shape)
        return judge(thumbs, noisy / np.linalg.norm(noisy, axis=1, keepdims=True), pairs)
    monkeypatch.setattr(near_duplicates, 'compare_pairs', shaken)
    assert same_flags(before, flagged(altered), set(altered['train']['id'])) <= 0.05


def test_a_page_filled_in_again_and_again_is_a_series_and_loses_no_picture(tmp_path):
    random = np.random.default_rng(0)
    for name in ('invoice', 'ticket'):
        page = random.integers(0, 256, (12, 12, 3), dtype='uint8').repeat(8, 0).repeat(8, 1)
        (tmp_path/name).mkdir()
        for number in range(60):
            sheet = page.copy()
            sheet[40:48, 40:64] = random.integers(0, 256, (8, 24, 3))
            Image.fromarray(sheet).save(tmp_path/name/f'{number}.png')
    images = load(tmp_path)
    findings = audit(images, kinds=PAIRS)
    assert not len(curate(images, findings, 'dedup')[1])
    assert 'a series' in pair_words(findings) or not findings.flagged.any()
