import assert from 'node:assert/strict';
import type { ObservedState } from '../../src/dataplane/iptables/plan/plan.ts';
import { readSavedRules, readSavedSets } from './read-saved.ts';
import { type Packet, trace, traceRules } from './tracer.ts';

/** `body`: lines of iptables-save of both families. */
function state(body: readonly string[], sets: readonly string[] = []): ObservedState {
  const chains = new Set(body.map((line) => line.split(' ')[1]!).filter((name) => name.startsWith('PCL-')));
  const rules = readSavedRules(
    ['*mangle', ...[...chains].map((name) => `:${name} - [0:0]`), ...body, 'COMMIT'].join('\n'),
  );
  return { families: { 4: rules, 6: rules }, sets: readSavedSets(sets.join('\n')) };
}

const PACKET: Packet = { family: 4, source: '10.0.0.1', destination: '10.0.0.2', protocol: 6, port: 80 };
const PACKET6: Packet = { ...PACKET, family: 6, source: 'fd00::1', destination: 'fd00::2' };

const drops = (body: readonly string[], packet: Partial<Packet> = {}, sets: readonly string[] = []): boolean =>
  trace(state(body, sets), { ...(packet.family === 6 ? PACKET6 : PACKET), ...packet }) === 'dropped';
/** Whether a rule with this match matches. */
const matches = (match: string, packet: Partial<Packet> = {}, sets: readonly string[] = []): boolean =>
  drops([`-A FORWARD ${match} -j DROP`], packet, sets);

describe('tracer: chains', () => {
  it("passes what no rule drops, and starts at the packet's hook", () => {
    assert.ok(!drops([]));
    assert.ok(drops(['-A INPUT -j DROP'], { hook: 'INPUT' }));
    assert.ok(!drops(['-A INPUT -j DROP']));
  });

  it('comes back from a jump, by RETURN or by the end of the chain', () => {
    assert.ok(drops(['-A FORWARD -j PCL-A', '-A FORWARD -j DROP', '-A PCL-A -j RETURN']));
    assert.ok(drops(['-A FORWARD -j PCL-A', '-A FORWARD -j DROP', '-A PCL-A -p udp -j RETURN']));
    assert.ok(!drops(['-A FORWARD -j PCL-A', '-A FORWARD -j DROP', '-A PCL-A -j ACCEPT']));
  });

  it('a RETURN behind a goto goes back to where the last jump came from', () => {
    const chains = ['-A PCL-A -g PCL-B', '-A PCL-A -j ACCEPT', '-A PCL-B -j RETURN'];
    assert.ok(drops(['-A FORWARD -j PCL-A', '-A FORWARD -j DROP', ...chains]));
    assert.ok(!drops(['-A FORWARD -g PCL-A', '-A FORWARD -j DROP', ...chains]), 'to the policy of the hook');
    const deeper = [
      '-A PCL-A -g PCL-B',
      '-A PCL-A -j DROP',
      '-A PCL-B -j PCL-C',
      '-A PCL-C -g PCL-D',
      '-A PCL-D -j RETURN',
    ];
    assert.ok(drops(['-A FORWARD -j PCL-A', ...deeper, '-A PCL-B -j DROP']), 'a jump inside a goto');
  });

  it('throws on chains, rules, matches and targets it does not know, and on loops', () => {
    assert.throws(() => drops(['-A FORWARD -j CNI-X']), /CNI-X is not known/);
    assert.throws(() => drops(['-A FORWARD -j REJECT']), /unknown target REJECT/);
    assert.throws(() => drops(['-A FORWARD -m recent --name x -j DROP']), /unknown match recent/);
    assert.throws(() => drops(['-A FORWARD -m tcp --sport 1 -j DROP']), /in rule/);
    assert.throws(() => drops(['-A FORWARD -f -j DROP']), /unknown option -f/);
    assert.throws(() => drops(['-A FORWARD -m set --match-set PCL4-x src -j DROP']), /PCL4-x is not known/);
    assert.throws(() => drops(['-A FORWARD -m bpf --bytecode "1,40 0 0 0" -j DROP']), /BPF instruction/);
    assert.throws(() => drops(['-A FORWARD -j PCL-A', '-A PCL-A -g PCL-A']), /loop/);
  });

  it('rules behind the verdict are not read', () => {
    assert.ok(drops(['-A FORWARD -j DROP', '-A FORWARD -m recent -j ACCEPT']));
  });
});

describe('tracer: matches', () => {
  it('addresses, with masks of any form', () => {
    assert.ok(matches('-s 10.0.0.1/32') && !matches('-s 10.0.0.2/32') && !matches('-d 10.0.0.1/32'));
    assert.ok(matches('-s 10.0.0.0/8') && matches('-s 0.0.0.1/0.0.0.15') && !matches('-s 0.0.0.2/0.0.0.15'));
    assert.ok(matches('-d ::2/::f', { family: 6 }) && !matches('-d ::1/::f', { family: 6 }));
    assert.ok(matches('-s fd00::1/128', { family: 6 }) && !matches('-s fd01::/16', { family: 6 }));
  });

  it('protocols and destination ports', () => {
    assert.ok(matches('-p tcp') && !matches('-p udp') && matches('-p sctp', { protocol: 132 }));
    assert.ok(matches('-p tcp -m tcp --dport 80') && !matches('-p tcp -m tcp --dport 81'));
    assert.ok(matches('-p tcp -m tcp --dport 79:80') && !matches('-p tcp -m tcp --dport 81:90'));
    assert.ok(matches('-p tcp -m multiport --dports 1,2,70:90') && !matches('-p tcp -m multiport --dports 1,2,81:90'));
  });

  it('interface and local source', () => {
    assert.ok(matches('-i eth+') && !matches('-i eth') && matches('-i eth0') && !matches('-i vlan+'));
    assert.ok(matches('! -i vlan+') && !matches('! -i eth+') && !matches('! -o eth0'));
    assert.ok(
      !matches('-m addrtype --src-type LOCAL') && matches('-m addrtype --src-type LOCAL', { sourceIsLocal: true }),
    );
  });

  it('connection state, direction and mark', () => {
    assert.ok(matches('-m conntrack --ctstate NEW') && !matches('-m conntrack ! --ctstate NEW'));
    assert.ok(matches('-m conntrack ! --ctstate NEW', { state: 'INVALID' }));
    const reply = '-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY';
    assert.ok(matches(reply, { state: 'ESTABLISHED', direction: 'REPLY' }));
    assert.ok(!matches(reply, { state: 'ESTABLISHED' }) && !matches(reply, { direction: 'REPLY' }));
    assert.ok(matches('-m connmark --mark 0x10/0xf0', { connection: { mark: 0x1f } }));
    assert.ok(!matches('-m connmark --mark 0x10/0xf0', { connection: { mark: 0x20 } }));
    assert.ok(matches('-m connmark ! --mark 0x10/0xf0', { connection: { mark: 0x20 } }));
    assert.ok(
      !matches('-m connmark ! --mark 0x10/0xf0', { state: 'INVALID' }),
      'without a connection there is no mark',
    );
  });

  it('sets: hosts, longest prefix, endpoints', () => {
    const hosts = ['create PCL4-h hash:ip family inet maxelem 9', 'add PCL4-h 10.0.0.1'];
    assert.ok(
      matches('-m set --match-set PCL4-h src', {}, hosts) && !matches('-m set --match-set PCL4-h dst', {}, hosts),
    );
    assert.ok(!matches('-m set ! --match-set PCL4-h src', {}, hosts));
    assert.ok(
      !matches('-m set --match-set PCL4-h src', { family: 6 }, hosts),
      'a set of the other family never matches',
    );
    const nets = [
      'create PCL4-n hash:net family inet maxelem 9',
      'add PCL4-n 0.0.0.0/1',
      'add PCL4-n 10.0.0.0/30 nomatch',
      'add PCL4-n 10.0.0.2',
    ];
    assert.ok(
      !matches('-m set --match-set PCL4-n src', {}, nets) && matches('-m set --match-set PCL4-n dst', {}, nets),
    );
    assert.ok(matches('-m set --match-set PCL4-n src', { source: '10.0.0.4' }, nets));
    assert.ok(!matches('-m set --match-set PCL4-n src', { source: '128.0.0.0' }, nets));
    const ends = ['create PCL4-e hash:ip,port family inet maxelem 9', 'add PCL4-e 10.0.0.2,tcp:80'];
    assert.ok(matches('-m set --match-set PCL4-e dst,dst', {}, ends));
    assert.ok(!matches('-m set --match-set PCL4-e dst,dst', { port: 81 }, ends));
    assert.ok(!matches('-m set --match-set PCL4-e dst,dst', { protocol: 17 }, ends));
    const peers = ['create PCL4-p hash:ip,port family inet maxelem 9', 'add PCL4-p 10.0.0.1,tcp:80'];
    assert.ok(matches('-m set --match-set PCL4-p src,dst', {}, peers));
    assert.ok(!matches('-m set --match-set PCL4-p src,dst', { port: 81 }, peers));
    assert.ok(!matches('-m set --match-set PCL4-p dst,dst', {}, peers));
    const answer = { source: '10.0.0.2', destination: '10.0.0.1', port: 40_000, sourcePort: 80 };
    assert.ok(matches('-m set --match-set PCL4-p dst,src', answer, peers));
    assert.ok(!matches('-m set --match-set PCL4-p src,src', answer, peers));
  });
});

describe('tracer: what a packet leaves behind', () => {
  it('CONNMARK sets its bits and no others, and goes on', () => {
    const connection = { mark: 0x80000081 };
    const body = ['-A FORWARD -j CONNMARK --set-xmark 0x2000000/0xff000000', '-A FORWARD -j DROP'];
    assert.ok(drops(body, { connection }));
    assert.equal(connection.mark, 0x02000081);
  });

  it('log rules are told, and the rules that matched', () => {
    const body = [
      '-A FORWARD -m limit --limit 10/sec --limit-burst 20 -j NFLOG --nflog-prefix "a b" --nflog-group 7',
      '-A FORWARD -m comment --comment "only a comment"',
      '-A FORWARD -p udp -j DROP',
      '-A FORWARD -j DROP',
    ];
    const { verdict, logged, matched } = traceRules(state(body), PACKET);
    assert.deepEqual([verdict, logged, matched.at(-1)], ['dropped', ['a b'], 'FORWARD -j DROP']);
  });
});
