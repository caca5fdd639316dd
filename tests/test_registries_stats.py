"""Every statistical test keeps the contract that `compare` relies on, whoever added it."""
import numpy as np
import pandas as pd
import pytest

from dq_workbook.core.tables import TABLES
from dq_workbook.stats.contrasts import compare
from dq_workbook.stats.tests import TESTS

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
