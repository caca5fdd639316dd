"""The article from made-up runs in a temporary folder; nothing is ever written to papers/."""
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest

from dq_workbook import paper
from dq_workbook.core.project import project_root
from dq_workbook.core.tables import write_table

ARTICLE = project_root() / 'papers' / 'defects'
ARMS = ('dedup', 'relabel', 'curated', 'random:dedup', 'random:curated')


def effects_of(dataset, seed, slices=('test',)):
    """Made-up effects of five arms."""
    rng, rows = np.random.default_rng(seed), []
    for slice in slices:
        for arm in ARMS:
            diff, half = rng.normal(0.002, 0.006), 0.004
            rows.append((dataset, 'resnet18', arm, 'raw', slice, 'accuracy', 10, diff, diff - half, diff + half, 0.01, 0.03 if abs(diff) > half else 0.4, 0.0051, 'open'))
    columns = ['dataset', 'model', 'arm', 'baseline', 'slice', 'metric', 'n', 'diff', 'low', 'high', 'p', 'p_adjusted', 'mde', 'verdict']
    return pd.DataFrame(rows, columns=columns)


def make_run(runs, study, name, dataset, seed, slices=('test',), status='done'):
    """Write one made-up run folder."""
    folder = runs / study / f'{name}-{seed:012d}'
    effects = effects_of(dataset, seed, slices)
    write_table(effects, folder / 'tables' / 'effects.parquet')
    write_table(pd.DataFrame({'dataset': dataset, 'model': 'resnet18', 'arm': 'raw', 'seed': 0, 'id': ['a', 'b', 'a@blur_3'], 'label': 0, 'predicted': 0, 'p0': 1., 'p1': 0.}), folder / 'tables' / 'predictions.parquet')
    recovered = [('label_error', 50, 40, .6, .46, .72, .75, .60, .86), ('dark', 30, 0, 0., 0., .11, np.nan, np.nan, np.nan)]
    write_table(pd.DataFrame(recovered, columns=['kind', 'n_planted', 'n_flagged', 'recall', 'recall_low', 'recall_high', 'precision', 'precision_low', 'precision_high']), folder / 'tables' / 'recovered.parquet')
    record = dict(study=study, name=name, key=folder.name[-12:], template='experiment', status=status, parameters=dict(dataset=dataset, model='resnet18', budget='small', tool='open'),
                  headline=effects[effects['arm'] == 'curated'].iloc[0].to_dict(), provenance=dict(commit='abc1234'))
    (folder / 'run.json').write_text(json.dumps(record, default=str))


@pytest.fixture
def runs(tmp_path):
    """Six finished runs of two studies, one of them with odd characters, and one that failed."""
    for seed in range(1, 6):
        make_run(tmp_path / 'runs', 'default', f'set_{seed}-resnet18', f'set_{seed}', seed)
    make_run(tmp_path / 'runs', 'odd & 50%', 'a_b', 'digits', 6, slices=('test', 'blur_1', 'blur_2', 'blur_3'))
    make_run(tmp_path / 'runs', 'default', 'broken', 'digits', 7, status='failed')
    return tmp_path / 'runs'


@pytest.fixture
def article(tmp_path, runs):
    """The article's hand-written files and what is generated from the made-up runs."""
    folder = tmp_path / 'article'
    folder.mkdir()
    for name in ('paper.tex', 'refs.bib'):
        shutil.copy(ARTICLE / name, folder)
    paper.write(paper.experiments(runs), folder)
    return folder


def test_only_finished_runs_count(runs):
    assert len(paper.experiments(runs)) == 6
    with pytest.raises(FileNotFoundError, match='run make sweep first'):
        paper.experiments(runs / 'nothing')


def test_every_macro_and_input_of_the_article_exists(article):
    text = (article / 'paper.tex').read_text()
    made = set(re.findall(r'\\newcommand\{\\(\w+)\}', (article / 'numbers.tex').read_text()))
    asked = set(re.findall(r'\\([A-Z][A-Za-z]+)', text[text.index(r'\title'):]))
    assert asked and asked <= made
    assert all((article / f'{name}.tex').exists() for name in re.findall(r'\\input\{([^}]+)\}', text))
    assert set(re.findall(r'\\cite[tp]\{(\w+)\}', text)) == set(re.findall(r'@\w+\{(\w+),', (article / 'refs.bib').read_text()))


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
    paper.write(paper.experiments(runs), article)
    assert {path: path.read_bytes() for path in generated} == before


def test_two_runs_with_one_macro_name_are_refused(runs):
    make_run(runs, 'default', 'set-5.resnet18', 'set_5', 8)
    with pytest.raises(ValueError, match='would be called'):
        paper.numbers(paper.experiments(runs))


def test_an_article_without_planted_defects_says_so(runs):
    for path in runs.glob('*/*/tables/recovered.parquet'):
        path.unlink()
    values = paper.numbers(paper.experiments(runs)).set_index('macro')['value']
    assert values['WeakestRecall'] == 'not measured'


def test_an_article_quotes_the_bench_of_the_audit_or_says_there_is_none(runs, article):
    assert paper.audit_bench(runs) is None
    assert r'\newcommand{\LeakRate}{not measured}' in (article / 'numbers.tex').read_text()
    folder = runs / 'bench-audit' / 'audit-0'
    write_table(pd.DataFrame([dict(dataset='digits', tool=tool, alteration='mirror', n=100, recall=recall, false=false) for tool, recall, false in (('open', .98, .01), ('fastdup alone', .5, np.nan))]), folder / 'tables' / 'alterations.parquet')
    write_table(pd.DataFrame([dict(dataset='digits', labels='noisy', method='audit', n=200, n_wrong=20, precision=.8, recall=.9, f1=.85, average_precision=.912)]), folder / 'tables' / 'labels.parquet')
    shares = {f'{name}{part}': at for name in ('twin_recall', 'false_alarms', 'leak_rate') for part, at in (('', .0629), ('_low', .0596), ('_high', .0663))}
    (folder / 'run.json').write_text(json.dumps(dict(study='bench-audit', status='done', headline=dict(shares, judged=219))))
    paper.write(paper.experiments(runs), article, paper.audit_bench(runs))
    assert r'\newcommand{\LeakRate}{6.3 \% [6.0, 6.6]}' in (article / 'numbers.tex').read_text()
    assert '98' in (article / 'tables' / 'altered.tex').read_text() and '91.2' in (article / 'tables' / 'labels.tex').read_text()


def test_generated_files_are_ignored_by_git():
    if not (project_root() / '.git').exists():
        pytest.skip('no git checkout')
    names = ('numbers.tex', 'tables/effects.tex', 'figures/recall.pdf', 'paper.pdf')
    assert all(subprocess.run(['git', 'check-ignore', '-q', f'papers/defects/{name}'], cwd=project_root()).returncode == 0 for name in names)


@pytest.mark.skipif(not shutil.which('latexmk') or not shutil.which('pdflatex'), reason='no TeX here')
def test_the_article_builds(article):
    assert paper.compile(article).read_bytes().startswith(b'%PDF')
    assert 'undefined' not in (article / 'paper.log').read_text(errors='replace').lower().replace('\n', ' ')
    (article / 'numbers.tex').write_text('')
    with pytest.raises(RuntimeError, match='Undefined control sequence'):
        paper.compile(article)
