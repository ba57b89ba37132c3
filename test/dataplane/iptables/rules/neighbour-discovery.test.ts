import assert from 'node:assert/strict';
import { ruleText } from '../../../../src/dataplane/iptables/rules/write-text.ts';
import { type Packet, trace } from '../../../support/tracer.ts';

const LINE = ruleText(
  { matches: [{ kind: 'neighbour-discovery' }], target: { kind: 'drop' } },
  { family: 6, epoch: 1 },
);
const RULES = { chains: new Map(), hooks: { FORWARD: [LINE], INPUT: [] } };

function matches(packet: Partial<Packet>): boolean {
  const base = {
    family: 6,
    source: 'fd00::1',
    destination: 'fd00::2',
    protocol: 58,
    port: 135,
    hopLimit: 255,
  } as const;
  return trace({ families: { 6: RULES }, sets: new Map() }, { ...base, ...packet }) === 'dropped';
}

const ROUTER_ALERT = { header: 0, length: 8 };
const LISTENER = { source: 'fe80::1', destination: 'ff02::16', port: 143, hopLimit: 1 };

describe('fault: ICMPv6 carrier: neighbour discovery is what was not routed (S-58)', () => {
  it('types 133 to 137 with hop limit 255', () => {
    for (let type = 0; type < 256; type++) assert.equal(matches({ port: type }), type >= 133 && type <= 137, `${type}`);
    assert.ok(matches({ source: '::', destination: 'ff02::1:ff00:2' }), 'duplicate address detection');
    for (let hopLimit = 0; hopLimit < 255; hopLimit++) assert.ok(!matches({ hopLimit }), `hop limit ${hopLimit}`);
  });

  it('nothing behind an extension header, and no other protocol', () => {
    for (const header of [0, 43, 44, 60]) assert.ok(!matches({ extension: { header, length: 8 } }), `header ${header}`);
    for (const protocol of [6, 17, 1, 59]) assert.ok(!matches({ protocol }), `protocol ${protocol}`);
  });

  it('listener discovery: types 130, 131, 132, 143 with hop limit 1, link-local to multicast', () => {
    for (let type = 0; type < 256; type++) {
      const isListener = [130, 131, 132, 143].includes(type);
      assert.equal(matches({ ...LISTENER, port: type }), isListener, `${type}`);
      assert.equal(matches({ ...LISTENER, port: type, extension: ROUTER_ALERT }), isListener, `${type}, router alert`);
    }
    for (const source of ['fe80::1', 'febf:ffff::1', '::']) assert.ok(matches({ ...LISTENER, source }), source);
    for (let hopLimit = 0; hopLimit < 256; hopLimit++) {
      assert.equal(matches({ ...LISTENER, hopLimit }), hopLimit === 1, `hop limit ${hopLimit}`);
    }
  });

  it('no listener discovery that a router may have passed on: sent with hop limit 2, it has 1 in FORWARD', () => {
    for (const source of ['fd00::1', '2001:db8::1', 'fec0::1', 'fe7f::1', 'fd00:fe80::']) {
      assert.ok(!matches({ ...LISTENER, source }), source);
    }
    for (const destination of ['fd00::2', 'fe80::2', '2001:db8::ff02']) {
      assert.ok(!matches({ ...LISTENER, destination }), destination);
    }
    for (const extension of [
      { header: 0, length: 16 },
      { header: 60, length: 8 },
      { header: 44, length: 8 },
    ]) {
      assert.ok(!matches({ ...LISTENER, extension }), `header ${extension.header} of ${extension.length} bytes`);
    }
  });
});
