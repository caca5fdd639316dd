"""Same seed, same predictions: in processes that share nothing, and after a sweep was killed."""
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from dq_workbook import sweep
from dq_workbook.core.tables import read_table

ROOT = Path(__file__).parent.parent
FIT = '''
import hashlib
from dq_workbook.sets.load import load
from dq_workbook.training.fit import fit
predictions = fit(load("digits"), budget="smoke", seed={seed})
print(hashlib.sha256(predictions.to_csv(float_format="%.17g").encode()).hexdigest())
'''


def digest_of_a_fit(seed, **environment):
    done = subprocess.run([sys.executable, '-c', FIT.format(seed=seed)], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def test_the_same_seed_in_two_processes_gives_identical_predictions():
    first = digest_of_a_fit(3, PYTHONHASHSEED='1')
    assert first == digest_of_a_fit(3, PYTHONHASHSEED='2', OMP_NUM_THREADS='1')
    assert first != digest_of_a_fit(4)


@contextmanager
def begun(tmp_path, *runs):
    """A sweep whose first run has finished a fit: its process, grid file and folder, and a function that lists the first run's fits."""
    grid, folder = tmp_path/'grid.yaml', ROOT/'runs'/f'test-kill-{os.getpid()}'
    common = '{dataset: digits, budget: smoke, seeds: 4, recipes: [relabel], corrupted: 0, limit: 300, tool: open, peak_lr: 0.006}'
    grid.write_text(f'study: {folder.name}\ncommon: {common}\nruns: [{", ".join(runs)}]\n')
    script = f'from dq_workbook.sweep import main; raise SystemExit(main([{str(grid)!r}]))'
    fits = lambda: list(folder.glob('k-*/fits/*.predictions.parquet'))
    try:
        process = subprocess.Popen([sys.executable, '-c', script], cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.time() + 120
        while not fits() and time.time() < end: time.sleep(0.05)
        yield process, grid, folder, fits
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        sweep.index()


def test_a_killed_sweep_goes_on_where_it_stopped_and_ends_the_same(tmp_path):
    with begun(tmp_path, '{name: k}') as (process, grid, folder, fits):
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kept = {f.name: (f.stat().st_mtime_ns, hashlib.sha256(f.read_bytes()).hexdigest()) for f in fits()}
        assert 0 < len(kept) < 8, 'the kill came too late or too early'
        assert not any(sweep.finished(f) for f in folder.glob('k-*'))
        assert sweep.main([str(grid)]) == 0
        now = {f.name: (f.stat().st_mtime_ns, hashlib.sha256(f.read_bytes()).hexdigest()) for f in fits()}
        assert len(now) == 8 and kept.items() <= now.items(), 'a finished fit was made again'
        run = next(folder.glob('k-*'))
        whole = read_table(run/'tables'/'predictions.parquet')
        shutil.rmtree(run)
        assert sweep.main([str(grid)]) == 0
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
    from datasets import DatasetDict
    from dq_workbook import train
    from dq_workbook.sets.load import load
    seen = []

    class Watched(train.Classifier):
        def on_train_end(self):
            rates = [group['initial_lr'] for group in self.optimizers().param_groups]
            seen[-1].update(steps=self.trainer.global_step, rates=rates, optimizer=repr(self.optimizers().optimizer))

        def on_train_start(self):
            weights = hashlib.sha256(b''.join(v.cpu().numpy().tobytes() for v in self.model.state_dict().values())).hexdigest()
            seen.append(dict(protocol=self.protocol, weights=weights, augmentation=self.generator.initial_seed(), precision=self.trainer.precision))

    monkeypatch.setattr(train, 'Classifier', Watched)
    digits = load('digits')
    half = DatasetDict({**digits, 'train': digits['train'].select(range(500))})
    raw, named, less = (train.fit(images, budget='smoke', seed=5, arm=arm) for images, arm in ((digits, 'raw'), (digits, 'curated'), (half, 'half')))
    assert seen[0] == seen[1] == seen[2] and seen[0]['steps'] == train.BUDGETS['smoke']['steps']
    assert raw.drop(columns='arm').equals(named.drop(columns='arm')) and not raw.drop(columns='arm').equals(less.drop(columns='arm'))
