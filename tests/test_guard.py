"""The guard: copies of test images are found with the test images and with nothing but their fingerprint."""
import json
import logging
import pickle

import datasets
import numpy as np
import pytest
from PIL import Image, ImageOps

import dq_workbook as dq
from dq_workbook.faults.copies import ALTERATIONS
from dq_workbook.repairs.guard import LeakFound, read_fingerprint
from dq_workbook.repairs.picture_hash import MIN_QUALITY, hash_pictures, hash_squares
from dq_workbook.sets.dataset import from_columns
from dq_workbook.sets.images import encode_image

HEADER = dict(format='image fingerprint', version=2, hash='PDQ of 64 x 64 grey pixels',
              images=30, unreadable=0)
FEATURES = datasets.Features(id=datasets.Value('string'), image=datasets.Image())
WAYS = ('images', 'fingerprint')
COPIES = dict(identical=lambda picture, random: picture,
              rotated=lambda picture, random: picture.transpose(Image.Transpose.ROTATE_90),
              **{name: ALTERATIONS[name] for name in ('JPEG 30', 'half size', 'mirror')})


def scene(seed, size=(96, 80)):
    """Clouds of colour with a few rectangles before them: all different, as photographs are."""
    random = np.random.default_rng(seed)
    clouds = Image.fromarray(random.integers(0, 256, (7, 8, 3), dtype='uint8'))
    picture = clouds.resize(size, Image.Resampling.BICUBIC)
    for _ in range(5):
        left, top, width, height = random.integers(4, 60, 4).tolist()
        box = left, top, left + width // 2, top + height // 2
        picture.paste(tuple(random.integers(0, 256, 3).tolist()), box)
    return picture


def rows(pictures):
    """id -> picture or bytes, as a Dataset."""
    raws = [p if isinstance(p, bytes) else encode_image(p) for p in pictures.values()]
    return from_columns(dict(id=list(pictures), image=raws), FEATURES)


@pytest.fixture(scope='module')
def clean(): return {f'train-{i}': scene(i) for i in range(60)}


@pytest.fixture(scope='module')
def test(): return {f'test-{i}': scene(1000 + i) for i in range(30)}


def against(way, test, tmp_path):
    """The test side as the guard is given it."""
    return rows(test) if way == 'images' else dq.fingerprint(rows(test), tmp_path/'test.jsonl')


def leaks(train, test):
    with pytest.raises(LeakFound) as caught: dq.guard(train, test)
    return caught.value.leaks


@pytest.mark.parametrize('way', WAYS)
def test_a_clean_pair_passes(clean, test, way, tmp_path):
    assert dq.guard(rows(clean), against(way, test, tmp_path)) is None


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('name', COPIES)
def test_copies_are_found_and_nothing_else(clean, test, way, name, tmp_path):
    random = np.random.default_rng(0)
    copies = {f'copy-{i}': COPIES[name](test[f'test-{i}'], random) for i in range(5)}
    found = leaks(rows(clean | copies), against(way, test, tmp_path))
    assert set(zip(found.train_id, found.test_id)) == {(f'copy-{i}', f'test-{i}') for i in range(5)}
    assert list(found.columns) == ['train_id', 'test_id', 'score']
    assert found.score.between(0.5, 1).all() and found.score.is_monotonic_decreasing


def test_grey_copies_are_found_by_the_fingerprint_and_the_docstring_says_so(clean, test, tmp_path):
    copies = {f'copy-{i}': test[f'test-{i}'].convert('L').convert('RGB') for i in range(6)}
    found = leaks(rows(clean | copies), against('fingerprint', test, tmp_path))
    assert set(zip(found.train_id, found.test_id)) == {(f'copy-{i}', f'test-{i}') for i in range(6)}
    assert 'Grey copies' in dq.guard.__doc__


@pytest.mark.parametrize('way', WAYS)
def test_the_message_is_one_line_with_the_count_and_the_first_pair(clean, test, way, tmp_path):
    train = rows(clean | {'copy': test['test-3'], 'again': ImageOps.mirror(test['test-3'])})
    with pytest.raises(ValueError) as caught: dq.guard(train, against(way, test, tmp_path))
    error = caught.value
    assert len(error.leaks) == 2 and str(error).startswith('2 leaks, the first: training image ')
    assert repr(error.leaks.train_id[0]) in str(error) and "'test-3'" in str(error) and '\n' not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) and again.leaks.equals(error.leaks)


@pytest.mark.parametrize('way', WAYS)
def test_corrupt_files_are_no_crash(clean, test, way, tmp_path, caplog):
    broken = dict(clean, bad=b'broken', empty=b'', copy=test['test-0'])
    with caplog.at_level(logging.WARNING):
        found = leaks(rows(broken), against(way, dict(test, worse=b'\x89PNG\r\n'), tmp_path))
    assert found[['train_id', 'test_id']].values.tolist() == [['copy', 'test-0']]
    if way == 'fingerprint': assert '1 of 31 images' in caplog.text and '2 of 63 images' in caplog.text


@pytest.mark.parametrize('sides', [('clean', 'none'), ('none', 'clean')])
def test_a_side_without_images_guards_nothing_and_says_so(clean, sides):
    train, test = (rows(dict(clean=clean, none={})[side]) for side in sides)
    with pytest.raises(ValueError, match='there are no (train|test) images, so nothing could be compared'):
        dq.guard(train, test)


@pytest.mark.parametrize('thorough', [False, True])
def test_both_sides_may_use_the_same_names(clean, test, thorough):
    train = {str(k): picture for k, picture in enumerate(clean.values())}
    tested = {str(k): picture for k, picture in enumerate(test.values())}
    with pytest.raises(LeakFound) as caught:
        dq.guard(rows(train | {'60': ImageOps.mirror(tested['7'])}), rows(tested), thorough=thorough)
    assert caught.value.leaks[['train_id', 'test_id']].to_numpy().tolist() == [['60', '7']]


@pytest.mark.parametrize('thorough', [False, True])
@pytest.mark.parametrize('way', WAYS)
def test_a_side_that_cannot_be_read_guards_nothing_and_says_so(clean, test, way, thorough, tmp_path):
    broken, told = rows(dict(bad=b'broken')), 'images can be read, so nothing could be compared'
    with pytest.raises(ValueError, match=told):
        dq.guard(broken, against(way, test, tmp_path), thorough=thorough)
    with pytest.raises(ValueError, match=told):
        known = broken if way == 'images' else dq.fingerprint(broken, tmp_path/'bad.jsonl')
        dq.guard(rows(clean), known, thorough=thorough)


@pytest.mark.parametrize('way', WAYS)
def test_a_flat_picture_matches_only_its_own_pixels(clean, test, way, tmp_path):
    flat = {colour: Image.new('RGB', (40, 30), colour) for colour in ('red', 'blue', 'white')}
    assert (hash_pictures(list(map(encode_image, flat.values()))).quality < MIN_QUALITY).all()
    known = against(way, dict(test, sky=flat['blue']), tmp_path)
    assert dq.guard(rows(clean | {'paper': flat['white'], 'rose': flat['red']}), known) is None
    assert leaks(rows(clean | flat), known)[['train_id', 'test_id']].values.tolist() == [['blue', 'sky']]


@pytest.mark.parametrize('way', WAYS)
def test_a_single_image_on_each_side_is_no_crash(clean, test, way, tmp_path):
    first = lambda images: dict(list(images.items())[:1])
    assert dq.guard(rows(first(clean)), against(way, first(test), tmp_path)) is None


# What is given

def test_the_split_that_counts_is_taken(clean, test, tmp_path):
    one, two = rows(clean), rows(test)
    images = datasets.DatasetDict(train=one, test=two)
    file = dq.fingerprint(images, tmp_path/'a.jsonl')
    assert dq.guard(images, images) is None and dq.guard(images, file) is None
    assert len(leaks(one, datasets.DatasetDict(validation=one))) == len(one)
    with pytest.raises(ValueError, match="no split 'test', only a, b"):
        dq.guard(one, datasets.DatasetDict(a=one, b=two))
    with pytest.raises(ValueError, match='train is given as a DatasetDict or a Dataset, not as list'):
        dq.guard([1], two)
    with pytest.raises(ValueError, match='no column `image`'):
        dq.fingerprint(two.select_columns('id'), tmp_path/'b.jsonl')


@pytest.mark.parametrize('way', WAYS)
def test_images_without_a_text_id_are_called_by_row_or_number(clean, test, way, tmp_path):
    train = rows(clean | {'copy': test['test-2']}).remove_columns('id')
    plain = rows(test).remove_columns('id').add_column('id', [10 * i for i in range(len(test))])
    known = plain if way == 'images' else dq.fingerprint(plain, tmp_path/'test.jsonl')
    assert leaks(train, known)[['train_id', 'test_id']].values.tolist() == [['60', '20']]


def test_the_hash_is_that_of_pdqhash(clean):
    pdqhash = pytest.importorskip('pdqhash', reason='the reference is not installed')
    squares = np.stack([np.asarray(picture.convert('L').resize((64, 64))) for picture in clean.values()])
    for square, hashes, quality in zip(squares, *hash_squares(squares)):
        bits, wanted = pdqhash.compute_dihedral(np.stack([square] * 3, 2))
        theirs = {np.packbits(np.array(one, bool)).tobytes() for one in bits}
        assert {one.tobytes() for one in hashes} == theirs and quality == wanted
        assert hashes[0].tobytes() == np.packbits(np.array(bits[0], bool)).tobytes()


# The file

def test_a_fingerprint_holds_no_pixels_and_no_paths(test, tmp_path):
    paths = {f'secret/class/{name}.png': picture for name, picture in test.items()}
    file = dq.fingerprint(rows(paths), tmp_path/'deep'/'test.jsonl')
    header, *lines = map(json.loads, file.read_text().splitlines())
    assert header == HEADER
    assert [line['id'] for line in lines] == [str(i) for i in range(30)]
    assert all(set(line) == {'id', 'pdq', 'quality', 'pixels'} and len(line['pdq']) == 64 for line in lines)
    assert 'secret' not in file.read_text() and str(tmp_path) not in file.read_text()
    assert file.stat().st_size < 200 * len(test) and list(file.parent.iterdir()) == [file]


def test_a_fingerprint_is_the_same_twice_and_keeps_ids_that_are_no_paths(test, tmp_path):
    one, two = (dq.fingerprint(rows(test), tmp_path/name) for name in ('a.jsonl', 'b.jsonl'))
    assert one.read_bytes() == two.read_bytes() and read_fingerprint(one).id.tolist() == list(test)


def test_a_fingerprint_is_written_whole_or_not_at_all(test, tmp_path, monkeypatch):
    file = dq.fingerprint(rows(test), tmp_path/'test.jsonl')
    before = file.read_bytes()
    monkeypatch.setattr('os.replace', lambda *_: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'): dq.fingerprint(rows(dict(list(test.items())[:3])), file)
    assert file.read_bytes() == before and list(tmp_path.iterdir()) == [file]


def edited(line, **changes): return json.dumps(json.loads(line) | changes)


BROKEN = dict(
    empty=lambda lines: [],
    foreign=lambda lines: ['id,label', 'a,1'],
    other_json=lambda lines: ['{"images": []}'],
    a_list=lambda lines: ['[1, 2]'],
    newer=lambda lines: [edited(lines[0], version=1), *lines[1:]],
    other_hash=lambda lines: [edited(lines[0], hash='PDQ'), *lines[1:]],
    no_count=lambda lines: [json.dumps({**HEADER, 'images': None}), *lines[1:]],
    cut_between_lines=lambda lines: lines[:-2],
    cut_in_a_line=lambda lines: [*lines[:-1], lines[-1][:40]],
    short_hash=lambda lines: [lines[0], edited(lines[1], pdq='ab'), *lines[2:]],
    no_hash=lambda lines: [lines[0], '{"id": "a"}', *lines[2:]],
    number_for_a_row=lambda lines: [lines[0], '1', *lines[2:]],
    bad_quality=lambda lines: [lines[0], edited(lines[1], quality='good'), *lines[2:]])


@pytest.mark.parametrize('how', BROKEN)
def test_a_broken_or_foreign_file_is_one_line_that_names_it(clean, test, how, tmp_path):
    file = dq.fingerprint(rows(test), tmp_path/'test.jsonl')
    file.write_text('\n'.join(BROKEN[how](file.read_text().splitlines())))
    with pytest.raises(ValueError, match='test.jsonl is no whole fingerprint file: ') as caught:
        dq.guard(rows(clean), file)
    assert '\n' not in str(caught.value) and not isinstance(caught.value, LeakFound)


def test_no_file_a_folder_and_a_picture_are_no_fingerprints(clean, tmp_path):
    (tmp_path/'a.png').write_bytes(encode_image(scene(0)))
    for file in (tmp_path/'missing.jsonl', tmp_path, str(tmp_path/'a.png')):
        with pytest.raises(ValueError, match='is no whole fingerprint file') as caught:
            dq.guard(rows(clean), file)
        assert str(file) in str(caught.value)


def test_digits_look_alike_and_are_no_leaks(tmp_path):
    images = dq.load('digits')
    assert dq.guard(images, dq.fingerprint(images, tmp_path/'digits.jsonl')) is None
