"""All private imports of Flower that a site's programs need.

Flower moves them between minor versions; a test imports this file, and checks the names that are
replaced in these modules.
"""

from flwr.common.constant import Status
from flwr.common.serde import (
    context_from_proto,
    fab_from_proto,
    message_from_proto,
    run_from_proto,
)
from flwr.proto.fleet_pb2 import DeactivateNodeRequest
from flwr.proto.message_pb2 import ObjectTree
from flwr.supercore.cli.flower_superexec import flower_superexec
from flwr.supercore.exit.exit_handler import trigger_exit_handlers
from flwr.supercore.fab import Fab
from flwr.supercore.inflatable.inflatable_object import is_valid_sha256_hash
from flwr.supercore.inflatable.inflatable_utils import (
    ObjectUnavailableError,
    pull_and_inflate_object_from_tree,
    pull_objects,
)
from flwr.supercore.interceptors.http.runtime_version import RuntimeVersionHttpInterceptor
from flwr.supercore.run import Run, RunNotRunningException
from flwr.supercore.superexec import run_superexec as executor_loop
from flwr.supercore.superexec.executor.types import ExecutionSpec, LaunchResult
from flwr.supernode import fleet_http_connection as node_connection
from flwr.supernode import start_client_internal as node_loop
from flwr.supernode.cli.flower_supernode import flower_supernode
from flwr.supernode.fleet_http_client import FleetHttpClient
from flwr.supernode.node_auth_http_interceptor import NodeAuthHttpInterceptor
from flwr.supernode.runtime import run_clientapp as task_process

__all__ = ["DeactivateNodeRequest", "ExecutionSpec", "Fab", "FleetHttpClient", "LaunchResult",
           "NodeAuthHttpInterceptor", "ObjectTree", "ObjectUnavailableError", "Run",
           "RunNotRunningException", "RuntimeVersionHttpInterceptor", "Status", "context_from_proto",
           "executor_loop", "fab_from_proto", "flower_superexec", "flower_supernode",
           "is_valid_sha256_hash", "message_from_proto", "node_connection", "node_loop",
           "pull_and_inflate_object_from_tree", "pull_objects", "run_from_proto", "task_process",
           "trigger_exit_handlers"]
