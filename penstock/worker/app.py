"""The Celery application of this library: `Penstock` in place of `Celery`."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from celery import VERSION
from celery.exceptions import ImproperlyConfigured
from celery.utils.time import maybe_iso8601

from penstock.worker.beat.schedule import BEAT_SETTINGS
from penstock.worker.consuming import command_line
from penstock.worker.consuming.guarded import Salvage
from penstock.worker.layout import AsDeclared, Layout
from penstock.worker.policy import OURS, POLICY, weakened
from penstock.worker.tenancy import passed_on
from penstock.worker.tracked import Tracked


class Penstock(Tracked):
    """Celery, with every promise of the gateway kept for the tasks of this application.

    Everything else is as with Celery: `Penstock("proj", broker="amqp://…", backend="redis://…")`,
    `@app.task`, `@shared_task`, `app.conf`, `celery -A proj worker`.

    Args:
        main: as Celery's.
        layout: exchanges, queues and routes; None: queues that a gateway has declared.
        resources: makes, once in each process that executes tasks, what a `TaskContext` has as
            `resources`: clients, pools, folders.
        salvages: task → what reads a body of it that is no JSON, so that parts of it are executed.
        options: Celery's.

    Raises:
        ImproperlyConfigured: Celery is older than 5.5.
    """

    amqp_cls = "penstock.worker.messages.amqp:AMQP"

    def __init__(
        self,
        main: str | None = None,
        *,
        layout: Layout | None = None,
        resources: Callable[[], Any] | None = None,
        salvages: Mapping[str, Salvage] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        if VERSION[:2] < (5, 5):
            raise ImproperlyConfigured(
                "Penstock consumes quorum queues, which Celery can from 5.5: have that, or take "
                "penstock.install(app)"
            )
        self._configuration_told = False
        super().__init__(main, **options)
        self._track(
            layout or AsDeclared(), resources, salvages, {**POLICY, **BEAT_SETTINGS, **OURS}
        )
        self.add_defaults(self._laid_out())
        command_line.explain(self)

    def _laid_out(self) -> dict[str, Any]:
        """Return the settings that follow from the layout."""
        queues, router = self.layout.queues(), self.layout.router()
        settings: dict[str, Any] = {}
        if router is not None:
            settings["task_routes"] = (router,)
        if queues is not None:
            settings["task_queues"] = list(queues)
            # A name that is not in the layout is a mistake, not a new queue.
            settings["task_create_missing_queues"] = False
        return settings

    def given_up(self) -> list[str]:
        """Return what the settings of the application give up of what it promises."""
        return weakened(self.conf)

    def finalize(self, auto: bool = False) -> None:  # noqa: FBT001, FBT002  # Celery's
        """Send `on_after_configure`, once, and do what Celery does when the tasks are known.

        A module that registers its tasks reads the configuration: nothing can have connected to the
        signal before, as Celery's documentation shows for `add_periodic_task`.
        """
        if not self._configuration_told:
            self._configuration_told = True
            self.on_after_configure.send(sender=self, source=self.conf)
        super().finalize(auto=auto)

    def send_task(  # noqa: D102  # Celery's
        self,
        name: str,
        args: Any = None,
        kwargs: Any = None,
        countdown: float | None = None,
        eta: Any = None,
        **options: Any,
    ) -> Any:
        # Celery must not see the delay: with quorum queues it would send the message through its
        # own delay levels, and forget the exchange.
        if countdown:
            eta = self.now() + timedelta(seconds=countdown)
        if isinstance(eta, str):
            eta = maybe_iso8601(eta)
        if eta is not None:
            options["deliver_at"] = eta if eta.tzinfo else eta.replace(tzinfo=self.timezone)
        options["headers"] = passed_on(options.get("headers"))
        return super().send_task(name, args, kwargs, **options)
