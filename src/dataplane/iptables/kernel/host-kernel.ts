/**
 * The kernel of this host, whichever iptables variant it uses: both are looked at with every read, so a host that moves from one to the
 * other is followed, and what we left in the other one is found.
 */
import { type Backend, BACKENDS, FAMILIES, type Family } from '../../../core/vocabulary.ts';
import type { Unread } from '../../dataplane.ts';
import type { ObservedFamily, ObservedState, OtherTable, OtherVariant, Step } from '../plan/plan.ts';
import type { ChosenBackend, Listings } from './backend.ts';
import type { RunCommand } from '../../../host/command.ts';
import type { LinuxKernelOptions } from './linux-kernel.ts';
import type { Listing, ReadTableNames } from './list-rules.ts';

import { FORWARD_CHAIN, INPUT_CHAIN } from '../rules/names.ts';
import { isHookLine } from '../plan/hooks.ts';
import { savedRules } from '../plan/read-saved.ts';
import { setsOfChains } from '../plan/set-usage.ts';
import { HOOKS } from '../rules/ruleset.ts';
import { chooseBackend } from './backend.ts';
import { type Kernel, KernelUnreadable } from './kernel.ts';
import { applyStep, readSets, toolName } from './linux-kernel.ts';
import { OTHER_TABLES, listLegacyRules, listOtherTables, listRules } from './list-rules.ts';
import { runSliced } from '../../../core/run-sliced.ts';

const OTHER_VARIANT = {
  'iptables-nft': 'iptables-legacy',
  'iptables-legacy': 'iptables-nft',
} as const satisfies Record<Backend, Backend>;

interface HostKernelOptions extends Pick<LinuxKernelOptions, 'run' | 'lockWaitSeconds' | 'onCommand'> {
  readonly choice: Backend | 'auto';
  /** Reads; `run` may be tuned for writes. */
  readonly read: RunCommand;
  readonly readTableNames: ReadTableNames;
  readonly hasIpv6: () => Promise<boolean>;
  /** The variant to write to was chosen, or is another one from now on. */
  readonly onBackend: (chosen: ChosenBackend, before: Backend | undefined) => void;
}

export interface HostKernel extends Kernel {
  /** What could not be found out about the variants at the last read; absent: nothing. */
  readonly doubt: string | undefined;
  /**
   * Chooses the variant; resolves to the chains of ours that stamp flows, by family. Rejects with KernelUnreadable or CommandFailed while
   * nothing can be read, and may be called again.
   */
  open(): Promise<Readonly<Partial<Record<Family, ObservedFamily>>>>;
}

/** Until `open` has resolved it knows neither variant nor families, and is not to be asked. */
export function createHostKernel(options: HostKernelOptions): HostKernel {
  return new VariantKernel(options);
}

class VariantKernel implements HostKernel {
  readonly #options: HostKernelOptions;
  /** Families where our rules must be found: we wrote them. */
  readonly #written = new Set<Family>();
  #backend: Backend | undefined;
  #families: readonly Family[] = [];
  #doubt: string | undefined;
  /** No other table holds rules of ours. */
  #isAlone = false;
  /** A look at them that is under way. */
  #elsewhere: Promise<readonly OtherTable[]> | undefined;

  constructor(options: HostKernelOptions) {
    this.#options = options;
  }

  get backend(): Backend {
    return this.#backend ?? 'iptables-nft';
  }

  get families(): readonly Family[] {
    return this.#families;
  }

  get doubt(): string | undefined {
    return this.#doubt;
  }

  async open(): Promise<Readonly<Partial<Record<Family, ObservedFamily>>>> {
    const { read } = this.#options;
    const [listings] = await Promise.all([this.survey(), read({ argv: ['ipset', '--version'], timeoutMs: 10_000 })]);
    // While nobody waits for it: most hosts hold nothing there, and are not asked again.
    this.#elsewhere = this.#lookElsewhere();
    const own = listings[this.backend];
    const stamping = this.#families.map(
      async (family) => [family, await observedFamily(stampingLines(own[family]))] as const,
    );
    return Object.fromEntries(await Promise.all(stamping));
  }

  /** Both variants as they are, and which of them is ours from now on. */
  async survey(): Promise<Listings> {
    const listings = await this.#list();
    const { choice } = this.#options;
    const found =
      choice === 'auto' ? chooseBackend(listings, this.#backend) : { backend: choice, why: 'set by --backend' };
    if (!found) throw new KernelUnreadable(reasons(listings['iptables-nft'], listings['iptables-legacy']));
    const before = this.#backend;
    if (before !== found.backend) {
      this.#written.clear();
      this.#backend = found.backend;
      this.#options.onBackend(found, before);
    }
    const own = listings[found.backend];
    this.#families = FAMILIES.filter((family) => own[family].kind === 'read' || own[family].kind === 'empty');
    if (this.#families.length === 0) throw new KernelUnreadable(reasons(own));
    this.#doubt = doubtOf(found, listings);
    return listings;
  }

  async #list(): Promise<Listings> {
    const { read, readTableNames, choice } = this.#options;
    const legacyInUse = (this.#backend ?? choice) === 'iptables-legacy';
    const nftOf = (family: Family): Promise<Listing> => listRules(read, 'iptables-nft', family);
    const legacyOf = (family: Family): Promise<Listing> =>
      legacyInUse ? listRules(read, 'iptables-legacy', family) : listLegacyRules(read, readTableNames, family);
    const [nft4, nft6, legacy4, legacy6] = await Promise.all([nftOf(4), nftOf(6), legacyOf(4), legacyOf(6)]);
    return { 'iptables-nft': { 4: nft4, 6: nft6 }, 'iptables-legacy': { 4: legacy4, 6: legacy6 } };
  }

  /** A listing that lacks what we wrote is asked for twice, and so is one whose rules speak of sets that are not there. */
  async readBack(): Promise<ObservedState> {
    const first = await this.#observeOnce();
    if (first.doubt === undefined) return first.state;
    const second = await this.#observeOnce();
    if (second.doubt !== undefined && second.isImpossible) throw new KernelUnreadable(second.doubt);
    return second.state;
  }

  async #observeOnce(): Promise<{ state: ObservedState; doubt: string | undefined; isImpossible: boolean }> {
    const [listings, sets, otherTables] = await Promise.all([
      this.survey(),
      readSets(this.#options),
      this.#otherTables(),
    ]);
    const families: Partial<Record<Family, ObservedFamily>> = {};
    for (const family of this.#families) families[family] = await observedFamily(listings[this.backend][family]);
    const other = await this.#otherVariant(listings);
    const unread = await this.#unread(listings);
    const state = {
      families,
      sets,
      variant: this.backend,
      ...(other ? { other } : {}),
      ...(otherTables.length > 0 ? { otherTables } : {}),
      ...(unread.length > 0 ? { unread } : {}),
    };
    const without = [...Object.values(families), ...Object.values(other?.families ?? {})].flatMap(({ chains }) =>
      [...setsOfChains(chains).keys()].filter((name) => !sets.has(name)),
    );
    if (without.length > 0) {
      const doubt = `ipset save does not list set ${without[0]}, which a rule in the kernel refers to`;
      return { state, doubt, isImpossible: true };
    }
    const lost = this.#families.filter((family) => this.#written.has(family) && families[family]!.chains.size === 0);
    return { state, doubt: lost.length > 0 ? 'all our chains are gone' : undefined, isImpossible: false };
  }

  async #otherVariant(listings: Listings): Promise<OtherVariant | undefined> {
    const variant = OTHER_VARIANT[this.backend];
    const families: Partial<Record<Family, ObservedFamily>> = {};
    for (const family of FAMILIES) {
      const observed = await observedFamily(listings[variant][family]);
      if (hasOurs(observed)) families[family] = observed;
    }
    return Object.keys(families).length > 0 ? { variant, families } : undefined;
  }

  /** Other versions of this program may have been here before it was started; while it runs, none. */
  async #otherTables(): Promise<readonly OtherTable[]> {
    await this.#elsewhere;
    return this.#isAlone ? [] : this.#lookElsewhere();
  }

  async #lookElsewhere(): Promise<readonly OtherTable[]> {
    const { read, readTableNames } = this.#options;
    const found: OtherTable[] = [];
    const places = BACKENDS.flatMap((variant) => FAMILIES.map((family) => ({ variant, family })));
    const listed = await Promise.all(
      places.map(async (place) => ({
        ...place,
        text: await listOtherTables(read, readTableNames, place.variant, place.family),
      })),
    );
    const isAnswered = listed.every(({ text }) => text !== undefined);
    for (const { variant, family, text } of listed) {
      if (!text?.includes('PCL-')) continue;
      for (const table of OTHER_TABLES) {
        const rules = await runSliced(savedRules(text, table));
        if (hasOurs(rules)) found.push({ variant, family, table, rules });
      }
    }
    this.#isAlone = isAnswered && found.length === 0;
    return found;
  }

  async #unread(listings: Listings): Promise<readonly Unread[]> {
    const unread: Unread[] = [];
    for (const family of FAMILIES) {
      const listing = listings[this.backend][family];
      if (listing.kind === 'read' || listing.kind === 'empty') continue;
      if (family === 6 && !(await this.#options.hasIpv6())) continue;
      const tool = toolName(this.backend, family, 'save');
      unread.push({ family, tool, isKnown: listing.kind === 'absent', why: listing.why });
    }
    return unread;
  }

  async apply(step: Step): Promise<readonly string[]> {
    const busy = await applyStep({ ...this.#options, backend: this.backend }, step);
    if (step.kind === 'rules') {
      const texts = step.lines.map(({ text }) => text);
      if (texts.includes(`-X ${FORWARD_CHAIN}`)) this.#written.delete(step.family);
      else if (texts.some((text) => text.startsWith(`:${FORWARD_CHAIN} `))) this.#written.add(step.family);
    }
    return busy;
  }
}

const NOTHING: ObservedFamily = { chains: new Map(), hooks: { FORWARD: [], INPUT: [] } };

async function observedFamily(listing: Listing): Promise<ObservedFamily> {
  return listing.kind === 'read' ? runSliced(savedRules(listing.text)) : NOTHING;
}

const STAMPING_LINES = new RegExp(`^(?::|-A )(?:${FORWARD_CHAIN}|${INPUT_CHAIN}) .*$`, 'gm');

/** Of a table that may be long. */
function stampingLines(listing: Listing): Listing {
  if (listing.kind !== 'read') return listing;
  return { kind: 'read', text: `*mangle\n${listing.text.match(STAMPING_LINES)?.join('\n') ?? ''}\nCOMMIT\n` };
}

function hasOurs({ chains, hooks, elsewhere }: ObservedFamily): boolean {
  return chains.size > 0 || elsewhere !== undefined || HOOKS.some((hook) => hooks[hook].some(isHookLine));
}

function reasons(...variants: readonly Readonly<Record<Family, Listing>>[]): string {
  const all = variants.flatMap((families) => [families[4], families[6]]);
  return [...new Set(all.flatMap((listing) => ('why' in listing ? [listing.why] : [])))].join('; ');
}

function doubtOf({ backend, doubt }: ChosenBackend, listings: Listings): string | undefined {
  if (doubt !== undefined) return `not known which iptables variant this host uses, writing to ${backend}: ${doubt}`;
  const variant = OTHER_VARIANT[backend];
  const unknown = FAMILIES.map((family) => listings[variant][family]).find(({ kind }) => kind === 'unknown');
  if (!unknown || !('why' in unknown)) return undefined;
  return `not known whether ${variant} holds rules of ours as well, which would deny what they denied: ${unknown.why}`;
}
