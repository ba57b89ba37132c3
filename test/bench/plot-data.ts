/** Made-up numbers in the shape that the plots of each suite read (bench/report/). */
export const PLOT_DATA: Readonly<Record<string, unknown>> = {
  cidr: {
    lookupLimit: 5e-7,
    matches: [
      {
        shape: 'random',
        family: 4,
        count: 1000,
        trie: { median: 2.2e-7, quartiles: [1.9e-7, 2.5e-7] },
        index: { median: 6.7e-8, quartiles: [6.3e-8, 9.2e-8] },
      },
      {
        shape: 'random',
        family: 6,
        count: 1000,
        trie: { median: 3.8e-7, quartiles: [2.5e-7, 4.4e-7] },
        index: { median: 2.8e-7, quartiles: [2.4e-7, 7.5e-7] },
      },
    ],
  },
  compile: {
    eventLimit: 5e-5,
    full: [
      { pods: 1000, seconds: { median: 0.04, quartiles: [0.034, 0.041] } },
      { pods: 10000, seconds: { median: 0.076, quartiles: [0.066, 0.1] } },
    ],
    stages: [
      { cluster: '1,000 pods, 100 namespaces, 100 policies', event: 'added', stages: [1.2e-5, 8.6e-6, 5.7e-6, 3.3e-5] },
      {
        cluster: '1,000 pods, 100 namespaces, 100 policies',
        event: 'relabelled',
        stages: [1.7e-5, 5.9e-6, 4.4e-6, 7.1e-5],
      },
    ],
  },
  memory: [
    { pods: 5000, agent: { steady: 87.0, peak: 88.0 }, informer: { steady: 340.0, peak: 340.0 }, limit: 100 },
    { pods: 20000, agent: { steady: 120.0, peak: 120.0 }, informer: { steady: 750.0, peak: 750.0 }, limit: 130 },
    { pods: 100000, agent: { steady: 210.0, peak: 210.0 }, informer: { steady: 2600.0, peak: 2600.0 }, limit: 260 },
  ],
  start: {
    coldLimit: 3,
    seconds: {
      file: { median: 4.2, quartiles: [3.7, 4.5] },
      tls: { median: 6.0, quartiles: [5.4, 7.0] },
      cold: { median: 13.0, quartiles: [10.0, 13.0] },
      restart: { median: 10.0, quartiles: [10.0, 13.0] },
    },
  },
  event: [
    {
      backend: 'iptables-nft',
      events: [
        { name: 'remote pod added', agent: { median: 0.0034, p99: 0.0088 }, bare: { median: 0.0062, p99: 0.01 } },
        { name: 'remote pod relabelled', agent: { median: 0.078, p99: 0.11 }, bare: { median: 0.065, p99: 0.092 } },
      ],
    },
    {
      backend: 'iptables-legacy',
      events: [
        { name: 'remote pod added', agent: { median: 0.003, p99: 0.0054 }, bare: { median: 0.0057, p99: 0.0095 } },
        { name: 'remote pod relabelled', agent: { median: 0.084, p99: 0.11 }, bare: { median: 0.077, p99: 0.11 } },
      ],
    },
  ],
  packet: {
    roundTripLimit: 1.1,
    connectionsLimit: 0.95,
    clusters: [
      {
        cluster: '10 pods, 4 classes x 1, 200 peers',
        variants: [
          {
            name: 'none again',
            roundTrip: { median: 1.0, quartiles: [1.0, 1.0] },
            connections: { median: 1.0, quartiles: [0.93, 1.0] },
            extraNs: { median: 17, quartiles: [-128, 381] },
          },
          {
            name: 'linear, iptables-nft',
            roundTrip: { median: 1.1, quartiles: [1.0, 1.1] },
            connections: { median: 0.93, quartiles: [0.87, 1.0] },
            extraNs: { median: 3487, quartiles: [2398, 3800.0] },
          },
          {
            name: 'ours, iptables-nft',
            roundTrip: { median: 1.0, quartiles: [0.84, 1.0] },
            connections: { median: 0.96, quartiles: [0.87, 1.0] },
            extraNs: { median: 1680, quartiles: [1100.0, 2234] },
          },
        ],
      },
      {
        cluster: '110 pods, 20 classes x 5, 200 peers',
        variants: [
          {
            name: 'none again',
            roundTrip: { median: 1.0, quartiles: [1.0, 1.0] },
            connections: { median: 1.0, quartiles: [0.97, 1.0] },
            extraNs: { median: 12, quartiles: [-68, 130] },
          },
          {
            name: 'linear, iptables-nft',
            roundTrip: { median: 1.2, quartiles: [1.2, 1.2] },
            connections: { median: 0.79, quartiles: [0.73, 0.81] },
            extraNs: { median: 12096, quartiles: [11839, 12421] },
          },
          {
            name: 'ours, iptables-nft',
            roundTrip: { median: 1.0, quartiles: [1.0, 1.1] },
            connections: { median: 0.96, quartiles: [0.88, 1.0] },
            extraNs: { median: 1800.0, quartiles: [1726, 2077] },
          },
        ],
      },
      {
        cluster: '250 pods, 4 classes x 5, 10000 peers',
        variants: [
          {
            name: 'none again',
            roundTrip: { median: 0.99, quartiles: [0.95, 1.0] },
            connections: { median: 1.0, quartiles: [0.99, 1.1] },
            extraNs: { median: -81, quartiles: [-674, -7] },
          },
          {
            name: 'linear, iptables-nft',
            roundTrip: { median: 1.4, quartiles: [1.3, 1.5] },
            connections: { median: 0.69, quartiles: [0.63, 0.73] },
            extraNs: { median: 14136, quartiles: [13355, 15039] },
          },
          {
            name: 'ours, iptables-nft',
            roundTrip: { median: 1.0, quartiles: [0.96, 1.0] },
            connections: { median: 0.97, quartiles: [0.95, 1.0] },
            extraNs: { median: 1900.0, quartiles: [1700.0, 3127] },
          },
        ],
      },
    ],
    curve: [
      {
        policies: 1,
        kind: 'same words',
        variants: [
          { name: 'linear, iptables-nft', extraNs: { median: 4120, quartiles: [3688, 5500.0] } },
          { name: 'ours, iptables-nft', extraNs: { median: 1894, quartiles: [1418, 2700.0] } },
          { name: 'linear, iptables-legacy', extraNs: { median: 2886, quartiles: [2600.0, 3489] } },
        ],
      },
      {
        policies: 5,
        kind: 'same words',
        variants: [
          { name: 'linear, iptables-nft', extraNs: { median: 12096, quartiles: [11839, 12421] } },
          { name: 'ours, iptables-nft', extraNs: { median: 1800.0, quartiles: [1726, 2077] } },
          { name: 'linear, iptables-legacy', extraNs: { median: 8600.0, quartiles: [8437, 9700.0] } },
        ],
      },
      {
        policies: 20,
        kind: 'own words',
        variants: [
          { name: 'linear, iptables-nft', extraNs: { median: 42422, quartiles: [41688, 46408] } },
          { name: 'ours, iptables-nft', extraNs: { median: 1900.0, quartiles: [1733, 2440] } },
          { name: 'linear, iptables-legacy', extraNs: { median: 31488, quartiles: [30914, 38619] } },
        ],
      },
    ],
  },
};
