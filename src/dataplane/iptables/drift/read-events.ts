/** What `xtables-monitor --event` prints -> which of our chains a transaction of nf_tables touched. Reads line by line, keeps flags only. */
import type { Family } from '../../../core/vocabulary.ts';

import { PREFIX, isOurChain } from '../../chain-names.ts';
import { HOOKS } from '../rules/ruleset.ts';

/** Nobody jumps to it: what the kernel can do is tried out in it, for a moment. */
const PROBE_CHAIN = `${PREFIX}-PROBE`;

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

/** Collects events of one family until the line that ends their transaction. Memory: a flag, whatever the transaction's size. */
export class ChangeReader {
  readonly #family: Family;
  #touched: Touched | undefined;

  constructor(family: Family) {
    this.#family = family;
  }

  /** The transaction that `line` ends, if anything of it concerns us. */
  line(line: string): NetfilterChange | undefined {
    const end = /^NEWGEN:.* NAME=(.*)$/.exec(line);
    if (!end) {
      const event = readEvent(line);
      if (event?.family === this.#family && this.#touched !== 'chains') this.#touched = event.touched;
      return undefined;
    }
    const touched = this.#touched;
    this.#touched = undefined;
    return touched && { family: this.#family, touched, program: end[1]!.trim() };
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
