/** Listings of a table: read in short steps, with what is known recognised, whatever their size. */
import assert from 'node:assert/strict';
import { runSync, type Sliced } from '../../../src/core/sliced.ts';
import { versionedMap } from '../../../src/core/versioned-map.ts';
import { readTable, readTableInSteps } from '../../../src/dataplane/nftables/table/read-table.ts';
import type { Chain, Known, NftSet, Table } from '../../../src/dataplane/nftables/table/table.ts';

const LISTING = `table inet portcullis {
	set pods {
		type ipv4_addr
		elements = { 10.0.0.1, 10.0.0.2,
			     10.0.0.3 }
	}

	set ports {
		type ipv4_addr . inet_proto . inet_service
		elements = { 10.0.0.1 . 6 . 80 }
	}

	set blocks {
		type ipv4_addr
		flags interval
		elements = { 10.0.0.0/8,
			     192.0.2.1-192.0.2.9 }
	}

	set nobody {
		type ipv6_addr
	}

	map ingress {
		type ipv4_addr : verdict
		elements = { 10.0.0.1 : goto one,
			     10.0.0.2 : drop }
	}

	chain forward {
		type filter hook forward priority mangle; policy accept;
		ct state established return
		jump one
	}

	chain one {
		ip saddr @pods counter return
		drop
	}

	chain none {
	}
}
`;

function knownFrom({ chains, sets }: Table): Known {
  return { chain: (name) => chains.get(name), set: (name) => sets.get(name) };
}

function read(text: string, known?: Known): Table {
  return runSync(readTableInSteps(text, 'inet', known));
}

function values({ chains, sets }: Table): unknown {
  return [[...chains.values()], [...sets.values()].map((set) => ({ ...set, elements: [...set.elements] }))];
}

function steps(work: Sliced<unknown>): number {
  let count = 0;
  while (!work.next().done) count++;
  return count;
}

describe('nftables: a listing of a table', () => {
  it('gives chains, and sets with their elements', () => {
    const { chains, sets } = readTable(LISTING);
    assert.deepEqual(
      [...chains.values()],
      [
        {
          name: 'forward',
          hook: 'type filter hook forward priority mangle; policy accept;',
          lines: ['ct state established return', 'jump one'],
        },
        { name: 'one', hook: '', lines: ['ip saddr @pods counter return', 'drop'] },
        { name: 'none', hook: '', lines: [] },
      ],
    );
    const plain = [...sets.values()].map(({ elements, ...set }) => [set, [...elements]]);
    assert.deepEqual(plain, [
      [
        { name: 'pods', type: 'ipv4_addr' },
        [
          ['10.0.0.1', true],
          ['10.0.0.2', true],
          ['10.0.0.3', true],
        ],
      ],
      [{ name: 'ports', type: 'ipv4_addr . inet_proto . inet_service' }, [['10.0.0.1,6:80', true]]],
      [
        { name: 'blocks', type: 'ipv4_addr', isInterval: true },
        [
          ['10.0.0.0/8', true],
          ['192.0.2.1-192.0.2.9', true],
        ],
      ],
      [{ name: 'nobody', type: 'ipv6_addr' }, []],
      [
        { name: 'ingress', type: 'ipv4_addr', isMap: true },
        [
          ['10.0.0.1', 'goto one'],
          ['10.0.0.2', 'drop'],
        ],
      ],
    ]);
  });

  it('gives the known object for each chain and set that is like it, and only for those', () => {
    const known = read(LISTING);
    const again = read(LISTING, knownFrom(known));
    for (const which of ['chains', 'sets'] as const)
      for (const [name, object] of known[which]) assert.equal(again[which].get(name), object, name);

    const edits: readonly (readonly [from: string, to: string, name: string])[] = [
      ['10.0.0.2,\n\t\t\t     10.0.0.3 }', '10.0.0.2 }', 'pods'],
      ['10.0.0.1, 10.0.0.2,', '10.0.0.1, 10.0.0.2, 10.0.0.4,', 'pods'],
      ['10.0.0.1, 10.0.0.2,', '10.0.0.1, 10.0.0.4,', 'pods'],
      ['\t\telements = { 10.0.0.1 . 6 . 80 }\n', '', 'ports'],
      ['\t\tflags interval\n', '', 'blocks'],
      ['192.0.2.1-192.0.2.9 }\n', '192.0.2.1-192.0.2.9 }\n\t\tcomment "mine"\n', 'blocks'],
      ['\t\ttype ipv6_addr\n', '\t\ttype ipv6_addr\n\t\tsize 7\n', 'nobody'],
      ['\t\ttype ipv6_addr\n', '\t\ttype ipv6_addr\n\t\telements = { ::1 }\n', 'nobody'],
      ['10.0.0.1 : goto one', '10.0.0.1 : goto none', 'ingress'],
      ['priority mangle', 'priority filter', 'forward'],
      ['\t\tdrop\n', '', 'one'],
      ['\tchain none {\n', '\tchain none {\n\t\tcomment "mine"\n', 'none'],
    ];
    for (const [from, to, name] of edits) {
      const text = LISTING.replace(from, to);
      assert.notEqual(text, LISTING);
      const found = read(text, knownFrom(known));
      assert.deepEqual(values(found), values(readTable(text)), name);
      for (const which of ['chains', 'sets'] as const)
        for (const [each, object] of known[which])
          assert.equal(found[which].get(each) === object, each !== name, `${each} where ${name} has ${to}`);
    }
  });

  it('fault: is refused where any of it is cut off at the end', () => {
    const known = knownFrom(read(LISTING));
    for (let end = 0; end < LISTING.length - '}\n'.length; end++) {
      const part = LISTING.slice(0, end);
      assert.throws(() => read(part), /not a listing|lacks its end/, part);
      assert.throws(() => read(part, known), /not a listing|lacks its end/, part);
    }
    assert.throws(() => readTable(LISTING, 'bridge'), /not a listing/);
  });

  it('is read in steps of 256 lines at most: of one set, of one chain and of many', () => {
    const COUNT = 10_000;
    const elements = Array.from({ length: COUNT }, (_, n) => `10.0.${n >> 8}.${n & 255}`);
    const lines = Array.from({ length: COUNT }, (_, n) => `tcp dport ${n} drop`);
    const set: NftSet = {
      name: 'pods',
      type: 'ipv4_addr',
      elements: versionedMap(elements.map((each) => [each, true])),
    };
    const chain: Chain = { name: 'one', hook: '', lines };
    const listings = [
      `\tset pods {\n\t\ttype ipv4_addr\n\t\telements = { ${elements.join(',\n\t\t\t     ')} }\n\t}\n`,
      `\tchain one {\n${lines.map((line) => `\t\t${line}\n`).join('')}\t}\n`,
      lines.map((line, n) => `\tchain c${n} {\n\t\t${line}\n\t}\n`).join(''),
    ];
    const known: Known = { chain: () => chain, set: () => set };
    for (const body of listings) {
      const text = `table inet portcullis {\n${body}}\n`;
      const least = text.split('\n').length / 256 - 1;
      for (const each of [undefined, known]) assert.ok(steps(readTableInSteps(text, 'inet', each)) >= least);
    }
  });
});
