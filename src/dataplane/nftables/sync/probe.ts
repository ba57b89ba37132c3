/**
 * Whether this kernel takes all that our tables are made of, and nft prints it as we write it: tried in a table that no hook leads to, and
 * that is gone afterwards.
 */
import { versionedMap } from '../../../core/versioned-map.ts';
import { NodeCompiler } from '../../../compile/compile-node.ts';
import { FAMILIES, type Family, PROTOCOLS } from '../../../core/vocabulary.ts';
import { runSliced } from '../../../core/run-sliced.ts';
import type { NftKernel } from '../kernel/kernel.ts';
import type { Match, Rule } from '../table/rule.ts';
import type { Layout, NftSet, Table } from '../table/table.ts';

import { deniedBit } from '../../mark-bits.ts';
import { NO_LEFTOVERS, compareTables } from '../plan/compare.ts';
import { epochTable } from '../plan/epochs.ts';
import { makePlan } from '../plan/plan.ts';
import type { WholeTable } from '../plan/compare.ts';
import { EMPTY, splitTable } from '../plan/whole-table.ts';
import { NodeRenderer } from '../render/render-node.ts';
import { chainOf } from '../table/table.ts';
import { familiesOf } from '../table/families.ts';
import { TableWriter } from '../table/write-table.ts';

/** Undefined: it can. Rejects where nft does not run. `kernel`: of the table `name`, which is ours to make and to delete. */
export function probe(kernel: NftKernel, name: string, layout: Layout): Promise<string | undefined> {
  const rendered = sampleTable(layout);
  return tryOut(kernel, name, { rendered, epochs: epochsOf(rendered, layout) });
}

/** The same of what ports of bridges need besides. */
export function probeBridges(kernel: NftKernel, name: string, layout: Layout): Promise<string | undefined> {
  const rendered = sampleOfBridges(layout);
  return tryOut(kernel, name, { rendered, epochs: epochsOf(rendered, layout) });
}

/**
 * Tries what a table needs by `first`, and where that fails by `second`, whose result counts then. `otherwise`: what `first` writes is
 * printed otherwise, what `second` writes is not.
 */
export async function tryWays(
  trial: (kernel: NftKernel) => Promise<string | undefined>,
  first: NftKernel,
  second: NftKernel,
): Promise<{ readonly problem: string | undefined; readonly otherwise?: string }> {
  const found = await trial(first).catch(() => null);
  if (found === undefined) return { problem: undefined };
  const problem = await trial(second);
  return problem === undefined && found !== null ? { problem, otherwise: found } : { problem };
}

async function tryOut(kernel: NftKernel, name: string, desired: WholeTable): Promise<string | undefined> {
  const writer = new TableWriter(name);
  const { chains, sets } = desired.rendered;
  const families = familiesOf([...chains.keys(), ...sets.keys()]);
  const deletion = families.map((family) => writer.deleteTable(family));
  // Whether or not one that was killed left a table: to look for it takes two processes.
  const clean = [...families.map((family) => writer.addTable(family)), ...deletion];
  const difference = await runSliced(compareTables(desired, EMPTY, NO_LEFTOVERS));
  const before = {
    left: NO_LEFTOVERS,
    before: 'missing',
    tidies: false,
    epoch: undefined,
    isAnotherEpoch: false,
  } as const;
  const { steps } = makePlan({ desired, difference, writer, ...before });
  const commands = steps.flatMap((step) => step.commands);
  await kernel.write([...clean, ...commands]);
  const read = await kernel.read();
  await kernel.write(deletion);
  if (!read) return `the table ${name} was not there after it was written`;
  const { rendered, epochs } = splitTable(read);
  return printedOtherwise(desired.rendered, rendered) ?? printedOtherwise(desired.epochs, epochs);
}

/** At no hook. */
function epochsOf(rendered: Table, layout: Layout): Table {
  const { chains, sets } = epochTable(rendered, layout, { epoch: 1, released: new Set(FAMILIES) });
  return { chains: unhooked(chains), sets };
}

function unhooked(chains: Table['chains']): Table['chains'] {
  return versionedMap([...chains].map(([key, chain]) => [key, { ...chain, hook: '' }]));
}

function printedOtherwise(wrote: Table, read: Table): string | undefined {
  for (const [name, { lines }] of wrote.chains) {
    const found = read.chains.get(name)?.lines ?? [];
    const index = lines.findIndex((line, at) => line !== found[at]);
    if (index >= 0) return `nft prints the rule "${lines[index]}" as "${found[index] ?? ''}"`;
  }
  for (const [name, { elements }] of wrote.sets) {
    const found = read.sets.get(name)?.elements;
    for (const element of elements.keys())
      if (!found?.has(element)) return `nft does not print element ${element} of ${name}`;
  }
  return undefined;
}

/** What a node without pods has, but for the hooks; and a chain with what policies need besides. */
function sampleTable(layout: Layout): Table {
  const { chains, sets } = new NodeRenderer().render(new NodeCompiler('').intent(), layout);
  const samples = FAMILIES.flatMap(sampleSets);
  return {
    chains: versionedMap([
      ...chains,
      [
        'sample',
        chainOf(
          'sample',
          FAMILIES.flatMap((family) => sampleRules(family, layout)),
        ),
      ],
      [SAMPLE_END, chainOf(SAMPLE_END, [])],
    ]),
    sets: versionedMap([...sets, ...samples.map((set) => [set.name, set] as const)]),
  };
}

/** Those of a node whose pods are ports of a bridge. */
function sampleOfBridges(layout: Layout): Table {
  const interfaces = { pods: [], bridges: [{ name: 'br0', isOnlyPods: true }], broadcasts: ['192.0.2.255'] };
  const gated = { ...layout, newPods: { interfacePrefixes: ['veth'] } };
  const { chains, sets } = new NodeRenderer().render(new NodeCompiler('').intent(), gated, interfaces);
  const filled = [...sets].map(([key, set]): [string, NftSet] => {
    if (set.type !== 'ifname : classid') return [key, set];
    return [key, { ...set, elements: versionedMap([['"eth0"', '8000:1']]) }];
  });
  return {
    chains: unhooked(chains),
    sets: versionedMap(filled),
  };
}

/** Where rules of tiers lead to. */
const SAMPLE_END = 'sample-end';

const ADDRESSES = {
  4: ['192.0.2.1', '198.51.100.0/24', '203.0.113.1-203.0.113.5'],
  6: ['2001:db8::1', '2001:db8:1::/48', 'fd00::1-fd00::5'],
};

const BLOCKS = {
  4: ['198.51.100.0/24', '198.51.100.128/25', '192.0.2.1/32', '0.0.0.0/0'],
  6: ['2001:db8:1::/48', '2001:db8:1::/49', '2001:db8::1/128', '::/0'],
};

function sampleSets(family: Family): NftSet[] {
  const type = family === 4 ? 'ipv4_addr' : 'ipv6_addr';
  const [host = ''] = ADDRESSES[family];
  const elements = (texts: readonly string[]) => versionedMap(texts.map((text) => [text, true as const]));
  const ports = ADDRESSES[family].map((address) => `${address},6:80`);
  return [
    { name: `sample-pods${family}`, type, elements: elements([host]) },
    { name: `sample-blocks${family}`, type, isInterval: true, elements: elements(ADDRESSES[family]) },
    {
      name: `sample-ports${family}`,
      type: `${type} . inet_proto . inet_service`,
      elements: elements([`${host},132:80`]),
    },
    {
      name: `sample-ranges${family}`,
      type: `${type} . inet_proto . inet_service`,
      isInterval: true,
      elements: elements(ports),
    },
    { name: `sample-pairs${family}`, type: `${type} . ${type}`, elements: elements([`${host} . ${host}`]) },
    { name: `sample-listed${family}`, type: `ifname . ${type}`, elements: elements([`"eth0" . ${host}`]) },
  ];
}

function sampleRules(family: Family, { marks }: Layout): Rule[] {
  const end = 'source';
  const one = [{ first: 80, last: 80 }];
  const matches: Match[] = [
    { kind: 'in-set', family, end, set: `sample-pods${family}` },
    { kind: 'in-set', family, end, set: `sample-blocks${family}`, not: true },
    { kind: 'in-port-set', family, address: end, port: 'destination', set: `sample-ports${family}` },
    { kind: 'in-port-set', family, address: 'destination', port: end, set: `sample-ranges${family}` },
    { kind: 'interface-in-set', family, end, set: `sample-listed${family}` },
    { kind: 'pair-in-set', family, set: `sample-pairs${family}` },
    ...BLOCKS[family].map((cidr): Match => ({ kind: 'block', family, end, cidr })),
    ...PROTOCOLS.flatMap((protocol): Match[] => [
      { kind: 'ports', protocol, end, ranges: one },
      { kind: 'ports', protocol, end: 'destination', ranges: [{ first: 443, last: 445 }] },
      { kind: 'ports', protocol, end: 'destination', ranges: [...one, { first: 443, last: 443 }] },
      { kind: 'ports', protocol, end: 'destination', ranges: [...one, { first: 443, last: 445 }] },
      { kind: 'ports', protocol, end, ranges: [] },
    ]),
    { kind: 'interface', end, name: 'eth0', isPrefix: true },
    { kind: 'interface', end, name: 'eth0' },
    { kind: 'state', states: ['invalid'] },
    { kind: 'state', states: ['established', 'related'] },
    { kind: 'state', states: ['new'], not: true },
    { kind: 'confirmed' },
    { kind: 'reply' },
  ];
  const ports = matches.find(({ kind }) => kind === 'ports');
  const of = { kind: 'closed' } as const;
  const counts = { action: 'allow', direction: 'ingress', flow: 'new', of } as const;
  return [
    ...matches.map((match): Rule => ({ matches: [match], target: { kind: 'return' }, counts, comment: 'x/a 0' })),
    { matches: [matches[0]!], target: { kind: 'goto', chain: SAMPLE_END }, counts, comment: 'x/a 0' },
    { matches: [ports!, matches[0]!], target: { kind: 'jump', chain: SAMPLE_END } },
    ...(marks
      ? [{ matches: [], target: { kind: 'set-mark', mask: marks.mask, bits: deniedBit(marks) } } as const]
      : []),
    {
      matches: [{ kind: 'limit', perSecond: 10, burst: 20 }],
      target: { kind: 'log', group: 7, prefix: 'denied ingress sample' },
    },
  ];
}
