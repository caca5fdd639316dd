"""What do the defects of an image data set cost the models trained on it, and does repairing them pay?

    import dq_workbook as dq

    images = dq.load('digits')                         # or a path, or hf://owner/name
    findings = dq.audit(images)                        # duplicates, leaks, wrong labels, poor pictures
    curated, ledger = dq.curate(images, findings, 'curated')
    control = dq.random_control(images, ledger, seed=0)
    predictions = dq.fit(curated, budget='smoke')      # under the frozen protocol
    effects = dq.compare(dq.score(predictions))        # of several arms and seeds: paired differences
    table = dq.sweep('default')                        # a grid of executed notebooks

Each call is loaded when it is first used; `help(dq.audit)` says what each argument means.
"""
import importlib

# tells the dependencies to send nothing, before anything imports them
from .core import project as _project # noqa: F401

__version__ = '0.2.0'

_CALLS = dict(
    load='sets.load', cards='sets.catalogue', select='sets.catalogue',
    plant='faults.plant', audit='audits.auditors', detection='audits.detection',
    curate='repairs.recipes', apply='repairs.recipes', undo='repairs.folder_copy',
    random_control='repairs.controls',
    groups='repairs.groups', resplit='repairs.resplit', guard='repairs.guard', fingerprint='repairs.guard',
    decontaminate='repairs.decontaminate', inflation='evaluation.leakage',
    fit='training.fit', score='evaluation.slices',
    compare='stats.contrasts', equivalent='stats.equivalence', mde='stats.power',
    review='reports.review', build_release='app.release', push_release='app.push', sweep='app.sweep')

__all__ = list(_CALLS)


def __getattr__(name):
    if name not in _CALLS: raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from .core.docs import explained
    call = explained(getattr(importlib.import_module(f'.{_CALLS[name]}', __name__), name))
    globals()[name] = call
    return call


def __dir__(): return sorted([*globals(), *__all__])
