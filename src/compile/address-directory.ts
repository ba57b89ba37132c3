/**
 * The owner of any address: a pod, a node, the ipBlocks of policies, or nothing known. Pods and nodes are kept up to date event by event
 * (S-64, S-70..S-73); so is whether an address was released by one pod and claimed by another: flows of the first must not become flows
 * of the second.
 *
 *   pod and node events --> AddressIndex, which changes --> AddressDirectory, a version of it that never does
 */
import type { MapVersion } from '../core/snapshot-map.ts';
import type { BlockDirectory, BlockMention } from './block-directory.ts';
import type { Pod } from '../policy/model.ts';

import { SnapshotMap } from '../core/snapshot-map.ts';
import { type Address, formatAddress, parseAddress } from '../net/ip.ts';
import {
  claimantsOf,
  isContested,
  isEligible,
  nodesAmong,
  ownerAmong,
  showsItsNode,
} from '../policy/address-owners.ts';
import { objectKey } from '../policy/model.ts';
import { isSameList } from '../core/compare.ts';

/** The most specific that is known of an address. */
export type AddressOwner =
  /** One pod, or several that claim the address, of which nothing tells who has it (S-73). Never empty. */
  | { readonly kind: 'pods'; readonly pods: readonly Pod[] }
  /** By name; several if pods of the host networks of several nodes show the address and nothing tells which is right. Never empty. */
  | { readonly kind: 'node'; readonly nodes: readonly string[]; readonly isLocal: boolean }
  /** Neither a pod nor a known node, but in blocks of policies. Never empty; the longest prefix first. */
  | { readonly kind: 'blocks'; readonly blocks: readonly BlockMention[] }
  | { readonly kind: 'outside' };

/**
 * Who had which address at one moment, at or after the one that the rest of the intent shows. An immutable value: later events make
 * another one. What is built when it is first asked for (blocks) follows from that value alone.
 */
export interface AddressDirectory {
  /** `namespace/name` of the pod whose address (canonical text) it is; undefined: no pod's. */
  ownerOf(address: string): string | undefined;
  /** Whether one of the addresses is a pod's that may have claimed it after the intent of that revision was made. */
  reassignedSince(addresses: ReleasedAddresses | undefined, revision: number): boolean;
  /**
   * Whether the pod that had the address when the intent of that revision was made may not have it any more: nobody has, or another pod.
   * Without a revision, only whether a pod had it and nobody has. False for an address that was never a pod's.
   */
  changedHands(address: string, revision: number | undefined): boolean;
  /**
   * By longest prefix: a pod's or node's own address, else the blocks that hold it. Any text of an address; throws if it is none. The
   * first question about blocks reads all of them: `blocks.prepare` does that in slices.
   */
  find(address: string | Address): AddressOwner;
  /** Blocks of policies that apply to pods of this node. A pod's or node's address may lie in some as well. */
  readonly blocks: BlockDirectory;
}

/** Addresses that left sets because their pods are gone; the latest first. */
export interface ReleasedAddresses {
  readonly addresses: readonly string[];
  readonly before: ReleasedAddresses | undefined;
  /** Of these and those before. */
  readonly count: number;
}

export function withReleased(
  before: ReleasedAddresses | undefined,
  addresses: readonly string[],
): ReleasedAddresses | undefined {
  return addresses.length === 0 ? before : { addresses, before, count: addresses.length + (before?.count ?? 0) };
}

/** Addresses to remember of which the pod is gone or another one now, 100 bytes or so each. Beyond that any address may be one of them. */
const MAX_REMEMBERED = 20_000;

/** One address that changed hands, or whose owner's record changed. */
export interface OwnerChange {
  readonly address: string;
  readonly from: Pod | undefined;
  readonly to: Pod | undefined;
}

/** All that is said about one address by more than a single pod. */
class Claims {
  /** Eligible; of these one is the owner, or nobody can tell. */
  readonly pods: readonly Pod[];
  readonly owner: Pod | undefined;
  /** Pods of host networks: the address is their node's. */
  readonly hosts: readonly Pod[];
  /** Nodes that list the address. */
  readonly nodes: readonly string[];

  constructor(parts: ClaimParts, owner: Pod | undefined) {
    this.pods = parts.pods;
    this.hosts = parts.hosts;
    this.nodes = parts.nodes;
    this.owner = owner;
  }
}

type ClaimParts = Pick<Claims, 'pods' | 'hosts' | 'nodes'>;

/** Nearly always one pod: then it stands alone, without an object around it. */
type Claim = Pod | Claims;

const NONE: ClaimParts = { pods: [], hosts: [], nodes: [] };

/** What a directory answers from. */
interface Version {
  readonly nodeName: string;
  readonly claims: MapVersion<Claim>;
  readonly own: ReadonlySet<string>;
  readonly reusedIn: number;
  readonly hands: Hands;
  readonly blocks: BlockDirectory;
}

/** Since when addresses are not, or no longer, of the pod that had them before. */
interface Hands {
  /** The first revision that shows it. */
  readonly changed: MapVersion<number>;
  /** Of those that are not there it is only known that nothing changed after this revision; undefined: that nothing ever did. */
  readonly othersUntil: number | undefined;
}

export class AddressIndex {
  readonly #nodeName: string;
  readonly #pods = new Map<string, Pod>();
  readonly #claims = new SnapshotMap<Claim>();
  readonly #nodes = new Map<string, readonly string[]>();
  /** Addresses of this node. Replaced, never changed. */
  #own: ReadonlySet<string> = new Set();
  #hands = new SnapshotMap<number>();
  #othersUntil: number | undefined;
  #revision: number;
  /** The first revision that shows the latest claim of a released address. Before the first one anything may have happened. */
  #reusedIn: number;
  #directory: DirectoryVersion | undefined;

  constructor(nodeName: string, firstRevision: number) {
    this.#nodeName = nodeName;
    this.#revision = firstRevision;
    this.#reusedIn = firstRevision;
  }

  /** Of the intent that shows all changes so far. */
  get revision(): number {
    return this.#revision;
  }

  /** What changes from now on shows in a later intent. */
  advance(): void {
    this.#revision++;
  }

  /** As of now; the same object while nothing changed. Costs nothing that grows with the cluster. */
  directory(blocks: BlockDirectory): AddressDirectory {
    const version: Version = {
      nodeName: this.#nodeName,
      claims: this.#claims.snapshot(),
      own: this.#own,
      reusedIn: this.#reusedIn,
      hands: { changed: this.#hands.snapshot(), othersUntil: this.#othersUntil },
      blocks,
    };
    if (!this.#directory?.isOf(version)) this.#directory = new DirectoryVersion(version);
    return this.#directory;
  }

  /** Remembers that the address changed hands. Returns whether a pod claimed an address that was another's before, or may have been. */
  noteReuse({ address, from, to }: OwnerChange): boolean {
    const isReuse = to !== undefined && (from ? !isSamePod(from, to) : this.#mayBeReleased(address));
    if (isReuse) this.#reusedIn = this.#revision;
    if (isReuse || !to) this.#remember(address);
    return isReuse;
  }

  #mayBeReleased(address: string): boolean {
    return this.#hands.get(address) !== undefined || this.#othersUntil !== undefined;
  }

  #remember(address: string): void {
    this.#hands.set(address, this.#revision);
    if (this.#hands.size <= MAX_REMEMBERED) return;
    this.#hands = new SnapshotMap();
    this.#othersUntil = this.#revision;
  }

  /** Replaces the pod's record (undefined: it is gone) and tells what that means for addresses. */
  put(key: string, pod: Pod | undefined): readonly OwnerChange[] {
    const before = this.#pods.get(key);
    if (before === pod) return [];
    if (pod) this.#pods.set(key, pod);
    else this.#pods.delete(key);
    const lost = claimedBy(before);
    const gained = claimedBy(pod);
    const changes: OwnerChange[] = [];
    for (const address of unionOf(lost, gained)) {
      const claim = this.#claims.get(address);
      const next = withPod(address, claim, key, pod && gained.includes(address) ? pod : undefined);
      this.#claims.set(address, next);
      const [from, to] = [ownerIn(claim), ownerIn(next)];
      if (from !== to && !this.#own.has(address)) changes.push({ address, from, to });
    }
    return changes;
  }

  /** The addresses of a node (undefined: it is gone). This node's are nobody else's, whatever a pod's status says. */
  node(name: string, addresses: readonly string[] | undefined): readonly OwnerChange[] {
    if (name === this.#nodeName) return this.#exclude(new Set(addresses));
    const before = this.#nodes.get(name) ?? [];
    if (addresses) this.#nodes.set(name, addresses);
    else this.#nodes.delete(name);
    for (const address of unionOf(before, addresses ?? [])) {
      const claim = this.#claims.get(address);
      this.#claims.set(address, withNode(address, claim, name, addresses?.includes(address) ?? false));
    }
    return [];
  }

  #exclude(wanted: ReadonlySet<string>): readonly OwnerChange[] {
    const before = this.#own;
    const touched = [...new Set([...before, ...wanted])].filter((each) => before.has(each) !== wanted.has(each));
    if (touched.length > 0) this.#own = wanted;
    return touched.flatMap((address) => {
      const claimant = ownerIn(this.#claims.get(address));
      if (claimant === undefined) return [];
      const isOwn = wanted.has(address);
      return [{ address, from: isOwn ? claimant : undefined, to: isOwn ? undefined : claimant }];
    });
  }

  owner(address: string): Pod | undefined {
    return this.#own.has(address) ? undefined : ownerIn(this.#claims.get(address));
  }

  /** This node's addresses that pods claim all the same. */
  *wronglyClaimed(): Iterable<readonly [string, Pod]> {
    for (const address of this.#own) for (const pod of partsOf(this.#claims.get(address)).pods) yield [address, pod];
  }
}

class DirectoryVersion implements AddressDirectory {
  readonly #version: Version;

  constructor(version: Version) {
    this.#version = version;
  }

  get blocks(): BlockDirectory {
    return this.#version.blocks;
  }

  isOf({ claims, own, reusedIn, hands, blocks }: Version): boolean {
    const mine = this.#version;
    if (mine.claims !== claims || mine.own !== own || mine.reusedIn !== reusedIn || mine.blocks !== blocks)
      return false;
    return mine.hands.changed === hands.changed && mine.hands.othersUntil === hands.othersUntil;
  }

  ownerOf(address: string): string | undefined {
    const owner = this.#owner(address);
    return owner && objectKey(owner);
  }

  reassignedSince(released: ReleasedAddresses | undefined, revision: number): boolean {
    if (this.#version.reusedIn < revision) return false;
    for (let each = released; each; each = each.before)
      if (each.addresses.some((address) => this.#owner(address) !== undefined)) return true;
    return false;
  }

  changedHands(address: string, revision: number | undefined): boolean {
    const { changed, othersUntil } = this.#version.hands;
    const since = changed.get(address) ?? othersUntil;
    if (since === undefined) return false;
    return this.#owner(address) === undefined || (revision !== undefined && since >= revision);
  }

  find(address: string | Address): AddressOwner {
    const parsed = typeof address === 'string' ? parseAddress(address) : address;
    if (parsed === undefined) throw new TypeError(`${JSON.stringify(address)} is not an IP address`);
    const text = formatAddress(parsed);
    const { nodeName, claims, own } = this.#version;
    if (own.has(text)) return { kind: 'node', nodes: [nodeName], isLocal: true };
    const claim = claims.get(text);
    const pods = claimantsOf(ownerIn(claim));
    if (pods.length > 0) return { kind: 'pods', pods };
    const nodes = nodesIn(text, claim);
    if (nodes.length > 0) return { kind: 'node', nodes, isLocal: nodes.includes(nodeName) };
    const blocks = this.blocks.at(parsed);
    return blocks.length > 0 ? { kind: 'blocks', blocks } : { kind: 'outside' };
  }

  #owner(address: string): Pod | undefined {
    return this.#version.own.has(address) ? undefined : ownerIn(this.#version.claims.get(address));
  }
}

/** The addresses that a pod's record says something about. */
function claimedBy(pod: Pod | undefined): readonly string[] {
  return pod && (isEligible(pod) || showsItsNode(pod)) ? pod.addresses : [];
}

/** Whether the record is of the same pod, or pods, as before. */
function isSamePod(from: Pod, to: Pod): boolean {
  const uids = (pod: Pod): string[] => claimantsOf(pod).map(({ uid }) => uid);
  return isSameList(uids(from), uids(to));
}

/** Usually one of them is empty, or they are the same. */
function unionOf(some: readonly string[], others: readonly string[]): readonly string[] {
  if (others.length === 0) return some;
  const added = others.filter((each) => !some.includes(each));
  return added.length === 0 ? some : [...some, ...added];
}

function ownerIn(claim: Claim | undefined): Pod | undefined {
  if (claim instanceof Claims) return claim.owner;
  return claim?.hostNetwork ? undefined : claim;
}

function nodesIn(address: string, claim: Claim | undefined): readonly string[] {
  const { hosts, nodes } = partsOf(claim);
  return nodes.length > 0 ? nodes : nodesAmong(address, hosts);
}

function partsOf(claim: Claim | undefined): ClaimParts {
  if (claim === undefined) return NONE;
  if (claim instanceof Claims) return claim;
  return claim.hostNetwork ? { ...NONE, hosts: [claim] } : { ...NONE, pods: [claim] };
}

/** With `pod` for the record that had `key`, if any. */
function withPod(address: string, claim: Claim | undefined, key: string, pod: Pod | undefined): Claim | undefined {
  const isAlone = claim === undefined || (!(claim instanceof Claims) && objectKey(claim) === key);
  if (isAlone) return pod;
  const { pods, hosts, nodes } = partsOf(claim);
  const others = (list: readonly Pod[]): readonly Pod[] => list.filter((each) => objectKey(each) !== key);
  const added = pod ? [pod] : [];
  const parts = pod?.hostNetwork
    ? { pods: others(pods), hosts: [...others(hosts), ...added], nodes }
    : { pods: [...others(pods), ...added], hosts: others(hosts), nodes };
  return claimOf(address, parts, ownerIn(claim));
}

function withNode(address: string, claim: Claim | undefined, name: string, lists: boolean): Claim | undefined {
  const { pods, hosts, nodes } = partsOf(claim);
  const others = nodes.filter((each) => each !== name);
  const parts = { pods, hosts, nodes: lists ? [...others, name].sort() : others };
  return claimOf(address, parts, ownerIn(claim));
}

/** `before`: the owner until now, which stays the same object while its claimants do. */
function claimOf(address: string, parts: ClaimParts, before: Pod | undefined): Claim | undefined {
  const { pods, hosts, nodes } = parts;
  const lone = pods[0] ?? hosts[0];
  if (nodes.length === 0 && pods.length + hosts.length <= 1) return lone;
  const owner = pods.length === 0 ? undefined : ownerAmong(address, pods);
  const isSame = isContested(owner) && isContested(before) && isSameList(before.claimants, owner.claimants);
  return new Claims(parts, isSame ? before : owner);
}
