/** How the image runs the program, and which programs of the system go into it beside Node.js (Dockerfile); tests compare them. */

/** V8 takes compiled code only from a run with the same flags. */
export const IMAGE_FLAGS: readonly string[] = ['--max-old-space-size=192', '--max-semi-space-size=1'];

export const IMAGE_ENV: Readonly<Record<string, string>> = {
  MALLOC_ARENA_MAX: '1',
  MALLOC_MMAP_THRESHOLD_: '8192',
  MALLOC_TRIM_THRESHOLD_: '65536',
};

export interface ImageTool {
  /** Debian's; the Dockerfile pins its version. */
  readonly package: string;
  /** What the agent starts, as PATH finds it. */
  readonly programs: readonly string[];
  /** What these load or read besides the libraries they are linked with; `LIB` is the folder of the architecture's libraries. */
  readonly files?: readonly string[];
  readonly why: string;
}

const ofFamilies = (...names: readonly string[]): readonly string[] =>
  ['iptables', 'ip6tables'].flatMap((tool) => names.map((name) => `${tool}-${name}`));

function ulogdPart(name: string): string {
  return `LIB/ulogd/ulogd_${name}.so`;
}

/** A program that the agent starts has its row here. */
export const IMAGE_TOOLS: readonly ImageTool[] = [
  {
    package: 'iptables',
    programs: [
      ...ofFamilies('nft', 'nft-save', 'nft-restore', 'legacy', 'legacy-save', 'legacy-restore'),
      'xtables-monitor',
    ],
    // All matches and targets, also those that the agent never writes: it reads the rules of others.
    files: ['LIB/xtables'],
    why: 'rules of both variants, and what others do to them',
  },
  { package: 'ipset', programs: ['ipset'], why: 'sets' },
  { package: 'conntrack', programs: ['conntrack'], why: 'marks of live flows' },
  { package: 'iproute2', programs: ['ip'], why: 'interfaces of pods, bridges' },
  { package: 'nftables', programs: ['nft'], why: "other engines' tables, flowtables" },
  { package: 'netbase', programs: [], files: ['/etc/protocols'], why: 'names of protocols, as the tools print them' },
  { package: 'dash', programs: ['sh'], why: 'starts short programs that only read (host/reading-shell.ts)' },
  {
    package: 'coreutils',
    // The last three are words of the script that starts ulogd.
    programs: ['stdbuf', 'cat', 'mkfifo', 'rm'],
    files: ['/usr/libexec/coreutils/libstdbuf.so'],
    why: 'lines of programs that stay, as they are printed',
  },
  {
    package: 'ulogd2',
    programs: ['ulogd'],
    files: ['inppkt_NFLOG', 'raw2packet_BASE', 'filter_IFINDEX', 'filter_IP2STR'].map((part) => ulogdPart(part)),
    why: 'denied packets, from the log rules (host/packet-log.ts)',
  },
  {
    package: 'ulogd2-json',
    programs: [],
    files: [ulogdPart('output_JSON')],
    why: 'the same, as lines that can be read',
  },
];

/** Mount points of the DaemonSet and what a container runtime wants to be there; empty. */
export const IMAGE_FOLDERS: readonly string[] = [
  'dev',
  'proc',
  'run/portcullis',
  'sys',
  'tmp',
  'var/lib/portcullis',
  'var/run',
];
