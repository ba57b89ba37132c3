/**
 * What the kernel tells of a transaction of nf_tables, or `xtables-monitor --event` prints of it -> which of our chains it touched. Keeps flags
 * only.
 */
import type { Family } from '../../../core/vocabulary.ts';

import { PREFIX, isOurChain } from '../../chain-names.ts';
import { commitFilter } from '../../commit-filter.ts';
import { type CommitMessage, FAMILY_NUMBERS, MESSAGE_TYPES, readCommitMessages } from '../../commit-messages.ts';
import { HOOKS } from '../rules/ruleset.ts';

/** Nobody jumps to it: what the kernel can do is tried out in it, for a moment. */
const PROBE_CHAIN = `${PREFIX}-PROBE`;

const BUILT_IN: ReadonlySet<string> = new Set([...HOOKS, 'PREROUTING', 'OUTPUT', 'POSTROUTING']);

/**
 * `hooks`: rules of FORWARD or INPUT in table mangle, nothing else of ours. `chains`: a chain of ours, or the whole table.
 */
type Touched = 'hooks' | 'chains';

/** One commit of somebody to nf_tables, as far as it concerns us. */
export interface NetfilterChange {
  readonly family: Family;
  readonly touched: Touched;
  /** The name of the process, cut to 15 characters by the kernel. */
  readonly program: string;
}

const TABLE = 'mangle';

/** Of what the kernel tells, as much as there is to read. */
export function filterOf(family: Family): Uint8Array {
  return commitFilter(TABLE, [familyNumber(family)]);
}

function familyNumber(family: Family): number {
  return FAMILY_NUMBERS[family === 6 ? 'ip6' : 'ip'];
}

/** Collects events of one family until the line that ends their transaction. Memory: a flag, whatever the transaction's size. */
export class ChangeReader {
  readonly #family: Family;
  #touched: Touched | undefined;
  /** This kernel tells which objects are new. */
  #tellsNew = false;
  #heard: number | undefined;

  constructor(family: Family) {
    this.#family = family;
  }

  /** The generation of the last commit that was told of, by anybody; before the first one, the one there was when that was asked. */
  get heard(): number | undefined {
    return this.#heard;
  }

  /**
   * The transactions that end in these messages, as far as they concern us. What is told to `asker`, a port, is the answer to a question:
   * `onAnswer` gets the generation there is.
   */
  messages(bytes: Uint8Array, asker?: number, onAnswer?: (generation: number) => void): readonly NetfilterChange[] {
    const ended: NetfilterChange[] = [];
    const onMessage = (message: CommitMessage): void => {
      switch (message.kind) {
        case 'changed':
          this.#tellsNew ||= message.isNew;
          this.#touch(touchedBy(message, this.#family, this.#tellsNew));
          break;
        case 'unreadable':
          this.#touch('chains');
          break;
        case 'committed':
          // It may come in the middle of a transaction.
          if (message.port === asker) {
            this.#heard ??= message.generation;
            onAnswer?.(message.generation);
            return;
          }
          this.#heard = message.generation;
          ended.push(...this.#end(message.program));
      }
    };
    readCommitMessages(bytes, onMessage, () => this.#touched === 'chains');
    return ended;
  }

  /** The transaction that a line of `xtables-monitor` ends, if anything of it concerns us. */
  line(line: string): NetfilterChange | undefined {
    const end = /^NEWGEN:.* NAME=(.*)$/.exec(line);
    if (end) return this.#end(end[1]!.trim())[0];
    const event = readEvent(line);
    if (event?.family === this.#family) this.#touch(event.touched);
    return undefined;
  }

  #touch(touched: Touched | undefined): void {
    if (this.#touched !== 'chains') this.#touched = touched ?? this.#touched;
  }

  /** None, or one. */
  #end(program: string): readonly NetfilterChange[] {
    const touched = this.#touched;
    this.#touched = undefined;
    return touched ? [{ family: this.#family, touched, program }] : [];
  }
}

type Changed = CommitMessage & { readonly kind: 'changed' };

function touchedBy(message: Changed, family: Family, tellsNew: boolean): Touched | undefined {
  const { type, table, chain } = message;
  if (table !== TABLE || message.family !== familyNumber(family)) return undefined;
  const isOurs = isOurChain(chain) && chain !== PROBE_CHAIN;
  const isHook = HOOKS.some((hook) => hook === chain);
  switch (type) {
    case MESSAGE_TYPES.newRule:
    case MESSAGE_TYPES.deleteRule:
      return isHook ? 'hooks' : isOurs ? 'chains' : undefined;
    // A hook is made, and its policy set, by any program that asks for the table. A chain that was renamed is told of by its new name.
    case MESSAGE_TYPES.newChain:
      return isOurs || (tellsNew && !message.isNew && !BUILT_IN.has(chain)) ? 'chains' : undefined;
    case MESSAGE_TYPES.deleteChain:
      return isOurs || isHook ? 'chains' : undefined;
    case MESSAGE_TYPES.deleteTable:
      return 'chains';
    default:
      return undefined;
  }
}

/**
 * ` EVENT: -4 -t mangle -A FORWARD -j ACCEPT`, since iptables 1.8.11 ` EVENT: iptables -t mangle -A FORWARD -j ACCEPT`;
 * ` EVENT: nft: DEL table: table mangle ip flags 0 use 0 handle 1`. A rule no iptables could have made ends behind its chain.
 */
function readEvent(line: string): { readonly family: Family; readonly touched: Touched } | undefined {
  const rule = /^ ?EVENT: (?:-|ip)?(4|6|tables|6tables) -t mangle -([A-Z]) (\S+)/.exec(line);
  if (rule) {
    const [, family, verb, chain = ''] = rule;
    const isHook = HOOKS.some((hook) => hook === chain);
    if (!isHook && (!isOurChain(chain) || chain === PROBE_CHAIN)) return undefined;
    return { family: family?.startsWith('6') ? 6 : 4, touched: isHook && verb !== 'X' ? 'hooks' : 'chains' };
  }
  const gone = /^ ?EVENT: (?:# )?nft: DEL (?:table: table mangle (ip6?) |chain: (ip6?) mangle (\S+))/.exec(line);
  if (!gone) return undefined;
  const [, ofTable, ofChain, chain = ''] = gone;
  if (ofTable === undefined && !isOurChain(chain) && !HOOKS.some((hook) => hook === chain)) return undefined;
  return { family: (ofTable ?? ofChain) === 'ip6' ? 6 : 4, touched: 'chains' };
}
