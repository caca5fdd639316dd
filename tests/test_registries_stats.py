"""Every statistical test keeps its contract; wrong input is one line or a stated n, never nonsense."""
import numpy as np
import pandas as pd
import pytest

from dq_workbook.core.tables import TABLES
from dq_workbook.stats.contrasts import compare
from dq_workbook.stats.families import image_effects, plan_contrasts, seed_effects
from dq_workbook.stats.tests import TESTS
from dq_workbook.stats.two_way import two_way_interval

SAMPLES = dict(
    agree=[0.02, 0.01, 0.03, 0.015, 0.025, 0.022],
    mixed=[0.3, -0.1, 0.4, 0.2, 0.5, 0.1, -0.2, 0.6],
    ties=[1.0, 1.0, -1.0, 2.0, 2.0, 0.0],
    zero=[0.0, 0.0, 0.0],
    equal=[2.0, 2.0, 2.0, 2.0],
    two=[0.1, -0.3],
    many=list(np.random.default_rng(0).normal(0.2, 1, 15)))
EVERY_TEST = pytest.mark.parametrize('test', TESTS)
EVERY_SAMPLE = pytest.mark.parametrize('diffs', SAMPLES.values(), ids=SAMPLES)


@EVERY_TEST
@EVERY_SAMPLE
def test_p_is_a_probability(test, diffs): assert 0 <= TESTS[test](np.array(diffs)) <= 1


@EVERY_TEST
@EVERY_SAMPLE
def test_the_order_of_the_seeds_does_not_count(test, diffs):
    shuffled = np.random.default_rng(1).permutation(diffs)
    assert np.isclose(TESTS[test](shuffled), TESTS[test](np.array(diffs)))


@EVERY_TEST
@EVERY_SAMPLE
def test_both_directions_are_alike(test, diffs):
    assert np.isclose(TESTS[test](-np.array(diffs)), TESTS[test](np.array(diffs)))


@EVERY_TEST
@pytest.mark.parametrize('diffs', [[], [0.5]], ids=['none', 'one'])
def test_fewer_than_two_differences_have_no_p(test, diffs): assert np.isnan(TESTS[test](np.array(diffs)))


@EVERY_TEST
def test_equal_large_differences_have_a_small_p(test):
    assert TESTS[test](np.full(10, 5.0)) < 0.01
    assert TESTS[test](np.full(20, 5.0)) < 0.01


@EVERY_TEST
def test_no_difference_at_all_has_p_one(test): assert TESTS[test](np.zeros(8)) == 1


@EVERY_TEST
def test_a_list_is_as_good_as_an_array(test):
    assert TESTS[test](SAMPLES['mixed']) == TESTS[test](np.array(SAMPLES['mixed']))


def made_up_scores():
    accuracies = dict(raw=[0.80, 0.81, 0.79, 0.80, 0.82, 0.78], curated=[0.82, 0.83, 0.80, 0.83, 0.84, 0.80],
                      random=[0.79, 0.82, 0.79, 0.81, 0.81, 0.78])
    rows = [('digits', 'tiny', arm, seed, 'test', 'accuracy', value)
            for arm, values in accuracies.items() for seed, value in enumerate(values)]
    return pd.DataFrame(rows, columns=TABLES['scores'])


@EVERY_TEST
def test_compare_takes_a_test_by_name(test):
    scores = made_up_scores()
    effects = compare(scores, test=test).set_index('arm')
    arms = scores.pivot(index='seed', columns='arm', values='value')
    assert list(effects.reset_index()[TABLES['effects']]) == TABLES['effects']
    assert effects.p['curated'] == TESTS[test]((arms.curated - arms.raw).to_numpy())


def test_only_the_family_is_corrected():
    families = (['curated', 'random'], None, [])
    both, repairs, nobody = (compare(made_up_scores(), family=f).set_index('arm') for f in families)
    assert both.p_adjusted['curated'] == 2 * both.p['curated'] and set(both.family) == {'secondary'}
    assert repairs.p_adjusted.equals(repairs.p)
    assert repairs.family.to_dict() == dict(curated='secondary', random='check')
    assert nobody.p_adjusted.equals(nobody.p)
    assert both.verdict['curated'].startswith('inconclusive') and 'family of 2' in both.verdict['curated']
    assert repairs.verdict['curated'].startswith('superior')


@pytest.mark.parametrize('change, message', [
    (lambda s: s[s.seed.lt(5) | s.arm.ne('curated')], "the arm 'curated' has no seed 5"),
    (lambda s: pd.concat([s, s[6:7]]), "two values of the arm 'curated', seed 0, accuracy on test"),
    (lambda s: s.assign(value=s.value.where(s.index != 3, np.inf)), "an infinite value of the arm 'raw'"),
    (lambda s: s.drop(columns='slice'), 'lacks the column(s) slice')])
def test_scores_that_cannot_be_paired_are_one_line(change, message):
    with pytest.raises(ValueError) as caught: compare(change(made_up_scores()))
    assert message in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize('change, n, words', [
    (lambda s: s[s.seed == 0], 1, 'one seed has no interval'),
    (lambda s: s.assign(value=s.value.where(s.seed > 0)), 5, '1 seeds without a value left out'),
    (lambda s: s.assign(value=np.nan), 0, 'no seed has a value in both arms'),
    (lambda s: s[s.seed < 5], 5, 'no difference can be found with 5 seeds'),
    (lambda s: s.assign(value=0.5), 6, 'all 6 seeds alike, no spread')])
def test_too_little_is_said_and_nothing_is_claimed(change, n, words):
    row = compare(change(made_up_scores())).set_index('arm').loc['curated']
    assert row.n == n and row.verdict.startswith('inconclusive')
    assert words in row.verdict and 'nan' not in row.verdict


def made_up_predictions(n_seeds=6, n_images=40, gain=0.3):
    random, rows = np.random.default_rng(0), []
    for arm, share in dict(raw=0.5, curated=0.5 + gain, **{'random:curated': 0.5}).items():
        for seed in range(n_seeds):
            wrong = (random.random(n_images) > share).astype(int)
            rows.append(pd.DataFrame(dict(arm=arm, seed=seed, id=[f'i{k}' for k in range(n_images)], label=0,
                                          predicted=wrong)))
    return pd.concat(rows, ignore_index=True).assign(dataset='digits', model='tiny')


PLAN = plan_contrasts(['raw', 'curated', 'random:curated'], 'curated')

@pytest.mark.parametrize('change, message', [
    (lambda p: p[1:], "no prediction of image 'i0' by the arm 'raw', seed 0"),
    (lambda p: pd.concat([p, p[:1]]), "two predictions of image 'i0' by the arm 'raw', seed 0"),
    (lambda p: p[~(p.seed.eq(2) & p.arm.eq('raw'))], 'only one of them has the seed 2'),
    (lambda p: p.assign(label=p.label.where(p.index != 2)), "no label or prediction of image 'i2'")])
def test_predictions_that_cannot_be_paired_are_one_line(change, message):
    with pytest.raises(ValueError) as caught: image_effects(change(made_up_predictions()), PLAN)
    assert message in str(caught.value) and '\n' not in str(caught.value)


def test_the_primary_contrast_is_the_repair_minus_its_control_on_other_images_too():
    effects = image_effects(made_up_predictions(), PLAN, margin=0.01)
    first = effects.iloc[0]
    assert (first.arm, first.baseline, first.family) == ('curated', 'random:curated', 'primary')
    assert first.p_adjusted == first.p and first.verdict.startswith('superior')
    groups = pd.Series([k % 4 for k in range(40)], [f'i{k}' for k in range(40)])
    few = image_effects(made_up_predictions(), PLAN, groups=groups)
    assert few.covers.eq('seeds and images of these groups').all(), 'four senders are no sample of senders'
    for small in (made_up_predictions(1), made_up_predictions(6, 1)):
        assert image_effects(small, PLAN).verdict.str.startswith('inconclusive').all()


def test_groups_widen_the_interval_and_two_pictures_claim_nothing():
    random = np.random.default_rng(0)
    diffs = np.repeat(random.integers(-1, 2, 30), 10) * (random.random((8, 300)) < 0.5)
    alone, grouped = two_way_interval(diffs), two_way_interval(diffs, np.repeat(np.arange(30), 10))
    assert grouped['error'] > 2 * alone['error'] and grouped['df'] < 40 < alone['df']
    two = two_way_interval(diffs[:, :2])
    assert two['low'] <= two['diff'] <= two['high']


def test_single_corruptions_are_explored_and_their_mean_is_one_claim():
    parts = [made_up_scores().assign(slice=name) for name in ('test', 'fog_1', 'fog_2')]
    mce = made_up_scores().assign(slice='corruptions', metric='mce')
    scores = pd.concat([*parts, mce], ignore_index=True)
    effects = seed_effects(scores, plan_contrasts(['raw', 'curated', 'random'], 'curated'))
    family = effects[effects.arm == 'curated'].set_index('slice').family
    assert family.to_dict() == dict(test='primary', corruptions='secondary',
                                    fog_1='exploratory', fog_2='exploratory')
    assert effects.family[effects.arm == 'random'].eq('check').all()
