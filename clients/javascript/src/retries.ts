// Tries calls again: as often as the contract says, and within the call's own time.

import { Code, ConnectError } from "@connectrpc/connect";
import type { DescMethod } from "@bufbuild/protobuf";
import { retryPolicies, type RetryPolicy, type Throttling } from "./contract.js";
import { CallError } from "./errors.js";

/** The longest time that timers know: they take a longer one for none. */
export const LONGEST_MS = 2 ** 31 - 1;

/** How a call is bounded by its caller. */
export interface Bounds {
  readonly signal: AbortSignal | undefined;
  /** Over all attempts; undefined: any time. */
  readonly timeoutMs: number | undefined;
}

/** The retries of all calls over one transport. */
export class Retries {
  readonly #rules = new Map<string, { policy: RetryPolicy; tokens: Tokens }>();

  constructor() {
    for (const { throttling, policies } of retryPolicies()) {
      const tokens = new Tokens(throttling);
      for (const [method, policy] of policies) this.#rules.set(method, { policy, tokens });
    }
  }

  /**
   * Makes a call, and again what may be repeated.
   *
   * @param endsAt when its time is over, by `endOf`.
   * @param attempt makes it once, in the milliseconds that are left.
   * @throws CallError what the last attempt failed with.
   */
  async run<T>(
    method: DescMethod,
    bounds: Bounds,
    endsAt: number,
    attempt: (timeoutMs?: number) => Promise<T>,
  ): Promise<T> {
    const rule = this.#rules.get(`${method.parent.typeName}/${method.name}`);
    for (let tried = 1; ; tried++) {
      try {
        const answer = await attempt(bounds.timeoutMs && leftUntil(endsAt));
        rule?.tokens.giveBack();
        return answer;
      } catch (thrown) {
        const error = CallError.from(thrown);
        if (bounds.signal?.aborted || !rule?.policy.codes.has(error.code)) throw error;
        const mayRetry = rule.tokens.take();
        const pauseMs = Math.max(backoffMs(rule.policy, tried), (error.retryAfter ?? 0) * 1000);
        const isLate = performance.now() + pauseMs >= endsAt || pauseMs > LONGEST_MS;
        if (!mayRetry || isLate || tried >= rule.policy.maxAttempts) throw error;
        await pause(pauseMs, bounds.signal);
      }
    }
  }
}

/** Retries stop while a service mostly fails: together they would keep it down. */
class Tokens {
  #left: number;

  constructor(private readonly throttling: Throttling) {
    this.#left = throttling.maxTokens;
  }

  giveBack(): void {
    this.#left = Math.min(this.throttling.maxTokens, this.#left + this.throttling.tokenRatio);
  }

  /** Takes one for a failure, and tells whether the call may be tried again. */
  take(): boolean {
    this.#left = Math.max(0, this.#left - 1);
    return this.#left > this.throttling.maxTokens / 2;
  }
}

/** Returns when a call that begins now ends at the latest. */
export function endOf({ timeoutMs = Infinity }: Bounds): number {
  return performance.now() + timeoutMs;
}

/** What is left of a call's time: whole, as the wire has it, and not 0, which would be no bound. */
export function leftUntil(endsAt: number): number {
  return Math.max(1, Math.ceil(endsAt - performance.now()));
}

/** Chooses a pause below a bound that grows: callers that failed together do not come back together. */
function backoffMs(policy: RetryPolicy, tried: number): number {
  const bound = policy.initialBackoffMs * policy.backoffMultiplier ** (tried - 1);
  return Math.random() * Math.min(bound, policy.maxBackoffMs);
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new CallError(new ConnectError("the caller cancelled the call", Code.Canceled)));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
