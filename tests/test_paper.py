"""The article says what docs/results says, no more and no less, and is never stale."""
import re
import shutil

import pytest

from dq_workbook.core.project import project_root
from dq_workbook.reports.paper import (compile_pdf, main, missing_tex, paper_texts, stale_texts, write_html,
                                       write_paper)
from dq_workbook.reports.paper_figures import ARTICLE_FIGURES
from dq_workbook.reports.paper_numbers import number, outcome, paper_specs, source_row

ROOT = project_root()
ARTICLE = ROOT / 'papers' / 'defects'
TEXT = re.sub(r'(?<!\\)%.*', '', (ARTICLE / 'paper.tex').read_text()).partition(r'\title')[2]
NUMBERS = paper_specs(ARTICLE, 'numbers')
MACRO = re.compile(r'\\([A-Z][A-Za-z]+)')

NOT_PROSE = re.compile(r'\\(?:cite[tp]?|ref|label|input|includegraphics|bibliography(?:style)?)'
                       r'(?:\[[^]]*\])?\{[^}]*\}'
                       r'|\\\[.*?\\\]|\$[^$]*\$|\[width=[^]]*\]|\\setlength\{[^}]*\}\{[^}]*\}', re.S)
ALLOWED = re.compile(r'CIFAR-10N?|ImageNet-1k|95\\,\\%') # names, and the level of all intervals
PLACEHOLDER = re.compile(r'not measured|\?\?|\bnan\b|\bNone\b|\bTODO\b'
                         r'|/(?:home|tmp|root|work|Users)/|\w@\w+\.\w')
HEDGES = re.compile(r'inconclusive|no difference|cannot be told|not told|nothing', re.I)
STRONG = re.compile(r'\b(?:improves?|harms?|pays|helps?|better|worse|gains?|loses?|proves?|shows? that)\b')


def typed(text): return re.findall(r'\d[\d.,]*', ALLOWED.sub(' ', NOT_PROSE.sub(' ', text)))


def sentences(text): return re.split(r'(?<=[.:;?])\s+|\n\s*\n', text)


def open_contrasts(sentence):
    """The macros of a sentence that quote a difference which its interval leaves open."""
    asked = [(name, NUMBERS[name]) for name in MACRO.findall(sentence) if name in NUMBERS]
    told = [(name, spec) for name, spec in asked if spec['as'] in ('effect', 'estimate', 'claim')]
    return [name for name, spec in told if outcome(source_row(spec), spec) == 'inconclusive']


def is_too_strong(sentence):
    """Whether a sentence says more than its intervals: an open contrast without a hedge, or a strong word."""
    doubtful = open_contrasts(sentence)
    claims = [name for name in MACRO.findall(sentence) if NUMBERS.get(name, {}).get('as') == 'claim']
    said = all(NUMBERS[name]['as'] == 'claim' for name in doubtful) or bool(HEDGES.search(sentence))
    only = bool(doubtful) and set(claims) <= set(doubtful) and STRONG.search(MACRO.sub('', sentence))
    return bool(doubtful) and (not said or bool(only) and not HEDGES.search(sentence))


WAYS = dict(superior=re.compile(r'\b(?:loses?|losses|worse|harms?|costs?)\b'),
            inferior=re.compile(r'\b(?:gains?|gives?|gave|better|improves?|pays)\b'))


def is_contrary(sentence):
    """Whether a sentence calls a gain what its intervals call a loss, or the other way round."""
    asked = [NUMBERS[name] for name in MACRO.findall(sentence) if NUMBERS.get(name, {}).get('as') == 'effect']
    ways = {outcome(source_row(spec), spec) for spec in asked} - {'inconclusive', 'equivalent'}
    return len(ways) == 1 and bool(WAYS[ways.pop()].search(MACRO.sub('', sentence)))


def test_every_macro_is_made_and_every_made_one_is_used():
    assert set(MACRO.findall(TEXT)) == set(NUMBERS)
    asked = re.findall(r'\\input\{tables/(\w+)\}', TEXT)
    assert sorted(asked) == sorted(paper_specs(ARTICLE, 'tables'))
    assert sorted(re.findall(r'figures/(\w+)\}', TEXT)) == sorted(ARTICLE_FIGURES)
    listed = re.findall(r'@\w+\{(\w+),', (ARTICLE / 'refs.bib').read_text())
    cited = [key for keys in re.findall(r'\\cite[tp]\{([^}]+)\}', TEXT) for key in keys.split(',')]
    assert set(cited) == set(listed) and len(listed) == len(set(listed))


def test_no_number_stands_as_digits():
    assert typed(r'a gain of 3.9\,pp in CIFAR-10, 95\,\% intervals') == ['3.9']
    assert typed(TEXT) == []


def test_nothing_is_stale_and_rebuilding_gives_the_same_text():
    assert stale_texts(ARTICLE) == [], 'make paper'
    texts = paper_texts(ARTICLE)
    assert texts == paper_texts(ARTICLE)
    for name, text in texts.items(): assert not PLACEHOLDER.search(text) and '?' not in text, name
    cells = [cell.strip(' \\') for name, text in texts.items() if name.startswith('tables/')
             for line in text.splitlines() if '&' in line for cell in line.split('&')]
    assert {'', '?', '-', 'none', 'nan'} & {cell.lower() for cell in cells} == set()
    assert not PLACEHOLDER.search(TEXT)


def test_each_number_stands_under_its_source():
    lines = (ARTICLE / 'numbers.tex').read_text().splitlines()[1:]
    assert len(lines) == 2 * len(NUMBERS)
    assert all(re.match(r'% \w+\.csv: ', line) for line in lines[::2])
    assert all(line.startswith(r'\newcommand{') for line in lines[1::2])


def test_a_changed_result_makes_the_article_stale_and_a_lost_one_is_an_error(tmp_path):
    shutil.copytree(ROOT / 'docs' / 'results', tmp_path / 'docs' / 'results')
    file = tmp_path / 'docs' / 'results' / 'near_duplicates.csv'
    text = file.read_text()
    file.write_text(text.replace('8.07,7.38', '8.08,7.38'))
    assert stale_texts(ARTICLE, tmp_path) == ['numbers.tex']
    file.write_text(text.replace('leak rate,', 'leaks,'))
    with pytest.raises(LookupError, match='near_duplicates.csv has no row'): stale_texts(ARTICLE, tmp_path)


def test_no_sentence_is_stronger_than_its_interval():
    assert is_too_strong(r'Changing labels gives \RelabelTenPasses points.')
    assert is_too_strong(r'A second run shows that it is better, \TransferPeople.')
    assert not is_too_strong(r'Changing labels gives \RelabelTenPasses, inconclusive.')
    assert [sentence for sentence in sentences(TEXT) if is_too_strong(sentence)] == []
    assert is_contrary(r'The repair gives \TrashnetRepair points.')
    assert is_contrary(r'It harms, \ClothingRepair.')
    assert not is_contrary(r'The repair loses, \TrashnetRepair.')
    assert [sentence for sentence in sentences(TEXT) if is_contrary(sentence)] == []


def test_a_claim_has_the_words_of_its_verdict():
    claims = {name: spec for name, spec in NUMBERS.items() if spec['as'] == 'claim'}
    first = dict(superior='a gain', inferior='a loss', equivalent='no difference',
                 inconclusive='an inconclusive')
    ways = {name: outcome(source_row(spec), spec) for name, spec in claims.items()}
    assert set(ways.values()) == set(first)
    assert all(number(claims[name]).startswith(first[way]) for name, way in ways.items())


def test_without_an_article_one_line_says_so(capsys):
    assert main(['nowhere']) == 2
    assert capsys.readouterr().err == 'paper: nowhere holds no numbers.yaml\n'


@pytest.fixture(scope='module')
def article(tmp_path_factory):
    """The article, made from what is written by hand and from docs/results alone."""
    folder = tmp_path_factory.mktemp('fresh') / 'article'
    folder.mkdir()
    for name in ('paper.tex', 'refs.bib', 'numbers.yaml', 'captions.lua'): shutil.copy(ARTICLE / name, folder)
    write_paper(folder)
    return folder


def test_made_from_nothing_it_is_what_is_kept(article):
    made = sorted(path.relative_to(article) for path in article.rglob('*.tex') if path.name != 'paper.tex')
    kept = [ARTICLE / 'numbers.tex', *ARTICLE.glob('tables/*.tex')]
    assert made == sorted(path.relative_to(ARTICLE) for path in kept)
    assert [name for name in made if (article / name).read_bytes() != (ARTICLE / name).read_bytes()] == []
    figures = {path.name for path in article.glob('figures/*')}
    assert figures == {f'{stem}.{form}' for stem in ARTICLE_FIGURES for form in ('pdf', 'png')}


def test_without_tex_one_line_says_what_to_install(article, monkeypatch, capsys):
    monkeypatch.setenv('PATH', '')
    assert compile_pdf(article) is None
    told = capsys.readouterr().out
    assert 'latexmk and pdflatex and kpsewhich not found (apt packages: latexmk texlive-' in told
    assert told.count('\n') == 1


def test_the_page_has_every_number_and_reference(article):
    pytest.importorskip('pypandoc', reason='no pandoc here')
    page = write_html(article).read_text()
    assert '93.0' in page and 'SelfClean' in page and not re.search(r'\\[A-Z][a-z]+|\[\?\]', page)
    prose = re.sub(r'<[^>]+>', ' ', re.sub(r'<(script|style).*?</\1>|data:[^"]*', '', page, flags=re.S))
    assert len(prose) > 20_000 and not PLACEHOLDER.search(prose)


def test_a_style_file_that_tex_lacks_is_named(tmp_path, monkeypatch, capsys):
    for name in ('latexmk', 'pdflatex', 'kpsewhich'):
        (tmp_path / name).write_text('#!/bin/sh\necho /usr/share/tex/amsmath.sty\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    (tmp_path / 'paper.tex').write_text(r'\usepackage{amsmath}\usepackage[round]{natbib}')
    assert compile_pdf(tmp_path) is None
    assert 'no PDF: natbib.sty not found' in capsys.readouterr().out


@pytest.mark.skipif(bool(missing_tex(ARTICLE)), reason='no TeX here, or not all of it')
def test_the_article_builds(article):
    assert compile_pdf(article).read_bytes().startswith(b'%PDF')
    assert 'undefined' not in (article / 'paper.log').read_text(errors='replace').lower().replace('\n', ' ')
    (article / 'numbers.tex').write_text('')
    with pytest.raises(RuntimeError, match='Undefined control sequence'):
        compile_pdf(article)
