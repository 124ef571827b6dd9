"""Starts the user service: `serve`, and `migrate` for its database. Wiring only."""

import asyncio
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import grpc
import uvloop
from commerce.event.v1 import event_pb2_grpc
from commerce.user.v1 import auth_pb2_grpc, user_pb2_grpc

from services import telemetry
from services.cache import open_redis
from services.events import EventFeedServicer, EventLog
from services.identity import TokenVerifier
from services.postgres import migrate, open_pool
from services.rpc import serve
from services.settings import (
    DatabaseSettings,
    MigrationSettings,
    RedisSettings,
    ServerSettings,
    TelemetrySettings,
    TokenSettings,
    existing_file,
    load_or_exit,
    read_secret,
    variable,
)
