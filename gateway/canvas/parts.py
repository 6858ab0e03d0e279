"""Composed tasks: what publishes them, and what knows their groups."""

from dataclasses import dataclass

from gateway.access.parts import Access
from gateway.canvas.canvas_submission import CanvasSubmission
from gateway.canvas.groups import Groups
from gateway.config import GatewayConfig
from gateway.redis.client import RedisClient
from gateway.states.reading import States
from gateway.submitting.submission import Submission


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvases:
    """How chains, groups and chords are submitted."""

    submission: CanvasSubmission
    groups: Groups

    @classmethod
    def make(
        cls,
        config: GatewayConfig,
        redis: RedisClient,
        states: States,
        access: Access,
        tasks: Submission,
    ) -> "Canvases":
        """Make it.

        Args:
            config: How long results are kept.
            redis: From `make_redis`.
            states: Reads states.
            access: Issues ids, and knows which tenants keep too many results.
            tasks: Checks each task.
        """
        groups = Groups(redis, states, config.result_expires_s, access.kept_results)
        submission = CanvasSubmission(tasks, access.task_ids, groups)
        return cls(submission=submission, groups=groups)
