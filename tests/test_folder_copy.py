"""A cleaned copy of a folder and the way back: in every layout the originals stay, and every byte returns."""
import errno
import os
import shutil

import pandas as pd
import pytest

from dq_workbook.core.tables import TABLES, read_table
from dq_workbook.repairs import folder_copy
from dq_workbook.repairs.folder_copy import copy_folder, folder_digests, undo, undo_folder

LAYOUTS = dict(
    classes=['cat/1.png', 'cat/2.png', 'cat/$x <b>.png', 'dog/1.png', 'classes.txt', 'dog/.DS_Store'],
    splits=['train/cat/1.png', 'train/cat/deep/2.png', 'train/dog/1.png', 'test/cat/9.png', 'test/README'],
    flat=['1.png', '2.png', 'ä ö.png'])


def ledger(*rows): return pd.DataFrame(rows, columns=TABLES['ledger'])


def drop(path): return path, 'drop', 'dark', 'cat', None, 'dark'


def relabel(path, old, new): return path, 'relabel', 'label_error', old, new, 'another'


@pytest.fixture
def folder(tmp_path):
    """A function that fills a folder; each file holds its own path."""
    def fill(layout):
        for path in LAYOUTS[layout]:
            file = tmp_path/'pets'/path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path)
        return tmp_path/'pets'
    return fill


def copied(folder, changes, **options):
    """A copy beside the folder."""
    digests = folder_digests(folder)
    files = {path: path for path in digests}
    return copy_folder(folder, folder.with_name('clean'), changes, files, ['cat', 'dog'], digests, **options)


@pytest.mark.parametrize('link', ['copy', 'hard', 'symbolic'])
@pytest.mark.parametrize('layout, changes, gone, moved', [
    ('classes', [drop('cat/$x <b>.png'), relabel('cat/1.png', 'cat', 'dog')],
     'cat/$x <b>.png', 'dog/1-from-cat.png'),
    ('splits', [drop('train/cat/1.png'), relabel('test/cat/9.png', 'cat', 'dog')],
     'train/cat/1.png', 'test/dog/9.png'),
    ('flat', [drop('ä ö.png')], 'ä ö.png', '1.png')])
def test_undo_gives_every_byte_back_in_every_layout(folder, layout, changes, gone, moved, link):
    pets = folder(layout)
    before = folder_digests(pets)
    clean = copied(pets, ledger(*changes), link=link)
    there = folder_digests(clean)
    assert gone not in there and moved in there and len(there) == len(before) - 1
    assert folder_digests(pets) == before, 'the originals stay as they are'
    beside = undo_folder(clean)
    assert list(read_table(beside/'ledger.parquet').id) == list(pd.read_csv(beside/'ledger.csv').id)
    if link != 'symbolic': shutil.rmtree(pets)
    assert dict(undo(clean).values) == folder_digests(clean) == before
    assert sorted(path.name for path in clean.parent.iterdir() if path != pets) == ['clean']
    assert {*clean.rglob('*')} == {clean/path for path in before} | {(clean/path).parent for path in before
                                                                     if '/' in path} | {*clean.glob('*')}


def test_a_link_to_a_folder_above_is_not_followed(folder):
    """Else the pictures are copied once for each round, and what was dropped is there all the same."""
    pets = folder('classes')
    whole = folder_digests(pets)
    (pets/'dog'/'round').symlink_to(pets)
    (pets/'wolf').symlink_to(pets/'dog')
    clean = copied(pets, ledger(drop('cat/1.png')))
    wolves = {path.replace('dog/', 'wolf/') for path in whole if path.startswith('dog/')}
    assert folder_digests(clean).keys() == whole.keys() - {'cat/1.png'} | wolves
    undo(clean)
    assert folder_digests(clean).keys() == whole.keys() | wolves


@pytest.mark.parametrize('harm, message', [
    (lambda pets: (pets/'cat'/'1.png').write_text('other'), 'cat/1.png was changed; audit it again'),
    (lambda pets: (pets/'cat'/'1.png').unlink(), 'cat/1.png is gone'),
    (lambda pets: (pets/'cat'/'0.png').touch(), 'cat/0.png is new'),
    (lambda pets: shutil.copytree(pets, pets.with_name('clean')), 'is there already'),
    (lambda pets: pets.with_name('clean').touch(), 'is there already')])
def test_a_copy_that_would_not_be_of_what_was_audited_is_refused(folder, harm, message):
    pets = folder('classes')
    digests = folder_digests(pets)
    harm(pets)
    before = {*pets.parent.rglob('*')}
    with pytest.raises(ValueError, match=message) as caught:
        copy_folder(pets, pets.with_name('clean'), ledger(), {}, [], digests)
    assert '\n' not in str(caught.value) and {*pets.parent.rglob('*')} == before


@pytest.mark.parametrize('row, message', [
    (drop('cat/7.png'), "the ledger names 'cat/7.png', no picture of this folder"),
    (relabel('cat/1.png', 'cat', 'dgo'), "unknown class for 'cat/1.png' 'dgo'; did you mean 'dog'"),
    (relabel('classes.txt', 'cat', 'dog'), "stands in no folder of its class 'cat'"),
    (('cat/1.png', 'rename', 'dark', 'cat', None, ''), 'unknown action')])
def test_a_row_that_cannot_be_done_is_named(folder, row, message):
    with pytest.raises(ValueError, match=message): copied(folder('classes'), ledger(row))


@pytest.mark.parametrize('fails', [1, 3])
def test_a_full_disk_leaves_nothing_that_looks_finished(folder, fails, monkeypatch):
    pets, put = folder('classes'), []
    def full(source, place):
        put.append(place)
        if len(put) > fails: raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        shutil.copy2(source, place)
    monkeypatch.setitem(folder_copy.LINKS, 'copy', full)
    changes = ledger(drop('cat/1.png'), drop('cat/2.png'))
    with pytest.raises(OSError, match='No space left'): copied(pets, changes)
    assert [path.name for path in pets.parent.iterdir()] == ['pets']


def test_a_killed_copy_is_no_copy_and_the_same_call_makes_it(folder, monkeypatch):
    """The child ends as by a SIGKILL: nothing of it is tidied up."""
    pets, changes = folder('classes'), ledger(drop('cat/1.png'))
    if not (child := os.fork()):
        monkeypatch.setitem(folder_copy.LINKS, 'copy', lambda source, place: os._exit(9))
        copied(pets, changes)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert {path.name for path in pets.parent.iterdir()} == {'pets', f'.clean.{child}.part'}
    copied(pets, changes)
    assert {path.name for path in pets.parent.iterdir()} == {'pets', 'clean', 'clean-undo'}


def test_an_interrupted_undo_goes_on_and_a_torn_copy_is_left_alone(folder, monkeypatch):
    pets = folder('splits')
    (pets/os.fsdecode(b'caf\xe9.png')).write_text('a name in Latin 1')
    before = folder_digests(pets)
    clean = copied(pets, ledger(drop('train/cat/1.png'), relabel('train/dog/1.png', 'dog', 'cat')))
    moves, move = [], os.replace
    def stop(*paths):
        if moves: raise KeyboardInterrupt
        moves.append(move(*paths))
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(folder_copy.os, 'replace', stop)
        undo(clean)
    (clean/'test'/'README').write_text('torn')
    with pytest.raises(ValueError, match='was changed, so nothing is undone'): undo(clean)
    (clean/'test'/'README').write_text('test/README')
    undo(clean)
    assert folder_digests(clean) == before
