import assert from 'node:assert/strict';
import { ChangeReader, type NetfilterChange } from '../../../../src/dataplane/iptables/drift/read-events.ts';
import {
  committedBy,
  FLUSH,
  joined,
  message,
  NEW_CHAIN,
  NEW_ELEMENT,
  NEW_RULE,
} from '../../../support/commit-messages.ts';

function changes(family: 4 | 6, text: string): readonly NetfilterChange[] {
  const reader = new ChangeReader(family);
  return text.split('\n').flatMap((line) => reader.line(line) ?? []);
}

/** Recorded from iptables 1.8.9 on Linux 6.18. */
const RECORDED = ` EVENT: nft: NEW table: table mangle ip flags 0 use 1 handle 1
 EVENT: -4 -t mangle -N PCL-FWD
NEWGEN: GENID=2 PID=21649 NAME=iptables-nft
 EVENT: # nft: ip mangle FORWARD use 1 type filter hook forward prio -150 policy accept packets 0 bytes 0 flags 1
 EVENT: -4 -t mangle -A FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -j PCL-FWD
NEWGEN: GENID=3 PID=21650 NAME=iptables-nft
 EVENT: # nft: ip mangle FORWARD use 1 type filter hook forward prio -150 policy drop packets 0 bytes 0 flags 1
NEWGEN: GENID=6 PID=21656 NAME=iptables-nft
 EVENT: -4 -t nat -A KUBE-SERVICES -p tcp -m comment --comment "about -t mangle -A FORWARD" -j RETURN
 EVENT: -4 -t mangle -A KUBE-PROXY-CANARY
 EVENT: -4 -t mangle -N PCL-PROBE
 EVENT: -4 -t mangle -A PCL-PROBE -j RETURN
 EVENT: -4 -t mangle -A POSTROUTING -j RETURN
NEWGEN: GENID=7 PID=21659 NAME=iptables-nft-re
 EVENT: -4 -t mangle -A FORWARD
NEWGEN: GENID=9 PID=21668 NAME=nft
 EVENT: -4 -t mangle -D FORWARD -j ACCEPT
 EVENT: -4 -t mangle -X PCL-X
 EVENT: -4 -t mangle -X FORWARD
 EVENT: nft: DEL table: table mangle ip flags 0 use 0 handle 1
NEWGEN: GENID=12 PID=21673 NAME=nft
 EVENT: -6 -t mangle -A PCL-FWD -j DROP
NEWGEN: GENID=14 PID=21687 NAME=ip6tables-nft-r
 EVENT: nft: DEL table: table x inet flags 0 use 0 handle 4
 EVENT: 
NEWGEN: GENID=21 PID=21697 NAME=nft
`;

/** Recorded from iptables 1.8.11. */
const RECORDED_1_8_11 = ` EVENT: nft: NEW table: table mangle ip flags 0 use 1 handle 1
 EVENT: nft: NEW chain: ip mangle FORWARD use 1 type filter hook forward prio -150 policy accept packets 0 bytes 0 flags 1
 EVENT: iptables -t mangle -A FORWARD -m conntrack ! --ctstate RELATED,ESTABLISHED -j PCL-FWD
NEWGEN: GENID=3 PID=27632 NAME=iptables-nft
 EVENT: nft: NEW chain: ip mangle FORWARD use 1 type filter hook forward prio -150 policy drop packets 0 bytes 0 flags 1
NEWGEN: GENID=4 PID=27633 NAME=iptables-nft
 EVENT: iptables -t mangle -A FORWARD
NEWGEN: GENID=8 PID=27646 NAME=nft
 EVENT: iptables -t mangle -D PCL-Y -m set --match-set S src -j RETURN
 EVENT: iptables -t mangle -X FORWARD
 EVENT: nft: DEL table: table mangle ip flags 0 use 0 handle 1
 EVENT: ip6tables -t mangle -D FORWARD -p ipv6-icmp -m icmp6 --icmpv6-type 135 -m hl --hl-eq 255 -j RETURN
 EVENT: ip6tables -t mangle -X FORWARD
 EVENT: nft: DEL table: table mangle ip6 flags 0 use 0 handle 2
NEWGEN: GENID=13 PID=27664 NAME=nft
`;

describe('fault: what others write to nf_tables is read from what the kernel tells', () => {
  it('a chain of ours, the hooks, the whole table; nothing of all else', () => {
    assert.deepEqual(changes(4, RECORDED), [
      { family: 4, touched: 'chains', program: 'iptables-nft' },
      { family: 4, touched: 'hooks', program: 'iptables-nft' },
      { family: 4, touched: 'hooks', program: 'nft' },
      { family: 4, touched: 'chains', program: 'nft' },
    ]);
    assert.deepEqual(changes(6, RECORDED), [{ family: 6, touched: 'chains', program: 'ip6tables-nft-r' }]);
  });

  it('as iptables 1.8.11 prints it', () => {
    assert.deepEqual(changes(4, RECORDED_1_8_11), [
      { family: 4, touched: 'hooks', program: 'iptables-nft' },
      { family: 4, touched: 'hooks', program: 'nft' },
      { family: 4, touched: 'chains', program: 'nft' },
    ]);
    assert.deepEqual(changes(6, RECORDED_1_8_11), [{ family: 6, touched: 'chains', program: 'nft' }]);
  });

  it('a table that goes without its chains being named', () => {
    const text = ' EVENT: nft: DEL table: table mangle ip6 flags 0 use 0 handle 3\nNEWGEN: GENID=1 PID=1 NAME=nft';
    assert.deepEqual(changes(4, text), []);
    assert.deepEqual(changes(6, text), [{ family: 6, touched: 'chains', program: 'nft' }]);
  });

  it('as the kernel tells it: the same, of messages', () => {
    const heard = (family: 4 | 6, ...datagrams: readonly Uint8Array[]): readonly string[] => {
      const reader = new ChangeReader(family);
      return datagrams
        .flatMap((each) => reader.messages(each))
        .map(({ touched, program }) => `${touched} by ${program}`);
    };
    assert.deepEqual(heard(4, ...NEW_CHAIN, ...NEW_RULE, ...NEW_ELEMENT, ...FLUSH), ['chains by iptables-nft']);
    assert.deepEqual(heard(6, ...NEW_CHAIN, ...NEW_RULE, ...NEW_ELEMENT, ...FLUSH), [
      'hooks by ip6tables-nft',
      'chains by nft',
    ]);
    const [newTable, deleteTable, newChain, deleteChain, newRule, deleteRule, newSet] = [0, 2, 3, 5, 6, 8, 9];
    const rows: readonly (readonly [type: number, table: string, chain: string, touched: string | undefined])[] = [
      [newRule, 'mangle', 'FORWARD', 'hooks'],
      [deleteRule, 'mangle', 'INPUT', 'hooks'],
      [deleteRule, 'mangle', 'PCL-X', 'chains'],
      [newRule, 'mangle', 'POSTROUTING', undefined],
      [newRule, 'mangle', 'PCL-PROBE', undefined],
      [newRule, 'nat', 'PCL-X', undefined],
      [newChain, 'mangle', 'FORWARD', undefined],
      [newChain, 'mangle', 'PCL-X', 'chains'],
      [newChain, 'mangle', 'PCLX', undefined],
      [deleteChain, 'mangle', 'FORWARD', 'chains'],
      [deleteChain, 'mangle', 'PCL-X', 'chains'],
      [deleteChain, 'mangle', 'OTHER', undefined],
      [newTable, 'mangle', '', undefined],
      [deleteTable, 'mangle', '', 'chains'],
      [deleteTable, 'nat', '', undefined],
      [newSet, 'mangle', 'PCL-X', undefined],
    ];
    for (const [type, table, chain, touched] of rows) {
      const one = message(type, 2, [
        [1, table],
        [type === newRule || type === deleteRule ? 2 : 3, chain],
      ]);
      assert.deepEqual(
        heard(4, one, committedBy('x')),
        touched === undefined ? [] : [`${touched} by x`],
        `${type} ${chain}`,
      );
      assert.deepEqual(heard(6, one, committedBy('x')), []);
    }
    const [rule, chain] = [
      message(newRule, 2, [
        [1, 'mangle'],
        [2, 'FORWARD'],
      ]),
      message(newChain, 2, [
        [1, 'mangle'],
        [3, 'PCL-X'],
      ]),
    ];
    // One change of one transaction, whatever the order and the datagrams; the next one starts anew.
    assert.deepEqual(heard(4, joined(chain, rule), joined(rule, committedBy('a'), committedBy('b'))), ['chains by a']);
    assert.deepEqual(heard(4, joined(rule, committedBy('a'), rule, chain, committedBy('b'))), [
      'hooks by a',
      'chains by b',
    ]);
  });

  it('a chain that is renamed, told of by its new name, where the kernel tells what is new', () => {
    const heard = (...messages: readonly Uint8Array[]): number =>
      new ChangeReader(4).messages(joined(...messages)).length;
    const chain = (name: string, flags: number): Uint8Array => {
      return message(
        3,
        2,
        [
          [1, 'mangle'],
          [3, name],
        ],
        { flags },
      );
    };
    const [made, byNft, renamed] = [0x200, 0x400, 0];
    const known = [message(0, 2, [[1, 'nat']]), committedBy('x')];
    assert.equal(heard(...known, chain('OTHER', renamed), committedBy('x')), 1);
    for (const flags of [made, byNft]) assert.equal(heard(...known, chain('OTHER', flags), committedBy('x')), 0);
    // A policy.
    for (const name of ['FORWARD', 'POSTROUTING'])
      assert.equal(heard(...known, chain(name, renamed), committedBy('x')), 0);
    // All are told of like this, those that are made as well.
    assert.equal(heard(chain('OTHER', renamed), committedBy('x')), 0);
  });

  it('a message that cannot be read may have been about anything of ours', () => {
    const reader = new ChangeReader(4);
    assert.deepEqual(reader.messages(new Uint8Array(5)), []);
    assert.deepEqual(reader.messages(committedBy('x')), [{ family: 4, touched: 'chains', program: 'x' }]);
  });
});
