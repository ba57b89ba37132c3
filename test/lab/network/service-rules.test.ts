import assert from 'node:assert/strict';
import { writeNodeRules, writeServiceRules } from '../../../lab/network/service-rules.ts';
import type { LabService, LabServicePort } from '../../../lab/network/types.ts';

const HERE = { localAddresses: new Set(['10.244.0.2']) };

function service(port: Partial<LabServicePort>, policy: LabService['externalTrafficPolicy'] = 'Cluster'): LabService {
  const targets = [{ address: '10.244.0.2', port: 80 }];
  return {
    key: 'x/web',
    clusterIPs: ['10.96.0.10', 'fd00:10:96::10'],
    externalTrafficPolicy: policy,
    ports: [{ protocol: 'TCP', port: 8080, targets, ...port }],
  };
}

/** Rules of one table without chain hashes; -A and -X lines only. */
function rules(input: string, table: string): string[] {
  const text = new RegExp(`^\\*${table}\\n([^]*?)^COMMIT`, 'm').exec(input)?.[1] ?? '';
  const lines = text.split('\n').filter((line) => /^-[AX]/.test(line));
  return lines.map((line) => line.replaceAll(/(KUBE-[A-Z]{3})-[0-9A-F]{16}/g, '$1'));
}

describe('Service rules', () => {
  it('translate a ClusterIP to its endpoint, and the source of whoever cannot be answered directly', () => {
    assert.deepEqual(rules(writeServiceRules(HERE, 4, [service({})], []).input, 'nat'), [
      '-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000',
      '-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp --dport 8080 -j KUBE-SVC',
      '-A KUBE-SVC ! -s 10.244.0.0/16 -d 10.96.0.10/32 -p tcp --dport 8080 -j KUBE-MARK-MASQ',
      '-A KUBE-SVC -j KUBE-SEP',
      '-A KUBE-SEP -s 10.244.0.2/32 -j KUBE-MARK-MASQ',
      '-A KUBE-SEP -p tcp -j DNAT --to-destination 10.244.0.2:80',
      '-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
    ]);
  });

  it('give each family its own addresses', () => {
    const targets = [
      { address: '10.244.0.2', port: 80 },
      { address: 'fd00:10:244::2', port: 81 },
    ];
    const nat = rules(writeServiceRules(HERE, 6, [service({ targets, protocol: 'SCTP' })], []).input, 'nat').join('\n');
    assert.match(nat, /-d fd00:10:96::10\/128 -p sctp --dport 8080/);
    assert.match(nat, /-p sctp -j DNAT --to-destination \[fd00:10:244::2\]:81/);
    assert.doesNotMatch(nat, /10\.\d/);
  });

  it('give every endpoint the same chance', () => {
    const targets = [2, 3, 4].map((n) => ({ address: `10.244.0.${n}`, port: 80 }));
    const nat = rules(writeServiceRules(HERE, 4, [service({ targets })], []).input, 'nat');
    assert.deepEqual(
      nat.filter((rule) => rule.startsWith('-A KUBE-SVC') && rule.endsWith('KUBE-SEP')),
      [
        '-A KUBE-SVC -m statistic --mode random --probability 0.3333333333 -j KUBE-SEP',
        '-A KUBE-SVC -m statistic --mode random --probability 0.5000000000 -j KUBE-SEP',
        '-A KUBE-SVC -j KUBE-SEP',
      ],
    );
  });

  it('hide outside clients with policy Cluster, keep them and stay on the node with Local', () => {
    const targets = [
      { address: '10.244.1.2', port: 80 },
      { address: '10.244.0.2', port: 80 },
    ];
    const external = (policy: LabService['externalTrafficPolicy']): string[] =>
      rules(writeServiceRules(HERE, 4, [service({ nodePort: 30080, targets }, policy)], []).input, 'nat').filter(
        (rule) => /^-A KUBE-(EXT|SVL|NODEPORTS)/.test(rule),
      );
    assert.deepEqual(external('Cluster'), [
      '-A KUBE-NODEPORTS -p tcp --dport 30080 -j KUBE-EXT',
      '-A KUBE-EXT -j KUBE-MARK-MASQ',
      '-A KUBE-EXT -j KUBE-SVC',
    ]);
    assert.deepEqual(external('Local'), [
      '-A KUBE-NODEPORTS -p tcp --dport 30080 -j KUBE-EXT',
      '-A KUBE-EXT -s 10.244.0.0/16 -j KUBE-SVC',
      '-A KUBE-EXT -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ',
      '-A KUBE-EXT -m addrtype --src-type LOCAL -j KUBE-SVC',
      '-A KUBE-EXT -j KUBE-SVL',
      '-A KUBE-SVL -j KUBE-SEP',
    ]);
  });

  it('drop what policy Local has no endpoint for, and reject Services without any', () => {
    const targets = [{ address: '10.244.1.2', port: 80 }];
    const local = writeServiceRules(HERE, 4, [service({ nodePort: 30080, targets }, 'Local')], []).input;
    const drop = '-A KUBE-EXTERNAL-SERVICES -p tcp --dport 30080 -m addrtype --dst-type LOCAL -j DROP';
    assert.deepEqual(rules(local, 'filter'), [drop]);
    const none = writeServiceRules(HERE, 4, [service({ nodePort: 30080, targets: [] })], []);
    assert.deepEqual(rules(none.input, 'filter'), [
      '-A KUBE-SERVICES -d 10.96.0.10/32 -p tcp --dport 8080 -j REJECT',
      '-A KUBE-EXTERNAL-SERVICES -p tcp --dport 30080 -m addrtype --dst-type LOCAL -j REJECT',
    ]);
    assert.deepEqual(none.chains, []);
  });

  it('remove the chains of Services that are gone, and only those', () => {
    const before = writeServiceRules(HERE, 4, [service({}), { ...service({}), key: 'x/other' }], []);
    const after = writeServiceRules(HERE, 4, [service({})], before.chains);
    const gone = before.chains.filter((chain) => !after.chains.includes(chain));
    assert.equal(gone.length, 2);
    for (const chain of gone) {
      // Emptied first: a chain with rules, or one that rules jump to, cannot be deleted.
      assert.ok(after.input.indexOf(`:${chain} `) < after.input.indexOf(`-X ${chain}\n`));
    }
    assert.equal(rules(after.input, 'nat').filter((rule) => rule.startsWith('-X')).length, 2);
  });

  it('tell pods by their interfaces where their addresses tell nothing, and translate none of them to another', () => {
    const here = { ...HERE, podInterfaces: 'eni' };
    const targets = [{ address: '10.9.0.2', port: 80 }];
    const nat = rules(writeServiceRules(here, 4, [service({ nodePort: 30080, targets }, 'Local')], []).input, 'nat');
    assert.ok(
      nat.includes('-A KUBE-SVC ! -i eni+ -d 10.96.0.10/32 -p tcp --dport 8080 -j KUBE-MARK-MASQ'),
      nat.join('\n'),
    );
    assert.ok(nat.includes('-A KUBE-EXT -i eni+ -j KUBE-SVC'), nat.join('\n'));
    const node = rules(writeNodeRules(0, 4, ['10.9.0.2', 'fd00:9::2']), 'nat');
    assert.deepEqual(
      node.filter((rule) => rule.startsWith('-A AWS-SNAT-CHAIN-0 -d')),
      ['10.0.0.0/24', '10.244.0.0/16', '10.9.0.2/32'].map((cidr) => `-A AWS-SNAT-CHAIN-0 -d ${cidr} -j RETURN`),
    );
  });

  it('show the backend and kube-proxy, and translate the source of IPv4 pods only', () => {
    for (const family of [4, 6] as const) {
      const input = writeNodeRules(2, family);
      for (const chain of ['KUBE-IPTABLES-HINT', 'KUBE-KUBELET-CANARY', 'KUBE-FORWARD'])
        assert.match(input, new RegExp(`:${chain} `));
      assert.equal(/--to-source 10\.0\.0\.13$/m.test(input), family === 4);
    }
  });
});
