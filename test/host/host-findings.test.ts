import assert from 'node:assert/strict';
import {
  ENFORCERS,
  findEnforcers,
  findIpvs,
  findUnjudged,
  type ForeignRule,
  type HostSurvey,
} from '../../src/host/host-findings.ts';
import { readFlowtables, readIpvsServices, readNftTables } from '../../src/host/read-listings.ts';

const BARE: HostSurvey = {
  interfaces: ['lo', 'eth0', 'eni1a2b3c', 'cali1234567890a', 'docker0', 'tunl0'],
  rules: [
    rule('filter', '-A FORWARD -m comment --comment "cali- CILIUM_ WEAVE-NPC" -j KUBE-FORWARD'),
    rule('filter', '-A FORWARD -j DOCKER-USER'),
    rule('mangle', '-A PREROUTING -j MARK --set-xmark 0x80/0x80'),
    rule('raw', '-A PREROUTING -j CT --zone 5'),
  ],
  nftTables: [
    { family: 'ip', name: 'kube-proxy', chains: ['services'] },
    { family: 'ip', name: 'aws-cni', chains: ['nat-prerouting'] },
  ],
  flowtables: [],
  bpfPins: [
    'globals',
    'globals/aws',
    'globals/aws/maps',
    'globals/aws/maps/global_aws_conntrack_map',
    'globals/aws/programs',
  ],
  ipvsServices: undefined,
};

function rule(table: string, text: string, tool = 'iptables-nft'): ForeignRule {
  return { tool, table, rule: text };
}

const TRACES: readonly (readonly [string, Partial<HostSurvey>])[] = [
  ['antrea (interface antrea-gw0)', { interfaces: ['antrea-gw0'] }],
  [
    'antrea (chain ANTREA-FORWARD in table filter (iptables-nft))',
    { rules: [rule('filter', '-A FORWARD -j ANTREA-FORWARD')] },
  ],
  [
    'aws-network-policy-agent (BPF object /sys/fs/bpf/globals/aws/programs/web-7d4-x_handle_ingress)',
    { bpfPins: ['globals/aws/programs/web-7d4-x_handle_ingress'] },
  ],
  [
    'calico (chain cali-FORWARD in table filter (iptables-legacy))',
    { rules: [rule('filter', '-A FORWARD -j cali-FORWARD', 'iptables-legacy')] },
  ],
  [
    'calico (chain cali-fw-x in nft table ip filter)',
    { nftTables: [{ family: 'ip', name: 'filter', chains: ['FORWARD', 'cali-fw-x'] }] },
  ],
  ['calico (nft table ip calico)', { nftTables: [{ family: 'ip', name: 'calico', chains: [] }] }],
  ['calico (interface vxlan.calico)', { interfaces: ['vxlan.calico'] }],
  [
    'cilium (chain CILIUM_FORWARD in table filter (iptables-nft))',
    { rules: [rule('filter', '-A FORWARD -m comment -j CILIUM_FORWARD')] },
  ],
  ['cilium (interface cilium_host)', { interfaces: ['cilium_host'] }],
  [
    'kindnet (nft table inet kindnet-network-policies)',
    { nftTables: [{ family: 'inet', name: 'kindnet-network-policies', chains: [] }] },
  ],
  [
    'kube-network-policies (nft table inet kube-network-policies)',
    { nftTables: [{ family: 'inet', name: 'kube-network-policies', chains: [] }] },
  ],
  [
    'kube-router (chain KUBE-ROUTER-FORWARD in table filter (iptables-nft))',
    { rules: [rule('filter', '-A FORWARD -j KUBE-ROUTER-FORWARD')] },
  ],
  [
    'kube-router (chain KUBE-POD-FW-A in nft table ip filter)',
    { nftTables: [{ family: 'ip', name: 'filter', chains: ['KUBE-POD-FW-A'] }] },
  ],
  [
    'kube-router (nft table ip kube-router-filter-ipv4)',
    { nftTables: [{ family: 'ip', name: 'kube-router-filter-ipv4', chains: [] }] },
  ],
  ['ovn-kubernetes (interface ovn-k8s-mp0)', { interfaces: ['ovn-k8s-mp0'] }],
  [
    'weave-npc (chain WEAVE-NPC in table filter (iptables-nft))',
    { rules: [rule('filter', '-A FORWARD -o weave -j WEAVE-NPC')] },
  ],
];

describe('fault: another engine that enforces is recognised', () => {
  const found = (survey: HostSurvey): readonly string[] =>
    findEnforcers(survey).map(({ name, by }) => `${name} (${by})`);

  it('not on a node with kube-proxy, a CNI and container software alone', () => {
    assert.deepEqual(found(BARE), []);
  });

  for (const [wanted, survey] of TRACES) {
    it(wanted, () => assert.deepEqual(found({ ...BARE, ...survey }), [wanted]));
  }

  it('each of them by something', () => {
    const names = new Set(
      TRACES.flatMap(([, survey]) => findEnforcers({ ...BARE, ...survey }).map(({ name }) => name)),
    );
    assert.deepEqual([...names].sort(), [...ENFORCERS]);
  });

  it('what could not be read is no trace, and hides none', () => {
    const blind = { ...BARE, nftTables: undefined, bpfPins: undefined, flowtables: undefined };
    assert.deepEqual(found(blind), []);
    assert.deepEqual(found({ ...blind, interfaces: ['cilium_net'] }), ['cilium (interface cilium_net)']);
  });
});

describe('fault: kube-proxy in IPVS mode is found', () => {
  it('by its interface, unless IPVS certainly serves nothing', () => {
    const on = (name: string, ipvsServices: number | undefined) =>
      findIpvs({ interfaces: ['lo', name], ipvsServices }).kind;
    assert.equal(on('eth0', undefined), 'none');
    assert.equal(on('eth0', 5), 'none');
    assert.equal(on('kube-ipvs0', 5), 'active');
    assert.equal(on('kube-ipvs0', undefined), 'active', 'unknown is not none');
    assert.equal(on('kube-ipvs0', 0), 'left-over');
    assert.equal(on('kube-dummy-if', 2), 'active');
  });

  it('/proc/net/ip_vs is counted by service', () => {
    const text = `IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:01BB rr
  -> AC1F0001:192B      Masq    1      0          0
UDP  0A60000A:0035 rr
FWM  00000001 rr `;
    assert.equal(readIpvsServices(text.split('\n')), 3);
    assert.equal(readIpvsServices(text.split('\n').slice(0, 3)), 0);
    assert.equal(readIpvsServices(undefined), undefined);
  });
});

describe('fault: what carries traffic past the rules is told', () => {
  it('nothing on an ordinary node', () => assert.deepEqual(findUnjudged(BARE), []));

  it('flowtables with devices', () => {
    assert.match(
      findUnjudged({ ...BARE, flowtables: ['fw/f on eth0, eth1'] })[0]!,
      /flowtable \(fw\/f on eth0, eth1\)/,
    );
  });

  it('transparent proxies', () => {
    for (const text of [
      '-A PREROUTING -p tcp -m socket --transparent -j MARK --set-xmark 0x700/0x700',
      '-A PREROUTING -p tcp -j TPROXY --on-port 1234 --on-ip 0.0.0.0 --tproxy-mark 0x1/0xffffffff',
    ])
      assert.match(findUnjudged({ ...BARE, rules: [rule('mangle', text)] })[0]!, /transparent proxy/);
  });

  it('untracked traffic, by either target', () => {
    const rules = [
      rule('raw', '-A PREROUTING -p udp -m udp --dport 53 -j NOTRACK'),
      rule('raw', '-A OUTPUT -p udp -j CT --notrack'),
    ];
    assert.match(
      findUnjudged({ ...BARE, rules })[0]!,
      /iptables-nft -t raw -A PREROUTING -p udp -m udp --dport 53 -j NOTRACK and 1 more/,
    );
    assert.deepEqual(findUnjudged({ ...BARE, rules: [rule('raw', '-A PREROUTING -j CT --zone 4 --helper ftp')] }), []);
  });

  it('IPVS of somebody else', () => {
    assert.match(findUnjudged({ ...BARE, ipvsServices: 3 })[0]!, /IPVS serves 3 addresses/);
    assert.deepEqual(findUnjudged({ ...BARE, interfaces: ['kube-ipvs0'], ipvsServices: 3 }), [], 'told elsewhere');
  });
});

describe('listings of nft are read', () => {
  it('tables with their chains', () => {
    const text = `table ip raw {
}
table inet kube-network-policies {
\tchain postrouting {
\t\ttype filter hook postrouting priority srcnat - 5; policy accept;
\t}
\tchain input {
\t}
}
`;
    assert.deepEqual(readNftTables(text), [
      { family: 'ip', name: 'raw', chains: [] },
      { family: 'inet', name: 'kube-network-policies', chains: ['postrouting', 'input'] },
    ]);
    assert.equal(readNftTables(undefined), undefined);
  });

  it('flowtables that have devices', () => {
    const text = `table ip raw {
}
table inet fw {
\tflowtable f {
\t\thook ingress priority filter
\t\tdevices = { eth0, eth1 }
\t}
\tflowtable empty {
\t\thook ingress priority filter
\t}
}
`;
    assert.deepEqual(readFlowtables(text), ['fw/f on eth0, eth1']);
    assert.deepEqual(readFlowtables('table ip raw {\n}\n'), []);
    assert.equal(readFlowtables(undefined), undefined);
  });
});
