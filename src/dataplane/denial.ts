/** What a data plane says of a packet that its rules logged. Types and their values only. */
import type { Direction } from '../core/vocabulary.ts';
import type { PolicyRef } from '../policy/model.ts';

/** `would-deny`: let through in audit mode. `live-flow-cut`: of a connection that was let through before a change revoked that. */
export const DENIAL_VERDICTS = ['denied', 'would-deny', 'live-flow-cut'] as const;
export type DenialVerdict = (typeof DENIAL_VERDICTS)[number];

export interface Denial {
  readonly verdict: DenialVerdict;
  /** Whose policies judged it: its source's (egress) or its destination's; absent: none did, a pod's rules were not in the kernel yet. */
  readonly direction?: Direction;
  /** An answer: source and destination of the packet are the flow's destination and source. */
  readonly isReply: boolean;
  /** Those whose rules it met, as far as these are still known. */
  readonly policies?: readonly PolicyRef[];
  /** One of several audited policies of the pod, that would deny it by itself, whatever the others say. */
  readonly alone?: PolicyRef;
}
