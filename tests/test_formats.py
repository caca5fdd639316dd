"""Every format with a tiny set made on the spot; rows that can't be used are named by file and row, and the rest loads."""
import io
import json
import tarfile

import datasets
import pytest
from PIL import Image

from dq_workbook import archives, formats
from dq_workbook.sets.images import decode_image, encode_image, image_bytes
from dq_workbook.sets.dataset import class_names
from dq_workbook.sets.load import load


def red(k=0): return encode_image(Image.new('RGB', (6, 6), (255, k, 0)))


def ids(images): return {i for rows in images.values() for i in rows['id']}


def pictures(folder, names):
    for k, name in enumerate(names):
        (folder/name).parent.mkdir(parents=True, exist_ok=True)
        (folder/name).write_bytes(red(k))


def test_csv(tmp_path):
    pictures(tmp_path, ['pics/a.png', 'pics/ü b.png', 'c.png', 'd.png', 'e.png'])
    (tmp_path/'classes.txt').write_text('cat\ndog\n')
    lines = ['file_name,label,split,who', 'pics/a.png,cat,train,ann', 'pics/ü b.png,dog,train,"bob, jr"', 'lost.png,cat,train,ann', 'c.png,cow,train,ann', 'd.png,,train,ann', 'e.png,dog', 'd.png,dog,test,eve', 'd.png,cat,test,eve']
    (tmp_path/'index.csv').write_text('\n'.join(lines), encoding='utf-8')
    for where in (tmp_path, tmp_path/'index.csv'):
        problems = []
        images = load(where, problems=problems)
        assert ids(images) == {'pics/a.png', 'pics/ü b.png', 'd.png'} and images['train']['who'][:] == ['ann', 'bob, jr'] and class_names(images) == ['cat', 'dog']
        assert {(p['row'], p['problem']) for p in problems if p['file'].endswith('index.csv')} == {(4, "no file 'lost.png'"), (5, "unknown label 'cow'"), (6, "unknown label ''"), (7, 'another number of fields than the first line')}
        assert [(p['row'], 'd.png' in p['problem']) for p in problems if not p['file'].endswith('index.csv')] == [(1, True)]
    assert decode_image(image_bytes(images['train'])[1]).getpixel((0, 0)) == (255, 1, 0)


def test_a_csv_without_file_names_gives_its_columns(tmp_path):
    (tmp_path/'a.csv').write_text('name,label\nx,1\n')
    (tmp_path/'empty.csv').write_text('')
    with pytest.raises(ValueError, match='no column of file names .* its columns are name, label'): load(tmp_path/'a.csv')
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
    notes = [dict(image_id=1, category_id=1, area=5), dict(image_id=1, category_id=2, area=9), dict(image_id=2, category_id=1, bbox=[0, 0, 2, 2]), dict(image_id=2, category_id=7), dict(image_id=3, category_id=1), dict(image_id=99, category_id=1)]
    data = dict(images=images, annotations=notes, categories=[dict(id=1, name='cat'), dict(id=2, name='dog')]) | changes
    (folder/'annotations').mkdir(parents=True, exist_ok=True)
    (folder/'annotations'/f'instances_{split}.json').write_text(json.dumps(data))


def test_coco_categories(tmp_path):
    pictures(tmp_path/'train2017', ['1.png', '2.png', '4.png'])
    pictures(tmp_path/'val2017', ['8.png'])
    coco(tmp_path)
    coco(tmp_path, 'val2017', images=[dict(id=8, file_name='8.png')], annotations=[dict(image_id=8, category_id=2, area=1)])
    problems = []
    images = load(tmp_path, problems=problems)
    names = class_names(images)
    assert {i: names[k] for i, k in zip(images['train']['id'], images['train']['label'])} == {'1': 'dog', '2': 'cat'} and images['test']['id'][:] == ['8']
    assert [(p['row'], p['problem']) for p in problems] == [(3, 'annotation of an unknown category 7'), (5, 'annotation of an unknown image 99'), (2, "no file '3.png'"), (3, 'no object, so no class')]


def test_coco_captions(tmp_path):
    pictures(tmp_path/'images', ['1.png', '2.png', '3.png', '4.png'])
    (tmp_path/'annotations').mkdir()
    (tmp_path/'annotations'/'captions_train.json').write_text(json.dumps(dict(images=[dict(id=k, file_name=f'{k}.png') for k in range(1, 5)], annotations=[dict(image_id=1, caption='red'), dict(image_id=1, caption='very red')])))
    images = load(tmp_path)
    captions = {i: c for rows in images.values() for i, c in zip(rows['id'], rows['captions'])}
    assert captions == {'1': ['red', 'very red'], '2': [], '3': [], '4': []} and 'label' not in images['train'].column_names


def test_broken_json_is_named_and_the_rest_loads(tmp_path):
    pictures(tmp_path/'train2017', ['1.png', '2.png', '4.png'])
    coco(tmp_path)
    (tmp_path/'annotations'/'instances_val2017.json').write_text('{"images": [')
    problems = []
    assert ids(load(tmp_path, problems=problems)) == {'1', '2'}
    assert 'instances_val2017.json is broken json: Expecting value: line 1' in problems[-1]['problem']
    with pytest.raises(ValueError, match='is broken json'): load(tmp_path/'annotations'/'instances_val2017.json')


def shard(path, samples):
    with tarfile.open(path, 'w') as tar:
        for name, raw in samples:
            member = tarfile.TarInfo(name)
            member.size = len(raw)
            tar.addfile(member, io.BytesIO(raw))


def noisy(k): return encode_image(Image.effect_noise((64, 64), 10 + k))


def test_webdataset(tmp_path):
    (tmp_path/'classes.txt').write_text('cat\ndog\n')
    shard(tmp_path/'train-000.tar', [('x/a.png', red()), ('x/a.cls', b'1'), ('x/b.jpg', red()), ('x/b.json', b'{"label": "cat", "caption": "red"}'), ('x/c.png', red()), ('x/c.cls', b'cow'), ('x/d.png', red()), ('x/d.json', b'{'), ('x/e.cls', b'0'), ('x/f.png', red())])
    shard(tmp_path/'test-000.tar', [('x/z.png', red()), ('x/z.cls', b'0')])
    problems = []
    images = load(tmp_path, problems=problems)
    assert images['train']['id'][:] == ['x/a', 'x/b'] and images['train']['label'][:] == [1, 0] and images['test']['id'][:] == ['x/z']
    assert {(p['row'], p['problem'].split(':')[0]) for p in problems} == {('x/c', "unknown label 'cow'"), ('x/d', 'broken json'), ('x/e', 'no image'), ('x/f', 'no label')}


def test_a_truncated_shard_gives_the_samples_before_the_break(tmp_path):
    samples = [(f'{k:02d}.{end}', raw) for k in range(10) for end, raw in (('png', noisy(k)), ('cls', b'%d' % (k % 2)))]
    shard(tmp_path/'train-0.tar', samples)
    raw = (tmp_path/'train-0.tar').read_bytes()
    (tmp_path/'train-0.tar').write_bytes(raw[:len(raw) // 2])
    problems = []
    images = load(tmp_path, problems=problems)
    assert 2 < len(ids(images)) < 10 and ids(images) <= {f'{k:02d}' for k in range(10)}
    assert len(problems) == 1 and problems[0]['file'].endswith('train-0.tar') and problems[0]['problem'].startswith('the shard breaks off') and problems[0]['row'] > max(ids(images))


def test_parquet_rows_without_picture_or_label(tmp_path):
    image = lambda k: {'bytes': red(k), 'path': None}
    features = datasets.Features(image=datasets.Image(decode=False), label=datasets.ClassLabel(names=['cat', 'dog']), id=datasets.Value('int64'))
    rows = datasets.Dataset.from_dict(dict(image=[image(0), None, image(2), image(3)], label=[0, 1, None, -1], id=[5, 6, 7, 8]), features=features).cast_column('image', datasets.Image())
    rows.to_parquet(tmp_path/'train-0.parquet')
    rows.select([0, 0, 0]).remove_columns('id').to_parquet(tmp_path/'test-0.parquet')
    problems = []
    images = load(tmp_path, problems=problems)
    assert images['train']['id'][:] == ['5'] and len(images['test']) == 3
    assert [(p['row'], p['problem']) for p in problems] == [(1, 'no image'), (2, 'no known label'), (3, 'no known label')]


@pytest.mark.parametrize('labels', [['cat', 'dog', 'cat', 'dog'], [3, 5, 3, 5]])
def test_words_and_numbers_become_the_same_classes_in_every_split(tmp_path, labels):
    table = datasets.Dataset.from_dict(dict(image=[{'bytes': red(), 'path': None}] * 4, label=labels), features=datasets.Features(image=datasets.Image(), label=datasets.Value('string' if labels[0] == 'cat' else 'int64')))
    table.to_parquet(tmp_path/'train-0.parquet')
    table.select([1, 3]).to_parquet(tmp_path/'test-0.parquet')
    images = load(tmp_path)
    assert class_names(images) == sorted({str(v) for v in labels}) and images['test']['label'][:] == [1, 1]


def test_a_file_of_another_kind(tmp_path):
    (tmp_path/'notes.txt').write_text('hello')
    with pytest.raises(ValueError, match='notes.txt is no parquet, json, tar or csv file'): load(tmp_path/'notes.txt')


def test_shards_are_unpacked_once_and_what_was_left_out_is_told_every_time(tmp_path, monkeypatch):
    shard(tmp_path/'train-0.tar', [(f'{k:02d}.{end}', raw) for k in range(10) for end, raw in (('png', noisy(k)), ('cls', b'%d' % (k % 2)))] + [('x.cls', b'1')])
    first, again = [], []
    one = load(tmp_path, problems=first)
    monkeypatch.setattr(archives, 'unpack', lambda *_: pytest.fail('unpacked a second time'))
    two = load(tmp_path, problems=again)
    assert first == again and [p['problem'] for p in first] == ['no image']
    assert one['train']['id'][:] == two['train']['id'][:] and list(image_bytes(one['train'])) == list(image_bytes(two['train']))


def test_a_large_parquet_file_is_mapped_and_gives_the_same(tmp_path, monkeypatch):
    features = datasets.Features(id=datasets.Value('string'), image=datasets.Image(), label=datasets.ClassLabel(names=['cat', 'dog']))
    datasets.Dataset.from_dict(dict(id=list('abcd'), image=[{'bytes': noisy(k), 'path': None} for k in range(4)], label=[0, 1, 0, 1]), features=features).to_parquet(tmp_path/'train-0.parquet')
    small = load(tmp_path)
    monkeypatch.setattr(formats, 'LARGE', 0)
    large = load(tmp_path)
    assert not small['train'].cache_files and large['train'].cache_files
    assert large['train']['id'][:] == small['train']['id'][:] and list(image_bytes(large['train'])) == list(image_bytes(small['train'])) and class_names(large) == ['cat', 'dog']
    (tmp_path/'train-0.parquet').write_bytes(b'PAR1 broken')
    with pytest.raises(ValueError, match='train-0.parquet is no readable parquet file'): load(tmp_path)
