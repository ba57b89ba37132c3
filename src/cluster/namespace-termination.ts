/**
 * S-78: policies that are deleted because their namespace is being deleted stay in force for the pods of that namespace that still live.
 *
 *   namespace:  active ──── terminating ───────────────── gone            a pod may live until here, and be heard of longer
 *   policy:          deleted: ends    deleted: stays in force until  ──── the namespace is gone and so are its pods
 *
 * Namespaces, policies and pods come on streams of their own, in any order. A policy that was deleted before its namespace is known to
 * end counts as deleted, and comes back if it turns out to have gone with it: by the versions of both changes where both were heard
 * as events (they come from one counter of the server's), else if it was not long ago. In doubt a policy stays: the namespace ends soon.
 */
import type { Namespace, Pod } from '../policy/model.ts';

import { Groups } from '../core/groups.ts';
import { isEligible } from '../policy/address-owners.ts';
import type { StoredPolicy } from './stored-policy.ts';
import type { Retention, StoreChange } from './store.ts';
import { isOlderVersion } from './relist.ts';

/** How long a deletion may be heard before its cause. */
const REMEMBERED_MS = 60_000;
/** Of deleted policies, in case their namespace turns out to end. */
const MAX_REMEMBERED_BYTES = 4 * 1024 * 1024;

/** What the policies' store must be able to do. */
interface PolicyRecords {
  readonly records: ReadonlyMap<string, StoredPolicy>;
  /** Puts a record back that was deleted. */
  restore(key: string, record: StoredPolicy, nowMs: number): void;
  /** Ends what outlived its deletion. */
  end(keys: Iterable<string>, nowMs: number): void;
}

interface NamespaceTerminationOptions {
  readonly namespaces: () => ReadonlyMap<string, Namespace>;
  readonly pods: () => ReadonlyMap<string, Pod>;
  readonly policies: () => PolicyRecords;
  /** Namespaces were listed: one that is not known is gone. */
  readonly isListed: () => boolean;
}

interface Deleted {
  readonly key: string;
  readonly record: StoredPolicy;
  readonly version: string | undefined;
  readonly atMs: number;
}

export class NamespaceTermination implements Retention<StoredPolicy> {
  readonly #options: NamespaceTerminationOptions;
  /** Version of the change with which a namespace began to end; undefined: not heard as an event. */
  readonly #ending = new Map<string, string | undefined>();
  /** By namespace, keys of policies that outlived their deletion. */
  readonly #retained = new Groups<string, string>();
  /** Deleted not long ago, oldest first. */
  #deleted: Deleted[] = [];
  #deletedBytes = 0;

  constructor(options: NamespaceTerminationOptions) {
    this.#options = options;
  }

  retains(key: string, record: StoredPolicy, version: string | undefined, nowMs: number): boolean {
    const { namespace } = record;
    if (this.#retained.get(namespace)?.has(key)) return true;
    if (!this.#endsWith(namespace, version)) {
      this.#remember({ key, record, version, atMs: nowMs });
      return false;
    }
    this.#retained.add(namespace, key);
    return true;
  }

  exists(key: string): void {
    this.#retained.remove(namespaceOf(key), key);
  }

  /** A namespace came, changed or went. */
  namespaceChanged({ key: name, before, after, version, arrivedAtMs }: StoreChange): void {
    const [was, is] = [before, after] as [Namespace | undefined, Namespace | undefined];
    if (is?.terminating) {
      if (was?.terminating) return;
      this.#ending.set(name, was && version);
      this.#bringBack(name, arrivedAtMs);
      return;
    }
    if (is) {
      this.#ending.delete(name);
      // One of this name that does not end is a new one: of the one before nothing is left.
      this.#end(name, arrivedAtMs);
      return;
    }
    if (this.#hasPods(name)) this.#bringBack(name, arrivedAtMs);
    else this.#end(name, arrivedAtMs);
    this.#ending.delete(name);
  }

  podChanged({ key, arrivedAtMs }: StoreChange): void {
    if (this.#retained.size === 0) return;
    const name = namespaceOf(key);
    if (!this.#retained.has(name) || this.#options.namespaces().has(name) || this.#hasPods(name)) return;
    this.#end(name, arrivedAtMs);
  }

  /** A policy deleted at `version` went with its namespace, as far as can be told. */
  #endsWith(name: string, version: string | undefined): boolean {
    const namespace = this.#options.namespaces().get(name);
    if (namespace) return namespace.terminating === true && !isBefore(version, this.#ending.get(name));
    return this.#options.isListed() && this.#hasPods(name);
  }

  #bringBack(name: string, nowMs: number): void {
    const policies = this.#options.policies();
    this.#dropOld(nowMs);
    for (const { key, record, version } of this.#deleted) {
      if (record.namespace !== name || policies.records.has(key) || isBefore(version, this.#ending.get(name))) continue;
      this.#retained.add(name, key);
      policies.restore(key, record, nowMs);
    }
    this.#deleted = this.#deleted.filter(({ record }) => record.namespace !== name);
    this.#deletedBytes = this.#deleted.reduce((sum, { record }) => sum + bytesOf(record), 0);
  }

  #end(name: string, nowMs: number): void {
    const keys = this.#retained.get(name);
    if (!keys) return;
    this.#retained.delete(name);
    this.#options.policies().end(keys, nowMs);
  }

  #hasPods(name: string): boolean {
    for (const pod of this.#options.pods().values()) if (pod.namespace === name && isEligible(pod)) return true;
    return false;
  }

  #remember(deleted: Deleted): void {
    this.#deleted.push(deleted);
    this.#deletedBytes += bytesOf(deleted.record);
    this.#dropOld(deleted.atMs);
  }

  #dropOld(nowMs: number): void {
    let drop = 0;
    for (const { record, atMs } of this.#deleted) {
      if (nowMs - atMs <= REMEMBERED_MS && this.#deletedBytes <= MAX_REMEMBERED_BYTES) break;
      this.#deletedBytes -= bytesOf(record);
      drop++;
    }
    if (drop > 0) this.#deleted = this.#deleted.slice(drop);
  }
}

function bytesOf({ recordBytes, ruleBytes, text }: StoredPolicy): number {
  return recordBytes + (text ? ruleBytes : 0);
}

/** False in doubt. */
function isBefore(version: string | undefined, other: string | undefined): boolean {
  return version !== undefined && other !== undefined && isOlderVersion(version, other);
}

function namespaceOf(key: string): string {
  return key.slice(0, key.indexOf('/'));
}
