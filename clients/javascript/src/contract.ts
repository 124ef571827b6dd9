// What the contract says to callers of a method: its deadline, and whether and how often it is tried again.

import { getOption, type DescMethod } from "@bufbuild/protobuf";
import { durationMs } from "@bufbuild/protobuf/wkt";
import { policy } from "./generated/commerce/policy/v1/policy_pb.js";
import { Code } from "./generated/google/rpc/code_pb.js";
import configs from "./generated/service_configs.js";

/** How a method is tried again, in milliseconds (gRFC A6). */
export interface RetryPolicy {
  readonly maxAttempts: number;
  readonly initialBackoffMs: number;
  readonly maxBackoffMs: number;
  readonly backoffMultiplier: number;
  /** The gRPC codes after which a call is tried again. */
  readonly codes: ReadonlySet<number>;
}

/** How many retries a service bears: none while half of the tokens are used up (gRFC A6). */
export interface Throttling {
  readonly maxTokens: number;
  readonly tokenRatio: number;
}

/** Returns how long a call may take, over all attempts; undefined for a stream, which has no such bound. */
export function deadlineMs(method: DescMethod): number | undefined {
  const { deadline } = getOption(method, policy);
  return deadline && durationMs(deadline);
}

/** Returns the policies of the methods that may be repeated, by "package.Service/Method", of each service. */
export function retryPolicies(): { throttling: Throttling; policies: Map<string, RetryPolicy> }[] {
  return configs.map((config) => ({
    throttling: config.retryThrottling,
    policies: new Map(
      config.methodConfig.flatMap(({ name, retryPolicy }) =>
        name.map(({ service, method }) => [`${service}/${method}`, policyOf(retryPolicy)] as const),
      ),
    ),
  }));
}

function policyOf(written: (typeof configs)[number]["methodConfig"][number]["retryPolicy"]): RetryPolicy {
  return {
    maxAttempts: written.maxAttempts,
    initialBackoffMs: parseFloat(written.initialBackoff) * 1000,
    maxBackoffMs: parseFloat(written.maxBackoff) * 1000,
    backoffMultiplier: written.backoffMultiplier,
    codes: new Set(written.retryableStatusCodes.map((name) => Code[name as keyof typeof Code])),
  };
}
