/** The kernel as a sync of nftables sees it. */
import type { Known, Table } from '../table/table.ts';
import type { Command } from '../table/write-table.ts';

export interface NftKernel {
  /**
   * Undefined: the table is not there. Chains and sets that are as they are `known` are those objects. Rejects with `NftFailed`.
   */
  read(known?: Known): Promise<Table | undefined>;
  /**
   * Whether the table is, for certain, what the last `read` gave and the writes since then made of it. Absent: that is never known. Never
   * rejects.
   */
  isAsLeft?(): Promise<boolean>;
  /** One transaction. Rejects with `NftFailed`: of `refused`, nothing was done; else that is not known. */
  write(commands: readonly Command[]): Promise<void>;
}

export class NftFailed extends Error {
  readonly reason: 'refused' | 'unavailable';
  /** The chain or set whose command the kernel refused, as far as that is told. */
  readonly object: string | undefined;

  constructor(message: string, reason: NftFailed['reason'], object?: string) {
    super(message);
    this.name = 'NftFailed';
    this.reason = reason;
    this.object = object;
  }
}
