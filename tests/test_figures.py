"""What every figure of a report has to do, whoever added it."""
import re
import sys

import numpy as np
import pandas as pd
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value
from datasets import Image as ImageFeature
from matplotlib.figure import Figure
from PIL import Image

import dq_workbook.reports
from dq_workbook.core.runs import template_path
from dq_workbook.stats.contrasts import compare
from dq_workbook.stats.prevalence import prevalence
from dq_workbook.sets.images import encode_image
from dq_workbook.evaluation.slices import score
from dq_workbook.reports.figures import draw_figures, load_figures
from dq_workbook.reports.findings import GALLERY_KINDS
from dq_workbook.reports.style import FIGURES, save_figure

CLASSES = ('cat', 'dog', 'cow')
CONTEXT = dict(primary='curated', baseline='raw', metric='accuracy', slice='not_leaked')


def made_up_images():
    """Twelve pictures of one colour each, eight to train on and four to test on."""
    features = Features(id=Value('string'), image=ImageFeature(), label=ClassLabel(names=list(CLASSES)))
    def split(name, n):
        pictures = [Image.new('RGB', (8, 8), (20 * k, 100, 250 - 20 * k)) for k in range(n)]
        columns = dict(id=[f'{name}-{k}' for k in range(n)], label=[k % 3 for k in range(n)],
                       image=[dict(bytes=encode_image(picture), path=None) for picture in pictures])
        return Dataset.from_dict(columns, features=features)
    return DatasetDict(train=split('train', 8), test=split('test', 4))


def made_up_findings():
    """A flag of every kind that has a gallery, and the truth about two of them."""
    findings = pd.DataFrame(dict(kind=GALLERY_KINDS, score=0.9, flagged=True, other='train-1', suggested=1.0))
    findings = findings.assign(dataset='made up', id='train-0', tool='open')
    truth = pd.DataFrame(dict(id=['train-0', 'train-3'], kind='label_error', other=None, label=0, severity=2))
    return findings, truth


def made_up_predictions(arms, seeds):
    """Probabilities at random, for plain and for corrupted test images."""
    random = np.random.default_rng(0)
    ids = [f'test-{k}{variant}' for variant in ('', '@fog_1', '@fog_3', '@snow_1') for k in range(12)]
    parts = []
    for arm in arms:
        for seed in range(seeds):
            probs = pd.DataFrame(random.dirichlet([1, 1, 1], len(ids)), columns=['p0', 'p1', 'p2'])
            parts.append(probs.assign(arm=arm, seed=seed, id=ids, label=np.arange(len(ids)) % 3,
                                      predicted=probs.to_numpy().argmax(1)))
    return pd.concat(parts, ignore_index=True).assign(dataset='made up', model='tiny')


def made_up_tables(arms=('raw', 'curated', 'random:curated'), seeds=3):
    """All tables of an experiment, and the images."""
    images, (findings, truth) = made_up_images(), made_up_findings()
    predictions = made_up_predictions(arms, seeds)
    shares = {f'{name}{end}': 0.5 for name in ('recall', 'precision') for end in ('', '_low', '_high')}
    detection = pd.DataFrame(dict(shares, kind=['label_error', 'leak'], n_planted=2, n_flagged=[1, np.nan]))
    curves = pd.DataFrame([(arm, seed, step, 1 / (1 + step + seed)) for arm in arms for seed in range(seeds)
                           for step in range(5)], columns=['arm', 'seed', 'step', 'loss'])
    scores = score(predictions, dict(not_leaked={f'test-{k}' for k in range(12)}))
    return dict(truth=truth, findings=findings, prevalence=prevalence(findings, images), detection=detection,
                curves=curves, predictions=predictions, scores=scores, effects=compare(scores))


FULL = made_up_tables()
CASES = {'all there': FULL, 'one seed': made_up_tables(seeds=1), 'one arm': made_up_tables(arms=('raw',)),
         'one seed of one arm': made_up_tables(arms=('raw',), seeds=1),
         'empty tables': {name: table[:0] for name, table in FULL.items()}, 'no tables': {}}


@pytest.mark.parametrize('case', CASES)
@pytest.mark.parametrize('name', load_figures())
def test_a_figure_or_nothing(name, case):
    for context in (dict(CONTEXT, images=made_up_images()), CONTEXT):
        figure = FIGURES[name](CASES[case], context)
        assert figure is None or isinstance(figure, Figure)
    if case == 'no tables': assert figure is None, 'a figure is drawn of tables'


@pytest.mark.parametrize('name', load_figures())
def test_drawn_again_a_figure_has_the_same_bytes(name, tmp_path):
    context = dict(CONTEXT, images=made_up_images())
    for folder in ('first', 'second'):
        figure = FIGURES[name](FULL, context)
        assert figure is not None, 'made_up_tables holds something for every figure'
        save_figure(figure, tmp_path / folder / name)
    save_figure(figure, tmp_path / 'third' / name)
    for form in ('png', 'pdf'):
        first, *others = [path.read_bytes() for path in sorted(tmp_path.glob(f'*/*.{form}'))]
        assert others == [first, first]


def test_a_figure_reads_tables_and_changes_none():
    before = {name: table.copy() for name, table in FULL.items()}
    for draw in load_figures().values(): draw(FULL, dict(CONTEXT, images=made_up_images()))
    for name, table in FULL.items(): pd.testing.assert_frame_equal(table, before[name])


def test_a_room_that_somebody_adds_is_drawn(tmp_path, monkeypatch):
    room = tmp_path / 'room_of_somebody.py'
    room.write_text("from dq_workbook.reports.style import FIGURES, text_figure\n"
                    "@FIGURES.add('9-somebody')\n"
                    "def draw(tables, context): return text_figure(context['primary'])\n")
    monkeypatch.setattr(dq_workbook.reports, '__path__', [*dq_workbook.reports.__path__, str(tmp_path)])
    try:
        drawn = {}
        draw_figures({}, CONTEXT, tmp_path, drawn)
        assert list(drawn) == ['9-somebody'] and (tmp_path / '9-somebody.pdf').exists()
        assert draw_figures({}, CONTEXT, tmp_path, drawn) == []
    finally:
        FIGURES.pop('9-somebody', None)
        sys.modules.pop('dq_workbook.reports.room_of_somebody', None)


def test_the_report_draws_every_figure():
    report = template_path('experiment').read_text()
    assert re.search(r'display\(\*draw\(\)\)', report), 'what has no place of its own is drawn at the end'
    assert set(re.findall(r"'(\d-\w+)'", report)) <= set(load_figures())
