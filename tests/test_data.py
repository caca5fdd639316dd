"""Folders, files and names as people have them: every kind of picture, broken ones, odd names, wrong names."""
import io
import logging
import os
import shutil

import datasets
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dq_workbook import data, sweep
from dq_workbook.core.project import project_root
from dq_workbook.sets.images import decode_image, encode_image, image_bytes
from dq_workbook.sets.dataset import dataset_hash
from dq_workbook.sets.load import load
from dq_workbook.audits.auditors import audit, fastdup_available
from dq_workbook.repairs.recipes import curate
from dq_workbook.training.pixels import load_pixels
from dq_workbook.training.fit import fit


def picture(seed=0, size=(40, 30)):
    """A smooth random picture."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (4, 4, 3), 'uint8')).resize(size, Image.Resampling.BICUBIC)


def saved(image, form, **options):
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def zoo():
    """One file of every kind that is readable, and the unreadable ones."""
    rgb, deep = picture(1), (np.arange(1200).reshape(30, 40) * 50).astype('uint16')
    clear = rgb.convert('RGBA')
    clear.putalpha(Image.linear_gradient('L').resize(rgb.size))
    readable = {
        'plain.png': saved(rgb, 'PNG'), 'cmyk.jpg': saved(picture(2).convert('CMYK'), 'JPEG'), 'palette.gif': saved(picture(3).quantize(16), 'GIF'), 'palette.png': saved(picture(4).quantize(16), 'PNG'),
        'sixteen.png': saved(Image.fromarray(deep), 'PNG'), 'sixteen.tif': saved(Image.fromarray(deep[::-1]), 'TIFF'), 'animated.gif': saved(picture(5), 'GIF', save_all=True, append_images=[picture(6)]),
        'transparent.png': saved(clear, 'PNG'), 'grey.png': saved(picture(7).convert('L'), 'PNG'), 'bitonal.png': saved(picture(8).convert('1'), 'PNG'), 'float.tif': saved(Image.fromarray(np.asarray(picture(9).convert('L'), 'float32')), 'TIFF'),
        'webp.webp': saved(picture(10), 'WEBP'), 'jpeg named.png': saved(picture(11), 'JPEG'), 'naïve 猫 🐈.png': saved(picture(12), 'PNG'), "quote's & space.png": saved(picture(13), 'PNG'), 'one_pixel.png': saved(Image.new('RGB', (1, 1)), 'PNG'),
        'wide.png': saved(picture(14, (3000, 2)), 'PNG'), 'turned.jpg': saved(picture(15), 'JPEG', exif=orientation(6))}
    noise = Image.fromarray(np.random.default_rng(16).integers(0, 255, (64, 64, 3), 'uint8'))
    broken = {'corrupt.png': b'this is no picture', 'empty.jpg': b'', 'truncated.png': saved(noise, 'PNG')[:3000], 'truncated.jpg': saved(noise, 'JPEG')[:700]}
    return readable, broken


def orientation(value):
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


@pytest.fixture(scope='module')
def bad_folder(tmp_path_factory):
    """Two class folders with odd names, all kinds of files, and plain pictures so that a model can be trained."""
    base = tmp_path_factory.mktemp('zoo ö')
    readable, broken = zoo()
    for number, name in enumerate(('Kätzchen', 'dog & co')):
        (base/name).mkdir()
        for k in range(30): (base/name/f'{k:02d}.png').write_bytes(encode_image(picture(100 + 40 * number + k)))
    for number, (name, raw) in enumerate({**readable, **broken}.items()): (base/('Kätzchen', 'dog & co')[number % 2]/name).write_bytes(raw)
    return base


def endings(ids): return {i.split('/')[-1] for i in ids}


@pytest.mark.parametrize('name', list(zoo()[0]))
def test_every_kind_of_picture_becomes_rgb(name):
    assert decode_image(zoo()[0][name]).mode == 'RGB'


@pytest.mark.parametrize('name', list(zoo()[1]))
def test_a_broken_picture_says_why(name):
    with pytest.raises(ValueError, match='empty' if name.startswith('empty') else 'not a readable image'): decode_image(zoo()[1][name])


def test_sixteen_bits_keep_their_range_transparency_lies_on_white_and_the_camera_is_held_upright():
    readable = zoo()[0]
    assert np.ptp(np.asarray(decode_image(readable['sixteen.png']))) > 200
    assert decode_image(readable['turned.jpg']).size == (30, 40)
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
    readable, broken = zoo()
    everything = set(broken) | set(readable)
    assert everything <= endings(i for rows in images.values() for i in rows['id'])
    corrupt = found[(found.kind == 'corrupt') & found.flagged]
    assert endings(corrupt.id) == set(broken)
    assert everything <= endings(found.id)


def test_a_folder_of_trouble_is_repaired_and_trained_on(bad_folder):
    images = load(bad_folder)
    repaired, ledger = curate(images, audit(images), 'drop_low_quality')
    assert {name for name in zoo()[1] if name in endings(images['train']['id'])} <= endings(ledger.id)
    predictions = fit(repaired, 'test_byobnet', 'smoke')
    readable = load_pixels(images['test'], 32).ids
    assert predictions.id.tolist() == readable and predictions.predicted.notna().all()


def test_a_whole_run_on_a_folder_of_trouble(bad_folder):
    """Defects are planted among the ones that are there, and the report is executed to its last cell."""
    study = f'test-{os.getpid()}'
    run = dict(name='zoo', dataset=str(bad_folder), budget='smoke', seeds=2, recipes=['curated'], corrupted=20, tool='open', plant=dict(label_error=[0.1, 2], exact_duplicate=[0.1, 1], blurry=[0.1, 2]))
    try: assert sweep.run(dict(study=study, runs=[run])).status.tolist() == ['done']
    finally:
        shutil.rmtree(project_root()/'runs'/study, ignore_errors=True)
        sweep.index()


def test_in_memory_and_streamed_give_the_same_batches(bad_folder):
    rows = load(bad_folder)['train']
    held, streamed = load_pixels(rows, 24), load_pixels(rows, 24, memory_limit=0)
    assert streamed.on_disk and not held.on_disk
    assert held.ids == streamed.ids and torch.equal(held.labels, streamed.labels) and held.unreadable.equals(streamed.unreadable)
    assert torch.equal(held.batch(range(len(held))), streamed.batch(range(len(held))))


def test_an_empty_class_is_reported_and_the_rest_loads(tmp_path, caplog):
    for k in range(10):
        for name in 'ab': (tmp_path/name).mkdir(exist_ok=True); (tmp_path/name/f'{k}.png').write_bytes(encode_image(picture(k)))
    (tmp_path/'nobody').mkdir()
    with caplog.at_level(logging.WARNING): images = load(tmp_path)
    assert "the class 'nobody'" in caplog.text and sum(map(len, images.values())) == 20


def test_split_folders_keep_their_splits(tmp_path):
    for split, n in (('train', 6), ('val', 2), ('Test', 3)):
        for name in 'ab':
            (tmp_path/split/name).mkdir(parents=True)
            for k in range(n): (tmp_path/split/name/f'{k}.png').write_bytes(encode_image(picture(k)))
    assert {s: len(rows) for s, rows in load(tmp_path).items()} == dict(train=12, validation=4, test=6)


def test_a_folder_without_images_says_what_was_expected(tmp_path):
    (tmp_path/'a').mkdir()
    with pytest.raises(ValueError, match='holds no image: expected one folder a class'): load(tmp_path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A data set in the Hub's layout, found by its name."""
    folder = tmp_path/'tiny'/'data'
    folder.mkdir(parents=True)
    for split in ('train', 'test'): load('digits')[split].select(range(20)).to_parquet(folder/f'{split}-00000-of-00001.parquet')
    monkeypatch.setenv('DQ_DATA_DIR', str(tmp_path))
    return tmp_path/'tiny'


def test_the_layout_of_the_hub_loads_by_name_and_by_path(hub):
    by_name, by_path = load('tiny'), load(hub)
    assert dataset_hash(by_name) == dataset_hash(by_path) and len(by_name['train']) == 20
    assert list(image_bytes(by_name['train'])) == list(image_bytes(load('digits')['train']))[:20]


def test_a_broken_parquet_file_is_named(hub):
    file = hub/'data'/'train-00000-of-00001.parquet'
    file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(ValueError, match='train-00000-of-00001.parquet is no readable parquet file'): load('tiny')


def test_a_table_without_pictures_names_its_columns(hub):
    datasets.Dataset.from_dict(dict(text=['a', 'b'])).to_parquet(hub/'data'/'train-00000-of-00001.parquet')
    with pytest.raises(ValueError, match="no image column in the split 'train'; its columns are text"): load('tiny')


def test_an_id_on_two_rows_is_named_and_the_rest_loads(hub, caplog):
    rows = load('digits')['train'].select([0, 0, 1])
    rows.to_parquet(hub/'data'/'train-00000-of-00001.parquet')
    problems = []
    with caplog.at_level(logging.WARNING): images = load('tiny', problems=problems)
    assert len(images['train']) == 2 and problems == [dict(file='tiny/train', row=1, problem=f"the id '{rows['id'][0]}' stands on an earlier row, too")]
    assert '1 rows are left out' in caplog.text


def test_splits_that_both_count_from_nought_keep_all_their_images(hub):
    for split in ('train', 'test'):
        rows = load('digits')[split].select(range(5))
        rows.remove_columns('id').add_column('id', list(range(5))).to_parquet(hub/'data'/f'{split}-00000-of-00001.parquet')
    images = load('tiny')
    assert images['train']['id'][:] == [f'train-{i}' for i in range(5)] and images['test']['id'][0] == 'test-0'


def test_one_broken_shard_of_two_is_named_and_the_rest_loads(hub):
    good = hub/'data'/'train-00000-of-00001.parquet'
    (hub/'data'/'train-00001-of-00002.parquet').write_bytes(good.read_bytes()[:500])
    problems = []
    assert len(load('tiny', problems=problems)['train']) == 20
    assert [p['file'] for p in problems] == [str(hub/'data'/'train-00001-of-00002.parquet')]


@pytest.mark.parametrize('name, near', [('digit', "did you mean 'digits'"), ('tinny', "did you mean 'tiny'")])
def test_an_unknown_name_gives_the_near_ones_in_one_line(hub, name, near):
    with pytest.raises(ValueError, match=near) as caught: load(name)
    assert '\n' not in str(caught.value)


def test_an_unknown_label_column_gives_the_known_ones(hub):
    (hub/'truth').mkdir()
    pd.DataFrame(dict(id=load('tiny')['train']['id'][:], aggregate=[1] * 20)).to_parquet(hub/'truth'/'human_labels.parquet')
    assert set(load('tiny', labels='aggregate')['train']['label']) == {1}
    assert load('tiny', labels='aggregate')['train']['clean_label'][:] == load('tiny')['train']['label'][:]
    with pytest.raises(ValueError, match="did you mean 'aggregate'"): load('tiny', labels='agregate')


def test_the_fingerprint_sees_bytes_labels_and_order():
    images = load('digits')
    few = lambda order: datasets.DatasetDict(train=images['train'].select(order))
    assert dataset_hash(few([0, 1])) == dataset_hash(few([0, 1])) != dataset_hash(few([1, 0]))


@pytest.mark.parametrize('threshold', [None, 0], ids=['whole', 'streamed'])
def test_the_reader_of_the_hub_on_a_repository_of_this_machine(hub, monkeypatch, tmp_path, threshold):
    """`datasets` opens a folder as it opens a repository, so the way from the Hub is walked without the network."""
    monkeypatch.setenv('HF_DATASETS_CACHE', str(tmp_path/'cache'))
    if threshold is not None: monkeypatch.setattr(data, 'STREAMED', -1)
    problems = []
    images = data.from_hub(str(hub), problems, limit=7, seed=0)
    assert {split: len(rows) for split, rows in images.items()} == (dict(train=20, test=20) if threshold is None else dict(train=7, test=7)) and not problems
    assert set(images['train']['id'][:]) <= set(load('tiny')['train']['id'][:]) and decode_image(image_bytes(images['train'])[0]).size == (32, 32)


def test_a_hub_id_that_cannot_be_had_is_one_line(monkeypatch):
    monkeypatch.setattr(datasets, 'load_dataset_builder', lambda name: (_ for _ in ()).throw(ConnectionError('no route\nto host')))
    with pytest.raises(ValueError, match="the Hub data set 'owner/name' could not be loaded: no route$"): load('owner/name')
