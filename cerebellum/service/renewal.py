"""The model of a service that runs: found at the start, and renewed when it is asked to look again.

A model that answers is given up for another intact one alone. If that model is missing or damaged,
the one in memory serves on, and the log, the health and the metrics say so.
"""

import logging
from pathlib import Path

from cerebellum import files, store
from cerebellum.errors import FailedError, UsageError, first_line
from cerebellum.service import models, served
from cerebellum.service.app import Service
from cerebellum.service.engine import Engine
from cerebellum.service.models import UNTRAINED, Model
from cerebellum.store.manifest import DamagedError

log = logging.getLogger("cerebellum.service")


def find(service: Service) -> Model:
    """The model that a start serves; the log and the metrics say what is wrong with it.

    Raises:
      FailedError: there are models, and none is intact; or the disk refused.
    """
    folder = Path(service.settings.storage.models)
    model = models.find(folder)
    _note(service, model)
    if model.problem is not None:
        log.error("%s; %s is served", model.problem, model.name)
    _record(folder, model)
    return model


def renew(service: Service) -> None:
    """Load the newest model if it is another one; it takes over once it is proven.

    While one call is at work, the next one waits, and further ones leave it to that.
    """
    engine = service.engine
    assert engine is not None
    if not service.waiting.acquire(blocking=False):
        return
    with service.renewing:
        service.waiting.release()
        problem = _renewed(service, engine)
        if problem is not None:
            engine.model_problem = problem
            name = engine.served.name
            log.error("the model was not renewed: %s; %s serves on", problem, name)


def _renewed(service: Service, engine: Engine) -> str | None:
    """Replace the model that is served if there is a better one; or why that was not possible."""
    folder, old = Path(service.settings.storage.models), engine.served
    try:
        model = models.find(folder)
    except DamagedError as error:
        damaged = {path: "" for _, path in store.steps(folder / store.FOLDER)}
        _note(service, Model(missing=True, damaged=damaged))
        return first_line(error)
    except (FailedError, UsageError, OSError) as error:
        _note(service, Model(missing=True))
        return first_line(error)
    if model.path is None and old.name != UNTRAINED:
        model = Model(problem=f"{folder}: no trained model; restore {old.name}", missing=True)
    _note(service, model)
    if model.problem is not None:
        return model.problem
    engine.model_problem = None
    if (model.name, model.version) == (old.name, old.version):
        return None
    try:
        engine.replace_by(served.load(model, service.settings))
    except Exception as error:
        return first_line(error)
    _record(folder, model)
    return None


def _record(folder: Path, model: Model) -> None:
    """Note on the disk that a trained model is served, so that it is missed if it goes."""
    if model.path is None:
        return
    try:
        models.record(folder, model.name, model.version)
    except OSError as error:
        log.error("%s: not written (%s)", folder / models.RECORD, files.reason(error))


def _note(service: Service, model: Model) -> None:
    """Let the metrics say whether a model is missing, and count the damaged ones, each once."""
    service.metrics.model_missing.set(model.missing)
    new = model.damaged.keys() - service.damaged
    service.damaged |= new
    service.metrics.damaged.inc(len(new))
