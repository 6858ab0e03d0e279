"""The manifests against Kubernetes' schemas, against one another, and against compose.yaml."""

import re
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from devstack.compose_secrets import secret_files
from devstack.make_secrets import fill
from gateway.config import GatewayConfig
from penstock.wire.names import CALLBACKS_QUEUE
from topology.layout import load

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
RELEASES = ("1.27", "1.37")
"""The oldest that knows every field, and the newest that the schemas are there of."""
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: list[dict[str, Any]] = [
    manifest
    for name in KUSTOMIZATION["resources"]
    for manifest in yaml.safe_load_all((FOLDER / name).read_text())
]
KEDA: list[dict[str, Any]] = list(
    yaml.safe_load_all((ROOT / "deploy" / "keda" / "scaled-objects.yaml").read_text())
)
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
SERVERS = {"rabbitmq": {5672, 15672}, "redis": {6379}, "mongo": {27017}}


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in MANIFESTS if one["kind"] == kind}


DEPLOYMENTS = of_kind("Deployment")


def pod(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = DEPLOYMENTS[name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> dict[str, Any]:
    [one] = pod(name)["containers"]
    return dict(one)


def environment(name: str) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container(name)["env"]}


def selected(selector: dict[str, Any]) -> set[str]:
    """Return the deployments whose pods a selector matches."""

    def matches(labels: dict[str, str]) -> bool:
        if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
            return False
        return all(
            (labels.get(one["key"]) in one["values"]) == (one["operator"] == "In")
            for one in selector.get("matchExpressions", [])
        )

    return {
        name
        for name, one in DEPLOYMENTS.items()
        if matches(one["spec"]["template"]["metadata"]["labels"])
    }


@pytest.mark.parametrize("release", RELEASES)
def test_every_manifest_fits_the_strict_schema_of_its_kind(release: str):
    for manifest in MANIFESTS:
        kubernetes_validate.validate(manifest, release, strict=True)


def test_every_file_of_the_folder_is_applied():
    assert {*KUSTOMIZATION["resources"], "kustomization.yaml"} == {
        path.name for path in FOLDER.iterdir()
    }
    images = {container(name)["image"] for name in DEPLOYMENTS}
    assert images == {one["name"] for one in KUSTOMIZATION["images"]}
    assert {one.removeprefix("penstock-") for one in images} == {
        path.suffix[1:] for path in ROOT.glob("Dockerfile.*")
    }


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_has_probes_resources_a_budget_and_no_rights(name: str):
    spec, one = pod(name), container(name)
    budgets = [
        budget
        for budget in of_kind("PodDisruptionBudget").values()
        if selected(budget["spec"]["selector"]) == {name}
    ]

    assert selected(DEPLOYMENTS[name]["spec"]["selector"]) == {name}
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= one.keys()
    assert {"cpu", "memory"} <= one["resources"]["requests"].keys()
    assert "memory" in one["resources"]["limits"]
    assert len(budgets) == 1
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    assert spec["securityContext"]["runAsNonRoot"]


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_secrets_are_files_which_make_secrets_writes_and_the_pod_mounts(name: str):
    variables = {n: v for n, v in environment(name).items() if n.endswith("_FILE")}
    [secrets] = [one["secret"] for one in pod(name)["volumes"] if "secret" in one]
    mounted = {item["path"]: item["key"] for item in secrets["items"]}

    assert {f"/run/secrets/{path}" for path in mounted} == {*variables.values()}
    assert {*mounted.values()} <= secret_files(fill({}, {})).keys()
    assert {"name": "secrets", "mountPath": "/run/secrets", "readOnly": True} in (
        container(name)["volumeMounts"]
    )


def by_default(text: str) -> str:
    """Return what compose makes of it where nothing is set."""
    return re.sub(r"\$\{\w+:-(\w+)\}", r"\1", text)


def test_each_process_of_compose_has_its_deployment_with_the_same_command_and_settings():
    ours = {
        name: service
        for name, service in COMPOSE.items()
        if service.get("image", "").startswith("penstock-") and name not in {"mongo-user", "flower"}
    }

    assert ours.keys() == DEPLOYMENTS.keys()
    for name, service in ours.items():
        command = by_default(service.get("command", ""))
        assert container(name).get("command", []) == shlex.split(command), name
        settings = {n: by_default(str(v)) for n, v in service["environment"].items()}
        assert settings.items() <= environment(name).items(), name
        assert container(name)["image"] == service["image"]


def test_a_pod_is_given_longer_than_its_process_takes_to_drain():
    own = environment("gateway")
    config = GatewayConfig.from_env({"GATEWAY_HOST": "127.0.0.1"} | {
        name: value for name, value in own.items() if name.startswith("DRAIN_")
    })  # fmt: skip

    drained_s = config.drain_notice_s + config.drain_timeout_s
    assert config.drain_notice_s >= 5
    assert pod("gateway")["terminationGracePeriodSeconds"] >= drained_s + 5
    assert DEPLOYMENTS["gateway"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    for name, service in COMPOSE.items():
        if name in DEPLOYMENTS and "stop_grace_period" in service:
            least = int(service["stop_grace_period"].removesuffix("s"))
            assert pod(name)["terminationGracePeriodSeconds"] >= least, name


def test_services_and_addresses_lead_to_ports_that_are_open():
    for name, service in of_kind("Service").items():
        [target] = selected({"matchLabels": service["spec"]["selector"]})
        assert target == name.removesuffix("-living")
        assert {one["targetPort"] for one in service["spec"]["ports"]} <= {
            one["name"] for one in container(target)["ports"]
        }
    _, _, port = environment("gateway")["HISTORY_URL"].rpartition(":")
    [served] = of_kind("Service")["history"]["spec"]["ports"]
    assert served["port"] == int(port)
    used = {name for name in DEPLOYMENTS for one in container(name).get("envFrom", [])
            if one["configMapRef"]["name"] in of_kind("ConfigMap")}  # fmt: skip
    assert used == DEPLOYMENTS.keys()


def test_policies_let_each_process_reach_what_it_has_an_address_of_and_nothing_else():
    reached: dict[str, set[tuple[str, int]]] = {name: set() for name in DEPLOYMENTS}
    for policy in of_kind("NetworkPolicy").values():
        for name in selected(policy["spec"]["podSelector"]):
            for rule in policy["spec"].get("egress", []):
                labels = rule["to"][0].get("podSelector", {}).get("matchLabels", {})
                reached[name] |= {
                    (one, port["port"]) for one in labels.values() for port in rule["ports"]
                }
    denied = of_kind("NetworkPolicy")["nothing"]["spec"]

    assert selected(denied["podSelector"]) == DEPLOYMENTS.keys()
    assert (denied["policyTypes"], "ingress" in denied) == (["Ingress", "Egress"], False)
    for name in DEPLOYMENTS:
        wanted = {
            address
            for variable, address in {
                "AMQP_URL_FILE": ("rabbitmq", 5672), "REDIS_URL_FILE": ("redis", 6379),
                "MONGO_URL_FILE": ("mongo", 27017), "HISTORY_URL": ("history", 8090),
                "RABBITMQ_MANAGEMENT_URL_FILE": ("rabbitmq", 15672),
            }.items()
            if variable in environment(name)
        }  # fmt: skip
        assert reached[name] == wanted, name


def test_a_scaled_object_asks_for_the_queues_that_its_workers_consume():
    [login] = [one for one in KEDA if one["kind"] == "TriggerAuthentication"]
    asked = []
    for one in KEDA:
        if one is login:
            continue
        spec = one["spec"]
        queues = []
        for trigger in spec["triggers"]:
            of = re.fullmatch(
                r"http://gateway\.penstock\.svc/v1/scaling/(\w+)\?target_s=\d+",
                trigger["metadata"].pop("url"),
            )
            assert of
            queues.append(of[1])
            assert trigger["type"] == "metrics-api"
            assert trigger["metadata"] == {
                "valueLocation": "wanted", "targetValue": "1", "authMode": "bearer",
            }  # fmt: skip
            assert trigger["authenticationRef"]["name"] == login["metadata"]["name"]
        target = spec["scaleTargetRef"]["name"]
        assert one["metadata"] == {"name": target, "namespace": KUSTOMIZATION["namespace"]}
        assert f"--queues={','.join(queues)}" in container(target)["command"]
        assert "replicas" not in DEPLOYMENTS[target]["spec"]
        assert spec["minReplicaCount"] == 1
        asked += queues

    assert sorted([*asked, CALLBACKS_QUEUE]) == sorted(load().queues)
