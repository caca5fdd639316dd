"""Folders, files and names as people have them: every kind of image, broken ones, odd names, wrong names."""
import io
import os
import shutil

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dq_workbook.core.project import project_root
from dq_workbook.sets import hub as hub_room
from dq_workbook.sets.images import decode_image, encode_image, image_bytes
from dq_workbook.sets.dataset import dataset_hash
from dq_workbook.sets.intake import Intake
from dq_workbook.sets.sources import locate
from dq_workbook.sets.load import load
from dq_workbook.audits.auditors import audit, fastdup_available
from dq_workbook.repairs.recipes import curate
from dq_workbook.training.pixels import load_pixels
from dq_workbook.training.fit import fit
from dq_workbook.app.index import write_index
from dq_workbook.app.sweep import sweep


def picture(seed=0, size=(40, 30)):
    """A smooth random picture."""
    coarse = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), 'uint8')
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def readable_files():
    """One file of every kind that is readable."""
    rgb, deep = picture(1), (np.arange(1200).reshape(30, 40) * 50).astype('uint16')
    clear, grey = rgb.convert('RGBA'), np.asarray(picture(9).convert('L'), 'float32')
    clear.putalpha(Image.linear_gradient('L').resize(rgb.size))
    return {
        'plain.png': saved(rgb, 'PNG'),
        'cmyk.jpg': saved(picture(2).convert('CMYK'), 'JPEG'),
        'palette.gif': saved(picture(3).quantize(16), 'GIF'),
        'palette.png': saved(picture(4).quantize(16), 'PNG'),
        'sixteen.png': saved(Image.fromarray(deep), 'PNG'),
        'sixteen.tif': saved(Image.fromarray(deep[::-1]), 'TIFF'),
        'animated.gif': saved(picture(5), 'GIF', save_all=True, append_images=[picture(6)]),
        'transparent.png': saved(clear, 'PNG'),
        'grey.png': saved(picture(7).convert('L'), 'PNG'),
        'bitonal.png': saved(picture(8).convert('1'), 'PNG'),
        'float.tif': saved(Image.fromarray(grey), 'TIFF'),
        'webp.webp': saved(picture(10), 'WEBP'),
        'jpeg named.png': saved(picture(11), 'JPEG'),
        'naïve 猫 🐈.png': saved(picture(12), 'PNG'),
        "quote's & space.png": saved(picture(13), 'PNG'),
        'one_pixel.png': saved(Image.new('RGB', (1, 1)), 'PNG'),
        'wide.png': saved(picture(14, (3000, 2)), 'PNG'),
        'turned.jpg': saved(picture(15), 'JPEG', exif=orientation(6))}


def broken_files():
    """One file of every kind that is unreadable."""
    noise = Image.fromarray(np.random.default_rng(16).integers(0, 255, (64, 64, 3), 'uint8'))
    return {
        'corrupt.png': b'this is no picture',
        'empty.jpg': b'',
        'truncated.png': saved(noise, 'PNG')[:3000],
        'truncated.jpg': saved(noise, 'JPEG')[:700]}


READABLE, BROKEN = readable_files(), broken_files()


@pytest.fixture(scope='module')
def bad_folder(tmp_path_factory):
    """Two class folders with odd names, all kinds of files, and plain pictures to train a model on."""
    base, names = tmp_path_factory.mktemp('zoo ö'), ('Kätzchen', 'dog & co')
    for number, name in enumerate(names):
        (base/name).mkdir()
        for k in range(30):
            (base/name/f'{k:02d}.png').write_bytes(encode_image(picture(100 + 40 * number + k)))
    for number, (name, raw) in enumerate({**READABLE, **BROKEN}.items()):
        (base/names[number % 2]/name).write_bytes(raw)
    return base


def file_names(ids): return {i.split('/')[-1] for i in ids}


@pytest.mark.parametrize('name', list(READABLE))
def test_every_kind_of_picture_becomes_rgb(name):
    assert decode_image(READABLE[name]).mode == 'RGB'


@pytest.mark.parametrize('name', list(BROKEN))
def test_a_broken_picture_says_why(name):
    reason = 'empty' if name.startswith('empty') else 'not a readable image'
    with pytest.raises(ValueError, match=reason): decode_image(BROKEN[name])


def test_sixteen_bits_keep_their_range_transparency_lies_on_white_and_the_camera_is_held_upright():
    assert np.ptp(np.asarray(decode_image(READABLE['sixteen.png']))) > 200
    assert decode_image(READABLE['turned.jpg']).size == (30, 40)
    glass = Image.new('RGBA', (2, 2), (255, 0, 0, 0))
    assert decode_image(saved(glass, 'PNG')).getpixel((0, 0)) == (255, 255, 255)


def test_a_picture_of_monstrous_size_is_a_finding_not_a_full_memory():
    bomb = saved(Image.new('1', (20000, 20000)), 'PNG')
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match='not a readable image: Image size'): decode_image(bomb)


@pytest.mark.parametrize('tool', ['open', 'fastdup'])
def test_a_folder_of_trouble_is_audited_to_the_end(bad_folder, tool):
    if tool == 'fastdup' and not fastdup_available()[0]: pytest.skip('fastdup does not run here')
    images = load(bad_folder)
    found = audit(images, tool)
    everything = set(BROKEN) | set(READABLE)
    assert everything <= file_names(i for rows in images.values() for i in rows['id'])
    corrupt = found[(found.kind == 'corrupt') & found.flagged]
    assert file_names(corrupt.id) == set(BROKEN)
    assert everything <= file_names(found.id)


def test_a_folder_of_trouble_is_repaired_and_trained_on(bad_folder):
    images = load(bad_folder)
    repaired, ledger = curate(images, audit(images), 'drop_low_quality')
    assert set(BROKEN) & file_names(images['train']['id']) <= file_names(ledger.id)
    predictions = fit(repaired, 'test_byobnet', 'smoke')
    readable = load_pixels(images['test'], 32).ids
    assert predictions.id.tolist() == readable and predictions.predicted.notna().all()


def test_a_whole_run_on_a_folder_of_trouble(bad_folder):
    """Defects are planted among the ones that are there, and the report is executed to its last cell."""
    study = f'test-{os.getpid()}'
    planted = dict(label_error=[0.1, 2], exact_duplicate=[0.1, 1], blurry=[0.1, 2])
    run = dict(name='zoo', dataset=str(bad_folder), model='probe', budget='smoke', seeds=2,
               recipes=['curated'], corrupted=20, tool='open', plant=planted)
    try: assert sweep(dict(study=study, runs=[run])).status.tolist() == ['done']
    finally:
        shutil.rmtree(project_root()/'runs'/study, ignore_errors=True)
        write_index()


def test_in_memory_and_streamed_give_the_same_batches(bad_folder):
    rows = load(bad_folder)['train']
    held, streamed = load_pixels(rows, 24), load_pixels(rows, 24, memory_limit=0)
    assert streamed.on_disk and not held.on_disk
    assert held.ids == streamed.ids and held.unreadable.equals(streamed.unreadable)
    assert torch.equal(held.labels, streamed.labels)
    assert torch.equal(held.batch(range(len(held))), streamed.batch(range(len(held))))


def class_folders(base, counts):
    """Class folders `a` and `b` below each of some folders, with so many pictures each."""
    for place, n in counts.items():
        for name in 'ab':
            (base/place/name).mkdir(parents=True)
            for k in range(n): (base/place/name/f'{k}.png').write_bytes(encode_image(picture(k)))


def test_an_empty_class_is_reported_and_the_rest_loads(tmp_path, capsys):
    class_folders(tmp_path, {'.': 10})
    (tmp_path/'nobody').mkdir()
    images = load(tmp_path)
    assert "the class 'nobody'" in capsys.readouterr().out and sum(map(len, images.values())) == 20


def test_split_folders_keep_their_splits(tmp_path):
    class_folders(tmp_path, dict(train=6, val=2, Test=3))
    sizes = {split: len(rows) for split, rows in load(tmp_path).items()}
    assert sizes == dict(train=12, validation=4, test=6)


def test_a_folder_without_images_says_what_was_expected(tmp_path):
    with pytest.raises(ValueError, match='nothing in a known format; looked for data/'): load(tmp_path)
    (tmp_path/'a').mkdir()
    with pytest.raises(ValueError, match='holds no image: expected one folder a class'): load(tmp_path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A data set in the Hub's layout, found by its name."""
    folder, digits = tmp_path/'tiny'/'data', load('digits')
    folder.mkdir(parents=True)
    for split, rows in digits.items():
        rows.select(range(20)).to_parquet(folder/f'{split}-00000-of-00001.parquet')
    monkeypatch.setenv('DQ_DATA_DIR', str(tmp_path))
    return tmp_path/'tiny'


def test_the_layout_of_the_hub_loads_by_name_and_by_path(hub):
    by_name, by_path = load('tiny'), load(hub)
    assert dataset_hash(by_name) == dataset_hash(by_path) and len(by_name['train']) == 20
    assert list(image_bytes(by_name['train'])) == list(image_bytes(load('digits')['train']))[:20]


def test_a_broken_parquet_file_is_named(hub):
    file = hub/'data'/'train-00000-of-00001.parquet'
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match=f'{file.name} is no readable parquet file'): load('tiny')


def test_a_table_without_pictures_names_its_columns(hub):
    file = hub/'data'/'train-00000-of-00001.parquet'
    datasets.Dataset.from_dict(dict(text=['a', 'b'])).to_parquet(file)
    with pytest.raises(ValueError, match='parquet has no image column; its columns are text'): load('tiny')


def test_an_id_on_two_rows_is_named_and_the_rest_loads(hub, capsys):
    rows = load('digits')['train'].select([0, 0, 1])
    rows.to_parquet(hub/'data'/'train-00000-of-00001.parquet')
    problems, problem = [], f"the id '{rows['id'][0]}' stands on an earlier row, too"
    images = load('tiny', problems=problems)
    assert len(images['train']) == 2 and problems == [dict(file='tiny/train', row=1, problem=problem)]
    assert '1 left out because: ' + problem in capsys.readouterr().out


def test_splits_that_both_count_from_zero_keep_all_their_images(hub):
    for split, rows in load('digits').items():
        rows = rows.select(range(5)).remove_columns('id').add_column('id', list(range(5)))
        rows.to_parquet(hub/'data'/f'{split}-00000-of-00001.parquet')
    images = load('tiny')
    assert images['train']['id'][:] == [f'train-{i}' for i in range(5)]
    assert images['test']['id'][:] == [f'test-{i}' for i in range(5)]


def test_one_broken_shard_of_two_is_named_and_the_rest_loads(hub):
    good, bad = (hub/'data'/f'train-0000{k}-of-00001.parquet' for k in (0, 1))
    bad.write_bytes(good.read_bytes()[:500])
    problems = []
    assert len(load('tiny', problems=problems)['train']) == 20
    assert [p['file'] for p in problems] == [str(bad)]


@pytest.mark.parametrize('name, near', [('digit', "did you mean 'digits'"), ('tinny', "did you mean 'tiny'")])
def test_an_unknown_name_gives_the_near_ones_in_one_line(hub, name, near):
    with pytest.raises(ValueError, match=near) as caught: load(name)
    assert '\n' not in str(caught.value)


def test_an_unknown_label_column_gives_the_known_ones(hub):
    (hub/'truth').mkdir()
    own = load('tiny')['train']
    people = pd.DataFrame(dict(id=own['id'][:], aggregate=[1] * 20))
    people.to_parquet(hub/'truth'/'human_labels.parquet')
    changed = load('tiny', labels='aggregate')['train']
    assert set(changed['label']) == {1} and changed['clean_label'][:] == own['label'][:]
    with pytest.raises(ValueError, match="did you mean 'aggregate'"): load('tiny', labels='agregate')


def test_the_hash_sees_bytes_labels_and_order():
    images = load('digits')
    few = lambda order: datasets.DatasetDict(train=images['train'].select(order))
    assert dataset_hash(few([0, 1])) == dataset_hash(few([0, 1])) != dataset_hash(few([1, 0]))


@pytest.mark.parametrize('threshold, n', [(None, 20), (-1, 7)], ids=['whole', 'streamed'])
def test_the_reader_of_the_hub_on_a_repository_of_this_machine(hub, monkeypatch, tmp_path, threshold, n):
    """`datasets` opens a folder as it opens a repository, so the Hub's way is walked without the network."""
    monkeypatch.setenv('HF_DATASETS_CACHE', str(tmp_path/'cache'))
    if threshold is not None: monkeypatch.setattr(hub_room, 'STREAM_FROM_BYTES', threshold)
    intake = Intake()
    images = hub_room.from_hub(str(hub), intake, limit=7, seed=0)
    assert {split: len(rows) for split, rows in images.items()} == dict(train=n, test=n)
    assert not intake.problems
    assert set(images['train']['id'][:]) <= set(load('tiny')['train']['id'][:])
    assert decode_image(image_bytes(images['train'])[0]).size == (32, 32)


def test_a_set_of_the_hub_that_cannot_be_had_is_one_line(monkeypatch):
    def fail(name): raise ConnectionError('no route\nto host')
    monkeypatch.setattr(datasets, 'load_dataset_builder', fail)
    with pytest.raises(ValueError, match="set 'owner/name' could not be loaded: no route$"):
        load('hf://owner/name')


def test_a_set_of_the_hub_has_an_owner_and_a_name():
    assert locate('hf://owner/name', limit=5).read.keywords == dict(limit=5, seed=0)
    with pytest.raises(ValueError, match="unknown data set 'hf://name'.*hf://owner/name"): locate('hf://name')
