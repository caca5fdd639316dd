"""README and docs are what the tables of results say, and no template holds a figure of its own."""
import csv
import re
import shutil

import pytest

from dq_workbook.core.project import project_root
from dq_workbook.reports.pages import pages, render, results, stale, write_pages

ROOT = project_root()
TEMPLATES = sorted((ROOT / 'docs' / 'templates').glob('*.j2'))
TABLES = sorted((ROOT / 'docs' / 'results').glob('*.csv'))

FIGURE = re.compile(r'(?<![\w./-])[-+]?\.?\d(?:[\d.,]*\d)?')
IN_CODE = re.compile(r'(?<![\w./-])[-+]?(?:\d*\.\d+|\d+ *(?:%|pp))')
# versions, dates, the level of intervals, numbered headings
ALLOWED = re.compile(r'95 %|Python 3\.11 to 3\.13|CC BY-NC-ND 4\.0|20\d\d-\d\d-\d\d|^\*\*\d\. ', re.M)


@pytest.fixture
def copy(tmp_path):
    """A project of nothing but the pages and what they are made of."""
    shutil.copytree(ROOT / 'docs', tmp_path / 'docs')
    shutil.copy(ROOT / 'README.md', tmp_path)
    return tmp_path


def prose(template):
    """A template without its expressions and without what is allowed."""
    text = re.sub(r'\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}', ' ', template, flags=re.S)
    return ALLOWED.sub(' ', text)


def typed(template):
    """The figures that a template holds outside its expressions; code may hold whole numbers."""
    which = lambda line: IN_CODE if line.startswith('    ') else FIGURE
    return [found for line in prose(template).splitlines() for found in which(line).findall(line)]


def test_no_page_is_stale():
    assert stale() == [], 'make docs'


@pytest.mark.parametrize('table, old, new, changed', [
    ('repairs', '-1.90,', '-1.91,', ['repairs.md', 'sets.md']),
    ('sweep_study', '-0.47,-0.92,-0.03,0.0393', '-0.48,-0.92,-0.03,0.0393', ['README.md', 'repairs.md']),
    ('near_duplicates', '8.07,7.38', '8.08,7.38', ['README.md', 'audit.md', 'sets.md']),
    ('robustness', '-2.24', '-2.25', ['robustness.md', 'sets.md']),
    ('scale', '3135', '3136', ['cost.md'])])
def test_a_changed_figure_makes_its_pages_stale(copy, table, old, new, changed):
    file = copy / 'docs' / 'results' / f'{table}.csv'
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    assert write_pages(copy) == changed


def test_pages_that_are_written_again_are_stale_no_more(copy):
    (copy / 'README.md').write_text('old')
    assert stale(copy) == write_pages(copy) == ['README.md'] and stale(copy) == []


def test_a_condition_that_is_gone_is_an_error(copy):
    file = copy / 'docs' / 'results' / 'robustness.csv'
    file.write_text(file.read_text().replace('probe', 'prob'))
    with pytest.raises(LookupError, match='robustness.csv has no row'): render('robustness.md', copy)


def test_readme_is_read_in_one_go():
    assert len((ROOT / 'README.md').read_text().splitlines()) <= 110


def test_a_typed_figure_would_be_seen():
    assert typed('gains +1.72 pp, 91 % of 286, p = .01') == ['+1.72', '91', '286', '.01']
    assert typed('    dq.fit(seed=0) # 7 %') == ['7 %']
    assert typed('CIFAR-10, resnet18, F1, a 95 % interval, {{ r.value }} % {% if n > 3 %}of{% endif %}') == []


@pytest.mark.parametrize('path', TEMPLATES, ids=lambda p: p.name)
def test_no_template_holds_a_figure(path):
    assert typed(path.read_text()) == []


@pytest.mark.parametrize('path', TABLES, ids=lambda p: p.stem)
def test_every_row_of_a_table_is_whole(path):
    with path.open(newline='') as file: header, *body = csv.reader(file)
    assert len(header) == len(set(header)) and body and all(len(row) == len(header) for row in body)


@pytest.mark.parametrize('name', pages())
def test_links_of_a_page_lead_somewhere(name):
    file = pages()[name]
    links = re.findall(r'\]\(([^)#\s]+)\)', file.read_text())
    assert [link for link in links if not link.startswith('http') and not (file.parent / link).exists()] == []


def test_the_budgets_on_the_pages_are_those_of_the_code():
    from dq_workbook.training.protocol import BUDGETS
    shown = ('steps', 'batch', 'size')
    budgets = [dict(budget=name, **{k: str(b[k]) for k in shown}) for name, b in BUDGETS.items()]
    assert results('protocol') == budgets
