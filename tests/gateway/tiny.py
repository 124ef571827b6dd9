"""A tiny contract that compiles, to be broken in one place at a time."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from gateway.contract.model import Contract
from gateway.contract.protoc import PROTOS
from gateway.generate import read_contract

_WHOLE = """\
syntax = "proto3";

package commerce.tiny.v1;

import "commerce/policy/v1/policy.proto";
import "google/api/annotations.proto";

// Things.
service TinyService {
  // Reads a thing.
  rpc GetThing(GetThingRequest) returns (Thing) {
    option idempotency_level = NO_SIDE_EFFECTS;
    option (google.api.http) = {get: "/v1/things/{thing_id}"};
    option (commerce.policy.v1.policy) = {
      scoped: {
        any_of: ["users.read"]
        any_owner: "users.read_any"
      }
      deadline: {seconds: 2}
      rate_limit: {
        requests: 5
        per: {seconds: 1}
      }
      cache: {
        private: true
        etag: true
      }
      max_request_bytes: 1024
      edge: EDGE_EXPOSURE_EXPOSED
      max_attempts: 3
    };
  }
}

message GetThingRequest {
  string thing_id = 1;
}

message Thing {
  string thing_id = 1;
  string etag = 2;
}
"""


@dataclass(frozen=True)
class Tiny:
    """The tiny contract in a folder of its own."""

    protos: Path

    @classmethod
    def write(cls, folder: Path, *changes: tuple[str, str]) -> "Tiny":
        """Write it with some of its text changed."""
        protos = folder / "protos"
        shutil.copytree(PROTOS / "commerce" / "policy", protos / "commerce" / "policy")
        role = protos / "commerce" / "user" / "v1" / "role.proto"
        role.parent.mkdir(parents=True)
        shutil.copyfile(PROTOS / "commerce" / "user" / "v1" / "role.proto", role)
        tiny = cls(protos)
        tiny.file.parent.mkdir(parents=True)
        text = _WHOLE
        for old, new in changes:
            assert old in text, old
            text = text.replace(old, new)
        tiny.file.write_text(text)
        return tiny

    @property
    def file(self) -> Path:
        return self.protos / "commerce" / "tiny" / "v1" / "tiny.proto"

    def contract(self) -> Contract:
        return read_contract(self.protos)

    def line_of(self, text: str) -> int:
        """Return the number of the first line that holds a text."""
        lines = self.file.read_text().splitlines()
        return next(number for number, line in enumerate(lines, 1) if text in line)
