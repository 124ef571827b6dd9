// What a call fails with, read from the details that the service sends (AIP-193).

import { Code, ConnectError } from "@connectrpc/connect";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { Code as Names } from "./generated/google/rpc/code_pb.js";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "./generated/google/rpc/error_details_pb.js";

/** One field of a request that breaks a rule; `field` is its path, such as `lines[0].quantity`. */
export interface Violation {
  readonly field: string;
  readonly description: string;
  readonly reason: string;
}

/** A call failed. */
export class CallError extends Error {
  override readonly name = "CallError";
  /** The gRPC code. */
  readonly code: Code;
  /** For people, without code and reason; may change at any time. */
  readonly text: string;
  /** The stable name of the failure, "OUT_OF_STOCK"; "" where no service said anything. */
  readonly reason: string;
  /** What a program needs to react. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The fields of the request that break a rule. */
  readonly violations: readonly Violation[];
  /** Seconds; undefined says nothing about trying again. */
  readonly retryAfter: number | undefined;
  /** Under this id the mesh's logs tell of the call; "" if it reached no service. */
  readonly requestId: string;

  constructor(error: ConnectError) {
    const [info] = error.findDetails(ErrorInfoSchema);
    const [request] = error.findDetails(RequestInfoSchema);
    const [retry] = error.findDetails(RetryInfoSchema);
    const named = [Names[error.code], info?.reason].filter(Boolean).join(" ");
    const found = request ? ` (request ${request.requestId})` : "";
    super(`${named}: ${error.rawMessage}${found}`, { cause: error });
    this.code = error.code;
    this.text = error.rawMessage;
    this.reason = info?.reason ?? "";
    this.metadata = info?.metadata ?? {};
    this.violations = error.findDetails(BadRequestSchema).flatMap((each) => each.fieldViolations);
    this.retryAfter = retry?.retryDelay && durationMs(retry.retryDelay) / 1000;
    this.requestId = request?.requestId ?? "";
  }

  /** Returns anything that a call threw as a CallError. */
  static from(thrown: unknown): CallError {
    return thrown instanceof CallError ? thrown : new CallError(ConnectError.from(thrown));
  }
}
