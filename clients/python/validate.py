"""The rules' own descriptors, which the stubs need: of `buf.validate` if it is installed, or else our copy.

Two of them in one process would be two files of one name, which protobuf refuses. It lies beside the stubs,
as `commerce._validate`: inside of the package, whose follower needs the stubs, whoever imports a stub first
would go round in a circle.
"""

try:
    from buf.validate import validate_pb2
except ImportError:
    from commerce._buf_validate import validate_pb2  # type: ignore[import-not-found, no-redef]

__all__ = ["validate_pb2"]
