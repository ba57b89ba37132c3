import assert from 'node:assert/strict';
import type { Backend, Family } from '../../../../src/core/vocabulary.ts';
import { runSync } from '../../../../src/core/sliced.ts';
import { KernelUnreadable } from '../../../../src/dataplane/iptables/kernel/kernel.ts';
import { type Listings, chooseBackend } from '../../../../src/dataplane/iptables/kernel/backend.ts';
import { CommandFailed, type CommandFailureReason, type RunCommand } from '../../../../src/host/command.ts';
import { readSets } from '../../../../src/dataplane/iptables/kernel/linux-kernel.ts';
import {
  type Listing,
  listLegacyRules,
  listRules,
  whyNoListing,
} from '../../../../src/dataplane/iptables/kernel/list-rules.ts';

const BUILT_IN = ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'];
const listing = (...lines: readonly string[]): string =>
  [
    '# Generated',
    '*mangle',
    ...BUILT_IN.map((name) => `:${name} ACCEPT [0:0]`),
    ...lines,
    'COMMIT',
    '# Completed',
    '',
  ].join('\n');

const prints =
  (stdout: string): RunCommand =>
  async () => ({ stdout, stderr: '', durationMs: 1 });
const fails =
  (stderr: string, reason: CommandFailureReason = 'exit'): RunCommand =>
  (request) =>
    Promise.reject(new CommandFailed(request, reason, reason === 'exit' ? 4 : null, stderr));

describe('fault: a read that fails is not an answer', () => {
  const KNOWN = [
    // As iptables 1.8 prints them: no IPv6 in the kernel or at boot, no such table, no netfilter tables at all.
    'ip6tables-save v1.8.9 (legacy): Cannot initialize: Address family not supported by protocol',
    'ip6tables-save v1.8.9 (legacy): Cannot initialize: Table does not exist (do you need to insmod?)',
    'ip6tables-save v1.8.9 (legacy): Cannot initialize: iptables who? (do you need to insmod?)',
    'ip6tables-nft-save/1.8.9 (nf_tables) Failed to initialize nft: Protocol not supported',
    'ip6tables-nft-save v1.8.9 (nf_tables): Could not fetch rule set generation id: Invalid argument',
  ];
  const UNKNOWN = [
    'ip6tables-nft-save v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be root)',
    'ip6tables-save: Could not fetch rule set generation id: Cannot allocate memory',
    'ip6tables-nft-save/1.8.9 (nf_tables) Failed to initialize nft: Too many open files',
    'ip6tables-save v1.8.9 (legacy): Cannot initialize: Memory allocation problem',
    '',
  ];
  for (const text of KNOWN)
    it(`known to be impossible: ${text}`, async () => {
      assert.equal((await listRules(fails(text), 'iptables-nft', 6)).kind, 'absent');
    });
  for (const text of UNKNOWN)
    it(`not known: ${JSON.stringify(text)}`, async () => {
      assert.equal((await listRules(fails(text), 'iptables-nft', 6)).kind, 'unknown');
    });
  it('a missing program is known, one that hangs, crashes or cannot be started is not', async () => {
    const kinds = await Promise.all(
      (['not-found', 'timeout', 'signal', 'spawn'] as const).map((reason) =>
        listRules(fails('', reason), 'iptables-nft', 6),
      ),
    );
    assert.deepEqual(
      kinds.map(({ kind }) => kind),
      ['absent', 'unknown', 'unknown', 'unknown'],
    );
  });
});

describe('fault: an answer that cannot be true is none', () => {
  const why = (text: string): string | undefined => runSync(whyNoListing(text, 4));
  const good = listing(':PCL-FWD - [0:0]', '-A FORWARD -j PCL-FWD');

  it('a whole listing is one', () => {
    assert.equal(why(good), undefined);
    assert.equal(why(`# Warning: iptables-legacy tables present\n${good}`), undefined);
    assert.equal(
      why(`# Table \`mangle' contains incompatible base-chains, use 'nft' tool to list them.\n${good}`),
      undefined,
    );
  });
  it('a table that iptables cannot read: says whose rule it is and what to do', () => {
    const text = why("# Table `mangle' is incompatible, use 'nft' tool.\n");
    assert.match(text!, /added with nft: find it with "nft list table ip mangle"/);
  });
  it('cut at any byte, it is none', () => {
    // Without the comment behind COMMIT it is whole.
    const end = good.indexOf('COMMIT\n') + 'COMMIT'.length;
    for (let length = 0; length <= end; length++)
      assert.notEqual(why(good.slice(0, length)), undefined, good.slice(0, length));
  });
  it('nothing, garbage, or no built-in chain', () => {
    assert.match(why('')!, /printed nothing/);
    assert.match(why(listing('Segmentation fault'))!, /makes no sense: "Segmentation fault"/);
    assert.match(why(`${good}-A FORWARD -j DROP\n`)!, /makes no sense/);
    assert.match(why(good.replace(':FORWARD ACCEPT [0:0]\n', ''))!, /chain FORWARD is not in its output/);
    assert.match(why(good.replaceAll('mangle', 'filter'))!, /makes no sense/);
  });
  it('of sets as well', async () => {
    const sets = (text: string) => readSets({ run: prints(text) });
    assert.equal((await sets('')).size, 0);
    assert.equal((await sets('create PCL4-x hash:ip family inet maxelem 5\nadd PCL4-x 10.0.0.1\n')).size, 1);
    for (const text of ['create PCL4-x hash:ip family inet\nadd PCL4-x 10.0.0', 'oops\n', 'create PCL4-x\n'])
      await assert.rejects(sets(text), KernelUnreadable);
  });
});

describe('reading legacy rules', () => {
  it('asks the tool only for a table that exists', async () => {
    const asked: string[] = [];
    const run: RunCommand = async ({ argv }) => {
      asked.push(argv.join(' '));
      return { stdout: listing(), stderr: '', durationMs: 1 };
    };
    assert.deepEqual(await listLegacyRules(run, async () => [], 4), { kind: 'empty' });
    assert.deepEqual(await listLegacyRules(run, async () => ['filter', 'nat'], 6), { kind: 'empty' });
    assert.deepEqual(asked, []);
    assert.equal((await listLegacyRules(run, async () => ['mangle'], 6)).kind, 'read');
    assert.deepEqual(asked, ['ip6tables-legacy-save -t mangle']);
    const denied = await listLegacyRules(run, () => Promise.reject(new Error('EACCES')), 4);
    assert.equal(denied.kind, 'unknown');
  });
});

describe('fault: which variant the host uses is told from what it holds, never from what could not be read', () => {
  const read = (...lines: readonly string[]): Listing => ({ kind: 'read', text: listing(...lines) });
  const HINT = ':KUBE-IPTABLES-HINT - [0:0]';
  const OURS = ':PCL-FWD - [0:0]';
  const unknown: Listing = { kind: 'unknown', why: 'no memory' };
  const absent: Listing = { kind: 'absent', why: 'command not found' };
  const empty: Listing = { kind: 'empty' };
  const both = (one: Listing, six: Listing = one): Readonly<Record<Family, Listing>> => ({ 4: one, 6: six });
  const choose = (nft: Listing, legacy: Listing, current?: Backend, nft6 = nft): string => {
    const listings: Listings = { 'iptables-nft': both(nft, nft6), 'iptables-legacy': both(legacy) };
    const chosen = chooseBackend(listings, current);
    return chosen ? `${chosen.backend}${chosen.doubt === undefined ? '' : ' ?'}` : 'none';
  };
  const cases: readonly [string, Parameters<typeof choose>, string][] = [
    ['hints in nft', [read(HINT), read(HINT, OURS), 'iptables-legacy'], 'iptables-nft'],
    ['hints in legacy', [read(OURS), read(HINT), 'iptables-nft'], 'iptables-legacy'],
    ['hints in legacy, no nft', [absent, read(HINT)], 'iptables-legacy'],
    ['nothing anywhere', [read(), empty], 'iptables-nft'],
    ['nothing but ours, in legacy', [read(), read(OURS)], 'iptables-legacy'],
    ['ours in both, legacy in use', [read(OURS), read(OURS), 'iptables-legacy'], 'iptables-legacy'],
    ['ours in both, at start', [read(OURS), read(OURS)], 'iptables-nft'],
    ['nft not installed', [absent, empty], 'iptables-legacy'],
    ['nft cannot be read, nothing speaks for legacy', [unknown, empty], 'none'],
    ['nft cannot be read, nft is in use', [unknown, empty, 'iptables-nft'], 'iptables-nft ?'],
    ['nft cannot be read, legacy has the hints', [unknown, read(HINT), 'iptables-nft'], 'iptables-legacy ?'],
    ['nft cannot be read, ours are in legacy', [unknown, read(OURS)], 'iptables-legacy ?'],
    ['legacy cannot be read, ours are in nft', [read(OURS), unknown], 'iptables-nft ?'],
    ['legacy cannot be read, nft has the hints', [read(HINT), unknown], 'iptables-nft'],
    ['one family of nft was read', [read(), empty, undefined, unknown], 'iptables-nft'],
    ['neither is there', [absent, absent], 'none'],
  ];
  for (const [name, args, expected] of cases) it(name, () => assert.equal(choose(...args), expected));
});
