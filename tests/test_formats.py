"""Every format with a tiny set made on the spot; rows that can't be used are named, and the rest loads."""
import csv
import io
import json
import re
import tarfile

import datasets
import pytest
from PIL import Image

from dq_workbook.sets import tables, webdataset
from dq_workbook.sets.images import decode_image, encode_image, image_bytes
from dq_workbook.sets.dataset import class_names
from dq_workbook.sets.sources import FORMATS
from dq_workbook.sets.load import load


def red(k=0): return encode_image(Image.new('RGB', (6, 6), (255, k, 0)))


def noisy(k): return encode_image(Image.effect_noise((64, 64), 10 + k))


def ids(images): return {i for rows in images.values() for i in rows['id']}


def rows_and_problems(problems): return [(p['row'], p['problem']) for p in problems]


def pictures(folder, names):
    for k, name in enumerate(names):
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_bytes(red(k))


def shard(path, samples):
    with tarfile.open(path, 'w') as tar:
        for name, raw in samples:
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))


# The contract. A row is (id, bytes or None where the file is missing, class: 'cat', 'dog', 'unknown' or '').
# A writer puts rows on the disk in one format; a new format needs a writer here. What a format can't say it
# writes in the nearest way: in class folders a missing file is a link to nowhere, and an image without class
# lies outside of them.

def write_parquet(folder, rows):
    images = [None if raw is None else {'bytes': raw, 'path': None} for _, raw, _ in rows]
    numbers = [{'cat': 0, 'dog': 1, 'unknown': -1}.get(label) for _, _, label in rows]
    columns = dict(id=[name for name, _, _ in rows], image=images, label=numbers)
    features = datasets.Features(
        id=datasets.Value('string'), image=datasets.Image(), label=datasets.ClassLabel(names=['cat', 'dog']))
    datasets.Dataset.from_dict(columns, features=features).to_parquet(folder/'train-0.parquet')
    return folder/'train-0.parquet'


def write_files(folder, rows):
    names = [f'{name}.png' for name, _, _ in rows]
    for name, (_, raw, _) in zip(names, rows):
        if raw is not None: (folder/name).write_bytes(raw)
    return names


def write_coco(folder, rows):
    (folder/'annotations').mkdir()
    categories = [dict(id=1, name='cat'), dict(id=2, name='dog'), dict(id=3, name='')]
    number = {'cat': 1, 'dog': 2, '': 3, 'unknown': 4}
    images = [dict(id=row[0], file_name=name) for row, name in zip(rows, write_files(folder, rows))]
    notes = [dict(image_id=name, category_id=number[label], area=1) for name, _, label in rows]
    data = dict(images=images, annotations=notes, categories=categories)
    (folder/'annotations'/'instances_train.json').write_text(json.dumps(data))
    return folder/'annotations'/'instances_train.json'


def write_webdataset(folder, rows):
    (folder/'classes.txt').write_text('cat\ndog\n')
    samples = [[(f'{name}.png', raw), (f'{name}.cls', label.encode())] for name, raw, label in rows]
    shard(folder/'train-0.tar', [part for sample in samples for part in sample if part[1] is not None])
    return folder/'train-0.tar'


def write_csv(folder, rows):
    (folder/'classes.txt').write_text('cat\ndog\n')
    with (folder/'index.csv').open('w', newline='') as file:
        table = [(row[0], name, row[2]) for row, name in zip(rows, write_files(folder, rows))]
        csv.writer(file).writerows([('id', 'file_name', 'label'), *table])
    return folder/'index.csv'


def write_jsonl(folder, rows):
    (folder/'classes.txt').write_text('cat\ndog\n')
    names = write_files(folder, rows)
    table = [dict(id=row[0], file_name=name, label=row[2]) for row, name in zip(rows, names)]
    (folder/'metadata.jsonl').write_text('\n'.join(map(json.dumps, table)))
    return folder/'metadata.jsonl'


def write_class_folders(folder, rows):
    (folder/'cat').mkdir()
    for name, raw, label in rows:
        place = folder/('' if label in ('', 'unknown') else label)
        place.mkdir(exist_ok=True)
        if raw is None: (place/f'{name}.png').symlink_to('nowhere.png')
        else: (place/f'{name}.png').write_bytes(raw)
    return folder


WRITERS = {'parquet': write_parquet, 'coco': write_coco, 'webdataset': write_webdataset, 'csv': write_csv,
           'JSON lines': write_jsonl, 'class folders': write_class_folders}
GOOD = ('good', red(), 'cat')
BAD_ROWS = {
    'missing image': ('bad', None, 'cat'),
    'empty image': ('bad', b'', 'cat'),
    'broken image': ('bad', b'PNG', 'dog'),
    'unknown label': ('bad', red(1), 'unknown'),
    'empty label': ('bad', red(2), ''),
    'id of another': ('good', red(3), 'dog')}


def plain_name(text): return text.removesuffix('.png').split('/')[-1]


def unreadable(images):
    """The ids whose image the audit will call corrupt."""
    found = []
    for rows in images.values():
        for name, raw in zip(rows['id'], image_bytes(rows)):
            try: decode_image(raw)
            except ValueError: found.append(name)
    return found


@pytest.mark.parametrize('where', ['folder', 'file'])
@pytest.mark.parametrize('bad', BAD_ROWS)
@pytest.mark.parametrize('name', FORMATS)
def test_a_bad_row_is_told_and_the_good_one_loads(tmp_path, name, bad, where):
    for k, rows in enumerate(([BAD_ROWS[bad], GOOD], [GOOD, BAD_ROWS[bad]])):
        folder, problems = tmp_path/str(k), []
        folder.mkdir()
        file = WRITERS[name](folder, rows)
        images = load(folder if where == 'folder' else file, problems=problems)
        told = [p for p in problems if p['file'] and p['problem']] + unreadable(images)
        if (name, bad) == ('class folders', 'id of another'): # two classes have a file of the same name each
            assert len(ids(images)) == 2 and not told
        else:
            assert told and 'good' in map(plain_name, ids(images)) and len(ids(images)) <= 2


@pytest.mark.parametrize('name', FORMATS)
def test_all_bad_rows_at_once_leave_the_good_ones(tmp_path, name):
    rows = [(f'{bad[0]}{k}', *bad[1:]) for k, bad in enumerate(BAD_ROWS.values())]
    problems = []
    WRITERS[name](tmp_path, [*rows, *((f'fine{k}', red(k), 'cat') for k in range(5))])
    images = load(tmp_path, problems=problems)
    loaded, corrupt = set(map(plain_name, ids(images))), set(map(plain_name, unreadable(images)))
    assert {f'fine{k}' for k in range(5)} <= loaded
    assert {i for i in loaded if i.startswith('bad')} == corrupt and len(problems) + len(corrupt) >= 5


@pytest.mark.parametrize('bad', ['missing image', 'unknown label', 'empty label'])
@pytest.mark.parametrize('name', FORMATS)
def test_a_set_of_bad_rows_is_one_error_that_names_it(tmp_path, name, bad):
    file = WRITERS[name](tmp_path, [BAD_ROWS[bad]])
    for where in (tmp_path, file):
        with pytest.raises(ValueError, match=re.escape(str(tmp_path))): load(where)


@pytest.mark.parametrize('content', [b'', b'\xff\xfe\x00 nothing'], ids=['empty', 'no such format'])
@pytest.mark.parametrize('name', [name for name in FORMATS if FORMATS[name].suffixes])
def test_a_file_that_is_none_is_one_error_that_names_it(tmp_path, name, content):
    for suffix in FORMATS[name].suffixes:
        file = tmp_path/f'train{suffix}'
        file.write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(str(tmp_path))): load(file)


# Each format by itself

def test_csv(tmp_path):
    pictures(tmp_path, ['pics/a.png', 'pics/ü b.png', 'c.png', 'd.png', 'e.png'])
    (tmp_path/'classes.txt').write_text('cat\ndog\n')
    lines = ['file_name,label,split,who', 'pics/a.png,cat,train,ann', 'pics/ü b.png,dog,train,"bob, jr"',
             'lost.png,cat,train,ann', 'c.png,cow,train,ann', 'd.png,,train,ann', 'e.png,dog',
             'd.png,dog,test,eve', 'd.png,cat,test,eve']
    (tmp_path/'index.csv').write_text('\n'.join(lines), encoding='utf-8')
    expected = [(4, "no file 'lost.png'"), (5, "unknown label 'cow'"), (6, "unknown label ''"),
                (7, 'another number of fields than the first line'),
                (1, "the id 'd.png' stands on an earlier row, too")]
    for where in (tmp_path, tmp_path/'index.csv'):
        problems = []
        images = load(where, problems=problems)
        assert ids(images) == {'pics/a.png', 'pics/ü b.png', 'd.png'}
        assert class_names(images) == ['cat', 'dog']
        assert images['train']['who'][:] == ['ann', 'bob, jr'] and rows_and_problems(problems) == expected
    assert decode_image(image_bytes(images['train'])[1]).getpixel((0, 0)) == (255, 1, 0)


def test_a_csv_without_file_names_gives_its_columns(tmp_path):
    (tmp_path/'a.csv').write_text('title,label\nx,1\n')
    (tmp_path/'empty.csv').write_text('')
    with pytest.raises(ValueError, match='no column of file names .* its columns are title, label'):
        load(tmp_path/'a.csv')
    with pytest.raises(ValueError, match='no column of file names .* none'): load(tmp_path/'empty.csv')


def test_other_tables_beside_the_images_do_not_matter_and_two_that_do_are_named(tmp_path):
    pictures(tmp_path, [f'{name}/{k}.png' for name in 'ab' for k in range(5)])
    (tmp_path/'prices.csv').write_text('name,price\nx,1\n')
    (tmp_path/'empty.csv').write_text('')
    (tmp_path/'info.json').write_text('{}')
    assert len(ids(load(tmp_path))) == 10
    for name in ('one', 'two'): (tmp_path/f'{name}.csv').write_text('file_name,label\na/0.png,1\n')
    with pytest.raises(ValueError, match='several tables .one.csv, two.csv'): load(tmp_path)


def coco(folder, split='train2017', **changes):
    images = [dict(id=k, file_name=f'{k}.png') for k in range(1, 5)]
    notes = [dict(image_id=1, category_id=1, area=5), dict(image_id=1, category_id=2, area=9),
             dict(image_id=2, category_id=1, bbox=[0, 0, 2, 2]), dict(image_id=2, category_id=7),
             dict(image_id=3, category_id=1), dict(image_id=99, category_id=1)]
    categories = [dict(id=1, name='cat'), dict(id=2, name='dog')]
    data = dict(images=images, annotations=notes, categories=categories) | changes
    (folder/'annotations').mkdir(parents=True, exist_ok=True)
    (folder/'annotations'/f'instances_{split}.json').write_text(json.dumps(data))


def test_coco_categories(tmp_path):
    pictures(tmp_path/'train2017', ['1.png', '2.png', '4.png'])
    pictures(tmp_path/'val2017', ['8.png'])
    coco(tmp_path)
    dog = dict(image_id=8, category_id=2, area=1)
    coco(tmp_path, 'val2017', images=[dict(id=8, file_name='8.png')], annotations=[dog])
    problems = []
    images = load(tmp_path, problems=problems)
    names, train = class_names(images), images['train']
    assert {i: names[k] for i, k in zip(train['id'], train['label'])} == {'1': 'dog', '2': 'cat'}
    assert images['test']['id'][:] == ['8']
    assert rows_and_problems(problems) == [
        (3, 'annotation of an unknown category 7'), (5, 'annotation of an unknown image 99'),
        (2, "no file '3.png'"), (3, 'no object, so no class')]


def test_coco_captions(tmp_path):
    pictures(tmp_path/'images', ['1.png', '2.png', '3.png', '4.png'])
    (tmp_path/'annotations').mkdir()
    notes = [dict(image_id=1, caption='red'), dict(image_id=1, caption='very red')]
    data = dict(images=[dict(id=k, file_name=f'{k}.png') for k in range(1, 5)], annotations=notes)
    (tmp_path/'annotations'/'captions_train.json').write_text(json.dumps(data))
    images = load(tmp_path)
    captions = {i: texts for rows in images.values() for i, texts in zip(rows['id'], rows['captions'])}
    assert captions == {'1': ['red', 'very red'], '2': [], '3': [], '4': []}
    assert 'label' not in images['train'].column_names


def test_broken_json_is_named_and_the_rest_loads(tmp_path):
    pictures(tmp_path/'train2017', ['1.png', '2.png', '4.png'])
    coco(tmp_path)
    for split, text in (('val2017', '{"images": ['), ('test2017', '[1, 2]')):
        (tmp_path/'annotations'/f'instances_{split}.json').write_text(text)
    problems = []
    assert ids(load(tmp_path, problems=problems)) == {'1', '2'}
    assert 'instances_test2017.json is not in the layout of COCO' in problems[0]['problem']
    assert 'instances_val2017.json is broken json: Expecting value: line 1' in problems[-1]['problem']
    with pytest.raises(ValueError, match='val2017.json is broken json'):
        load(tmp_path/'annotations'/'instances_val2017.json')


def test_webdataset(tmp_path):
    (tmp_path/'classes.txt').write_text('cat\ndog\n')
    shard(tmp_path/'train-000.tar', [
        ('x/a.png', red()), ('x/a.cls', b'1'),
        ('x/b.jpg', red()), ('x/b.json', b'{"label": "cat", "caption": "red"}'),
        ('x/c.png', red()), ('x/c.cls', b'cow'),
        ('x/d.png', red()), ('x/d.json', b'{'), ('x/e.cls', b'0'), ('x/f.png', red()),
        ('x/g.png', red()), ('x/g.json', b'[1]')])
    shard(tmp_path/'test-000.tar', [('x/z.png', red()), ('x/z.cls', b'0')])
    problems = []
    images = load(tmp_path, problems=problems)
    assert images['train']['id'][:] == ['x/a', 'x/b'] and images['test']['id'][:] == ['x/z']
    assert images['train']['label'][:] == [1, 0] and images['train']['captions'][1] == ['red']
    assert {(p['row'], p['problem'].split(':')[0]) for p in problems} == {
        ('x/c', "unknown label 'cow'"), ('x/d', 'broken json'), ('x/e', 'no image'), ('x/f', 'no label'),
        ('x/g', 'broken json')}


def ten_samples():
    samples = [((f'{k:02d}.png', noisy(k)), (f'{k:02d}.cls', b'%d' % (k % 2))) for k in range(10)]
    return [part for sample in samples for part in sample]


def test_a_truncated_shard_gives_the_samples_before_the_break(tmp_path):
    shard(tmp_path/'train-0.tar', ten_samples())
    raw = (tmp_path/'train-0.tar').read_bytes()
    (tmp_path/'train-0.tar').write_bytes(raw[:len(raw) // 2])
    problems = []
    images = load(tmp_path, problems=problems)
    assert 2 < len(ids(images)) < 10 and ids(images) <= {f'{k:02d}' for k in range(10)}
    assert len(problems) == 1 and problems[0]['file'].endswith('train-0.tar')
    assert problems[0]['problem'].startswith('the shard breaks off') and problems[0]['row'] > max(ids(images))


def test_shards_are_unpacked_once_and_what_was_left_out_is_told_every_time(tmp_path, monkeypatch):
    shard(tmp_path/'train-0.tar', [*ten_samples(), ('x.cls', b'1')])
    first, again = [], []
    one = load(tmp_path, problems=first)
    monkeypatch.setattr(webdataset, 'unpack_shards', lambda *_: pytest.fail('unpacked a second time'))
    two = load(tmp_path, problems=again)
    assert first == again and [p['problem'] for p in first] == ['no image']
    assert one['train']['id'][:] == two['train']['id'][:]
    assert list(image_bytes(one['train'])) == list(image_bytes(two['train']))


def test_parquet_rows_without_picture_or_label(tmp_path):
    image = lambda k: {'bytes': red(k), 'path': None}
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=['cat', 'dog']), id=datasets.Value('int64'))
    columns = dict(image=[image(0), None, image(2), image(3)], label=[0, 1, None, -1], id=[5, 6, 7, 8])
    rows = datasets.Dataset.from_dict(columns, features=features)
    rows.to_parquet(tmp_path/'train-0.parquet')
    rows.select([0, 0, 0]).remove_columns('id').to_parquet(tmp_path/'test-0.parquet')
    problems = []
    images = load(tmp_path, problems=problems)
    assert images['train']['id'][:] == ['5'] and len(images['test']) == 3
    assert rows_and_problems(problems) == [(1, 'no image'), (2, 'no known label'), (3, 'no known label')]


@pytest.mark.parametrize('labels', [['cat', 'dog', 'cat', 'dog'], [3, 5, 3, 5]], ids=['words', 'numbers'])
def test_words_and_numbers_become_the_same_classes_in_every_split(tmp_path, labels):
    kind = datasets.Value('string' if labels[0] == 'cat' else 'int64')
    columns = dict(image=[{'bytes': red(), 'path': None}] * 4, label=labels)
    features = datasets.Features(image=datasets.Image(), label=kind)
    table = datasets.Dataset.from_dict(columns, features=features)
    table.to_parquet(tmp_path/'train-0.parquet')
    table.select([1, 3]).to_parquet(tmp_path/'test-0.parquet')
    images = load(tmp_path)
    assert class_names(images) == sorted({str(v) for v in labels}) and images['test']['label'][:] == [1, 1]


def test_a_large_parquet_file_is_mapped_and_gives_the_same(tmp_path, monkeypatch):
    files = [{'bytes': noisy(k), 'path': None} for k in range(4)]
    columns = dict(id=list('abcd'), image=files, label=[0, 1, 0, 1])
    features = datasets.Features(
        id=datasets.Value('string'), image=datasets.Image(), label=datasets.ClassLabel(names=['cat', 'dog']))
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path/'train-0.parquet')
    small = load(tmp_path)
    monkeypatch.setattr(tables, 'MAP_FROM_BYTES', 0)
    large = load(tmp_path)
    assert not small['train'].cache_files and large['train'].cache_files
    assert large['train']['id'][:] == small['train']['id'][:] and class_names(large) == ['cat', 'dog']
    assert list(image_bytes(large['train'])) == list(image_bytes(small['train']))
    (tmp_path/'train-0.parquet').write_bytes(b'PAR1 broken')
    with pytest.raises(ValueError, match='train-0.parquet is no readable parquet file'): load(tmp_path)


def test_a_file_of_another_kind(tmp_path):
    (tmp_path/'notes.txt').write_text('hello')
    with pytest.raises(ValueError, match='notes.txt is no parquet, json, tar, csv, tsv, jsonl or ndjson'):
        load(tmp_path/'notes.txt')
    (tmp_path/'set.tar.gz').write_bytes(b'')
    with pytest.raises(ValueError, match='set.tar.gz is an archive: unpack it'): load(tmp_path/'set.tar.gz')


def test_keys_that_begin_anew_in_each_shard_lose_no_sample(tmp_path):
    for number in range(2): shard(tmp_path/f'train-{number}.tar', ten_samples())
    images = load(tmp_path, problems=(problems := []))
    assert sum(map(len, images.values())) == 20 and not problems
    assert any(i.startswith('train-1/') for i in ids(images))
