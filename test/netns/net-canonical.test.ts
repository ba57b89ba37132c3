/** The kernel's own word on texts and tables: the real ipset, in a network namespace of its own. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { runCommand } from '../../src/host/command.ts';
import { AddressSpace } from '../../src/net/address-space.ts';
import { type Cidr, formatNetMember, parseCidr } from '../../src/net/cidr.ts';
import { compareCidrs, parseNetMember } from '../support/cidrs.ts';
import type { Family } from '../../src/core/vocabulary.ts';
import { type Address, formatAddress, parseAddress } from '../../src/net/ip.ts';
import { address, cidr, edgesOf } from '../net/arbitraries.ts';

const NAMESPACE = `pcl-net-${process.pid}`;
const FAMILIES: readonly Family[] = [4, 6];
const FAMILY_NAME = { 4: 'inet', 6: 'inet6' } as const;

async function inNamespace(argv: readonly string[], stdin = ''): Promise<string> {
  const result = await runCommand({ argv: ['ip', 'netns', 'exec', NAMESPACE, ...argv], stdin, timeoutMs: 15_000 });
  return result.stdout;
}

/** Makes the set `name` anew with these members, as written after its name in `add`. */
async function restore(name: string, type: string, family: Family, members: readonly string[]): Promise<void> {
  const create = `create ${name} ${type} family ${FAMILY_NAME[family]}`;
  const lines = [create, ...members.map((member) => `add ${name} ${member}`), ''];
  await inNamespace(['ipset', 'restore', '-exist'], lines.join('\n'));
}

/** The members that `ipset save` prints, in its own order. */
async function savedMembers(name: string): Promise<string[]> {
  const text = await inNamespace(['ipset', 'save', name]);
  const start = `add ${name} `;
  return text.split('\n').flatMap((line) => (line.startsWith(start) ? [line.slice(start.length)] : []));
}

/** For each address, with the port if one is given, whether `ipset test` finds it. */
async function tested(name: string, addresses: readonly Address[], port?: string): Promise<boolean[]> {
  const entry = port === undefined ? '$address' : `$address,${port}`;
  const loop = `while read -r address; do ipset -q test ${name} "${entry}" && echo 1 || echo 0; done`;
  const answers = await inNamespace(['sh', '-c', loop], addresses.map((each) => `${formatAddress(each)}\n`).join(''));
  return answers.split('\n', addresses.length).map((answer) => answer === '1');
}

/** Examples from a fixed seed, all different as numbers. */
function sample<T>(arbitrary: fc.Arbitrary<T>, count: number): T[] {
  return fc.sample(
    fc.uniqueArray(arbitrary, { minLength: count, maxLength: count, selector: (value) => JSON.stringify(value) }),
    {
      numRuns: 1,
      seed: 20260,
    },
  )[0]!;
}

describe('canonical text and tables, by the real ipset', () => {
  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    await runCommand({ argv: ['ip', 'netns', 'add', NAMESPACE], timeoutMs: 5_000 });
  });

  after(async () => {
    if (process.getuid?.() === 0) await runCommand({ argv: ['ip', 'netns', 'del', NAMESPACE], timeoutMs: 5_000 });
  });

  afterEach(() => inNamespace(['ipset', 'destroy']));

  it('prints the IPv6 addresses with two readings as formatAddress does', async () => {
    const texts = [
      '::',
      '::1',
      '::2',
      '::ffff',
      '::1:0',
      '::0.1.0.0',
      '::203.0.113.7',
      '::ffff:0:203.0.113.7',
      '::fffe:203.0.113.7',
    ];
    texts.push(
      '64:ff9b::203.0.113.7',
      '1:0:0:2:0:0:0:3',
      '1:0:0:2:0:0:3:4',
      '1:0:2:3:4:5:6:7',
      '0:1:2:3:4:5:6:0',
      '1:2:3:4:5:6:0:0',
    );
    for (const text of texts) {
      await restore('one', 'hash:net', 6, [text]);
      assert.deepEqual(await savedMembers('one'), [formatAddress(parseAddress(text)!)], text);
      await inNamespace(['ipset', 'destroy', 'one']);
    }
  });

  for (const of of FAMILIES) {
    it(`prints IPv${of} addresses as formatAddress does`, async () => {
      // hash:ip holds no zero address.
      const texts = sample(address(of), 400)
        .filter(({ words }) => words.some(Boolean))
        .map(formatAddress);
      await restore('ips', 'hash:ip', of, texts);
      assert.deepEqual((await savedMembers('ips')).sort(), texts.sort());
    });

    it(`prints IPv${of} prefixes as formatNetMember does`, async () => {
      const cidrs = sample(cidr(of), 400).filter(({ prefixLength }) => prefixLength > 0);
      await restore('nets', 'hash:net', of, cidrs.map(formatNetMember));
      const saved = await savedMembers('nets');
      assert.deepEqual(saved.toSorted(), cidrs.map(formatNetMember).sort());
      assert.deepEqual(saved.map((text) => parseNetMember(of, text)!).sort(compareCidrs), cidrs.toSorted(compareCidrs));
    });

    it(`finds in an IPv${of} table what the set holds`, async () => {
      const blocks = sample(fc.record({ cidr: narrow(of), except: fc.array(narrow(of), { maxLength: 8 }) }), 12);
      for (const space of [
        AddressSpace.fromBlocks(of, blocks),
        AddressSpace.fromBlocks(of, blocks).complement(),
        nested(of),
      ]) {
        await assertSameVerdicts(of, space);
        await inNamespace(['ipset', 'destroy', 'table']);
      }
    });

    it(`tells the tables of several ports of one IPv${of} set apart`, async () => {
      const blocks = sample(fc.record({ cidr: narrow(of), except: fc.array(narrow(of), { maxLength: 8 }) }), 12);
      const some = AddressSpace.fromBlocks(of, blocks);
      const byPort = {
        'tcp:80': some,
        'tcp:81': some.complement(),
        'udp:80': nested(of),
        'sctp:80': AddressSpace.full(of),
      };
      const lines = Object.entries(byPort).flatMap(([port, space]) => portLines(space, port));
      await restore('table', 'hash:net,port', of, lines);
      assert.deepEqual((await savedMembers('table')).sort(), lines.toSorted());
      for (const [port, space] of Object.entries(byPort))
        await assertSamePortVerdicts(space, port, Object.values(byPort));
    });

    it(`takes all of IPv${of} as a table`, async () => {
      await assertSameVerdicts(of, AddressSpace.full(of));
    });
  }

  it('keeps an IPv4-mapped prefix of an IPv6 set apart from IPv4', async () => {
    const [around, inside] = ['::/80', '::fffe:0:0/96'].map((text) => parseCidr(text)!) as [Cidr, Cidr];
    const space = AddressSpace.fromBlocks(6, [
      { cidr: around, except: [parseNetMember(6, '::ffff:0.0.0.0/96')!, inside] },
    ]);
    await restore('table', 'hash:net', 6, tableLines(space));
    assert.deepEqual((await savedMembers('table')).sort(), tableLines(space).sort());
    await assertSameVerdicts(6, space);
  });
});

/** Prefixes of 3 bits or more: a few of them leave something out. */
const narrow = (of: Family): fc.Arbitrary<Cidr> => cidr(of).filter(({ prefixLength }) => prefixLength >= 3);

/** Every length from 8 down, each the other way round than the one around it. */
function nested(of: Family): AddressSpace {
  const root = parseCidr(of === 4 ? '203.0.113.0/8' : '2001:db8::/8')!;
  let space = AddressSpace.empty(of);
  for (let length = of === 4 ? 32 : 128; length >= 8; length--) {
    const whole = parseCidr(
      `${formatAddress({ family: of, words: of === 4 ? [0xcb007107] : [0x20010db8, 0, 0, 7] })}/${length}`,
    )!;
    space = AddressSpace.fromCidrs(of, [whole]).difference(space);
  }
  return space.intersection(AddressSpace.fromCidrs(of, [root]));
}

function tableLines(space: AddressSpace): string[] {
  return space.toPrefixTable().map((entry) => `${formatNetMember(entry.cidr)}${entry.match ? '' : ' nomatch'}`);
}

function portLines(space: AddressSpace, port: string): string[] {
  return tableLines(space).map((line) => line.replace(/^(\S+)/, `$1,${port}`));
}

/** Asks at the edges of all spaces: what other ports have must not show. */
async function assertSamePortVerdicts(space: AddressSpace, port: string, all: readonly AddressSpace[]): Promise<void> {
  const probes = all.flatMap((each) =>
    each
      .toPrefixTable()
      .slice(0, 8)
      .flatMap(({ cidr: prefix }) => edgesOf(prefix)),
  );
  const inKernel = await tested('table', probes, port);
  assert.ok(probes.length > 30);
  for (const [i, probe] of probes.entries()) {
    assert.equal(inKernel[i], space.contains(probe), `${formatAddress(probe)},${port}`);
  }
}

async function assertSameVerdicts(family: Family, space: AddressSpace): Promise<void> {
  const table = space.toPrefixTable();
  await restore('table', 'hash:net', family, tableLines(space));
  const probes = table.flatMap((entry) => edgesOf(entry.cidr)).slice(0, 200);
  const inKernel = await tested('table', probes);
  assert.equal(inKernel.length, probes.length);
  assert.deepEqual(new Set(inKernel), new Set(space.isFull() ? [true] : [true, false]));
  for (const [i, probe] of probes.entries()) {
    assert.equal(inKernel[i], space.contains(probe), `${formatAddress(probe)} in ${tableLines(space).join(', ')}`);
  }
}
