"""The jobs of one ingress replica: their store, their service, and the tasks that work on them."""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Mapping
from typing import Self

from serve_app.config.jobs import JobsConfig
from serve_app.errors import ConfigError, ServeAppError
from serve_app.gateway.limits import Limits
from serve_app.gateway.service import GenerationService
from serve_app.jobs.acceptance import Acceptance
from serve_app.jobs.addresses import Addresses
from serve_app.jobs.announcements import Announcer
from serve_app.jobs.attempt import Means
from serve_app.jobs.database import JobStoreUnreachable
from serve_app.jobs.delivery import DeliveryLoop
from serve_app.jobs.errors import JobStoreUnavailable, ResultsUnavailable
from serve_app.jobs.housekeeping import Housekeeping
from serve_app.jobs.links import Links
from serve_app.jobs.observer import JobObserver
from serve_app.jobs.result_stores import PreparedStore, open_results
from serve_app.jobs.service import JobService
from serve_app.jobs.store import JobStore
from serve_app.jobs.stores import check_nodes, open_store, store_address
from serve_app.jobs.upload import UPLOAD_S
from serve_app.jobs.worker import Worker

logger = logging.getLogger(__name__)

REOPEN_S = 15.0  # between two attempts to open the stores
OFF = "This service keeps no jobs: its operator has set jobs.enabled to false."
UNSHARED = (
    "This service keeps no jobs: it runs on several nodes, and its operator has named no postgresql:// "
    "store in jobs.store and no s3:// bucket in jobs.results."
)


class JobRuntime:
    """Everything about jobs that lives as long as an ingress replica.

    is_named: whether an operator named the store, whose faults that cannot heal stop the start.
    """

    def __init__(
        self,
        config: JobsConfig,
        store: JobStore,
        results: PreparedStore,
        observer: JobObserver,
        is_named: bool = True,
    ) -> None:
        self._config = config
        self._store = store
        self._results = results
        self._observer = observer
        self._is_named = is_named
        self._links = Links(config)
        webhooks = config.webhooks
        self._addresses = Addresses(webhooks.allow_private_addresses, webhooks.timeout_s)
        self._worker: Worker | None = None

    @classmethod
    def of(
        cls,
        config: JobsConfig,
        observer: JobObserver,
        environment: Mapping[str, str] = os.environ,
        node_count: int = 1,
    ) -> Self | str:
        """Choose the stores, or say why there are no jobs.

        node_count: nodes on which ingress replicas may run. Raises ConfigError.
        """
        if not config.enabled:
            return OFF
        shared = check_nodes(config, node_count, environment)
        results = open_results(config, environment, node_count) if shared else None
        if results is None:
            return UNSHARED
        is_named = store_address(config, environment).named
        return cls(config, open_store(config, environment), results, observer, is_named)

    def service(self, generation: GenerationService, limits: Limits) -> JobService:
        """Build the service that routes stand on, and the worker behind it."""
        uploads = Addresses(self._config.webhooks.allow_private_addresses, UPLOAD_S)
        means = Means(generation, self._results, uploads)
        worker = Worker(self._store, means, Announcer(self._links), self._observer, self._config)
        self._worker = worker
        acceptance = Acceptance(generation, limits, self._addresses, self._config)
        return JobService(self._store, self._results, acceptance, self._links, worker.added)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Open the store and work meanwhile; then return unfinished jobs to the queue.

        Stores that cannot be used are tried again meanwhile, and calls of the service tell why.
        Raises ConfigError for a named store whose fault cannot heal.
        """
        is_open = await self._open()
        working = asyncio.create_task(self._work() if is_open else self._work_once_open())
        try:
            yield
        finally:
            working.cancel()
            await asyncio.wait({working})
            await self._store.close()

    async def _open(self) -> bool:
        """Open the stores; return whether they can be used. Raises ConfigError as `running`."""
        try:
            await self._store.open()
            await self._links.open(self._store)
            await asyncio.to_thread(self._results.prepare)
        except (ConfigError, JobStoreUnavailable, ResultsUnavailable) as error:
            logger.critical("Jobs cannot be kept: %s", error.message)
            await self._store.close(_reason(error))
            if self._is_named and not _may_heal(error):
                raise
            return False
        return True

    async def _work_once_open(self) -> None:
        """Try to open the stores every REOPEN_S seconds, then work."""
        opened = False
        while not opened:
            await asyncio.sleep(REOPEN_S)
            try:
                opened = await self._open()
            except ConfigError:  # logged
                continue
            except Exception:
                logger.exception("The stores of jobs cannot be opened, and are tried again")
        logger.info("Jobs are kept again")
        await self._work()

    async def _work(self) -> None:
        announcer = Announcer(self._links)
        housekeeping = Housekeeping(
            self._store, self._results, announcer, self._observer, self._config
        )
        timeout_s = self._config.webhooks.timeout_s
        sending = DeliveryLoop(self._store, self._addresses, timeout_s, self._observer.delivered)
        async with asyncio.TaskGroup() as group:
            group.create_task(housekeeping.run())
            group.create_task(sending.run())
            group.create_task(self._links.follow(self._store))
            if self._worker is not None:
                group.create_task(self._worker.run())


def _may_heal(error: ServeAppError) -> bool:
    """Whether the fault may pass while the configuration stays as it is."""
    return isinstance(error, JobStoreUnreachable) or not isinstance(error, ConfigError)


def _reason(error: ServeAppError) -> ServeAppError:
    """Tell callers why there are no jobs for now, without paths and addresses."""
    again = f"The service keeps no jobs until then, and tries again every {REOPEN_S:g} seconds."
    if isinstance(error, ResultsUnavailable):
        return ResultsUnavailable(f"{error.message} {again}", REOPEN_S)
    if isinstance(error, JobStoreUnavailable):
        return JobStoreUnavailable(f"{error.message} {again}", REOPEN_S)
    fault = "reached" if isinstance(error, JobStoreUnreachable) else "used"
    return JobStoreUnavailable(
        f"The database of jobs cannot be {fault}; the log says why. {again}", REOPEN_S
    )
