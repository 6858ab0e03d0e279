"""The parts of a running gateway, as typed keys of the aiohttp application."""

from aiohttp import web
from redis.asyncio import Redis

from gateway.batch_publisher import BatchPublisher
from gateway.batcher import GroupCommit
from gateway.canvas_submission import CanvasSubmission
from gateway.catalog import Catalog
from gateway.config import GatewayConfig
from gateway.control import Control
from gateway.dead_letters import DeadLetters
from gateway.documents import DocumentChecker
from gateway.drain import Drain
from gateway.groups import Groups
from gateway.idempotency import Idempotency
from gateway.keyring import KeyRing
from gateway.limits import Limits
from gateway.management import Management
from gateway.metrics import Metrics
from gateway.outcomes import Outcomes
from gateway.publisher import Publisher
from gateway.queue_depths import QueueDepths
from gateway.revocation import Revocation
from gateway.states import States
from gateway.submission import Submission
from gateway.task_id import TaskIds
from gateway.tickets import Tickets
from gateway.watch import Watch
from topology.model import Topology

CONFIG = web.AppKey("config", GatewayConfig)
TOPOLOGY = web.AppKey("topology", Topology)
TASK_IDS = web.AppKey("task_ids", TaskIds)
KEYRING = web.AppKey("keyring", KeyRing)
REDIS = web.AppKey("redis", Redis)
CATALOG = web.AppKey("catalog", Catalog)
DEPTHS = web.AppKey("depths", QueueDepths)
DEAD_LETTERS = web.AppKey("dead_letters", DeadLetters)
MANAGEMENT: web.AppKey[Management | None] = web.AppKey("management")
PUBLISHER = web.AppKey("publisher", Publisher)
SUBMISSION = web.AppKey("submission", Submission)
IDEMPOTENCY = web.AppKey("idempotency", Idempotency)
LIMITS = web.AppKey("limits", Limits)
METRICS = web.AppKey("metrics", Metrics)
DRAIN = web.AppKey("drain", Drain)
TICKETS = web.AppKey("tickets", Tickets)
STATES = web.AppKey("states", States)
WATCH = web.AppKey("watch", Watch)
OUTCOMES = web.AppKey("outcomes", Outcomes)
CONTROL = web.AppKey("control", Control)
REVOCATION = web.AppKey("revocation", Revocation)
BATCHES = web.AppKey("batches", BatchPublisher)
GROUP_COMMIT = web.AppKey("group_commit", GroupCommit)
CHECKER = web.AppKey("checker", DocumentChecker)
GROUPS = web.AppKey("groups", Groups)
CANVAS = web.AppKey("canvas", CanvasSubmission)
