"""Which set trains best: the template runs on three small sets; the study and its small twin are sound."""
import numpy as np
import pytest
from PIL import Image

from dq_workbook.app.smoke import SMALL, small_run, smoke_grid
from dq_workbook.app.grid import expand_grid, read_grid
from dq_workbook.app.sweep import plan_runs, sweep
from dq_workbook.core.project import project_root
from dq_workbook.core.runs import run_settings, template_parameters
from dq_workbook.core.tables import read_table
from dq_workbook.stats.families import BASELINES


@pytest.fixture
def three_sets(tmp_path):
    """Three folders of two classes, one brighter than the other."""
    rng = np.random.default_rng(0)
    for name in ('ash', 'birch', 'cedar'):
        for label, light in (('dim', .4), ('lit', 1)):
            (tmp_path / name / label).mkdir(parents=True)
            for n in range(12):
                picture = (rng.integers(0, 256, (8, 8, 3)) * light).astype('uint8')
                Image.fromarray(picture).save(tmp_path / name / label / f'{name}{n}.png')
    return [str(tmp_path / name) for name in ('ash', 'birch', 'cedar')]


def test_every_set_is_a_source_for_the_others(three_sets, tmp_path, monkeypatch):
    monkeypatch.setenv('DQ_HOME', str(tmp_path / 'home'))
    run = dict(name='tiny', template='sources', datasets=three_sets, limit=16, target_limit=16, test_limit=4,
               model='test_byobnet', budget='smoke', seeds=2, jobs=1)
    done = sweep(dict(study='sources', runs=[run])).iloc[0]
    assert done.status == 'done', done.headline
    tables = project_root() / done.folder / 'tables'
    cells = read_table(tables / 'matrix.parquet')
    pairs = set(zip(cells.source, cells.target))
    assert len(pairs) == 9 and not any(source == target for source, target in pairs) # three from nothing
    effects = read_table(tables / 'sources.parquet').set_index('source')
    assert set(effects.index) == {'ash', 'birch', 'cedar', 'nothing'}
    assert abs(effects['diff'].drop('nothing').sum()) < 1e-9 and (effects.low < effects.high).all()


def test_the_study_says_beforehand_what_it_compares():
    text = (project_root() / 'nbs' / 'sweeps' / 'study.yaml').read_text()
    for word in ('Contrasts', 'Families', 'Margin', 'n.', 'Stopping'): assert f'# {word}' in text
    runs = expand_grid(read_grid('study'))
    assert {run['template'] for run in runs} >= {
        'audit', 'experiment', 'dose', 'leakage', 'contamination', 'transfer', 'sources'}
    for run in (run for run in runs if run['template'] == 'experiment'):
        settings = run_settings(run)
        assert settings['primary'] in settings['recipes'], run['name']
        assert settings['baseline'] == BASELINES[0], run['name']
        assert settings['margin'] == 0.005 and settings['seeds'] >= 6, run['name']


def test_every_piece_of_a_study_has_a_small_twin():
    small, whole = plan_runs(smoke_grid('study')), plan_runs('study')
    assert [run['name'] for run in small] == [run['name'] for run in whole]
    for one, all_of_it in zip(small, whole):
        known = template_parameters(one['template'])
        assert all(one['parameters'][name] == SMALL[name] for name in SMALL if name in known), one['name']
        same = {'dataset', 'labels', 'model', 'recipes', 'causes', 'primary'} & set(all_of_it['parameters'])
        assert all(one['parameters'][name] == all_of_it['parameters'][name] for name in same), one['name']
    gone = dict(name='a', template='dose', parameters=dict(dataset='digits', doses={'blurry': [0.1, 0.4]}))
    assert small_run(gone)['doses'] == {'blurry': [0.4]}
