"""Same seed, same predictions: in processes that share nothing, and after a sweep was killed."""
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from datasets import DatasetDict

import dq_workbook as dq
from dq_workbook.app.index import write_index
from dq_workbook.core.runs import finished_record
from dq_workbook.core.tables import read_table
from dq_workbook.evaluation.metrics import METRICS
from dq_workbook.stats.contrasts import LOWER_IS_BETTER
from dq_workbook.training import fit as fit_room
from dq_workbook.training.models import DEFAULT_MODEL
from dq_workbook.training.protocol import BF16, BUDGETS, FP32, frozen_protocol
from dq_workbook.training.transfer import PRETRAINING_METHODS, TRANSFER_MODES, pretrain, transfer

ROOT = Path(__file__).parent.parent
FIT = '''
import hashlib
import dq_workbook as dq
predictions = dq.fit(dq.load("digits"), budget="smoke", seed={seed})
print(hashlib.sha256(predictions.to_csv(float_format="%.17g").encode()).hexdigest())
'''


def run_python(script, **environment):
    variables = {**os.environ, 'PYTHONPATH': str(ROOT), **environment}
    return subprocess.Popen([sys.executable, '-c', script], cwd=ROOT, env=variables, start_new_session=True,
                            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def digest_of_a_fit(seed, **environment):
    process = run_python(FIT.format(seed=seed), **environment)
    printed, _ = process.communicate()
    assert process.returncode == 0
    return printed.split()[-1]


def test_the_same_seed_in_two_processes_gives_identical_predictions():
    first = digest_of_a_fit(3, PYTHONHASHSEED='1')
    assert first == digest_of_a_fit(3, PYTHONHASHSEED='2', OMP_NUM_THREADS='1')
    assert first != digest_of_a_fit(4)


def digests(files):
    sha = lambda file: hashlib.sha256(file.read_bytes()).hexdigest()
    return {file.name: (file.stat().st_mtime_ns, sha(file)) for file in files}


def kill_all(process):
    """Kill a process with its workers and kernels, and wait until none of them can write."""
    if process.poll() is not None: return
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    for member in family:
        with suppress(psutil.NoSuchProcess): member.kill()
    psutil.wait_procs(family, timeout=60)


@contextmanager
def begun(tmp_path, *runs):
    """A sweep whose first run has finished a fit: process, grid, folder, and a function that lists fits."""
    grid, folder = tmp_path/'grid.yaml', ROOT/'runs'/f'test-kill-{os.getpid()}'
    common = ('{dataset: digits, budget: smoke, seeds: 4, recipes: [relabel], corrupted: 0, limit: 300, '
              'tool: open, peak_lr: 0.006}')
    grid.write_text(f'study: {folder.name}\ncommon: {common}\nruns: [{", ".join(runs)}]\n')
    fits = lambda: list(folder.glob('k-*/fits/*.predictions.parquet'))
    process = run_python(f'import dq_workbook as dq; dq.sweep({str(grid)!r})')
    try:
        end = time.time() + 300
        while not fits() and time.time() < end: time.sleep(0.05)
        yield process, str(grid), folder, fits
    finally:
        kill_all(process)
        shutil.rmtree(folder, ignore_errors=True)
        write_index()


def test_a_killed_sweep_goes_on_where_it_stopped_and_ends_the_same(tmp_path):
    with begun(tmp_path, '{name: k}') as (process, grid, folder, fits):
        kill_all(process)
        kept = digests(fits())
        assert 0 < len(kept) < 8, 'the kill came too late or too early'
        assert not any(finished_record(run) for run in folder.glob('k-*'))
        assert dq.sweep(grid).status.tolist() == ['done']
        now = digests(fits())
        assert len(now) == 8 and kept.items() <= now.items(), 'a finished fit was made again'
        run = next(folder.glob('k-*'))
        whole = read_table(run/'tables'/'predictions.parquet')
        shutil.rmtree(run)
        assert dq.sweep(grid).status.tolist() == ['done']
        assert whole.equals(read_table(run/'tables'/'predictions.parquet'))


def test_nothing_goes_on_when_the_sweep_alone_is_killed(tmp_path):
    with begun(tmp_path, '{name: k}', '{name: l, seed: 1}') as (process, _, folder, _):
        ours = {'spawn_main', 'ipykernel_launcher'} # joblib's processes end by themselves when idle
        family = psutil.Process(process.pid).children(recursive=True)
        workers = [p for p in family if ours & set(re.findall(r'\w+', ' '.join(p.cmdline())))]
        assert len(workers) == 2, 'a worker and its kernel'
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(workers, timeout=60)
        assert not alive, alive
        assert not list(folder.glob('l-*'))
        for child in family: # a fit that was going on would write its folder again
            with suppress(psutil.NoSuchProcess): child.kill()
        psutil.wait_procs(family, timeout=60)


def test_two_arms_differ_in_their_data_alone(monkeypatch):
    seen = []

    class Watched(fit_room.Classifier):
        def on_train_start(self):
            weights = b''.join(value.cpu().numpy().tobytes() for value in self.model.state_dict().values())
            seen.append(dict(protocol=self.protocol, weights=hashlib.sha256(weights).hexdigest(),
                             augmentation=self.generator.initial_seed(), precision=self.trainer.precision))

        def on_train_end(self):
            optimizer = self.optimizers().optimizer
            rates = [group['initial_lr'] for group in optimizer.param_groups]
            seen[-1].update(steps=self.trainer.global_step, rates=rates, optimizer=repr(optimizer))

    monkeypatch.setattr(fit_room, 'Classifier', Watched)
    digits = dq.load('digits')
    half = DatasetDict({**digits, 'train': digits['train'].select(range(500))})
    arms = dict(raw=digits, curated=digits, half=half)
    tables = [dq.fit(images, budget='smoke', seed=5, arm=arm) for arm, images in arms.items()]
    raw, same, less = (table.drop(columns='arm') for table in tables)
    assert seen[0] == seen[1] == seen[2] and seen[0]['steps'] == BUDGETS['smoke']['steps']
    assert raw.equals(same) and not raw.equals(less)


@pytest.mark.parametrize('budget', BUDGETS)
def test_a_budget_is_a_whole_protocol(budget):
    settings, protocol = BUDGETS[budget], frozen_protocol(budget, DEFAULT_MODEL, 32)
    assert list(settings) == list(BUDGETS['smoke']), 'every budget has the same settings'
    assert all(value > 0 for value in settings.values())
    assert all(isinstance(settings[name], int) for name in ('steps', 'batch', 'size'))
    assert settings['size'] % 32 == 0
    assert 0 <= settings['warmup'] <= 1 and 0 <= settings['shift'] <= 1
    assert settings.items() <= protocol.items() and protocol['precision'] in (BF16, FP32)


def test_a_larger_budget_takes_more_steps():
    smoke, small, medium, full = (BUDGETS[budget]['steps'] for budget in ('smoke', 'small', 'medium', 'full'))
    assert smoke < small < medium < full


def test_an_unknown_budget_method_or_mode_is_answered_with_the_near_ones():
    digits = dq.load('digits')
    with pytest.raises(ValueError, match="did you mean 'smoke'?"): dq.fit(digits, budget='smok')
    with pytest.raises(ValueError, match="did you mean 'rotation'?"): pretrain(digits, 32, method='rotate')
    with pytest.raises(ValueError, match="did you mean 'finetune'?"): transfer(None, digits, 32, 'fine-tune')


@pytest.fixture(scope='module')
def few_digits():
    digits = dq.load('digits')
    return DatasetDict(train=digits['train'].select(range(200)), test=digits['test'].select(range(50)))


@pytest.mark.parametrize('method', PRETRAINING_METHODS)
def test_a_pretraining_method_gives_a_backbone_that_every_mode_can_use(method, few_digits):
    backbone = pretrain(few_digits, 32, budget='smoke', method=method)
    for mode in TRANSFER_MODES:
        predictions = transfer(backbone, few_digits, 32, mode, budget='smoke', dataset='digits', arm='raw')
        assert predictions.id.tolist() == few_digits['test']['id'][:]
        assert predictions.model.unique() == [f'{DEFAULT_MODEL}, {mode}']
        assert (predictions.label == predictions.predicted).mean() > 0.2, 'chance is one tenth'


def test_every_metric_has_its_row_and_its_direction(few_digits):
    predictions = dq.fit(few_digits, budget='smoke', dataset='digits')
    groups = pd.Series('everybody', index=predictions.id)
    scores = dq.score(predictions, groups=groups)
    named = scores[~scores.metric.str.startswith('accuracy:')]
    assert set(named.metric) == set(METRICS) and np.isfinite(scores.value).all()
    assert set(LOWER_IS_BETTER) <= {*METRICS, 'mce'}
    right, mistaken = (dq.score(predictions.assign(label=(predictions.predicted + shift) % 10), groups=groups)
                       .set_index('metric').value for shift in (0, 1))
    for metric in METRICS:
        assert (mistaken[metric] > right[metric]) == (metric in LOWER_IS_BETTER), metric
        assert mistaken[metric] != right[metric], metric


def test_inflation_is_measured_on_plain_test_images(few_digits):
    predictions = dq.fit(few_digits, budget='smoke', dataset='digits')
    leaked = few_digits['test']['id'][:10]
    foggy = predictions.assign(id=predictions.id + '@fog_3', predicted=-1)
    table = dq.inflation(pd.concat([predictions, foggy], ignore_index=True), leaked)
    assert table.equals(dq.inflation(predictions, leaked)) and table.n_leaked.tolist() == [10]
