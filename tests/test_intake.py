"""Whatever is put in is used, or left out for a reason that is told; nothing is guessed in silence."""
import io
import json
import os
import shutil
from collections import Counter

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from dq_workbook.sets import sources
from dq_workbook.sets.images import decode_image, encode_image
from dq_workbook.sets.dataset import check_classes, class_names
from dq_workbook.sets.intake import assumptions
from dq_workbook.sets.load import load
from dq_workbook.audits.auditors import audit
from dq_workbook.repairs.controls import unreadable_ids, random_control
from dq_workbook.app import keys
from dq_workbook.core.parameters import check_parameters
from dq_workbook.app.grid import check_values, read_grid


def picture(seed, form='PNG'):
    """A file whose pixels no other seed has."""
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), 'uint8')
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def put(base, *names, start=0):
    for k, name in enumerate(names):
        (base/name).parent.mkdir(parents=True, exist_ok=True)
        (base/name).write_bytes(picture(start + k))


def tree(base, *folders, n=2):
    put(base, *(f'{folder}/{k}.png' for folder in folders for k in range(n)))


def facts(images):
    """split -> class (or '' without labels) -> images"""
    names = class_names(images) if 'label' in images['train'].column_names else None
    return {split: dict(Counter(names[k] for k in rows['label'][:]) if names else {'': len(rows)})
            for split, rows in images.items()}


def account(images): return dict(assumptions(images).itertuples(index=False))


def parquet(path, labels, kind=datasets.Value('string'), column='label', start=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    raws = [dict(bytes=picture(start + k), path=None) for k in range(len(labels))]
    features = datasets.Features({'image': datasets.Image(), column: kind})
    datasets.Dataset.from_dict({'image': raws, column: labels}, features=features).to_parquet(path)


def classes(*names): return datasets.ClassLabel(names=list(names))


# Labels

@pytest.mark.parametrize('kind, labels', [
    (classes('cat', 'owl'), [0, 1]), (classes('owl', 'dog', 'cat'), [2, 0]),
    (datasets.Value('string'), ['cat', 'owl'])], ids=['one is missing', 'another order', 'words'])
def test_classes_of_two_splits_are_matched_by_name(tmp_path, kind, labels):
    parquet(tmp_path/'train.parquet', [0, 1, 2], classes('cat', 'dog', 'owl'))
    parquet(tmp_path/'test.parquet', labels, kind, start=9)
    images = load(tmp_path)
    assert facts(images) == dict(train=dict(cat=1, dog=1, owl=1), test=dict(cat=1, owl=1))
    assert 'only train has dog' in account(images)['warning']


def test_numbers_are_not_matched_with_names(tmp_path):
    parquet(tmp_path/'train.parquet', [0, 1], classes('cat', 'dog'))
    parquet(tmp_path/'test.parquet', [0, 1], datasets.Value('int64'), start=9)
    with pytest.raises(ValueError, match='the labels of test.parquet are numbers .* give all of them names'):
        load(tmp_path)


@pytest.mark.parametrize('names', [('Cat', 'cat'), ('sea lion', 'sea_lion'), ('K\u00e4fer', 'Ka\u0308fer')])
def test_a_class_spelt_two_ways_is_a_warning_with_both(tmp_path, names, capsys):
    tree(tmp_path, *names, 'dog')
    assert len(class_names(load(tmp_path))) == 3
    warned = next(line for line in capsys.readouterr().out.splitlines() if 'differ in spelling only' in line)
    assert all(repr(name) in warned for name in names)


@pytest.mark.parametrize('header', ['filename,Label', 'filename, label', 'image,y', 'ImageId,class_name',
                                    'id,breed', 'path;species', 'fname\tcategory'])
def test_a_table_is_read_whatever_it_calls_its_columns(tmp_path, header):
    put(tmp_path, *(f'pics/{k}.png' for k in range(4)))
    separator = next(s for s in ';\t,' if s in header)
    lines = [f'{k}.png{separator}{"cat" if k % 2 else "dog"}' for k in range(4)]
    (tmp_path/'labels.csv').write_text('\n'.join([header, *lines]))
    assert sum((Counter(part) for part in facts(load(tmp_path)).values()), Counter()) == dict(cat=2, dog=2)


def test_labels_of_a_parquet_file_in_another_column_and_images_as_pandas_writes_them(tmp_path):
    raws = [dict(bytes=picture(k), path=f'{k}.png') for k in range(4)]
    for name, image in (('struct', raws), ('bytes', [raw['bytes'] for raw in raws])):
        (tmp_path/name).mkdir()
        pd.DataFrame(dict(image=image, Species=['cat', 'dog'] * 2)).to_parquet(tmp_path/name/'a.parquet')
        images = load(tmp_path/name)
        assert account(images)['label column'] == 'Species' and class_names(images) == ['cat', 'dog']


def test_objects_are_read_beside_captions(tmp_path):
    put(tmp_path, *(f'train2017/{k}.png' for k in range(4)))
    listed = [dict(id=k, file_name=f'{k}.png') for k in range(5)]
    objects = [dict(image_id=str(k), category_id=k % 2, bbox=[0, 0, 5, 5]) for k in range(1, 5)]
    (tmp_path/'annotations').mkdir()
    def write(name, **data):
        (tmp_path/'annotations'/name).write_text(json.dumps(data), encoding='utf-8-sig')
    write('captions_train2017.json', images=listed, annotations=[dict(image_id=1, caption='x')])
    write('instances_train2017.json', images=listed, annotations=objects,
          categories=[dict(id=0, name='cat'), dict(id=1, name='dog')])
    problems = []
    images = load(tmp_path, problems=problems)
    assert class_names(images) == ['cat', 'dog'] and sum(map(len, images.values())) == 3
    assert {"no file '4.png'", 'no object, so no class'} <= {p['problem'] for p in problems}
    assert account(images)['image files'].startswith('4 seen, 3 used, 1 left out')


# Splits

LAYOUTS = { # folders -> what splits and classes they are
    'training_set/cat training_set/dog test_set/cat test_set/dog': 'train:cat,dog test:cat,dog',
    'seg_train/seg_train/sea seg_train/seg_train/wood seg_test/seg_test/sea': 'train:sea,wood test:sea',
    'pets/train/cat pets/train/dog pets/dev/cat': 'train:cat,dog test:cat',
    'a/b/Train/images/cat a/b/Train/images/dog a/b/Held-Out/cat': 'train:cat,dog test:cat',
    'cat/train cat/test dog/train dog/test': 'train:cat,dog test:cat,dog',
    'train_images test_images': 'train: test:'}


@pytest.mark.parametrize('folders', LAYOUTS)
def test_folders_of_splits_and_wrappers_are_no_classes(tmp_path, folders):
    tree(tmp_path, *folders.split())
    found = facts(load(tmp_path))
    assert ' '.join(f'{split}:{",".join(names)}' for split, names in found.items()) == LAYOUTS[folders]


@pytest.mark.parametrize('folders', [
    'bus car train', 'bus car train/steam train/diesel', 'train-station test-tube'])
def test_a_class_may_be_called_train(tmp_path, folders):
    tree(tmp_path, *folders.split(), n=5)
    names = sorted({folder.split('/')[0] for folder in folders.split()})
    assert class_names(load(tmp_path)) == names


@pytest.mark.parametrize('files, sizes', [
    ('0000 0001', dict(train=3, test=1)), ('train_0 train_1 test_0', dict(train=4, test=2)),
    ('pets_train pets_test', dict(train=2, test=2)), ('x/dev/0 x/train/0', dict(train=2, test=2))])
def test_parquet_files_belong_to_the_splits_of_their_names(tmp_path, files, sizes):
    for number, name in enumerate(files.split()):
        parquet(tmp_path/f'{name}.parquet', ['a', 'b'], start=9 * number)
    assert {split: len(rows) for split, rows in load(tmp_path).items()} == sizes


@pytest.mark.parametrize('column, train, test', [
    ('split', 'train', 'dev'), ('Usage', 'Training', 'PublicTest'), ('subset', ' train', ' held out'),
    ('is_test', 'no', 'yes'), ('is_train', '1', '0'), ('whatever', 'train', 'val')])
def test_a_column_of_a_table_says_the_split(tmp_path, column, train, test):
    put(tmp_path, *(f'{k}.png' for k in range(6)))
    rows = [f'{k}.png,{"ab"[k % 2]},{test if k > 3 else train}' for k in range(6)]
    (tmp_path/'index.csv').write_text('\n'.join([f'filename,label,{column}', *rows]))
    images = load(tmp_path/'index.csv')
    assert images['test']['id'][:] == ['4.png', '5.png'] and len(images['train']) == 4
    assert column in account(images)['splits']


# Pictures

def saved(pixels, form='TIFF'):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def deep_pictures():
    grey = np.random.default_rng(0).integers(0, 255, (8, 8), 'uint8')
    white = np.dstack([np.full((8, 8, 3), 255, 'uint8'), grey])
    glass = np.dstack([grey, grey, grey, np.zeros((8, 8), 'uint8')])
    return dict(float_to_1=saved((grey / 255).astype('float32')), float_to_255=saved(grey.astype('float32')),
                eight_in_16=saved(grey.astype('uint16'), 'PNG'),
                twelve_in_16=saved(grey.astype('uint16') * 16, 'PNG'),
                around_zero=saved(grey.astype('int32') * 16 - 1000), all_transparent=saved(glass, 'PNG'),
                white_on_glass=saved(white, 'PNG'))


@pytest.mark.parametrize('name', deep_pictures())
def test_no_picture_collapses_into_one_colour(name):
    assert len(np.unique(np.asarray(decode_image(deep_pictures()[name])))) > 30


# Nothing is lost

def test_every_file_is_used_or_told(tmp_path):
    tree(tmp_path, 'train/cat', 'train/dog', 'test/cat', 'extra/cat')
    for ending, form in dict(JFIF='JPEG', avif='AVIF', jp2='JPEG2000').items():
        (tmp_path/'train'/'cat'/f'x.{ending}').write_bytes(picture(50, form))
    put(tmp_path, 'train/cat/no_ending', 'loose.png', 'train/loose.png')
    (tmp_path/'train'/'cat'/'away.png').symlink_to('/nowhere.png')
    for name in ('__MACOSX/cat/._1.png', 'train/cat/._1.png', 'train/cat/.ipynb_checkpoints/1.png',
                 'train/dog/@eaDir/1.png', 'train/dog/Thumbs.db'): put(tmp_path, name)
    problems = []
    images = load(tmp_path, problems=problems)
    assert facts(images) == dict(train=dict(cat=6, dog=2), test=dict(cat=2))
    assert account(images)['image files'].startswith('15 seen, 10 used, 5 left out because: ')
    assert len(problems) == 5 and '5 leftovers of systems' in account(images)['passed over']


def test_what_nobody_can_read_and_what_is_no_picture_is_told(tmp_path, monkeypatch, capsys):
    tree(tmp_path, 'cat', 'dog', 'owl', n=4)
    put(tmp_path, 'cat/x.pdf', 'dog/notes.txt', os.fsdecode(b'dog/caf\xe9.png'), 'dog/line\nbreak.png')
    os.mkfifo(tmp_path/'cat'/'pipe.png') # opening it would wait for ever
    locked, access = {tmp_path/'cat'/'0.png', tmp_path/'owl'}, os.access # root may read all
    monkeypatch.setattr(os, 'access', lambda path, mode: path not in locked and access(path, mode))
    problems = []
    images = load(tmp_path, problems=problems)
    told = account(images)
    assert sum(map(Counter, facts(images).values()), Counter()) == dict(cat=3, dog=5)
    assert told['image files'].startswith('11 seen, 8 used, 3 left out') and len(problems) == 3
    for why in ('not in UTF-8', 'a pipe', 'the right to read it'): assert why in told['image files']
    assert told['not read'] == 'x.pdf, notes.txt' and "the folder 'owl'" in told['warning']
    assert 'caf\\xe9.png' in ' '.join(p['file'] for p in problems)


def test_a_phones_pictures_are_read_and_those_of_cameras_are_told(tmp_path):
    tree(tmp_path, 'cat', 'dog', n=4)
    for k in (1, 2): (tmp_path/'cat'/f'IMG_{k}.HEIC').write_bytes(picture(10 + k, 'HEIF'))
    (tmp_path/'dog'/'IMG_3.cr3').write_bytes(b'raw')
    images = load(tmp_path)
    assert sum(map(Counter, facts(images).values()), Counter()) == {'cat': 6, 'dog': 4}
    assert '1 left out' in account(images)['image files'] and 'no decoder' in account(images)['image files']
    assert not unreadable_ids(images['train']) | unreadable_ids(images['test'])


def test_of_equal_pictures_the_one_that_was_copied_stays(tmp_path):
    tree(tmp_path, 'cat', 'dog', n=4)
    for name in ('2 (1)', '2-edited'): shutil.copy(tmp_path/'cat'/'2.png', tmp_path/'cat'/f'{name}.png')
    found = audit(load(tmp_path), kinds=['exact_duplicate'])
    assert set(found.id[found.flagged]) == {'cat/2 (1).png', 'cat/2-edited.png'}


def test_folders_within_classes_are_told_and_file_names_may_say_the_split(tmp_path):
    tree(tmp_path/'words', 'treino/cat', 'treino/dog', 'teste/cat')
    told = account(load(tmp_path/'words'))
    assert told['folders within classes'].endswith(': cat, dog')
    assert 'classes or splits? teste, treino' in told['warning']
    put(tmp_path/'names', *(f'{name}/{word}_{k}.png' for name in ('cat', 'dog') for word in ('train', 'test')
                            for k in range(3)))
    assert facts(load(tmp_path/'names')) == dict(train=dict(cat=3, dog=3), test=dict(cat=3, dog=3))


def test_a_flat_folder_is_a_set_without_classes_and_words_before_numbers_are_classes(tmp_path):
    put(tmp_path/'flat', *(f'IMG_{k}.jpg' for k in range(5)))
    put(tmp_path/'named', *(f'{"cat" if k % 2 else "dog"}.{k}.png' for k in range(6)))
    assert facts(load(tmp_path/'flat'))['train'] == {'': 4}
    assert class_names(load(tmp_path/'named')) == ['cat', 'dog']


@pytest.mark.parametrize('name, text', [
    ('meta.csv', 'idx;klasse\n1;cat\n'), ('labels.json', '{"0.png": "cat"}')])
def test_a_label_file_that_is_not_understood_is_named(tmp_path, name, text):
    put(tmp_path/'pets'/'images', *(f'{k}.png' for k in range(6)))
    (tmp_path/'pets'/name).write_text(text)
    assert account(load(tmp_path/'pets'))['not read'] == name


def test_pictures_beside_a_table_of_pictures_are_told(tmp_path):
    rows = dict(image=[dict(bytes=picture(k), path=None) for k in range(8)], label=[0, 1] * 4)
    put(tmp_path/'set'/'photos', *(f'{k}.jpg' for k in range(6)))
    datasets.Dataset.from_dict(rows).to_parquet(tmp_path/'set'/'train.parquet')
    assert account(load(tmp_path/'set'))['not read'] == '6 .jpg'


def test_images_that_no_row_names_are_told_and_the_right_folder_is_taken(tmp_path):
    tree(tmp_path, 'train_images', 'test_images', n=4)
    (tmp_path/'train.csv').write_text('image_id,label\n' + '\n'.join(f'{k},{"ab"[k % 2]}' for k in range(4)))
    images = load(tmp_path)
    assert account(images)['image files'] == '8 seen, 4 used, 4 left out because: no row names it (4)'
    paths = images['train'].cast_column('image', datasets.Image(decode=False))['image']
    assert all('/train_images/' in raw['path'] for raw in paths)


@pytest.mark.parametrize('encoding', ['cp1252', 'utf-16', 'utf-8-sig'])
def test_tables_as_spreadsheets_write_them(tmp_path, encoding):
    put(tmp_path, '0.png', '1.png')
    (tmp_path/'x.csv').write_bytes('filename,label\n.\\0.png,K\u00e4fer\n.\\1.png,Hund\n'.encode(encoding))
    assert class_names(load(tmp_path/'x.csv')) == ['Hund', 'K\u00e4fer']


def test_a_quote_that_is_never_closed_is_named_by_its_line(tmp_path):
    put(tmp_path, '0.png', '1.png')
    (tmp_path/'x.csv').write_text('filename,label\n0.png,cat\n1.png,"dog\n')
    with pytest.raises(ValueError, match='x.csv is no readable table: the quote on line 3'):
        load(tmp_path/'x.csv')


def test_images_are_read_when_they_are_needed(tmp_path, monkeypatch):
    tree(tmp_path, 'cat', 'dog')
    images = load(tmp_path)['train'].cast_column('image', datasets.Image(decode=False))
    assert all(raw['bytes'] is None for raw in images['image'])


# Names, keys, controls

@pytest.mark.parametrize('name', ['patients/photos', './photos', 'hf://photos'])
def test_a_mistyped_path_names_the_nearest_and_asks_nobody(tmp_path, monkeypatch, name):
    (tmp_path/'patient'/'photos').mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, 'from_hub', lambda *_, **__: pytest.fail('the Hub is asked'))
    with pytest.raises(ValueError, match='hf://owner/name') as caught: load(name)
    assert '\n' not in str(caught.value)
    if name == 'patients/photos': assert "did you mean 'patient/photos'" in str(caught.value)


@pytest.mark.parametrize('case', ['home', 'links', 'coco', 'table'])
def test_a_key_covers_the_data_wherever_they_lie(tmp_path, monkeypatch, case):
    monkeypatch.setenv('HOME', str(tmp_path))
    tree(tmp_path/'store', 'a', 'b')
    (tmp_path/'links').mkdir()
    for name in 'ab': os.symlink(tmp_path/'store'/name, tmp_path/'links'/name)
    (tmp_path/'csv').mkdir()
    (tmp_path/'csv'/'x.csv').write_text('filename,label\n../store/a/0.png,a\n../store/b/0.png,b\n')
    listed = [dict(id=0, file_name='a/0.png')]
    (tmp_path/'store'/'annotations').mkdir()
    (tmp_path/'store'/'annotations'/'x.json').write_text(json.dumps(dict(
        images=listed, annotations=[dict(image_id=0, category_id=0)], categories=[dict(id=0, name='a')])))
    name = dict(home='~/store', links=tmp_path/'links', coco=tmp_path/'store'/'annotations'/'x.json',
                table=tmp_path/'csv'/'x.csv')[case]
    before = keys.data_manifest(str(name))
    (tmp_path/'store'/'a'/'0.png').write_bytes(picture(99) + b'0')
    assert keys.data_manifest(str(name)) != before


def test_the_control_is_of_the_repairs_size_where_files_are_broken(tmp_path):
    tree(tmp_path, 'a', 'b', n=10)
    for name in 'ab':
        for k in range(5): (tmp_path/name/f'broken{k}.png').write_bytes(f'{name}{k}'.encode())
    images = load(tmp_path)
    broken = sorted(unreadable_ids(images['train']))
    rows = [[i, 'drop', 'corrupt', i[0], None, ''] for i in broken]
    ledger = pd.DataFrame(rows, columns=['id', 'action', 'kind', 'old', 'new', 'reason'])
    control = random_control(images, ledger, seed=0)['train']
    assert broken and set(control['id']) == set(images['train']['id']) - set(broken)


def test_two_pictures_or_one_class_are_refused_before_anything_runs(tmp_path):
    tree(tmp_path/'two', 'cat', 'dog', n=1)
    tree(tmp_path/'one', 'cat', n=5)
    tree(tmp_path/'none', 'photos', n=5)
    whys = dict(two='here are 2 classes', one='here are 1 classes', none='no class labels')
    for name, why in whys.items():
        run = dict(template='experiment', parameters=dict(dataset=str(tmp_path/name)))
        with pytest.raises(ValueError, match=f'{name}: .*{why}'): check_values(run)
        train = load(tmp_path/name)['train']
        with pytest.raises(ValueError, match='trained on'): check_classes(train)


@pytest.mark.parametrize('text, message', [
    ('runs:\n\t- {dataset: x}\n', 'line 2: .*not tabs'), ('- {dataset: x}\n', 'keys as runs and common'),
    ('runs: {dataset: x}\n', 'a list of runs'), ('runs: [digits]\n', 'must be names and values'),
    ('grid: {model: resnet18}\n', r'as \[resnet18\]'), ('common: [1]\nruns: [{a: 1}]\n', 'names and values')])
def test_a_mistake_in_a_grid_file_is_one_line(tmp_path, text, message):
    (tmp_path/'mine.YAML').write_text(text)
    with pytest.raises(ValueError, match=message) as caught: read_grid(tmp_path/'mine.YAML')
    assert '\n' not in str(caught.value)
    with pytest.raises(ValueError, match="did you mean 'mine.YAML'"): read_grid(tmp_path/'mone.YAML')


@pytest.mark.parametrize('name, value', [
    ('seeds', '10'), ('seeds', 0), ('seeds', [0, 1]), ('seeds', True), ('margin', '0,005'),
    ('peak_lr', '1e-3'), ('limit', -5), ('limit', 1), ('recipes', []), ('recipes', 'curated'),
    ('primary', 'relable'), ('slice', 'tests'), ('plant', dict(blurry=[2, 1])),
    ('labels', 'nosuch'), ('severities', [7])])
def test_a_wrong_value_is_refused_before_anything_runs(tmp_path, name, value):
    tree(tmp_path, 'a', 'b')
    parameters = dict(dataset=str(tmp_path), recipes=['curated']) | {name: value}
    with pytest.raises(ValueError):
        check_parameters(run := dict(template='experiment', parameters=parameters))
        check_values(run)


# Random layouts with a known truth

CLASSES = ['cat', 'dog', 'sea lion', '7', 'K\u00e4fer', 'bus']
SPLIT_NAMES = {'train': ['train', 'Training', 'seg_train', 'train2017'],
               'test': ['test', 'Testing', 'held_out', 'dev']}
STRAYS = ['loose.png', '__MACOSX/._a.png', 'notes.txt', '.DS_Store', 'README.md']


def draw_layout(random, base):
    """Put a random layout on the disk; gives split -> class -> images ('' where the split is drawn)."""
    pick = lambda options: options[random.integers(len(options))]
    names = [CLASSES[k] for k in random.permutation(len(CLASSES))[:random.integers(2, 5)]]
    root = base/pick(['', 'download', 'a/data'])
    splits = pick([[''], ['train', 'test']])
    words = {split: pick(SPLIT_NAMES[split]) if split else '' for split in splits}
    below, truth = bool(words) and random.random() < 0.3, {}
    for split in splits:
        for name in names:
            place = f'{name}/{words[split]}' if below else f'{words[split]}/{name}'
            n = int(random.integers(2, 6))
            ending = pick(['png', 'PNG', 'jpg', 'jpeg'])
            files = [f'{place.strip("/")}/{k}.{ending}' for k in range(n)]
            put(root, *files, start=int(random.integers(10**6)))
            truth.setdefault(split, {})[name] = n
    strays = [name for name in STRAYS if random.random() < 0.3]
    for name in strays: put(root, name)
    return truth, 'loose.png' in strays


@pytest.mark.parametrize('seed', range(25))
def test_a_random_layout_is_read_as_it_is_or_told(tmp_path, seed):
    truth, loose = draw_layout(np.random.default_rng(seed), tmp_path)
    problems = []
    images = load(tmp_path, problems=problems)
    found = facts(images)
    if '' in truth: found = {'': dict(sum(map(Counter, found.values()), Counter()))}
    assert found == truth
    n = sum(n for part in truth.values() for n in part.values())
    assert account(images)['image files'].startswith(f'{n + loose} seen, {n} used, {int(loose)} left out')
    assert len(problems) == loose
    shutil.rmtree(tmp_path)


def test_masks_are_no_class(tmp_path):
    for name in ('images/a/1.png', 'images/b/2.png', 'masks/a/1.png', 'masks/b/2.png'):
        (tmp_path/name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path/name).write_bytes(encode_image(Image.new('RGB', (8, 8), name.count('a') * 9), 'PNG'))
    images = load(tmp_path, problems=(problems := []))
    assert class_names(images) == ['a', 'b'] and sum(map(len, images.values())) == 2
    assert {problem['problem'] for problem in problems} == {'masks beside images'} and len(problems) == 2


def test_a_table_that_contradicts_the_folders_is_told(tmp_path):
    for name in ('cat/1.png', 'dog/2.png', 'dog/3.png'):
        (tmp_path/name).parent.mkdir(exist_ok=True)
        (tmp_path/name).write_bytes(encode_image(Image.new('RGB', (8, 8), int(name[4])), 'PNG'))
    (tmp_path/'labels.csv').write_text('file_name,label\ncat/1.png,cat\ndog/2.png,dog\ndog/3.png,cat\n')
    told = assumptions(load(tmp_path)).how
    assert any('1 of 3 images stand in' in how and "dog/3.png is 'cat'" in how for how in told)


def test_a_word_for_no_label_is_told(tmp_path):
    for number, name in enumerate(('cat', 'None')):
        (tmp_path/name).mkdir()
        (tmp_path/name/'1.png').write_bytes(encode_image(Image.new('RGB', (8, 8), number), 'PNG'))
    assert any("no label? 'None'" in how for how in assumptions(load(tmp_path)).how)
