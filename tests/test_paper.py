"""The article from made-up runs in a temporary folder; nothing is ever written to papers/."""
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from dq_workbook.core.project import project_root
from dq_workbook.core.tables import read_table, write_table
from dq_workbook.reports.paper import compile_pdf, write_paper
from dq_workbook.reports.paper_numbers import all_numbers, audit_bench_run, experiment_runs

ARTICLE = project_root() / 'papers' / 'defects'
ARMS = ('dedup', 'relabel', 'curated', 'random:dedup', 'random:curated')


def made_up_effects(dataset, seed, slices=('test',)):
    """Made-up effects of five arms."""
    rng, rows = np.random.default_rng(seed), []
    for slice in slices:
        for arm in ARMS:
            diff, half = rng.normal(0.002, 0.006), 0.004
            adjusted = 0.03 if abs(diff) > half else 0.4
            word = ('superior' if diff > 0 else 'inferior') if adjusted < 0.05 else 'inconclusive'
            row = dict(dataset=dataset, model='resnet18', arm=arm, baseline='raw', slice=slice,
                       metric='accuracy', n=10, diff=diff, low=diff - half, high=diff + half, p=0.01,
                       p_adjusted=adjusted, mde=0.0051, covers='seeds', verdict=f'{word}: made up')
            control = dict(row, baseline=f'random:{arm}') if f'random:{arm}' in ARMS else row
            wide = dict(control, covers='seeds and images', low=diff - 2 * half, high=diff + 2 * half)
            rows += [row] if control is row else [row, control, wide]
    return pd.DataFrame(rows)


def made_up_detection():
    """Made-up recall and precision of two kinds, one of which was not flagged at all."""
    shares = [f'{name}{end}' for name in ('recall', 'precision') for end in ('', '_low', '_high')]
    rows = [('label_error', 50, 40, .6, .46, .72, .75, .60, .86), ('dark', 30, 0, 0., 0., .11, *[np.nan] * 3)]
    return pd.DataFrame(rows, columns=['kind', 'n_planted', 'n_flagged', *shares])


def make_run(runs, study, name, dataset, seed, slices=('test',), status='done'):
    """Write one made-up run folder."""
    folder = runs / study / f'{name}-{seed:012d}'
    effects = made_up_effects(dataset, seed, slices)
    predictions = pd.DataFrame(dict(id=['a', 'b', 'a@blur_3'], label=0, predicted=0, p0=1., p1=0.))
    predictions = predictions.assign(dataset=dataset, model='resnet18', arm='raw', seed=0)
    tables = dict(effects=effects, predictions=predictions, recovered=made_up_detection())
    for table, rows in tables.items(): write_table(rows, folder / 'tables' / f'{table}.parquet')
    record = dict(study=study, name=name, key=folder.name[-12:], template='experiment', status=status,
                  parameters=dict(dataset=dataset, model='resnet18', budget='small', tool='open'),
                  headline=effects[effects['arm'] == 'curated'].iloc[0].to_dict(),
                  provenance=dict(commit='abc1234'))
    (folder / 'run.json').write_text(json.dumps(record, default=str))


def make_bench(runs):
    """Write a made-up run of the bench of the audit."""
    folder = runs / 'bench-audit' / 'audit-0'
    copies = pd.DataFrame(dict(tool=['open', 'fastdup alone'], recall=[.98, .5], false=[.01, np.nan]))
    copies = copies.assign(dataset='digits', alteration='mirror', n=100)
    labels = dict(dataset='digits', labels='noisy', method='audit', n=200, n_wrong=20,
                  precision=.8, recall=.9, f1=.85, average_precision=.912)
    write_table(copies, folder / 'tables' / 'alterations.parquet')
    write_table(pd.DataFrame([labels]), folder / 'tables' / 'labels.parquet')
    names, ends = ('twin_recall', 'false_alarms', 'leak_rate'), {'': .0629, '_low': .0596, '_high': .0663}
    shares = {f'{name}{end}': share for name in names for end, share in ends.items()}
    record = dict(study='bench-audit', status='done', headline=dict(shares, judged=219))
    (folder / 'run.json').write_text(json.dumps(record))


@pytest.fixture
def runs(tmp_path):
    """Six finished runs of two studies, one of them with odd characters, and one that failed."""
    for seed in range(1, 6):
        make_run(tmp_path / 'runs', 'default', f'set_{seed}-resnet18', f'set_{seed}', seed)
    blurs = ('test', 'blur_1', 'blur_2', 'blur_3')
    make_run(tmp_path / 'runs', 'odd & 50%', 'a_b', 'digits', 6, slices=blurs)
    make_run(tmp_path / 'runs', 'default', 'broken', 'digits', 7, status='failed')
    return tmp_path / 'runs'


@pytest.fixture
def article(tmp_path, runs):
    """The article's hand-written files and what is generated from the made-up runs."""
    folder = tmp_path / 'article'
    folder.mkdir()
    for name in ('paper.tex', 'refs.bib'):
        shutil.copy(ARTICLE / name, folder)
    write_paper(experiment_runs(runs), folder)
    return folder


def test_only_finished_runs_count(runs):
    assert len(experiment_runs(runs)) == 6
    with pytest.raises(FileNotFoundError, match='run make sweep first'):
        experiment_runs(runs / 'nothing')


def test_every_macro_and_input_of_the_article_exists(article):
    text = (article / 'paper.tex').read_text()
    made = set(re.findall(r'\\newcommand\{\\(\w+)\}', (article / 'numbers.tex').read_text()))
    asked = set(re.findall(r'\\([A-Z][A-Za-z]+)', text[text.index(r'\title'):]))
    assert asked and asked <= made
    assert all((article / f'{name}.tex').exists() for name in re.findall(r'\\input\{([^}]+)\}', text))
    listed = set(re.findall(r'@\w+\{(\w+),', (article / 'refs.bib').read_text()))
    assert set(re.findall(r'\\cite[tp]\{(\w+)\}', text)) == listed


def test_no_result_is_typed_by_hand():
    text = (ARTICLE / 'paper.tex').read_text()
    results = text[text.index(r'\section{Results}'):text.index(r'\section{Limits}')]
    abstract = text[text.index(r'\begin{abstract}'):text.index(r'\end{abstract}')]
    assert not re.search(r'\d', results + abstract)


def test_every_number_names_its_run(article):
    lines = (article / 'numbers.tex').read_text().splitlines()[1:]
    assert all(line.startswith('% ') for line in lines[::2])
    assert all(line.startswith(r'\newcommand{') for line in lines[1::2])


def test_same_runs_same_bytes(article, runs):
    generated = [path for path in article.rglob('*') if path.is_file()]
    before = {path: path.read_bytes() for path in generated}
    write_paper(experiment_runs(runs), article)
    assert {path: path.read_bytes() for path in generated} == before


def test_two_runs_with_one_macro_name_are_refused(runs):
    make_run(runs, 'default', 'set-5.resnet18', 'set_5', 8)
    with pytest.raises(ValueError, match='would be called'):
        all_numbers(experiment_runs(runs))


def test_a_repair_is_counted_against_its_control_and_older_runs_are_read(runs):
    values = all_numbers(experiment_runs(runs)).set_index('macro')['value']
    assert (values['RepairContrasts'], values['RandomContrasts']) == ('18', '12') # three and two in each run
    ways = [f'Repair{way}' for way in ('Superior', 'Inferior', 'Equivalent', 'Inconclusive')]
    assert values[ways].astype(int).sum() == 18
    for path in runs.glob('*/*/tables/effects.parquet'):
        effects = read_table(path)
        old = effects[(effects.baseline == 'raw')].drop(columns='covers').assign(verdict='better by 1 pp')
        write_table(old, path)
    again = all_numbers(experiment_runs(runs)).set_index('macro')['value']
    assert again[ways].equals(values[ways])


def test_an_article_without_planted_defects_says_so(runs):
    for path in runs.glob('*/*/tables/recovered.parquet'):
        path.unlink()
    values = all_numbers(experiment_runs(runs)).set_index('macro')['value']
    assert values['WeakestRecall'] == 'not measured'


def test_an_article_quotes_the_bench_of_the_audit_or_says_there_is_none(runs, article):
    assert audit_bench_run(runs) is None
    assert r'\newcommand{\LeakRate}{not measured}' in (article / 'numbers.tex').read_text()
    make_bench(runs)
    write_paper(experiment_runs(runs), article, audit_bench_run(runs))
    assert r'\newcommand{\LeakRate}{6.3 \% [6.0, 6.6]}' in (article / 'numbers.tex').read_text()
    assert '98' in (article / 'tables' / 'altered.tex').read_text()
    assert '91.2' in (article / 'tables' / 'labels.tex').read_text()


def test_generated_files_are_ignored_by_git():
    if not (project_root() / '.git').exists():
        pytest.skip('no git checkout')
    for name in ('numbers.tex', 'tables/effects.tex', 'figures/recall.pdf', 'paper.pdf'):
        ignored = subprocess.run(['git', 'check-ignore', '-q', f'papers/defects/{name}'], cwd=project_root())
        assert ignored.returncode == 0, name


@pytest.mark.skipif(not shutil.which('latexmk') or not shutil.which('pdflatex'), reason='no TeX here')
def test_the_article_builds(article):
    assert compile_pdf(article).read_bytes().startswith(b'%PDF')
    assert 'undefined' not in (article / 'paper.log').read_text(errors='replace').lower().replace('\n', ' ')
    (article / 'numbers.tex').write_text('')
    with pytest.raises(RuntimeError, match='Undefined control sequence'):
        compile_pdf(article)
